"""Scores taken apart: vectors by hand, so that every number is known."""

from __future__ import annotations

import numpy as np
import pytest

from ragatouille_xm.evidence.highlights import merge_words
from ragatouille_xm.evidence.matching import Side, compare
from ragatouille_xm.evidence.values import Evidence, Span
from ragatouille_xm.text.tokenizer import Pieces


def side(text: str, pieces: list[tuple[str | None, list[float]]]) -> Side:
    """Return a text whose tokens are these strings, in order, each with its vector; None is a special token."""
    spans, end = [], 0
    for piece, _ in pieces:
        if piece is None:
            spans.append(None)
        else:
            start = text.index(piece, end)
            end = start + len(piece)
            spans.append((start, end))
    vectors = np.array([vector for _, vector in pieces], np.float32)
    return Side.of(text, Pieces(spans, [True] * len(spans)), vectors)


PASSAGE = side(
    "The train leaves. No dogs!",
    [
        (None, [0, 0, 0, 1]),
        ("The", [0, 0.6, 0, 0.8]),
        ("tr", [1, 0, 0, 0]),
        ("ain", [0.8, 0.6, 0, 0]),
        ("leaves", [0, 1, 0, 0]),
        (".", [0, 0, 0, 1]),
        ("No", [0, 0, 0.6, 0.8]),
        ("dogs", [0, 0, 1, 0]),
    ],
)


def explained(*pieces: tuple[str | None, list[float]], text: str, n_tokens: int | None = None) -> Evidence:
    return compare(side(text, list(pieces)), PASSAGE, len(pieces) if n_tokens is None else n_tokens)


def test_a_score_is_the_sum_of_its_parts() -> None:
    found = explained(
        (None, [0, 0, 0, 1]),  # a special token: 1 to the passage's own
        ("Zug", [1, 0, 0, 0]),  # 1
        ("?", [0, 0, 0.8, 0.6]),  # punctuation: .96 to "No"
        (None, [0, 1, 0, 0]),  # a mask: 1 to "leaves"
        (None, [0, 0.96, 0, 0.28]),  # a mask: .96 to "leaves"
        text="Zug?",
        n_tokens=3,
    )
    assert [(word.text, word.start, word.end) for word in found.words] == [("Zug", 0, 3)]
    assert found.words[0].score == pytest.approx(1)
    assert found.marker_score == pytest.approx(1 + 0.96)
    assert found.mask_score == pytest.approx(1.96)
    assert found.score == pytest.approx(4.92)
    assert found.mask_share == pytest.approx(1.96 / 4.92)
    [mask] = found.mask_matches
    assert (mask.text, mask.start, mask.similarity) == ("leaves", 10, pytest.approx(0.98))


def test_words_are_compared_as_wholes() -> None:
    found = explained(("Ab", [0, 1, 0, 0]), ("fahrt", [0.6, 0.8, 0, 0]), text="Abfahrt")
    [word] = found.words
    assert word.score == pytest.approx(1 + 0.96)  # "leaves", and "ain"
    # as a whole, "train" has (0.6 + 0.96) / 2 and "leaves" (1 + 0.8) / 2
    assert [(s.text, s.similarity) for s in word.matches] == [
        ("leaves", pytest.approx(0.9)),
        ("train", pytest.approx(0.78)),
    ]
    assert [span.text for span in found.highlights] == ["train leaves"]


def test_a_word_nearest_to_a_special_token_still_has_the_nearest_word() -> None:
    found = explained(("so", [0, 0, 0, 1]), text="so")
    [word] = found.words
    assert word.score == pytest.approx(1)
    assert [(s.text, s.similarity) for s in word.matches] == [("The", pytest.approx(0.8))]


def test_only_what_stands_out_is_highlighted() -> None:
    found = explained(("a", [0.5, 0.5, 0.5, 0.5]), text="a")
    assert found.words[0].matches
    assert found.highlights == ()
    assert found.marked("[", "]") == PASSAGE.text


def test_sentences_are_ordered_by_what_the_words_find_in_them() -> None:
    found = explained(("dog", [0, 0, 1, 0]), (None, [1, 0, 0, 0]), text="dog")
    assert [(s.text, s.start, round(s.similarity, 2)) for s in found.sentences] == [
        ("No dogs!", 18, 1.0),
        ("The train leaves.", 0, 0.0),
    ]


def test_a_passage_of_one_word() -> None:
    passage = side("Zug", [(None, [0, 1]), ("Zug", [1, 0])])
    found = compare(side("Zug", [("Zug", [1, 0])]), passage, 1)
    assert [span.text for span in found.highlights] == ["Zug"]
    again = side("Zug, Zug, Zug", [("Zug", [1, 0]), ("Zug", [1, 0]), ("Zug", [1, 0])])
    assert [span.text for span in compare(side("Zug", [("Zug", [1, 0])]), again, 1).highlights] == ["Zug"]


def test_nothing_matches_nothing() -> None:
    nobody = side("!", [(None, [1, 0])])
    found = compare(nobody, nobody, 1)
    assert (found.words, found.highlights, found.sentences, found.mask_matches) == ((), (), (), ())
    assert found.score == found.marker_score == pytest.approx(1)
    assert compare(side("a", [("a", [1, 0])]), nobody, 1).words[0].matches == ()


def test_a_score_below_zero_has_no_share() -> None:
    found = compare(side("a", [(None, [-1, 0])]), side("a", [("a", [1, 0])]), 0)
    assert found.mask_share == 0


@pytest.mark.parametrize(
    ("text", "parts", "merged"),
    [
        ("der Zug nach Bonn", ["Zug", "Bonn"], ["Zug", "Bonn"]),
        ("der Zug nach Bonn", ["nach", "Zug"], ["Zug nach"]),
        ("R2-D2 fährt", ["R2", "D2"], ["R2-D2"]),
        ("Ende. Anfang", ["Ende", "Anfang"], ["Ende", "Anfang"]),
        ("図書館が開く", ["館", "図書"], ["図書館"]),
        ("one", [], []),
    ],
)
def test_neighbours_read_as_one(text: str, parts: list[str], merged: list[str]) -> None:
    spans = [Span(text.index(part), text.index(part) + len(part), part, 0.5) for part in parts]
    assert [span.text for span in merge_words(text, spans)] == merged


def test_html_shows_text_as_text() -> None:
    text = '<b>&"train"</b>'
    passage = side(text, [("b", [0, 1]), ("train", [1, 0]), ("b", [0, 1])])
    html = compare(side("<script>", [("script", [1, 0])]), passage, 1)._repr_html_()
    assert "<script>" not in html
    assert html.count("<b>") == html.count("</b>") == 1  # around the query
    assert "&lt;b&gt;&amp;&quot;<mark" in html
    assert ">train</mark>&quot;&lt;/b&gt;" in html
    assert 'dir="auto"' in html  # right to left, if the text is
    assert "&lt;mask&gt;" in html
    assert "color:#" not in html.replace("background", "")  # the page's own colours, light or dark
