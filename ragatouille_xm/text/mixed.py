"""Texts in several scripts: a sentence is in the script of its running words, not of a word that it quotes.

Every word counts, those in Latin letters for less, since names, code and error messages are in Latin letters
everywhere; the first and the last word count for more, since a quotation seldom frames a sentence. What stands in
quotation marks, looks like code, or is a single letter does not count as a word; but "в" and "и" are words.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from .scripts import letters_of

# Scripts without spaces between words, or, as in Korean, with endings that are written to the word: the worth of a
# letter, in words.
_LETTER = {"Hani": 1.0, "Kana": 0.5, "Hang": 0.75, "Thai": 0.25, "Laoo": 0.25, "Khmr": 0.25, "Mymr": 0.25}
_LATIN, _LATIN_BESIDE_CODE = 0.75, 0.25
_FIRST, _LAST = 1.0, 0.5
_UNDECIDED = 0.75  # a greater lead decides

_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|`[^`]*`|「[^」]*」|『[^』]*』')
_CODE = re.compile(r"[a-z][A-Z]|[A-Z]{2}|[0-9_=\\/<>{}()\[\]]|[A-Za-z]\.[A-Za-z]|^['‘].*['’][.,;:!?]?$")


class Reading(NamedTuple):
    """What a text is in one of its scripts.

    Attributes
    ----------
    script : str
        ISO 15924 code; ``"Kana"`` for Japanese.
    text : str
        The words in that script.
    """

    script: str
    text: str


def readings(text: str) -> list[Reading]:
    """Return the script in which a text is written; two, the likelier first, if its words do not decide.

    Examples
    --------
    >>> readings("Was heißt 改善 genau?")
    [Reading(script='Latn', text='Was heißt genau?')]
    >>> [reading.script for reading in readings("Define καθαρσις")], readings("12:30")
    (['Latn', 'Grek'], [])
    """
    letters = letters_of(text)
    if len(letters) < 2:
        return [Reading(script, text) for script in letters]
    japanese = "Kana" in letters
    words = _words(_QUOTED.sub(" ", text), japanese) or _words(text, japanese)
    worth = _worth(words)
    if not worth:  # nothing but code and single letters
        script = max(letters, key=lambda each: letters[each] * _LETTER.get(each, 0.25 if each == "Latn" else 1.0))
        return [Reading(script, text)]
    best, *others = sorted(worth, key=worth.__getitem__, reverse=True)
    near = [script for script in others[:1] if worth[best] - worth[script] <= _UNDECIDED]
    return [Reading(script, " ".join(word.text for word in words if word.script == script)) for script in (best, *near)]


class _Word(NamedTuple):
    """A word that has letters: how many of its script, which is "" for code."""

    text: str
    script: str
    n_letters: int


def _words(text: str, japanese: bool) -> list[_Word]:
    words = []
    for word in text.split():
        letters = letters_of(word)
        if not letters:
            continue
        if japanese and "Hani" in letters:
            letters["Kana"] = letters.pop("Hani")
        joined = [script for script in letters if script in _LETTER]  # a name that is written to them belongs to them
        script = max(joined or letters, key=letters.__getitem__)
        code = script == "Latn" and _CODE.search(word)
        words.append(_Word(word, "" if code else script, letters[script]))
    return words if any(word.script for word in words) else []


def _worth(words: list[_Word]) -> dict[str, float]:
    """Return what the words of each script are worth together."""
    latin = _LATIN if all(word.script for word in words) else _LATIN_BESIDE_CODE
    worth: dict[str, float] = defaultdict(float)
    for text, script, n_letters in words:
        if script in _LETTER:
            worth[script] += n_letters * _LETTER[script]
        elif n_letters > 1 or (script == "Cyrl" and text.islower()):  # a capital is an initial
            worth[script] += latin if script == "Latn" else 1.0
    if len(words) > 1:
        worth[words[0].script] += _FIRST
        worth[words[-1].script] += _LAST
    worth.pop("", None)
    return worth
