"""Each notebook runs from top to bottom in an empty folder, and is committed with what it prints."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / name, as_version=4)


def shown(notebook: nbformat.NotebookNode) -> list[tuple[int, str, str]]:
    """Return what cells show: the number of the cell, the kind, and the text, which of a picture is nothing."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data") or {"text/plain": output.get("text", "")}
            found += [
                (cell.execution_count, kind, value if kind.startswith("text/") else "") for kind, value in data.items()
            ]
    return found


def without_numbers(found: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    return [(cell, kind, NUMBER.sub("#", text)) for cell, kind, text in found]


def numbers(found: list[tuple[int, str, str]]) -> list[str]:
    return [number for _, _, text in found for number in NUMBER.findall(text)]


def last_digit(number: str) -> float:
    """Return what the last digit of a number stands for."""
    return float(10 ** -len(number.partition(".")[2]))


def test_there_are_five() -> None:
    assert [name[:2] for name in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_first_cell_says_what_one_will_see_and_how_long_it_takes(name: str) -> None:
    first = read(name).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# .+\n\nYou will see ", first.source)
    assert "It takes" in first.source.replace("\n", " ")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_it_shows_is_committed_without_noise(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    assert not re.search(r"/(home|root|tmp|shm|work|Users)/", nbformat.writes(notebook))
    assert {output.output_type for cell in codes for output in cell.outputs} <= {
        "stream",
        "execute_result",
        "display_data",
    }
    texts = [text for _, kind, text in shown(notebook) if kind == "text/plain"]
    assert texts
    assert [text for text in texts if re.search(r"Warning|\bat 0x|it/s|<Figure|^\s*$", text)] == []


@pytest.mark.parametrize(("name", "kind"), [("01", "text/html"), ("04", "image/png"), ("05", "text/html")])
def test_highlights_and_plots_are_committed(name: str, kind: str) -> None:
    [notebook] = [each for each in NOTEBOOKS if each.startswith(name)]
    found = [text for _, its, text in shown(read(notebook)) if its == kind]
    assert found
    assert kind != "text/html" or all("<mark" in text for text in found)


@pytest.fixture(scope="module")
def execute(demo_path: Path) -> Iterator[Callable[[Path], nbformat.NotebookNode]]:
    """Return what runs a notebook in the kernel of them all."""
    with pytest.MonkeyPatch.context() as patch:
        trained = str(FOLDER.parent / "integrations" / "demo")  # in the kernel, "demo" is what `make demo` installs
        patch.setenv("PYTHONPATH", trained, prepend=os.pathsep)
        patch.syspath_prepend(str(FOLDER))
        patch.delitem(sys.modules, "execute", raising=False)
        import execute

        with execute.kernel() as kernel:
            yield lambda path: execute.execute(path, kernel)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_and_shows_what_is_committed(name: str, execute: Callable[[Path], nbformat.NotebookNode]) -> None:
    found, committed = shown(execute(FOLDER / name)), shown(read(name))
    assert without_numbers(found) == without_numbers(committed)
    pairs = zip(numbers(found), numbers(committed), strict=True)
    # Sums come in another order on another processor.
    assert [(a, b) for a, b in pairs if abs(float(a) - float(b)) > 1.5 * last_digit(b)] == []
