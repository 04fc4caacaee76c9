"""Evidence on a terminal, or in plain text."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .lines import NARROWEST, line_spans, plain

if TYPE_CHECKING:
    from ..evidence import Evidence

LINES = 4  # shown of a passage, from its best sentence on
INDENT = " " * 6
STYLE = "bold magenta"


def show_evidence(console: Console, evidence: Evidence) -> None:
    """Print a passage with its highlights, the best match of each word, and what the score is made of.

    On a terminal, highlights are bold and in colour; elsewhere they are in brackets.
    """
    width = max(console.width - len(INDENT), NARROWEST)
    text, marks = _plain_with_marks(evidence, brackets=not console.is_terminal)
    spans, more = line_spans(text, width, LINES)
    for start, end in spans:
        line = Text(INDENT)
        for marked, run in groupby(range(start, end), lambda i: marks[i]):
            line.append("".join(text[i] for i in run), STYLE if marked else "")
        line.append(" …" if more and end == spans[-1][1] else "")
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    matches = " · ".join(
        f"{plain(word.text)} → {plain(word.matches[0].text)} {word.matches[0].similarity:.2f}"
        for word in evidence.words
        if word.matches
    )
    for remark in (matches, evidence.summary()):
        console.print(Text(INDENT + remark, "dim"), soft_wrap=True)


def _plain_with_marks(evidence: Evidence, *, brackets: bool) -> tuple[str, list[bool]]:
    """Return the passage from its best sentence on, as one line, and which of its characters are highlighted."""
    first = evidence.sentences[0].start if evidence.sentences else 0
    pieces: list[tuple[str, bool]] = [("… ", False)] if first else []
    end = first
    for span in evidence.highlights:
        if span.end > first:
            text = evidence.text[max(span.start, first) : span.end]
            pieces += [(evidence.text[end : span.start], False), (f"[{text}]" if brackets else text, True)]
            end = span.end
    pieces.append((evidence.text[end:], False))
    characters: list[str] = []
    marks: list[bool] = []
    for text, marked in pieces:
        bare = plain(text)
        if text[:1] != bare[:1] and characters and characters[-1] != " ":
            characters.append(" ")
            marks.append(False)
        characters += bare
        marks += [marked] * len(bare)
        if bare and text[-1] != bare[-1]:
            characters.append(" ")
            marks.append(False)
    return "".join(characters), marks
