"""What counts as a word, in every script."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.texts import TOKENS

from ragatouille_xm.evidence.words import owners, words
from ragatouille_xm.text.breaks import is_character_break


def split(text: str, cuts: tuple[int, ...] = ()) -> list[str]:
    return [text[start:end] for start, end in words(text, cuts)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Der Zug fährt um 8:30 Uhr.", ["Der", "Zug", "fährt", "um", "8", "30", "Uhr"]),
        ("l’été, don't 'quoted'", ["l’été", "don't", "quoted"]),
        ("1.234,50 € für C++ & R2-D2", ["1.234,50", "€", "für", "C", "++", "R2", "D2"]),
        ("snake_case a\u00adb", ["snake_case", "a\u00adb"]),
        ("می\u200cشود", ["می\u200cشود"]),  # a joiner
        ("a\u200bb \u200fא\u200f", ["a", "b", "א"]),  # a space without width; marks of direction are part of no word
        ("צה״ל ג׳ירפה", ["צה״ל", "ג׳ירפה"]),
        ("intel·ligència", ["intel·ligència"]),
        ("पुस्तकालय सुबह", ["पुस्तकालय", "सुबह"]),
        ("வடக்கு மலையின் ம", ["வடக்கு", "மலையின்", "ம"]),
        ("மச்சு பிச்சுவின்் வடக்கு", ["மச்சு", "பிச்சுவின்்", "வடக்கு"]),  # a virama does not join a space
        ("ሰላም፡ለዓለም።", ["ሰላም", "ለዓለም"]),
        ("བོད་སྐད་", ["བོད", "སྐད"]),
        ("👨\u200d👩\u200d👧 🇩🇪x", ["👨\u200d👩\u200d👧", "🇩🇪", "x"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("한국어 문서", ["한국어", "문서"]),
        ("\u0301 \x00\n", ["\u0301"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_scripts_without_spaces_are_cut_where_the_tokeniser_cuts() -> None:
    assert split("図書館は東京にある。", (0, 3, 4, 6)) == ["図書館", "は", "東京", "にある"]
    assert split("AI技術2024年", (0, 2, 4, 8)) == ["AI", "技術", "2024", "年"]
    assert split("ห้องสมุด", (0, 4, 6)) == ["ห้อง", "สมุด"]  # not between a consonant and its vowel
    assert split("Bücherei", (0, 6)) == ["Bücherei"]


@pytest.mark.parametrize("text", TOKENS.values(), ids=TOKENS)
def test_decomposed_texts_have_the_same_words(text: str) -> None:
    decomposed = [unicodedata.normalize("NFC", word) for word in split(unicodedata.normalize("NFD", text))]
    assert decomposed == split(unicodedata.normalize("NFC", text))


@given(st.text(max_size=60), st.lists(st.integers(0, 60)))
def test_words_are_in_order_and_split_no_character(text: str, cuts: list[int]) -> None:
    found = words(text, cuts)
    assert all(start < end for start, end in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    for start, end in found:
        assert not any(character.isspace() for character in text[start:end])
        assert all(i in (0, len(text)) or is_character_break(text, i) for i in (start, end))
    covered = {i for start, end in found for i in range(start, end)}
    assert {i for i, character in enumerate(text) if character.isalnum()} <= covered


def test_a_token_belongs_to_the_word_that_most_of_it_lies_in() -> None:
    assert owners(words("ab cdef"), [(0, 1), (1, 5), (1, 4), (2, 3), None]) == [0, 1, 0, -1, -1]
