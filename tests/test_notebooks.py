"""Each notebook runs from top to bottom in an empty folder, and is committed with what it prints."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def text_of(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(
        str(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )


def words(text: str) -> set[str]:
    """Return the ids of documents that a text shows."""
    return set(re.findall(r"\b[a-z]{2}-[a-z]+\b", text))


def test_there_are_five() -> None:
    assert [name[:2] for name in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_it_prints_is_committed(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    assert text_of(notebook).strip()
    assert not re.search(r"/(home|root|tmp|work|Users)/", nbformat.writes(notebook))
    assert {output.output_type for cell in codes for output in cell.outputs} <= {
        "stream",
        "execute_result",
        "display_data",
    }


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_and_finds_what_is_committed(name: str, demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = str(FOLDER.parent / "integrations" / "demo")  # in the kernel, "demo" is what `make demo` installs
    monkeypatch.setenv("PYTHONPATH", trained, prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "execute", raising=False)
    from execute import execute

    found = words(text_of(execute(FOLDER / name)))
    assert found == words(text_of(nbformat.read(FOLDER / name, as_version=4)))
