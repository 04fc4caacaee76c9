"""Scripts of texts, and the languages written in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Letters of each script (ISO 15924 code), without the digits and marks that several scripts share, such as the middle
# dot (not kana) and the byte order mark (not Arabic).
_RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "Hang": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "Kana": ((0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "Hani": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
    "Thai": ((0x0E00, 0x0E7F),),
    "Laoo": ((0x0E80, 0x0EFF),),
    "Khmr": ((0x1780, 0x17FF),),
    "Mymr": ((0x1000, 0x109F),),
    "Geor": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF)),
    "Armn": ((0x0530, 0x058F),),
    "Grek": ((0x0370, 0x03FF), (0x1F00, 0x1FFF)),
    "Hebr": ((0x0590, 0x05FF),),
    "Ethi": ((0x1200, 0x139F),),
    "Beng": ((0x0980, 0x09FF),),
    "Gujr": ((0x0A80, 0x0AFF),),
    "Guru": ((0x0A00, 0x0A7F),),
    "Taml": ((0x0B80, 0x0BFF),),
    "Telu": ((0x0C00, 0x0C7F),),
    "Knda": ((0x0C80, 0x0CFF),),
    "Mlym": ((0x0D00, 0x0D7F),),
    "Sinh": ((0x0D80, 0x0DFF),),
    "Orya": ((0x0B00, 0x0B7F),),
    "Deva": ((0x0900, 0x0963), (0x0970, 0x097F)),
    "Cyrl": ((0x0400, 0x052F),),
    "Arab": (
        (0x0620, 0x064A), (0x066E, 0x06EF), (0x06FA, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08FF), (0xFB50, 0xFDFF),
        (0xFE70, 0xFEFC),
    ),
    "Latn": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x024F), (0x1E00, 0x1EFF)),
}  # fmt: skip
_SCRIPTS = tuple(_RANGES)

# Languages by script; all others use Latin letters. Serbian uses two scripts.
_WRITTEN_IN: dict[str, tuple[str, ...]] = {
    script: tuple(languages.split())
    for script, languages in {
        "Hang": "ko", "Kana": "ja", "Hani": "zh zh-TW ja", "Thai": "th", "Laoo": "lo", "Khmr": "km", "Mymr": "my",
        "Geor": "ka", "Armn": "hy", "Grek": "el grc", "Hebr": "he yi", "Ethi": "am ti", "Beng": "bn as", "Gujr": "gu",
        "Guru": "pa", "Taml": "ta", "Telu": "te", "Knda": "kn", "Mlym": "ml", "Sinh": "si", "Orya": "or",
        "Deva": "hi ne mr sa mai bho gom kok mag awa hne doi", "Arab": "fa ar ur ps sd ug ckb sdh azb pnb uzs",
        "Cyrl": "ru uk bg sr kk mk be mn ky tg tt ba cv os ab ce av sah rue",
    }.items()
}  # fmt: skip
_WITHOUT_SPACES = ("Hani", "Kana", "Thai", "Laoo", "Khmr", "Mymr")
_NOT_LATIN = frozenset(code for languages in _WRITTEN_IN.values() for code in languages) - {"sr"}


def written_in(script: str, languages: Sequence[str]) -> tuple[str, ...]:
    """Return those of `languages` that are written in `script`, in their order.

    Examples
    --------
    >>> written_in("Cyrl", ["en", "sr", "ru"]), written_in("Latn", ["en", "sr", "ru"])
    (('sr', 'ru'), ('en', 'sr'))
    """
    if script == "Latn":
        return tuple(language for language in languages if language not in _NOT_LATIN)
    return tuple(language for language in languages if language in _WRITTEN_IN[script])


def letters_of(text: str) -> dict[str, int]:
    """Return how many letters of each script a text has, for the scripts that it has letters of.

    Han characters beside kana are Japanese, and count as ``"Kana"``.

    Examples
    --------
    >>> letters_of("Что такое Python?"), letters_of("東京"), letters_of("東京へ行く"), letters_of("123 🙂")
    ({'Cyrl': 8, 'Latn': 6}, {'Hani': 2}, {'Kana': 5}, {})
    """
    codepoints = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(_table()[codepoints], minlength=len(_SCRIPTS) + 1)[1:]
    found = {_SCRIPTS[i]: int(counts[i]) for i in np.flatnonzero(counts)}
    if "Kana" in found:
        found["Kana"] += found.pop("Hani", 0)
    return found


def in_scripts_without_spaces(text: str) -> list[bool]:
    """Return for each character whether it is a letter of a script that puts no spaces between words.

    Examples
    --------
    >>> in_scripts_without_spaces("a東ก가")
    [False, True, True, False]
    """
    codepoints = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    numbers = [1 + _SCRIPTS.index(script) for script in _WITHOUT_SPACES]
    found: list[bool] = np.isin(_table()[codepoints], numbers).tolist()
    return found


@lru_cache(maxsize=1)
def _table() -> NDArray[np.uint8]:
    """Return 1 + the script's position for each codepoint, 0 for non-letters. Shape ``(0x110000,)``."""
    table = np.zeros(0x110000, np.uint8)
    for position, ranges in enumerate(_RANGES.values(), start=1):
        for first, last in ranges:
            table[first : last + 1] = position
    return table


class HanCharacters(NamedTuple):
    """Han characters that distinguish languages, by national character sets.

    Attributes
    ----------
    simplified, traditional : frozenset of str
        In GB 2312 but not in Big5, and the reverse.
    japanese : frozenset of str
        In Shift JIS, but in neither of them.
    not_japanese : frozenset of str
        Not in Shift JIS.
    """

    simplified: frozenset[str]
    traditional: frozenset[str]
    japanese: frozenset[str]
    not_japanese: frozenset[str]


@lru_cache(maxsize=1)
def han_characters() -> HanCharacters:
    """Return the distinctive Han characters, derived from Python's codecs.

    Examples
    --------
    >>> han = han_characters()
    >>> "东" in han.simplified, "東" in han.traditional, "駅" in han.japanese, "东" in han.not_japanese
    (True, True, True, True)
    """
    every = [chr(codepoint) for codepoint in range(0x4E00, 0xA000)]
    gb2312, big5, shift_jis = (
        frozenset(c for c in every if c.encode(codec, "ignore")) for codec in ("gb2312", "big5", "shift_jis")
    )
    return HanCharacters(gb2312 - big5, big5 - gb2312, shift_jis - gb2312 - big5, frozenset(every) - shift_jis)
