"""Token ids and masks against those that colbert-ai made (tests/reference)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference.texts import DOCUMENTS
from reference.tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod
from transformers import AutoTokenizer

from ragatouille_xm.errors import CheckpointError, InputError, MissingExtraError
from ragatouille_xm.text.tokenizer import ColBERTTokenizer, TokenSettings, encodable

REFERENCE = Path(__file__).parents[1] / "reference"
MARKERS = {"old": "prefix", "new": "insert"}


def golden(file: str) -> dict[str, Any]:
    return json.loads((REFERENCE / file).read_text(encoding="utf-8"))


def split_at_blanks(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return what the tokeniser gives in XLM-R's published form, which splits at blanks first."""
    return recorded | {
        kind: {length: rows | recorded["split"][kind][length] for length, rows in recorded[kind].items()}
        for kind in ("documents", "queries")
    }


def make(folder: Path, version: str, **options: Any) -> ColBERTTokenizer:
    chosen = {"attend_to_mask_tokens": True, "marker": MARKERS[version], **options}
    return ColBERTTokenizer(folder, TokenSettings(**chosen), 512)


def assert_as_recorded(tokenizer: ColBERTTokenizer, texts: dict[str, str], recorded: dict[str, Any]) -> None:
    for length, rows in recorded["documents"].items():
        found = tokenizer.documents(list(texts.values()), int(length))
        for name, tokens in zip(texts, found, strict=True):
            ids, kept = rows[name]
            assert tokens.ids == ids, (name, length)
            assert tokens.scored == [bit == "1" for bit in kept], (name, length)
            assert all(tokens.attended)
    for name, tokens in zip(texts, tokenizer.queries(list(texts.values())), strict=True):
        ids = recorded["queries"]["32"][name]
        fill = [recorded["fill_id"]] * (32 - len(ids))
        if len(tokens.ids) == 32:
            assert tokens.ids == ids + fill, name
        else:  # longer than colbert-ai lets a query be: ours goes on where it stops
            assert tokens.ids[:31] == ids[:31], name
        assert all(tokens.attended)
        assert all(tokens.scored)


@pytest.mark.parametrize("version", ["old", "new"])
def test_ids_and_masks_of_xlmr_equal_colbert_ais(demo_path: Path, version: str) -> None:
    recorded = golden("tokens.json")
    tokenizer = make(demo_path, version)
    assert sorted(tokenizer._skipped - {1}) == recorded[version]["skiplist"]
    assert_as_recorded(tokenizer, recorded["texts"], split_at_blanks(recorded[version]))


@pytest.mark.parametrize("version", ["old", "new"])
def test_ids_and_masks_of_bert_equal_colbert_ais(tmp_path: Path, version: str) -> None:
    recorded = golden("bert_tokens.json")
    tokenizer = make(build_tiny_bert(tmp_path), version)
    assert_as_recorded(tokenizer, recorded["texts"], recorded[version])


def test_the_fill_is_attended_to_only_where_the_checkpoint_says_so(tmp_path: Path) -> None:
    tokenizer = make(build_tiny_xmod(tmp_path), "old", attend_to_mask_tokens=False)
    (query,) = tokenizer.queries(["book"])
    n = sum(query.attended)
    assert 4 < n < 32
    assert query.attended == [True] * n + [False] * (32 - n)
    assert all(query.scored)


