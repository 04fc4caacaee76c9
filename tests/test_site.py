"""The documentation site: every page is in it, every error has its line, and it builds without a warning."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ragatouille_xm import errors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
if not (DOCS / "build.py").exists():
    pytest.skip("docs/ is not here", allow_module_level=True)


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_docs", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_error_has_its_line_with_its_bases() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = {name: re.findall(r"`(\w+)`", bases) for name, bases in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.M)}
    assert rows == {
        name: [base.__name__ for base in value.__bases__]
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.RagatouilleXMError)
    }


def test_the_navigation_has_every_page_but_single_decisions(build: ModuleType) -> None:
    named = set(re.findall(r"\]\(([^)]+)\)", build.navigation()))
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "notebooks").glob("*.md")]
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
    there = {path.relative_to(ROOT).as_posix() for path in pages} | notebooks
    decisions = {path.relative_to(ROOT).as_posix() for path in (DOCS / "decisions").glob("[0-9]*.md")}
    assert there - decisions <= named
    assert [page for page in named - notebooks if not (ROOT / page).exists()] == []


@pytest.mark.parametrize(
    ("html", "asks"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ('<link href="//fonts.example/css" rel="stylesheet">', True),
        ('<img alt="" src="http://example.org/a.png">', True),
        ('<link rel="canonical" href="https://docs.example/guide/">', False),
        ('<a href="https://example.org">a link</a> <script src="assets/x.js"></script>', False),
    ],
)
def test_requests_to_others_are_found(build: ModuleType, tmp_path: Path, html: str, asks: bool) -> None:
    (tmp_path / "page.html").write_text(html)
    assert bool(build.requests_to_others(tmp_path)) is asks


def test_the_site_builds_without_a_warning() -> None:
    pytest.importorskip("zensical")
    done = subprocess.run([sys.executable, DOCS / "build.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout
    site = ROOT / "build" / "site"
    assert (site / "docs" / "guide" / "serving" / "index.html").exists()
    assert "<mark title=" in (site / "notebooks" / "01_quickstart" / "index.html").read_text(encoding="utf-8")
    assert 'src="data:image/png' in (site / "notebooks" / "04_adapters" / "index.html").read_text(encoding="utf-8")
