"""Tab-separated files: a row a line, in UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..infra.run import Run

_BREAKS = str.maketrans("\t\n\r", "   ")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file, each with its position for messages."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield f"{path}, line {number}", line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}. Give a .tsv file in UTF-8, or the texts.") from error


def save_rows(path: str | Path, rows: Iterable[Iterable[Any]]) -> str:
    """Write rows to a ``.tsv`` file of the current experiment, and return it; tabs and line breaks become blanks.

    Raises
    ------
    InputError
        If it does not end in ``.tsv``, exists, or cannot be written.
    """
    if Path(path).suffix != ".tsv":
        raise InputError(f"Rows are saved as .tsv, not as {Path(path).name!r}.")
    with Run().open(path, "w") as file:
        file.writelines("\t".join(str(cell).translate(_BREAKS) for cell in row) + "\n" for row in rows)
        return str(file.name)
