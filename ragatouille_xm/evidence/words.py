"""The words of a text, in every script, and which of them a token belongs to.

A word is a run of letters, digits and what is written to them: marks, joiners, an apostrophe between letters, a point
between digits. Scripts that put no spaces between words are also cut where the tokeniser cuts, as long as that splits
no user-perceived character. Symbols and emoji are words of their own; punctuation is none.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Sequence

from ..text.breaks import Span, is_character_break
from ..text.scripts import in_scripts_without_spaces

_WORD, _SYMBOL, _JOINER, _SEPARATOR = range(4)
_BETWEEN_LETTERS = frozenset("'’׳״·")
_BETWEEN_DIGITS = frozenset(".,٫٬")
_ZERO_WIDTH_SPACE = "\u200b"


def words(text: str, cuts: Collection[int] = ()) -> list[Span]:
    """Return the span of each word, in order.

    Parameters
    ----------
    text : str
    cuts : collection of int
        Positions at which the tokeniser cuts.

    Examples
    --------
    >>> text = "L'été, 3.5 °C: 図書館へ"
    >>> [text[start:end] for start, end in words(text, cuts=[2, 18])]
    ["L'été", '3.5', '°', 'C', '図書館', 'へ']
    """
    cuts, dense = frozenset(cuts), in_scripts_without_spaces(text)
    starts = [i for i in range(len(text)) if i == 0 or is_character_break(text, i)]
    kinds = [_kind(text[start]) for start in starts]
    found: list[Span] = []
    open_kind: int | None = None  # of the last word found, if the next character may continue it
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=False)):
        kind = kinds[i]
        if kind == _JOINER:
            joins = open_kind == _WORD and kinds[i + 1 : i + 2] == [_WORD]
            if joins and _joins(text[start], text[starts[i - 1]], text[starts[i + 1]], dense[start - 1 : end + 1]):
                found[-1] = (found[-1][0], end)
            else:
                open_kind = None
        elif kind == _SEPARATOR:
            open_kind = None
        elif kind == open_kind and not (start in cuts and (dense[start] or dense[starts[i - 1]])):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
            open_kind = kind
    return found


def _kind(character: str) -> int:
    category = unicodedata.category(character)
    if category[0] in "LNM" or category in ("Pc", "Cn", "Co"):  # a character that Python does not know may be a letter
        return _WORD
    if category[0] == "S" or category == "Cs":
        return _SYMBOL
    if category == "Cf" and character != _ZERO_WIDTH_SPACE:
        return _JOINER
    return _JOINER if character in _BETWEEN_LETTERS or character in _BETWEEN_DIGITS else _SEPARATOR


def _joins(character: str, before: str, after: str, dense: Sequence[bool]) -> bool:
    if character in _BETWEEN_LETTERS:
        return before.isalpha() and after.isalpha() and not any(dense)
    if character in _BETWEEN_DIGITS:
        return before.isdecimal() and after.isdecimal()
    return True  # a soft hyphen, a mark of direction


def owners(found: Sequence[Span], spans: Sequence[Span | None]) -> list[int]:
    """Return for each span the word that most of it lies in; -1 where it is None or lies in none.

    Examples
    --------
    >>> owners([(0, 5), (6, 9)], [(0, 3), (4, 9), (5, 6), None])
    [0, 1, -1, -1]
    """
    starts = [start for start, _ in found]
    result = []
    for span in spans:
        best, most = -1, 0
        if span is not None:
            for i in range(max(bisect_right(starts, span[0]) - 1, 0), bisect_right(starts, span[1] - 1)):
                shared = min(found[i][1], span[1]) - max(found[i][0], span[0])
                if shared > most:
                    best, most = i, shared
        result.append(best)
    return result