def test_punctuation_is_kept_where_the_checkpoint_says_so(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    text = "a , b ; c"
    with_, without = (make(folder, "old", mask_punctuation=mask).documents([text], 64)[0] for mask in (True, False))
    assert not all(with_.scored)
    assert all(without.scored)


def test_markers_that_the_vocabulary_has_are_used(tmp_path: Path) -> None:
    folder = build_tiny_bert(tmp_path)
    tokenizer = make(folder, "new")
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert vocabulary[tokenizer.queries(["book"])[0].ids[1]] == "[unused0]"
    assert vocabulary[tokenizer.documents(["book"], 32)[0].ids[1]] == "[unused1]"


@pytest.mark.parametrize("version", ["old", "new"])
def test_a_text_that_fills_its_room_is_not_cut(tmp_path: Path, version: str) -> None:
    tokenizer = make(build_tiny_xmod(tmp_path), version)
    text = "東京" * 6
    room = tokenizer.count([text])[0]
    (tokens,) = tokenizer.documents([text], room + tokenizer.overhead)
    assert tokenizer.room(room + tokenizer.overhead) == room
    assert tokens.ids == tokenizer.documents([text], 512)[0].ids
    assert len(tokens.ids) == room + tokenizer.overhead


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("build", [build_tiny_xmod, build_tiny_bert])
def test_added_tokens_are_all_but_those_of_the_text(
    tmp_path: Path, build: Callable[[Path], Path], version: str
) -> None:
    tokenizer = make(build(tmp_path), version)
    for text in ("", "the book, the river", "a ; b", "東京" * 6, "the " * 99):
        (tokens,) = tokenizer.documents([text], 16)
        added = tokenizer.added(tokens)
        scored = [i for i, counts in zip(tokens.ids, tokens.scored, strict=True) if counts]
        rest = [i for i, was_added in zip(scored, added, strict=True) if not was_added]
        own = tokenizer._ids([text], special=False)[0][: tokenizer.room(16)]
        assert rest == [i for i in own if i not in tokenizer._skipped]
        assert sum(added) == tokenizer.overhead, "none of them is punctuation that is masked"


def test_cutting_off_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = make(build_tiny_xmod(tmp_path), "old")
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        tokenizer.documents(["a", "book " * 50, "the " * 60], 16)
    assert "2 of 3 texts longer than 16 tokens" in caplog.text


def test_padding_is_neither_attended_nor_scored(tmp_path: Path) -> None:
    tokenizer = make(build_tiny_xmod(tmp_path), "old")
    short, long = tokenizer.documents(["a", "the library opens"], 64)
    batch = tokenizer.pad([short, long])
    assert batch.input_ids.shape == (2, len(long.ids))
    gap = len(long.ids) - len(short.ids)
    assert batch.input_ids[0, -gap:].tolist() == [1] * gap
    assert not batch.attention_mask[0, -gap:].any()
    assert not batch.scoring_mask[0, -gap:].any()


def test_a_folder_without_tokeniser_is_named(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="has no tokeniser: none of tokenizer.json, sentencepiece.bpe.model"):
        ColBERTTokenizer(folder, TokenSettings(), 512)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"The tokeniser \(tokenizer.json\) of .* cannot be loaded"):
        ColBERTTokenizer(folder, TokenSettings(), 512)


def test_a_sentencepiece_model_alone_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_tiny_xmod(tmp_path)
    (folder / "tokenizer.json").unlink()
    sentences = [*DOCUMENTS] * 5
    prefix = str(tmp_path / "trained")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=prefix, vocab_size=200, hard_vocab_limit=False, minloglevel=2
    )
    (tmp_path / "trained.model").rename(folder / "sentencepiece.bpe.model")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    text = "The library opens at nine."
    (tokens,) = make(folder, "new").documents([text], 64)
    assert tokens.ids == [0, 3, *(i + 1 for i in processor.encode(text)), 2]  # fairseq's ids are one further
    monkeypatch.setattr("ragatouille_xm.text.tokenizer_files.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[sentencepiece\]"'):
        make(folder, "new")


# transformers' own reading of the same files: its ids are what they were before tokenizer.json was read by itself

HOSTILE = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from([
            "<mask>", "<s>", "</s>", "<pad>", "<unk>", "[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[unused0]",
            "▁", "##s", " ", "  ", "\t", "\n", "\u00a0", "\u200b", "\u3000", "\0", ".", ",", "\ufeff", "e\u0301",
            "ﬁ", "İ", "ß", "Ａ", "\U0001f468\u200d\U0001f469", "\ud800", "\U0010fffd", "book", "Library", "図書館",
            "كتاب", "й", "हि", "12:30",
        ]),
        max_size=12,
    ).map("".join),
)  # fmt: skip
KINDS = {"xmod": build_tiny_xmod, "xlmr": build_tiny_xlmr, "bert": build_tiny_bert}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, demo_path: Path) -> dict[str, tuple[ColBERTTokenizer, Any]]:
    folders = {kind: build(tmp_path_factory.mktemp(kind)) for kind, build in KINDS.items()} | {"demo": demo_path}
    return {kind: (make(folder, "new"), AutoTokenizer.from_pretrained(folder)) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", [*KINDS, "demo"])
@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(HOSTILE, min_size=1, max_size=4))
def test_ids_equal_those_of_transformers(
    pairs: dict[str, tuple[ColBERTTokenizer, Any]], kind: str, texts: list[str]
) -> None:
    ours, theirs = pairs[kind]
    texts_they_take = [encodable(text) for text in texts]
    expected = theirs(texts_they_take)["input_ids"]
    assert [tokens.ids[:1] + tokens.ids[2:] for tokens in ours.documents(texts, 512)] == expected  # without marker
    assert ours.count(texts) == [len(ids) for ids in theirs(texts_they_take, add_special_tokens=False)["input_ids"]]


