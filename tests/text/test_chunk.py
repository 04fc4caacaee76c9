from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragatouille_xm.errors import InputError
from ragatouille_xm.text.chunk import SentenceSplitter

Counter = Callable[[Sequence[str]], list[int]]


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def letters_and_marks(texts: Sequence[str]) -> list[int]:
    """Count two for each character that is not a letter, and one more at the beginning, as sub-words might."""
    return [1 + sum(1 if c.isalpha() else 2 for c in text if not c.isspace()) for text in texts]


def more_together(texts: Sequence[str]) -> list[int]:
    """Count more tokens for joined sentences than for the same apart."""
    return [len(text.split()) + 3 * text.count(". ") for text in texts]


def joined(parts: Sequence[str]) -> str:
    return "".join("".join(part.split()) for part in parts)


def test_whole_sentences_are_packed_as_long_as_they_fit() -> None:
    text = "One two three. Four five six. Seven eight.  Nine ten eleven twelve. Thirteen."
    assert SentenceSplitter(words, 6).split(text) == [
        "One two three. Four five six.",
        "Seven eight.  Nine ten eleven twelve.",
        "Thirteen.",
    ]


def test_what_fits_is_left_untouched() -> None:
    text = "  One two.\n\n Three \t"
    assert SentenceSplitter(words, 3).split(text) == [text]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_a_blank_text_is_one_chunk(text: str) -> None:
    assert SentenceSplitter(words, 3).split(text) == [text]


def test_blanks_do_not_make_a_text_long() -> None:
    text = " one" + " " * 100_000 + "two\n"
    assert SentenceSplitter(words, 2).split(text) == [text]


def test_blank_lines_part_paragraphs() -> None:
    text = "a heading\n\na paragraph with words\n\nanother heading\n\nmore"
    assert SentenceSplitter(words, 6).split(text) == ["a heading\n\na paragraph with words", "another heading\n\nmore"]


def test_a_long_sentence_is_cut_where_it_hurts_least() -> None:
    lines = "\n".join(f"line {i} of a list" for i in range(12))
    chunks = SentenceSplitter(words, 20).split(lines)
    assert len(chunks) > 1
    assert all(chunk.startswith("line") and chunk.endswith("list") for chunk in chunks)
    clauses = "、".join(["第一第二第三"] * 20)
    chunks = SentenceSplitter(characters, 40).split(clauses)
    assert all(chunk.endswith("、") for chunk in chunks[:-1])
    run_on = "word " * 100
    assert {word for chunk in SentenceSplitter(characters, 23).split(run_on) for word in chunk.split()} == {"word"}


def test_chunks_are_filled_well_without_any_mark() -> None:
    for text in ("ห้องสมุดเปิดทุกเช้า " * 300, "字" * 3000, "some words without a full stop " * 200):
        chunks = SentenceSplitter(characters, 100).split(text)
        assert sum(map(len, chunks[:-1])) / (len(chunks) - 1) > 80


@pytest.mark.parametrize("count", [words, characters, letters_and_marks, more_together])
@given(
    text=st.one_of(
        st.text(max_size=200),
        st.text(alphabet=st.sampled_from(list("abC. !?,。、।\n\u0301क्ष字\U0001f1e6👩\u200d")), max_size=200),
        st.lists(
            st.sampled_from(["Ein Satz. ", "Noch einer! ", "一句话。", "وقال: ", "\n\n", "x" * 30]), max_size=60
        ).map("".join),
    ),
    max_tokens=st.integers(1, 30),
)
@example(text="a. " * 50, max_tokens=7)
@example(text="e" + "\u0301" * 50, max_tokens=3)
def test_nothing_is_lost_and_chunks_fit(count: Counter, text: str, max_tokens: int) -> None:
    chunks = SentenceSplitter(count, max_tokens).split(text)
    assert chunks
    assert joined(chunks) == joined([text])
    if count([text])[0] <= max_tokens and len(text) <= 16 * max_tokens:
        assert chunks == [text]
    if len(chunks) > 1:
        position = 0
        for chunk in chunks:  # each is a stretch of the text, in order, with blanks between
            found = text.index(chunk, position)
            assert not text[position:found].strip()
            position = found + len(chunk)
            assert chunk == chunk.strip() != ""
    for chunk in chunks:
        assert count([chunk.strip()])[0] <= max_tokens or is_one_character(chunk)


def is_one_character(text: str) -> bool:
    """Return whether a text has at most one character that can stand alone, or is held together by joiners."""
    free = [c for c in text.strip() if unicodedata.category(c)[0] not in "MC" and c not in "🇦"]
    return len(free) <= 1 + text.count("\u200d") + text.count("\u094d") + text.count("\U0001f1e6")


def test_characters_are_not_torn() -> None:
    for character in ("e\u0301", "👩\u200d👩\u200d👧", "🇫🇷", "क्षि", "น้ำ"):
        chunks = SentenceSplitter(characters, 10).split(character * 40)
        assert all(chunk.replace(character, "") == "" for chunk in chunks)


def test_the_tokeniser_sees_each_part_of_a_long_text_a_few_times_at_most() -> None:
    seen = []

    def count(texts: Sequence[str]) -> list[int]:
        seen.append(texts)
        return words(texts)

    text = "".join(f"Sentence number {i} of a very long text, with a clause. " for i in range(20_000))
    chunks = SentenceSplitter(count, 100).split(text)
    assert joined(chunks) == joined([text])
    assert sum(len(each) for texts in seen for each in texts) < 3 * len(text)
    assert len(seen) < len(text) / 1000
    assert max(len(each) for texts in seen for each in texts) < 2000


@pytest.mark.parametrize("character", ["a", ".", "字", "\u0301", "\n", "\U0001f1e6", "!\n", "'.", "\u1100\u1161"])
def test_monotonous_texts_are_split_too(character: str) -> None:
    text = character * 20_000
    chunks = SentenceSplitter(characters, 50).split(text)
    assert joined(chunks) == joined([text])


def test_there_must_be_room() -> None:
    with pytest.raises(InputError, match="max_tokens=0"):
        SentenceSplitter(words, 0)
