"""Evidence as HTML, for notebooks: readable on light and dark pages, since text keeps the page's own colour."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .values import Evidence, Span

_BOX = "margin:.5em 0;line-height:1.6;color:inherit"
_MARK = "color:inherit;border-radius:.2em;background:rgba(240,170,0,{alpha:.2f})"
_SMALL = "font-size:.85em;opacity:.75"


def to_html(evidence: Evidence) -> str:
    """Return the query, the passage with its highlights, the best match of each word, and what the score is made of."""
    text, pieces, end = evidence.text, [], 0
    for span in evidence.highlights:
        pieces += [escape(text[end : span.start]), _mark(span)]
        end = span.end
    pieces.append(escape(text[end:]))
    matches = " · ".join(
        f"<bdi>{escape(word.text)}</bdi> → <bdi>{escape(word.matches[0].text)}</bdi> {word.matches[0].similarity:.2f}"
        for word in evidence.words
        if word.matches
    )
    return (
        f'<div style="{_BOX}">'
        f'<div dir="auto"><b>{escape(evidence.query)}</b></div>'
        f'<div dir="auto" style="white-space:pre-wrap">{"".join(pieces)}</div>'
        f'<div style="{_SMALL}">{matches}</div>'
        f'<div style="{_SMALL}">{escape(evidence.summary())}</div>'
        "</div>"
    )


def _mark(span: Span) -> str:
    alpha = 0.15 + 0.25 * min(max(span.similarity, 0.0), 1.0)  # more leaves too little contrast on dark pages
    return f'<mark title="{span.similarity:.2f}" style="{_MARK.format(alpha=alpha)}">{escape(span.text)}</mark>'
