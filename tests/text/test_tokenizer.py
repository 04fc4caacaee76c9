"""Token ids and masks against those that colbert-ai made (tests/reference)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from reference.texts import DOCUMENTS
from reference.tiny import build_tiny_bert, build_tiny_xmod

from ragatouille_xm.errors import CheckpointError, InputError, MissingExtraError
from ragatouille_xm.text.tokenizer import ColBERTTokenizer, TokenSettings

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


def make(folder: Path, version: str, **settings: Any) -> ColBERTTokenizer:
    chosen = {"attend_to_mask_tokens": True, "marker": MARKERS[version], **settings}
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
        own = tokenizer._plain_ids([text])[0][: tokenizer.room(16)]
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
    monkeypatch.setattr("ragatouille_xm.text.tokenizer.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[sentencepiece\]"'):
        make(folder, "new")


@pytest.mark.parametrize("length", [7, 513, "16", None])
def test_impossible_lengths(tmp_path: Path, length: object) -> None:
    tokenizer = make(build_tiny_xmod(tmp_path), "old")
    with pytest.raises(InputError, match="from 8 to 512"):
        tokenizer.documents(["a"], length)
