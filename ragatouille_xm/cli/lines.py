"""Texts as lines of a terminal."""

from __future__ import annotations

import re

from rich.cells import cell_len

NARROWEST = 20  # characters of a line
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")  # a passage must not control the terminal


def plain(text: str) -> str:
    r"""Return a text on one line, without control characters.

    Examples
    --------
    >>> plain("one\n\x1b[31m two")
    'one [31m two'
    """
    return " ".join(_CONTROLS.sub(" ", text).split())


def first_lines(text: str, width: int, n: int) -> list[str]:
    """Return the first `n` lines of a text, with an ellipsis if there is more."""
    shown = plain(text[: 4 * width * n])  # enough even if accents are separate characters
    spans, more = line_spans(shown, width, n)
    lines = [shown[start:end] for start, end in spans]
    if more:
        lines[-1] += " …"
    return lines


def line_spans(text: str, width: int, n: int) -> tuple[list[tuple[int, int]], bool]:
    """Return where the first `n` lines of `width` cells begin and end in a plain text, and whether there is more.

    Examples
    --------
    >>> line_spans("one two three", 10, 1)
    ([(0, 7)], True)
    """
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(text) and len(spans) < n:
        rest = text[start : start + 4 * width]
        length = _line_end(rest, width if len(spans) < n - 1 else width - 2)
        spans.append((start, start + len(rest[:length].rstrip())))
        start += length
        start += len(text[start:]) - len(text[start:].lstrip())
    return spans, start < len(text)


def _line_end(text: str, width: int) -> int:
    """Return where a line of `width` cells ends: after a word, or, in scripts without spaces, after a character."""
    cells = 0
    for position, character in enumerate(text):
        cells += cell_len(character)
        if cells > width:
            space = text.rfind(" ", 0, position + 1)
            return space if space > position // 2 and cell_len(character) < 2 else position
    return len(text)
