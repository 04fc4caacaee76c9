"""A section of the page, and its tables as Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .plots import Plot

Json = dict[str, Any]

_MACHINE_KEYS = ("device", "cpu", "cores", "threads", "dtype", "python", "torch", "transformers")


class Results:
    """The result files of a folder, read when they are asked for.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> Json | None:
        """Return a file's content, or None if there is no such file."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def lines(self, name: str) -> list[Json] | None:
        """Return the entries of a file of JSON lines, or None if there is no such file."""
        path = self.folder / f"{name}.jsonl"
        if not path.exists():
            return None
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Section:
    """What was asked, and what came out.

    Attributes
    ----------
    title : str
    question : str
    source : str
        The script in ``benchmarks/`` and the file in ``benchmarks/results/``.
    machine : str
    body : str
        How to read the table, and the table.
    plot : Plot, optional
    missed : sequence of str
        Limits of the measurement, and aims that were not met.
    """

    title: str
    question: str
    source: tuple[str, str]
    machine: str
    body: str
    plot: Plot | None = None
    missed: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """Return the section."""
        script, result = self.source
        parts = [f"## {self.title}", f"**{self.question}**"]
        if self.plot is not None:
            parts.append(f"![{self.plot.title}](images/benchmarks/{self.plot.name}.svg)")
        parts.append(self.body)
        if self.missed:
            parts.append("Limits:\n\n" + "\n".join(f"- {sentence}" for sentence in self.missed))
        files = f"`benchmarks/{script}` → `benchmarks/results/{result}`"
        parts.append(f"<sub>{files} · {self.machine}</sub>")
        return "\n\n".join(parts) + "\n"


Maker = Callable[[Results], Iterator[Section]]


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is aligned to the left, the others to the right."""
    lines = [_row(header), "|" + "|".join(["---", *["--:"] * (len(header) - 1)]) + "|"]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, and no fewer before the point.

    Examples
    --------
    >>> [number(each) for each in (0.98667, 7.5, 13.44, 4448.3, 2)]
    ['0.987', '7.5', '13.4', '4,448', '2']
    """
    if value is None:
        return "–"
    if abs(value) >= 10 ** (digits - 1) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def machine_of(result: Json) -> str:
    """Return the machine and the date of a result, as far as the file records them."""
    found = result.get("machine") or result.get("environment") or result.get("software")
    if isinstance(found, dict):
        found = ", ".join(_said(key, found[key]) for key in _MACHINE_KEYS if found.get(key))
    date = result.get("date")
    return " · ".join(filter(None, [found or "machine not recorded", str(date) if date else None]))


def _said(key: str, value: object) -> str:
    if key in ("cores", "threads"):
        return f"{value} {key if value != 1 else key[:-1]}"
    return str(value) if key in ("device", "cpu", "dtype") else f"{key} {value}"
