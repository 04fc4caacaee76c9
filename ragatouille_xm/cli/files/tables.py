"""CSV → records: which character is between cells, the header, the rows."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TextIO

from ...shell import quoted
from .records import TEXT_FIELDS, Record, first_field, place_of
from .skipped import BadFileError

DELIMITERS = ",;\t|"

_SAMPLE = 100  # lines from which the delimiter is found out
_EXCEL = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # its first line may name the delimiter
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,15})?")


def read_table(
    lines: TextIO, name: str, delimiter: str | None = None, text_field: str | None = None
) -> Iterator[Record]:
    """Yield the rows of a CSV file (RFC 4180), keyed by its header.

    Parameters
    ----------
    lines : text stream
        Opened with ``newline=""``.
    name : str
        For messages.
    delimiter : str, optional
        By default the one that a line ``sep=;`` names, or that fits header and rows best.
    text_field : str, optional
        A column that the header must have.

    Raises
    ------
    BadFileError
        At the first row whose number of cells differs from the header's.
    """
    csv.field_size_limit(2**31 - 1)  # by default 131,072 characters, less than a long document
    sample = list(islice(lines, _SAMPLE))
    skipped = 0
    if sample and (found := _EXCEL.fullmatch(sample[0])):
        delimiter, skipped = delimiter or found[1], 1
    if delimiter is None:
        delimiter = find_delimiter(sample[skipped:], TEXT_FIELDS if text_field is None else (text_field,))
    rows = csv.reader(chain(sample[skipped:], lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    end = skipped
    try:
        for cells in rows:
            place, end = place_of(name, end + 1), rows.line_num + skipped
            if not cells:  # a blank line
                continue
            if not header:
                header = _header(cells, place)
            elif len(cells) != len(header):
                raise BadFileError(
                    "invalid",
                    f"{place}: the row has {len(cells)} cells, but the header has {len(header)}, by the delimiter "
                    f"{quoted(delimiter)}. Correct the row, or choose another with --delimiter.",
                )
            else:
                yield Record(place, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        place = place_of(name, rows.line_num + skipped)
        raise BadFileError("invalid", f"{place}: this is not valid CSV ({error}).") from error


def find_delimiter(sample: Sequence[str], text_fields: Sequence[str]) -> str:
    r"""Return the delimiter of a table's first lines: under it most rows have as many cells as the header.

    A header that has one of `text_fields` counts more than that. A single column is taken for CSV.

    Examples
    --------
    >>> find_delimiter(["id;text;price\n", "1;Hello, world;1,50\n"], ["text"])
    ';'
    >>> find_delimiter(["text\n", "One; two\n"], ["text"])
    ','
    """
    best, delimiter = (False, 0.0, 1), ","
    for candidate in DELIMITERS:
        try:
            rows = [row for row in csv.reader(sample, delimiter=candidate) if row]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        body = rows[1:] if len(sample) < _SAMPLE else rows[1:-1]  # a cell may go on behind the sample
        agreement = sum(len(row) == len(rows[0]) for row in body) / max(len(body), 1)
        has_text = first_field(text_fields, dict.fromkeys(map(str.strip, rows[0]))) is not None
        if (found := (has_text, agreement, len(rows[0]))) > best:
            best, delimiter = found, candidate
    return delimiter


def _header(cells: list[str], place: str) -> list[str]:
    """Return the names of columns; one without a name, as pandas writes its row numbers, gets one by its position."""
    names = [cell.strip() or f"column_{position}" for position, cell in enumerate(cells, 1)]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise BadFileError("invalid", f"{place}: the header has the column {twice[0]!r} twice.")
    return names


def table_metadata(cells: Mapping[str, str]) -> dict[str, str | int | float]:
    """Return the non-empty cells of a row as metadata, numbers as numbers so that filters can compare them.

    Examples
    --------
    >>> table_metadata({"year": "2021", "price": "1.50", "zip": "00184", "note": ""})
    {'year': 2021, 'price': 1.5, 'zip': '00184'}
    """
    return {name: _value_of(cell) for name, cell in cells.items() if cell}


def _value_of(cell: str) -> str | int | float:
    number = _NUMBER.fullmatch(cell)
    if number is None:
        return cell
    return int(cell) if number[2] is None else float(cell)
