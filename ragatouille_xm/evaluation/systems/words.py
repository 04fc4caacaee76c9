"""Words for BM25, in any script."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

# Scripts without spaces between words, and Hangul, whose spaces separate larger units
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_FIRST_MARK = 0x0483  # marks below belong to Latin, Greek and Cyrillic letters, which are composed


def words(text: str) -> list[str]:
    """Return the terms of a text: lower-case words, and character pairs in scripts without spaces between words.

    Lucene's analysers add stemming and stop words, each for one language.

    Examples
    --------
    >>> words("L'été 2024, à Paris"), words("図書館は東京")
    (['l', 'été', '2024', 'à', 'paris'], ['図書', '書館', '館は', 'は東', '東京'])
    >>> words("हिन्दी में")
    ['हिन्दी', 'में']
    """
    terms: list[str] = []
    for word in _pattern().findall(text.lower()):
        if _UNSPACED.search(word):
            terms += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
        else:
            terms.append(word)
    return terms


@cache
def _pattern() -> re.Pattern[str]:
    """Return a pattern for words: letters, digits, and the vowel signs that Python counts as neither."""
    ranges: list[list[int]] = []
    for codepoint in range(_FIRST_MARK, sys.maxunicode + 1):
        if unicodedata.category(chr(codepoint)) in ("Mn", "Mc"):
            if ranges and ranges[-1][1] == codepoint - 1:
                ranges[-1][1] = codepoint
            else:
                ranges.append([codepoint, codepoint])
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
    return re.compile(rf"(?:[^\W_]|[{marks}])+")
