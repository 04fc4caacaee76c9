"""The slice of the text is the matched word: XLM-R's tokeniser, every script, composed and decomposed."""

from __future__ import annotations

import json
import string
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from unicodedata import name, normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.texts import TOKENS
from reference.tiny import build_tiny_bert, build_tiny_xmod

from ragatouille_xm.evidence.values import Evidence
from ragatouille_xm.languages import LANGUAGES
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.text.tokenizer import ColBERTTokenizer

from .autonyms import AUTONYMS
from .by_id import explained

LANGID = Path(__file__).parents[3] / "shared" / "langid" / "dev.jsonl"
EACH = 3  # texts of a language and kind
SCRIPTS = (  # of the adapters, as Unicode names their letters
    "ARABIC ARMENIAN BENGALI CJK CYRILLIC DEVANAGARI ETHIOPIC GEORGIAN GREEK GUJARATI GURMUKHI HANGUL HEBREW HIRAGANA "
    "KANNADA KHMER LAO LATIN MALAYALAM MYANMAR ORIYA SINHALA TAMIL TELUGU THAI"
)


def tokenizer_of(folder: Path) -> ColBERTTokenizer:
    checkpoint = load_checkpoint(folder)
    return ColBERTTokenizer(checkpoint.folder, checkpoint.settings, 512)


@pytest.fixture(scope="module")
def xlmr(demo_path: Path) -> ColBERTTokenizer:
    return tokenizer_of(demo_path)


@pytest.fixture(scope="module", params=["prefix", "insert", "bert"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ColBERTTokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    if request.param == "bert":
        return tokenizer_of(build_tiny_bert(folder))
    return tokenizer_of(build_tiny_xmod(folder, metadata={"marker": request.param}))


def check(found: Evidence) -> None:
    """Check what holds of every explanation."""
    query, text = found.query, found.text
    assert all(query[word.start : word.end] == word.text for word in found.words)
    spans = [*found.highlights, *found.sentences, *found.mask_matches, *(s for w in found.words for s in w.matches)]
    assert all(text[span.start : span.end] == span.text and span.text for span in spans)
    assert found.marked("", "") == text
    ends = [0, *(position for span in found.highlights for position in (span.start, span.end)), len(text)]
    assert ends == sorted(ends)
    parts = sum(word.score for word in found.words) + found.mask_score + found.marker_score
    assert parts == pytest.approx(found.score, abs=1e-3)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


def check_every_word_finds_itself(tokenizer: ColBERTTokenizer, text: str) -> int:
    """Explain a text by itself, in all forms; return how many words were compared."""
    count = 0
    for form in ("NFC", "NFD"):
        for other in ("NFC", "NFD"):
            found = explained(tokenizer, normalize(form, text), normalize(other, text))
            check(found)
            for word in found.words:
                if not any(character.isalnum() for character in word.text):  # symbols may have no vectors
                    continue
                assert normalize("NFC", word.matches[0].text) == normalize("NFC", word.text)
                count += 1
    return count


WITH_VECTORS = {name: text for name, text in TOKENS.items() if "<pad>" not in text}  # padding never has one


@pytest.mark.parametrize("text", WITH_VECTORS.values(), ids=WITH_VECTORS)
def test_every_word_finds_itself(xlmr: ColBERTTokenizer, text: str) -> None:
    check_every_word_finds_itself(xlmr, text)


def test_the_samples_are_in_every_language_and_script() -> None:
    assert AUTONYMS.keys() == set(LANGUAGES)
    written = {name(character).split()[0] for text in AUTONYMS.values() for character in text if character.isalpha()}
    assert written - {"MODIFIER"} == set(SCRIPTS.split())  # Uzbek's letter


# between words: blanks, none, punctuation, marks of direction, joiners, line breaks
BETWEEN = st.sampled_from(
    [" ", " ", "", ", ", "。", "، ", " \u200f", "\u202b", "\u2067 ", "\u200c", "\u200d ", "\n\n", " (", ") ", "-"]
)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(list(AUTONYMS.values())), BETWEEN), min_size=1, max_size=8))
def test_every_word_of_mixed_scripts_finds_itself(xlmr: ColBERTTokenizer, drawn: list[tuple[str, str]]) -> None:
    check_every_word_finds_itself(xlmr, "".join(text + between for text, between in drawn))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("language", AUTONYMS)