@pytest.mark.parametrize("kind", [*KINDS, "demo"])
def test_its_length_is_that_of_the_vocabulary(pairs: dict[str, tuple[ColBERTTokenizer, Any]], kind: str) -> None:
    ours, theirs = pairs[kind]
    assert len(ours) == 1 + max(theirs.get_vocab().values())


def settle(folder: Path, name: str, **changes: Any) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(content | changes), encoding="utf-8")


TEXTS = ["The LIBRARY, <mask> opens.", "Où est [Q] 図書館 ?", "[MASK] été"]
TOKEN = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("bert", {"do_lower_case": False}),
    ("bert", {"strip_accents": False}),
    ("bert", {"tokenize_chinese_chars": False}),
    ("bert", {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}),
    ("bert", {"additional_special_tokens": ["[Q]"]}),
    ("bert", {"mask_token": {"__type": "AddedToken", "content": "[MASK]", **TOKEN}}),
    ("xmod", {"added_tokens_decoder": {"3": {"content": "<unk>", **TOKEN}}}),
    ("xmod", {"added_tokens_decoder": {"9999": {"content": "[Q]", **TOKEN}}}),
    ("xmod", {"mask_token": "<unk>"}),
    ("xmod", {"pad_token": "the"}),
    ("xmod", {"split_special_tokens": True}),
]


@pytest.mark.parametrize("case", range(len(CONFIGS)))
def test_what_tokenizer_config_changes_is_heeded(tmp_path: Path, case: int) -> None:
    kind, changes = CONFIGS[case]
    folder = KINDS[kind](tmp_path)
    settle(folder, "tokenizer_config.json", **changes)
    ours, theirs = make(folder, "new", query_token_id="[Q]"), AutoTokenizer.from_pretrained(folder)
    assert [tokens.ids[:1] + tokens.ids[2:] for tokens in ours.documents(TEXTS, 512)] == theirs(TEXTS)["input_ids"]
    query = ours.queries(["book"])[0].ids
    assert query[1] == theirs.convert_tokens_to_ids("[Q]")
    assert query[-1] == theirs.mask_token_id
    padded = ours.pad(ours.documents(["a", "a book"], 64)).input_ids
    assert padded[0, -1] == theirs.pad_token_id
    assert len(ours) == 1 + max(theirs.get_vocab().values())


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_found_where_no_file_names_them(tmp_path: Path, kind: str) -> None:
    folder = KINDS[kind](tmp_path)
    named = make(folder, "new").queries(["book"])
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").unlink()
    assert make(folder, "new").queries(["book"]) == named
    (folder / "special_tokens_map.json").write_text(json.dumps(config), encoding="utf-8")
    assert make(folder, "new").queries(["book"]) == named


def test_truncation_and_padding_of_the_file_are_ours_to_decide(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    expected = make(folder, "new").documents(["a", "the library " * 20], 512)
    settle(
        folder,
        "tokenizer.json",
        truncation={"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
            "pad_token": "<pad>",
        },
    )  # fmt: skip
    assert make(folder, "new").documents(["a", "the library " * 20], 512) == expected


def test_a_vocabulary_without_a_token_for_the_unknown_is_refused_at_once(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    del content["model"]["unk_id"]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"The tokeniser \(tokenizer.json\) of .* cannot be loaded"):
        make(folder, "new")


@pytest.mark.parametrize("length", [7, 513, "16", None])
def test_impossible_lengths(tmp_path: Path, length: object) -> None:
    tokenizer = make(build_tiny_xmod(tmp_path), "old")
    with pytest.raises(InputError, match="from 8 to 512"):
        tokenizer.documents(["a"], length)
