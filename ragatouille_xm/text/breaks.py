"""Places to cut a text: after sentences, after clauses, between words, between characters; in every script.

A sentence ends at an unambiguous mark (``。``, ``।``, ``؟``, …), at a blank line, or at ``. ! ? …`` before whitespace,
unless an initial, an abbreviation or an ordinal precedes it, or a lower-case letter follows. Thai, Lao, Khmer and
Burmese put spaces between phrases; these count as spaces between words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain

Span = tuple[int, int]
"""Start and end, exclusive."""

_CLOSING = r"[\"'“”‘’«»‹›」』】〉》〕〗）］｝)\]}]*"
_FULL_STOPS = "。！？；｡‼⁇⁈⁉।॥؟۔።፧፨။។៕։།༎෴᠃\u037e"  # the last is the Greek question mark
_MARKS = ".!?…"
_SENTENCE_END = re.compile(
    r"\n[^\S\n]*\n\s*"
    rf"|(?:[{_FULL_STOPS}]|．(?!\d))[{_FULL_STOPS}{_MARKS}]*{_CLOSING}\s*"
    rf"|(?<![{_MARKS}])[!?…]+{_CLOSING}(?=[\u3040-\u30ff\u3400-\u9fff])"
    rf"|(?<![{_MARKS}])(?P<doubtful>[{_MARKS}]+){_CLOSING}\s+"
)
_LAST_WORD = re.compile(r"[^\W_]+$")
_NEXT_WORD = re.compile(r"[\"'“„«‹‘(\[{¿¡\-–—]*(\w?)")
# Abbreviations before capitals (names) and before numbers; before lower case, none needs to be known.
_TITLES = frozenset(
    re.findall(
        r"\w+",
        "mr mrs ms dr prof rev hon gen col capt lt sgt gov sen rep sr st vs cf "  # English
        "hr frl dipl ing mme mlle ste sra srta dra ud uds sig dott avv dhr mevr ul ул им проф гр",
    )
)
_BEFORE_NUMBERS = frozenset(
    re.findall(
        r"\w+",
        "no nr num art fig abb vol pp sec ch kap pos ст стр рис табл jan feb aug sept oct nov dec",
    )
)

# Better places first. Zero-width space, Ethiopic wordspace and Tibetan tsheg separate words, as a space does.
_CUTS = (
    re.compile(r"\n\s*"),
    re.compile(rf"[,;:.!?…–—]{_CLOSING}\s+|[，、；：،؛၊፣፤፥៖·]{_CLOSING}\s*"),
    re.compile(r"[\s\u200b\u1361\u0f0b]+"),
)
_EXTENDING = frozenset(
    ["\u200c", "\u200d", "\u0e33", "\u0eb3", "\uff9e", "\uff9f"]  # joiners, Thai and Lao am, halfwidth voicing marks
    + [chr(c) for c in (*range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080))]  # skin tones, tags of flags
)


def sentences(text: str) -> Iterator[Span]:
    """Yield the span of each sentence, including trailing whitespace; together they cover the text.

    Examples
    --------
    >>> text = 'Dr. No lives on 3.5 acres. "Why?" Nobody knows! 你好。再见'
    >>> [text[start:end] for start, end in sentences(text)]
    ['Dr. No lives on 3.5 acres. ', '"Why?" ', 'Nobody knows! ', '你好。', '再见']
    """
    start = 0
    for found in _SENTENCE_END.finditer(text):
        end = found.end()
        if found["doubtful"] and not _ends_sentence(text, found):
            continue
        if end == len(text) or is_character_break(text, end, start):
            yield start, end
            start = end
    if start < len(text):
        yield start, len(text)


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    following = _NEXT_WORD.match(text, found.end())
    head = following[1] if following else ""
    if head.islower() and not "ა" <= head <= "ჿ":  # Georgian has one case, which Python calls lower
        return False
    if found["doubtful"] != ".":
        return True
    last = _LAST_WORD.search(text, max(0, found.start() - 20), found.start())
    word = last[0].lower() if last else ""
    if word.isdecimal():  # "am 3. Mai", "1. First"; but not "costs 3.50. Then"
        return len(word) > 2 or text[found.start() - len(word) - 1 : found.start() - len(word)] in (".", ",")
    if len(word) == 1 and word != word.upper():  # initials, "e.g.", "z. B.", "и т. д."
        return False
    return word not in _TITLES and not (head.isdecimal() and word in _BEFORE_NUMBERS)


def slices(text: str, start: int, end: int, width: int) -> Iterator[Span]:
    """Cut a span into spans of at most `width` characters at good places.

    Only a single user-perceived character may make a longer span.

    Parameters
    ----------
    text : str
    start, end : int
        The span to cut.
    width : int
        At least 1. Each span but the last has at least about half this width.

    Examples
    --------
    >>> text = "one two, three four"
    >>> [text[a:b] for a, b in slices(text, 0, len(text), 12)]
    ['one two, ', 'three four']
    """
    while end - start > width:
        stop = _best_cut(text, start, start + width, end)
        yield start, stop
        start = stop
    if start < end:
        yield start, end


def _best_cut(text: str, start: int, stop: int, end: int) -> int:
    """Return the best place to cut in the second half of ``(start, stop]``, else the possible one nearest to `stop`."""
    middle = (start + stop) // 2
    for pattern in _CUTS:
        places: list[int] = [found.end() for found in pattern.finditer(text, middle, stop)]
        for place in reversed(places):
            if is_character_break(text, place, start):
                return place
    either_way = chain(range(stop, start, -1), range(stop + 1, end))
    return next((place for place in either_way if is_character_break(text, place, start)), end)


def is_character_break(text: str, i: int, start: int = 0) -> bool:
    """Return whether the text may be cut before position `i` without splitting a user-perceived character.

    A simplified form of the rules for grapheme clusters (Unicode Standard Annex 29): marks, joiners, conjunct
    consonants, Hangul jamo, flags, emoji sequences and surrogate pairs stay whole.

    Parameters
    ----------
    text : str
    i : int
        At least 1, less than the length of the text.
    start : int
        An earlier position where a character begins; the search stops there.

    Examples
    --------
    >>> [is_character_break("e\u0301a", i) for i in (1, 2)]
    [False, True]
    """
    before, after = text[i - 1], text[i]
    if unicodedata.category(after)[0] == "M" or after in _EXTENDING or before + after == "\r\n":
        return False
    if before == "\u200d" or (unicodedata.combining(before) == 9 and after.isalpha()):  # a virama joins a letter
        return False
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        return False
    if _hangul(before) + _hangul(after) in _HANGUL_JOINS:
        return False
    if _is_flag_half(before) and _is_flag_half(after):
        first = i - 1
        while first > start and _is_flag_half(text[first - 1]):
            first -= 1
        return (i - first) % 2 == 0
    return True


_HANGUL_JOINS = frozenset(["LL", "LV", "LS", "VV", "VT", "TT", "SV", "ST"])


def _hangul(character: str) -> str:
    """Return the kind of a leading, vowel or trailing jamo, or of a syllable; empty for anything else."""
    if "\u1100" <= character <= "\u115f" or "\ua960" <= character <= "\ua97c":
        return "L"
    if "\u1160" <= character <= "\u11a7" or "\ud7b0" <= character <= "\ud7c6":
        return "V"
    if "\u11a8" <= character <= "\u11ff" or "\ud7cb" <= character <= "\ud7fb":
        return "T"
    return "S" if "가" <= character <= "힣" else ""


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