def test_a_word_is_found_where_it_stands(xlmr: ColBERTTokenizer, language: str, form: str) -> None:
    """Between words of other directions and scripts, whatever the form of either."""
    word, before = normalize(form, AUTONYMS[language]), "שלום Café 100 "
    for other in ("NFC", "NFD"):
        text = normalize(other, f"{before}{AUTONYMS[language]} e\u0301te\u0301 مرحبا")
        found = explained(xlmr, word, text)
        check(found)
        assert found.words
        matched = [match.matches[0] for match in found.words]
        start = len(normalize(other, before))
        assert (matched[0].start, matched[-1].end) == (start, start + len(normalize(other, AUTONYMS[language])))


def some_of_each() -> Iterator[str]:
    seen: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    with LANGID.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            key = record["lang"], record["script"], record["kind"]
            seen[key] += 1
            if seen[key] <= EACH:
                yield record["text"]


@pytest.mark.skipif(not LANGID.exists(), reason="the texts of language detection are not beside this checkout")
def test_every_word_of_every_language_finds_itself(xlmr: ColBERTTokenizer) -> None:
    assert sum(check_every_word_finds_itself(xlmr, text) for text in some_of_each()) > 20_000


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("Bücherei", "Die alte Bu\u0308cherei.", "Bu\u0308cherei"),
        ("finden", "Sie ﬁnden es.", "ﬁnden"),  # a ligature becomes two letters
        ("ﬁnden", "Sie finden es.", "finden"),
        ("ハンカク", "これはﾊﾝｶｸです", "ﾊﾝｶｸ"),
        ("مكتبة", "في مكتبة المدينة", "مكتبة"),
        ("दिल्ली", "नई दिल्ली में", "दिल्ली"),
        ("ספר", "זה ספר טוב", "ספר"),
    ],
)
def test_what_normalisation_changes_in_length(xlmr: ColBERTTokenizer, query: str, text: str, expected: str) -> None:
    found = explained(xlmr, query, text)
    check(found)
    matched = {(span.start, span.end) for word in found.words for span in word.matches}
    start = text.index(expected)
    assert min(matched)[0] == start
    assert max(matched)[1] == start + len(expected)


_UNUSUAL = "a ể\u0301\u200d\u200b\u00ad\u202e\ufeffﷺ㍿½ﾊﾞ한가กำ👍🏽🇩\x00\n\r<mask></s>▁." + string.punctuation
HOSTILE = st.one_of(st.text(max_size=80), st.text(st.sampled_from(_UNUSUAL), max_size=40))


@settings(max_examples=150)
@given(query=HOSTILE, text=HOSTILE)
def test_hostile_texts(xlmr: ColBERTTokenizer, query: str, text: str) -> None:
    check(explained(xlmr, query, text))


@settings(max_examples=60)
@example(query="0", text="\x1f")  # white space that has a token of its own
@given(query=HOSTILE, text=HOSTILE)
def test_hostile_texts_with_other_tokenisers(tiny: ColBERTTokenizer, query: str, text: str) -> None:
    check(explained(tiny, query, text))


def test_markers_and_what_is_cut_off_have_no_place(tiny: ColBERTTokenizer) -> None:
    text = "the book is in the garden " * 4
    for length in (8, 12, 512):
        pieces, [tokens] = tiny.document_pieces(text, length), tiny.documents([text], length)
        assert pieces.scored == tokens.scored
        assert pieces.spans[:2] == [None, None]
        assert pieces.spans[-1] is None
        placed = [span for span in pieces.spans if span is not None]
        assert placed == sorted(placed)
        assert text[slice(*placed[0])] == "the"
