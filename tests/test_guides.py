"""Every example in `docs` runs, in the order of its page, in an empty folder, and prints what the page says."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from examples import Example, examples, run_python
from invoking import invoke
from typer.testing import CliRunner

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.text.detect import make_detector

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = sorted((DOCS / "guide").glob("*.md"))
PAGES = [*GUIDE, DOCS / "errors.md"]
if not GUIDE:
    pytest.skip("the guide is not here", allow_module_level=True)
NEEDS = {
    "qdrant.md": ["qdrant_client"],
    "evidence.md": ["langchain_ragatouille_xm"],
    "long-documents.md": ["langchain_ragatouille_xm"],
    "evaluation.md": ["bm25s", "ir_measures"],
    "files.md": ["inscriptis"],
    "hybrid.md": ["langchain_ragatouille_xm"],
    "inputs.md": ["pandas"],
    "integrations.md": ["langchain_ragatouille_xm", "llama_index.retrievers.ragatouille_xm"],
    "postgresql.md": ["psycopg"],
    "serving.md": ["fastapi"],
    "training.md": ["accelerate", "matplotlib"],
}
LINK = re.compile(r"(?<!!)\[[^]]*\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


@pytest.fixture(scope="module", autouse=True)
def loaded(demo_path: Path) -> Iterator[None]:
    """Load the demo checkpoint once for all pages."""
    encoder = Encoder.from_pretrained("demo")

    def from_pretrained(name: str | Path, *, language_detector: Any = "py3langid", **options: Any) -> Encoder:
        assert str(name) in ("demo", str(demo_path)), name
        assert set(options.values()) <= {None}, options
        loaded = copy.copy(encoder)
        loaded.detector = make_detector(language_detector)
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "from_pretrained", from_pretrained)
        yield


def run_shell(example: Example, page: Path, names: dict[str, Any]) -> str:
    """Run commands one by one, those of this package in this process."""
    printed = ""
    for line in filter(str.strip, example.code.splitlines()):
        words = shlex.split(line, comments=True)
        if words[0] == "ragatouille-xm":
            result = invoke(CliRunner(env={"COLUMNS": "100"}), words[1:])
            assert result.exit_code == 0, f"{page.name}: {line}\n{result.output}"
            printed += result.stdout
        else:
            subprocess.run(["bash", "-c", line], check=True)
    return printed


RUN: dict[str, Callable[[Example, Path, dict[str, Any]], str]] = {"python": run_python, "sh": run_shell}


def serve_postgres(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a server where libpq looks for one."""
    from postgres.servers import PASSWORD, binaries, shared

    if binaries() is None:
        pytest.skip("there is no PostgreSQL here")
    for name, value in (("PGPORT", str(shared().port)), ("PGUSER", "admin"), ("PGPASSWORD", PASSWORD)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ragatouille_xm.index.postgres.cache.cache_dir", lambda: cache)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_print_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDS.get(page.name, ()):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    if page.name == "postgresql.md":
        serve_postgres(tmp_path / "cache", monkeypatch)
    names: dict[str, Any] = {}
    for example in examples(page):
        printed = RUN[example.kind](example, page, names)
        assert example.printed in (None, printed), f"{page.name}, line {example.line}"


def test_every_page_but_the_first_has_examples() -> None:
    assert [page.name for page in PAGES if not examples(page)] == ["README.md"]


def test_code_of_other_pages_says_why_it_does_not_run() -> None:
    others = {*DOCS.rglob("*.md")} - {*PAGES, DOCS / "migration.md"}  # tests/test_migration.py runs that page
    assert {page.name: examples(page) for page in others if examples(page)} == {}


def test_a_mark_skips_its_own_block_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    skipped, runs = "<!-- not run: it waits -->\n```sh\nsleep 9\n```\n", "```python\nprint(1)\n```\n"
    page.write_text(f"{skipped}\n{runs}\n{skipped}")
    assert [example.code for example in examples(page)] == ["print(1)\n"]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}


@pytest.mark.parametrize("page", [*sorted(DOCS.rglob("*.md")), *DOCS.parent.glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page if not path else page.parent / path
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_first_page_lists_all_others() -> None:
    first = DOCS / "guide" / "README.md"
    linked = {path for path, _ in LINK.findall(first.read_text(encoding="utf-8"))}
    assert {page.name for page in GUIDE} - {"README.md"} <= linked
