"""JSON lines and JSON → records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from .records import Record, place_of
from .skipped import BadFileError

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def read_json_lines(lines: TextIO, name: str) -> Iterator[Record]:
    """Yield the objects of a file, one a line; blank lines are ignored.

    Raises
    ------
    BadFileError
        At the first line that is not a JSON object.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = place_of(name, number)
            value, end = _decode(line, _skip_blank(line, 0), place)
            if (end := _skip_blank(line, end)) < len(line):
                raise _invalid(place, "Extra data", line, end)
            yield _record(value, place)


def read_json(text: str, name: str) -> Iterator[Record]:
    """Yield the objects of a JSON array, or of a file with one object behind another.

    Raises
    ------
    BadFileError
        At the first value that is not a JSON object.
    """
    position, line = _skip_blank(text, 0), 1
    seen = 0

    def place() -> str:
        nonlocal line, seen
        line, seen = line + text.count("\n", seen, position), position
        return place_of(name, line)

    in_array = text.startswith("[", position)
    if in_array:
        position = _skip_blank(text, position + 1)
        if text.startswith("]", position):
            return
    while position < len(text) or in_array:
        here = place()
        value, position = _decode(text, position, here)
        yield _record(value, here)
        position = _skip_blank(text, position)
        if not in_array:
            continue
        if text.startswith("]", position):
            position, in_array = _skip_blank(text, position + 1), False
            if position < len(text):
                raise _invalid(place(), "Extra data", text, position)
        elif text.startswith(",", position):
            position = _skip_blank(text, position + 1)
        else:
            raise _invalid(place(), "Expecting ',' delimiter", text, position)


def _decode(text: str, position: int, place: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _invalid(place, error.msg, text, error.pos) from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or as many brackets
        raise BadFileError("invalid", f"{place}: this JSON cannot be read ({error}).") from error


def _record(value: object, place: str) -> Record:
    if not isinstance(value, dict):
        raise BadFileError("invalid", f'{place}: this is not a JSON object such as {{"id": "a", "text": "…"}}.')
    return Record(place, value)


def _invalid(place: str, message: str, text: str, position: int) -> BadFileError:
    column = position - text.rfind("\n", 0, position)
    return BadFileError("invalid", f"{place}: this is not valid JSON ({message}, column {column}).")


def _skip_blank(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return position if found is None else found.end()
