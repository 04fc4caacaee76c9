"""Build the documentation site: `make docs`.

The pages are those that people read in the repository, gathered in a folder of the same shape, so that each link is the
same in both. `docs/guide/README.md` says which guides there are, and in which order. Every warning of the generator
ends the build, and so does a page that would ask another site for something.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
GATHERED = ("*.md", "docs/**/*.md", "docs/images/**/*", "docs/*.css", "integrations/*/README.md", "notebooks/*.ipynb")
NAVIGATION = """\
* [Quickstart](README.md)
* Guides
{guides}
    * [LangChain](integrations/langchain/README.md)
    * [LlamaIndex](integrations/llama-index/README.md)
{others}
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
            shutil.copyfile(path, copy)
    (PAGES / "SUMMARY.md").write_text(navigation(), encoding="utf-8")


def navigation() -> str:
    """Return the pages of the site as nested lists."""
    others = []
    for page in sorted((ROOT / "docs").glob("*.md")):  # those in depth, which nothing above names
        if f"(docs/{page.name})" not in NAVIGATION:
            title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            others.append(f"    * [{title}, in depth](docs/{page.name})")
    return NAVIGATION.format(guides=listed("docs/guide"), others="\n".join(others), reference=listed("docs/reference"))


def listed(folder: str) -> str:
    """Return the first page of a folder, and those that its tables name."""
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[([^]]+)\]\(([^)#]+\.md)\)", text, re.MULTILINE)
    return "\n".join(f"    * [{title}]({folder}/{path})" for title, path in [("Overview", "README.md"), *rows])


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
