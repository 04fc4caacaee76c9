"""Build the documentation site: `make docs`.

The pages are those that people read in the repository, gathered in a folder of the same shape, so that each link is the
same in both; a notebook is a page with its outputs. `README.md` of the guide, the notebooks and the reference say which
pages there are, and in which order. Every warning of the generator ends the build, and so does a page that would ask
another site for something.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
GATHERED = ("*.md", "docs/**/*.md", "docs/images/**/*", "docs/*.css", "integrations/*/README.md", "notebooks/*.md")
NAVIGATION = """\
* [Quickstart](README.md)
* Guides
{guides}
* Notebooks
{notebooks}
* Reference
{reference}
    * [Errors](docs/errors.md)
* Moving here
    * [From RAGatouille and colbert-ai](docs/migration.md)
    * [Differences](docs/parity.md)
* [Benchmarks](docs/benchmarks.md)
* Design
    * [Architecture](docs/architecture.md)
    * [Index format](docs/index_format.md)
    * [Decisions](docs/decisions/README.md)
* Project
    * [Changelog](CHANGELOG.md)
    * [Contributing](CONTRIBUTING.md)
    * [Releasing](docs/releasing.md)
    * [Security](SECURITY.md)
"""
# What a browser fetches by itself; a link that somebody may follow is none of it.
FETCHED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*\bhref="(?:https?:)?//')
CANONICAL = re.compile(r'<link rel="canonical"[^>]*>')


def gather() -> None:
    """Copy the pages, and write the navigation beside them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for pattern in GATHERED:
        for path in filter(Path.is_file, ROOT.glob(pattern)):
            copy = PAGES / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                copy.write_text(path.read_text(encoding="utf-8").replace(".ipynb)", ".md)"), encoding="utf-8")
            else:
                shutil.copyfile(path, copy)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        (PAGES / "notebooks" / f"{path.stem}.md").write_text("\n\n".join(pieces(path)), encoding="utf-8")
    (PAGES / "SUMMARY.md").write_text(navigation(), encoding="utf-8")


def pieces(notebook: Path) -> Iterator[str]:
    """Yield what a notebook says, runs and shows, as Markdown."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
        yield from map(shown, cell.get("outputs", ()))


def shown(output: dict[str, Any]) -> str:
    """Return an output of a cell as Markdown."""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="What the cell above draws" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        return "".join(data["text/html"])
    return f"```text\n{''.join(output.get('text') or data['text/plain']).rstrip()}\n```"


def navigation() -> str:
    """Return the pages of the site as nested lists."""
    lists = {"guides": "docs/guide", "notebooks": "notebooks", "reference": "docs/reference"}
    return NAVIGATION.format(**{name: "\n".join(listed(folder)) for name, folder in lists.items()})


def listed(folder: str) -> Iterator[str]:
    """Yield the first page of a folder, and those that its tables name, below its headings."""
    yield f"    * [Overview]({folder}/README.md)"
    indent = " " * 4
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    for heading, title, path in re.findall(r"^(?:## (.+)|\| \[([^]]+)\]\(([^)#]+)\))", text, re.MULTILINE):
        if heading:
            yield f"    * {heading}"
            indent = " " * 8
        else:
            yield f"{indent}* [{title}]({posixpath.normpath(f'{folder}/{path}').replace('.ipynb', '.md')})"


def requests_to_others(site: Path) -> list[str]:
    """Return what pages would ask other sites for."""
    found = []
    for page in sorted(site.rglob("*.html")):
        text = CANONICAL.sub("", page.read_text(encoding="utf-8"))
        found += [f"{page.relative_to(site)}: {each[0]}" for each in FETCHED.finditer(text)]
    return found


def main() -> None:
    """Build the site; end with its warnings, if there are any."""
    gather()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(result.stdout)
    if result.returncode or "griffe: " in result.stdout:  # docstrings: the generator builds a page all the same
        raise SystemExit("The site has warnings.")
    if others := requests_to_others(SITE):
        raise SystemExit("\n".join(["Pages ask other sites for something:", *others]))
    print(f"The site is in {SITE.relative_to(ROOT)}. To look at it: python -m http.server --directory build/site")


if __name__ == "__main__":
    main()
