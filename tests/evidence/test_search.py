"""`search(explain=True)` and `explain`, on tiny checkpoints, over every kind of index."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from qdrant_client import QdrantClient
from reference.five import IDS, METADATAS, TEXTS
from reference.tiny import build_tiny_bert, build_tiny_xmod

import ragatouille_xm.evidence
from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError, LanguageError
from ragatouille_xm.evidence import Evidence
from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.transfer.plaid import export_index
from ragatouille_xm.types import TokenVectors

QUERY = "Où est le livre de la bibliothèque ?"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RAGPretrainedModel:
    folder = tmp_path_factory.mktemp("tiny")
    return RAGPretrainedModel.from_pretrained(build_tiny_xmod(folder), verbose=0, device="cpu")


@pytest.fixture
def rag(model: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    return RAGPretrainedModel(model.encoder, tmp_path / "root", verbose=0)


def test_public_names() -> None:
    assert ragatouille_xm.evidence.__all__ == ["Evidence", "Explainer", "Span", "WordMatch"]


def local(rag: RAGPretrainedModel, tmp_path: Path, **options: Any) -> RAGPretrainedModel:
    rag.index(TEXTS, IDS, METADATAS, index_name="five", **options)
    return rag


def plaid(rag: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    path = local(rag, tmp_path).catalog.path("five")
    export_index(path, tmp_path / "theirs", nbits=4)
    return RAGPretrainedModel.from_index(tmp_path / "theirs", verbose=0, device="cpu", language="fr")


ENGINES: dict[str, tuple[Callable[..., RAGPretrainedModel], float]] = {
    "int16": (local, 1e-2),
    "int8": (lambda rag, path: local(rag, path, storage="int8"), 0.1),
    "plaid": (plaid, 1e-3),
    "qdrant": (lambda rag, path: local(rag, path, index_url=QdrantClient(":memory:")), 1e-2),
}


@pytest.mark.parametrize("name", ENGINES)
def test_results_are_explained_from_what_the_index_has(
    name: str, rag: RAGPretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, tolerance = ENGINES[name]
    made = make(rag, tmp_path)
    plain = made.search(QUERY, k=5)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a passage was encoded")

    monkeypatch.setattr(Encoder, "encode_documents", refuse)
    found = made.search(QUERY, k=5, explain=True)
    assert [{key: value for key, value in result.items() if key != "evidence"} for result in found] == plain
    for result in found:
        evidence = result["evidence"]
        assert isinstance(evidence, Evidence)
        assert evidence.from_index
        assert (evidence.query, evidence.text) == (QUERY, result["content"])
        assert evidence.score == pytest.approx(result["score"], abs=tolerance)
        assert [word.text for word in evidence.words] == ["Où", "est", "le", "livre", "de", "la", "bibliothèque"]
        for word in evidence.words:
            for span in word.matches:
                assert result["content"][span.start : span.end] == span.text
        assert evidence.mask_score > 0
        assert json.loads(json.dumps(evidence.as_dict()))["highlights"] == [
            {"start": s.start, "end": s.end, "text": s.text, "similarity": s.similarity} for s in evidence.highlights
        ]
    made.close()


def test_a_checkpoint_without_masks_to_attend_to(tmp_path: Path) -> None:
    rag = RAGPretrainedModel.from_pretrained(
        build_tiny_bert(tmp_path / "bert"), verbose=0, device="cpu", index_root=str(tmp_path)
    )
    rag.index(["The LIBRARY opens in the morning."], index_name="one")
    [found] = rag.search("library", k=1, explain=True)
    [word] = found["evidence"].words
    assert "LIBRARY" in [span.text for span in word.matches]  # lower-cased by the tokeniser
    assert found["evidence"].score == pytest.approx(found["score"], abs=1e-2)


def test_a_list_of_queries_of_different_lengths(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    local(rag, tmp_path)
    queries = [QUERY, "livre", "the library " * 30]
    for query, results in zip(queries, rag.search(queries, k=2, explain=True), strict=True):
        for result in results:
            assert result["evidence"].query == query
            assert result["evidence"].score == pytest.approx(result["score"], abs=2e-2)
    assert results[0]["evidence"].mask_score == 0  # a query that is not filled has none


def test_a_blank_query_has_no_evidence(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    local(rag, tmp_path)
    assert all("evidence" not in result for result in rag.search(" ", filter={"year": 2018}, explain=True))
    first, second = rag.search(["livre", ""], k=1, explain=True)
    assert "evidence" in first[0]
    assert second == []


def test_vectors_have_no_words(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    retriever = local(rag, tmp_path).catalog.get()
    vectors = retriever.encode(["livre"])
    with pytest.raises(InputError, match="explain=True needs the texts"):
        retriever.search(vectors, explain=True)


def test_asynchronously(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    local(rag, tmp_path)
    [found] = asyncio.run(rag.asearch("livre", k=1, explain=True))
    assert found["evidence"].query == "livre"


@pytest.mark.parametrize("rows", [1, 3])
def test_what_the_index_has_merged_is_encoded_again(
    rag: RAGPretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """As pooling does it: fewer vectors than tokens."""
    local(rag, tmp_path)
    [wanted] = rag.search(QUERY, k=1, explain=True)
    stored = LocalIndex.vectors

    def fewer(self: LocalIndex, pids: list[int]) -> TokenVectors:
        return TokenVectors.of_blocks([block[:rows] for block in stored(self, pids)], self.dim)

    monkeypatch.setattr(LocalIndex, "vectors", fewer)
    [found] = rag.search(QUERY, k=1, explain=True)
    assert not found["evidence"].from_index
    assert "encoded again" in found["evidence"].summary()
    assert found["evidence"].score == pytest.approx(wanted["evidence"].score, abs=1e-2)
    assert [word.text for word in found["evidence"].words] == [word.text for word in wanted["evidence"].words]


def test_what_was_deleted_meanwhile_is_explained_by_its_text(
    rag: RAGPretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local(rag, tmp_path)

    def gone(self: LocalIndex, pids: list[int]) -> TokenVectors:
        raise KeyError(pids[0])

    monkeypatch.setattr(LocalIndex, "vectors", gone)
    [found] = rag.search(QUERY, k=1, explain=True)
    assert not found["evidence"].from_index


def test_a_truncated_passage_is_explained_by_what_was_read(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    text = "the book is in the garden " * 10
    rag.index([text], index_name="long", max_document_length=16, split_documents=False)
    [found] = rag.search("garden", k=1, explain=True)
    assert found["evidence"].from_index
    ends = [span.end for word in found["evidence"].words for span in word.matches]
    assert max(ends) <= 16 * 7
    assert found["content"] == text


def test_explain_without_an_index(model: RAGPretrainedModel) -> None:
    found = model.explain(QUERY, TEXTS[1])
    [result] = model.rerank(QUERY, [TEXTS[1]], k=1)
    assert found.score == pytest.approx(result["score"], abs=1e-4)
    assert found.from_index
    assert found.text == TEXTS[1]
    given = model.explain(QUERY, TEXTS[1], language="fr", text_language="de")
    assert given.score != found.score


@pytest.mark.parametrize(("query", "text"), [("", "a"), (" ", "a"), ("a", ""), ("a", "\n"), (b"a", "a"), ("a", 3)])
def test_explain_needs_two_texts(model: RAGPretrainedModel, query: Any, text: Any) -> None:
    with pytest.raises(InputError):
        model.explain(query, text)


def test_explain_names_an_unknown_language(model: RAGPretrainedModel) -> None:
    with pytest.raises(LanguageError, match="klingonish"):
        model.explain("a", "b", text_language="klingonish")


def test_the_exact_index_gives_its_vectors_by_pid() -> None:
    index = ExactIndex(4)
    assert index.vectors([]).vectors.shape == (0, 4)
    assert isinstance(index.vectors([]).lengths, torch.Tensor)
