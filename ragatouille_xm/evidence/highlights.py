"""Matched words → highlights that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .values import Span

_GAP = re.compile(r"[\s\-‐-―'’·/]{0,3}")  # between words that read as one


def merge_words(text: str, found: Iterable[Span]) -> tuple[Span, ...]:
    """Return words as highlights, in order: each place once, neighbours as one, with the largest similarity.

    Examples
    --------
    >>> text = "Der Zug nach Berlin. Der Bus."
    >>> spans = [Span(8, 12, "nach", 0.5), Span(4, 7, "Zug", 0.9), Span(21, 24, "Der", 0.4), Span(4, 7, "Zug", 0.6)]
    >>> [(span.text, span.similarity) for span in merge_words(text, spans)]
    [('Zug nach', 0.9), ('Der', 0.4)]
    """
    merged: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start, span.end)):
        last = merged[-1] if merged else None
        if last is not None and (span.start <= last.end or _GAP.fullmatch(text, last.end, span.start)):
            end, similarity = max(last.end, span.end), max(last.similarity, span.similarity)
            merged[-1] = Span(last.start, end, text[last.start : end], similarity)
        else:
            merged.append(span)
    return tuple(merged)
