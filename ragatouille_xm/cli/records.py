"""JSON lines and CSV → records."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError

UTF8 = "utf-8-sig"  # with or without a byte order mark

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,15})?")


class Record(NamedTuple):
    """One record of a file.

    Attributes
    ----------
    place : str
        File and line, for messages.
    line : int
    fields : mapping
        As in the file; the cells of a table are strings.
    """

    place: str
    line: int
    fields: Mapping[str, Any]


def read_json_lines(file: Path) -> Iterator[Record]:
    """Yield the objects of a file, one per line; blank lines are skipped.

    Raises
    ------
    InputError
        At the first line that is not a JSON object.
    """
    with file.open(encoding=UTF8) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{file}, line {number}"
            try:
                fields = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{place}: this is not valid JSON ({error.msg}, column {error.colno}).") from error
            except (ValueError, RecursionError) as error:  # a number with thousands of digits, or as many brackets
                raise InputError(f"{place}: this JSON cannot be read ({error}).") from error
            if not isinstance(fields, dict):
                raise InputError(f'{place}: this is not a JSON object such as {{"id": "a", "text": "…"}}.')
            yield Record(place, number, fields)


def read_table(file: Path, delimiter: str = ",") -> Iterator[Record]:
    """Yield the rows of a CSV file (RFC 4180), keyed by its header.

    Raises
    ------
    InputError
        At the first row whose number of cells differs from the header's.
    """
    csv.field_size_limit(2**31 - 1)  # by default 131,072 characters, less than a long document
    with file.open(encoding=UTF8, newline="") as lines:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        header: list[str] = []
        try:
            for cells in filter(None, rows):  # blank lines have no cells
                place = f"{file}, line {rows.line_num}"
                if not header:
                    header = _header(cells, place)
                    continue
                if len(cells) != len(header):
                    raise InputError(f"{place}: the row has {len(cells)} cells, but the header has {len(header)}.")
                yield Record(place, rows.line_num, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            raise InputError(f"{file}, line {rows.line_num}: this is not valid CSV ({error}).") from error


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise InputError(f"{place}: the header has the column {twice[0]!r} twice.")
    return names


def table_metadata(cells: Mapping[str, str]) -> dict[str, str | int | float]:
    """Return the non-empty cells of a row as metadata, numbers as numbers so that filters can compare them.

    Examples
    --------
    >>> table_metadata({"year": "2021", "price": "1.50", "zip": "00184", "note": ""})
    {'year': 2021, 'price': 1.5, 'zip': '00184'}
    """
    return {name: _typed(cell) for name, cell in cells.items() if cell}


def _typed(cell: str) -> str | int | float:
    number = _NUMBER.fullmatch(cell)
    if number is None:
        return cell
    return int(cell) if number[2] is None else float(cell)


def json_metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON object as metadata."""
    return dict(fields)


def _tab_separated(file: Path) -> Iterator[Record]:
    return read_table(file, "\t")


READERS: Mapping[str, tuple[Callable[[Path], Iterator[Record]], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    ".jsonl": (read_json_lines, json_metadata),
    ".ndjson": (read_json_lines, json_metadata),
    ".csv": (read_table, table_metadata),
    ".tsv": (_tab_separated, table_metadata),
}
"""By suffix: the reader of a file's records, and the function that turns the remaining fields into metadata."""
