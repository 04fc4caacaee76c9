from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.text.breaks import is_character_break, sentences, slices


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(["It rains. ", "We stay in! ", "Do you? ", "Well… ", "Yes."], id="Latin"),
        pytest.param(["她来了。", "真的吗？", "太好了！", "走；", "停｡", "好"], id="Chinese"),
        pytest.param(["真的吗?", "是的!", "好……", "走吧。"], id="Chinese with ASCII marks"),
        pytest.param(["「行こう。」", "彼は言った。", "本当！？", "はい"], id="Japanese"),
        pytest.param(["वह आया। ", "सब खुश थे॥ ", "क्यों? ", "ठीक है।"], id="Hindi"),
        pytest.param(["هل جاء؟ ", "نعم. ", "شكرا!"], id="Arabic"),
        pytest.param(["وہ آیا۔ ", "کیوں؟ ", "ٹھیک ہے۔"], id="Urdu"),
        pytest.param(["መጣ። ", "ለምን፧ ", "እሺ።"], id="Amharic"),
        pytest.param(["គាត់មក។ ", "ល្អ៕ ", "បាទ"], id="Khmer"),
        pytest.param(["သူလာသည်။ ", "ကောင်းပြီ။"], id="Burmese"),
        pytest.param(["Նա եկավ։ ", "Լավ։"], id="Armenian"),
        pytest.param(["ཁོང་ཕེབས་སོང་། ", "ཡག་པོ་རེད།"], id="Tibetan"),
        pytest.param(["ის მოვიდა. ", "კარგი."], id="Georgian, which has no capitals"),
        pytest.param(["Ήρθε; Ναι. ", "Γιατί\u037e ", "Καλά."], id="Greek question mark"),
        pytest.param(["그가 왔다. ", "좋다."], id="Korean"),
        pytest.param(['He said "no." ', "(Really!) ", "»Doch.« ", "Ende."], id="closing quotes and brackets"),
        pytest.param(["No way?! ", "Really!!! ", "Hm... ", "So."], id="several marks"),
        pytest.param(["A title\n\n", "The text\n \n", "More"], id="blank lines"),
        pytest.param(["Nothing at all"], id="no mark"),
    ],
)
def test_sentences_of_every_script(parts: list[str]) -> None:
    assert split("".join(parts)) == parts


@pytest.mark.parametrize(
    "text",
    [
        "It costs 3.50 euros at example.com today.",
        "Dr. Smith met Mrs. Jones and Prof. Li.",
        "J. R. R. Tolkien wrote it.",
        "Use fruit, e.g. apples, i.e. pomes.",
        "In the U.S. The Post is a paper.",
        "See Fig. 3 and No. 5 on Jan. 7 for more.",
        "Am 3. Mai kommt z. B. Herr Dr. Meier.",
        "Он живёт на ул. Ленина, д. 5, и т. д. и т. п. там.",
        "Le 1. Mme. Dupont et M. Durand.",
        "We waited... and waited.",
        "“Stop!” she cried.",
        "第３．１４条",
        "a single\nline break",
    ],
)
def test_what_does_not_end_a_sentence(text: str) -> None:
    assert split(text) == [text]


def test_a_decimal_at_the_end_of_a_sentence_ends_it() -> None:
    assert split("It is 3.5. The other is 2020. Done.") == ["It is 3.5. ", "The other is 2020. ", "Done."]


def test_marks_stay_with_their_accents() -> None:
    assert split("好。\u0301好") == ["好。\u0301好"]


@given(st.text(alphabet=st.sampled_from(list("aB1 .!?…。।\n\"')») \u0301\ud83d\U0001f1e6")), max_size=40))
def test_sentences_cover_the_text(text: str) -> None:
    assert "".join(split(text)) == text


@given(st.text(max_size=60), st.integers(1, 20))
def test_slices_cover_the_text_and_are_no_wider_than_asked_but_for_one_character(text: str, width: int) -> None:
    spans = list(slices(text, 0, len(text), width))
    assert "".join(text[start:end] for start, end in spans) == text
    for start, end in spans:
        assert start < end
        if end - start > width:
            assert not any(is_character_break(text, i) for i in range(start + 1, end))


@pytest.mark.parametrize(
    ("text", "width", "parts"),
    [
        ("one two, three four", 12, ["one two, ", "three four"]),
        ("one four\ntwo, three, four five", 12, ["one four\n", "two, three, ", "four five"]),
        ("第一，第二、第三第四", 5, ["第一，", "第二、", "第三第四"]),
        ("กาแฟ\u200bชาเขียว", 7, ["กาแฟ\u200b", "ชาเขียว"]),
        ("བཀྲ་ཤིས་བདེ་ལེགས", 8, ["བཀྲ་ཤིས་", "བདེ་ལེགས"]),
        ("a, bcdefgh ijklmnop", 12, ["a, bcdefgh ", "ijklmnop"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
    ],
)
def test_slices_prefer_lines_then_clauses_then_words(text: str, width: int, parts: list[str]) -> None:
    assert [text[start:end] for start, end in slices(text, 0, len(text), width)] == parts


@pytest.mark.parametrize(
    "character",
    [
        "e\u0301\u0302", "नि", "क्ष", "ស្រ", "น้ำ", "ກຳ", "🇫🇷", "👩🏽", "👩\u200d👩\u200d👧", "1\ufe0f\u20e3", "\r\n",
        "\ud83d\ude00", "\u1112\u1161\u11ab", "가\u11a8", "🏴\U000e0067\U000e0062\U000e007f", "ﾊ\uff9e",
    ],
)  # fmt: skip
def test_characters_of_several_codepoints_stay_whole(character: str) -> None:
    text = f"x{character}x"
    inside = range(2, len(text) - 1)
    if unjoined := [i for i in inside if is_character_break(text, i)]:
        pytest.fail(f"torn at {unjoined}")
    assert is_character_break(text, 1)


def test_neighbouring_characters_can_be_parted() -> None:
    text = "🇫🇷🇩🇪각가ab"
    assert [i for i in range(1, len(text)) if is_character_break(text, i)] == [2, 4, 5, 6, 7]
    jamo = "\u1112\u1161\u11ab\u1100\u1173"
    assert [i for i in range(1, len(jamo)) if is_character_break(jamo, i)] == [3]
