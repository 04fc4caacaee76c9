"""Results of long documents: `search(group_by_document=True)` and `search(context=n)`, over every kind of index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from qdrant_client import QdrantClient
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError
from ragatouille_xm.evidence import Evidence
from ragatouille_xm.grouping import with_context
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.transfer.plaid import export_index

QUERY = "Où est le livre de la bibliothèque ?"
DOCUMENTS = {
    "library": "The library opens in the morning.|The book is in the library.|The book is in the garden.|It rains.",
    "river": "La rivière est au nord.|Le livre est dans la bibliothèque.|La bibliothèque est au bord de la rivière.",
    "bread": "Das Brot ist im Garten.",
    "zh": "图书馆在北京市。|今天有水和火。|明年有雨雪。|书在图书馆。",
    "museum": "The museum is closed on Mondays.|Where is the museum?",
}
METADATA = [{"place": name in ("library", "museum"), "n": len(name)} for name in DOCUMENTS]


def cut(text: str) -> list[str]:
    return text.split("|")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RAGPretrainedModel:
    folder = tmp_path_factory.mktemp("tiny")
    return RAGPretrainedModel.from_pretrained(build_tiny_xmod(folder), verbose=0, device="cpu")


@pytest.fixture
def rag(model: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    return local(RAGPretrainedModel(model.encoder, tmp_path / "root", verbose=0), tmp_path)


def local(rag: RAGPretrainedModel, _: Path, **options: Any) -> RAGPretrainedModel:
    rag.index(DOCUMENTS, None, METADATA, index_name="long", document_splitter_fn=cut, **options)
    return rag


def plaid(rag: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    export_index(local(rag, tmp_path).catalog.path("long"), tmp_path / "theirs", nbits=4)
    return RAGPretrainedModel.from_index(tmp_path / "theirs", verbose=0, device="cpu")


ENGINES: dict[str, Callable[[RAGPretrainedModel, Path], RAGPretrainedModel]] = {
    "folder": local,
    "plaid": plaid,
    "qdrant": lambda rag, path: local(rag, path, index_url=QdrantClient(":memory:")),
}


def folded(ranking: list[dict[str, Any]], k: int) -> list[tuple[int, list[int]]]:
    """Return passage ids of the best `k` documents, and of what ranks above the last of them, from all passages."""
    first: dict[str, int] = {}
    for rank, result in enumerate(ranking):
        first.setdefault(result["document_id"], rank)
    best = list(first.values())[:k]
    end = best[-1] if len(first) >= k else len(ranking)
    return [
        (
            ranking[rank]["passage_id"],
            [
                each["passage_id"]
                for each in ranking[rank + 1 : end]
                if each["document_id"] == ranking[rank]["document_id"]
            ],
        )
        for rank in best
    ]


def pids(found: list[dict[str, Any]]) -> list[tuple[int, list[int]]]:
    return [(each["passage_id"], [other["passage_id"] for other in each["other_passages"]]) for each in found]


# ---- one result for each document


@pytest.mark.parametrize("engine", ENGINES)
def test_k_documents_by_their_best_passages(engine: str, rag: RAGPretrainedModel, tmp_path: Path) -> None:
    made = ENGINES[engine](rag, tmp_path)
    options: dict[str, Any]
    for options in ({}, {"filter": {"place": True}}, {"doc_ids": ["river", "zh"]}, {"exact": True}):
        ranking = made.search(QUERY, k=100, **options)
        for k in (1, 2, 3, 5, 50):
            found = made.search(QUERY, k=k, group_by_document=True, **options)
            assert len(found) == min(k, len({each["document_id"] for each in ranking}))
            assert pids(found) == folded(ranking, k)
            assert [each["rank"] for each in found] == list(range(1, len(found) + 1))
            for each in found:
                others = each.pop("other_passages")
                assert {**each, "rank": 0} == {**ranking[place_of(each, ranking)], "rank": 0}
                assert [other["rank"] for other in others] == list(range(2, len(others) + 2))
                for other in others:
                    assert {**other, "rank": 0} == {**ranking[place_of(other, ranking)], "rank": 0}
    made.close()


def place_of(result: dict[str, Any], ranking: list[dict[str, Any]]) -> int:
    return [each["passage_id"] for each in ranking].index(result["passage_id"])


def test_a_document_that_fills_the_ranking_leaves_room_for_others(rag: RAGPretrainedModel) -> None:
    rag.add_to_index({"long": "|".join([QUERY] * 40)}, document_splitter_fn=cut)
    found = rag.search(QUERY, k=3, group_by_document=True)
    assert found[0]["document_id"] == "long"
    assert len({each["document_id"] for each in found}) == 3
    assert len(found[0]["other_passages"]) == 39
    assert [each["document_id"] for each in rag.search(QUERY, k=3)] == ["long"] * 3


def test_several_queries_search_as_deep_as_each_needs(rag: RAGPretrainedModel) -> None:
    queries = [QUERY, "museum", "图书馆", QUERY]
    found = rag.search(queries, k=4, group_by_document=True)
    for results, ranking in zip(found, rag.search(queries, k=100), strict=True):
        assert pids(results) == folded(ranking, 4)


def test_min_score_leaves_out_documents_and_passages(rag: RAGPretrainedModel) -> None:
    ranking = rag.search(QUERY, k=100)
    least = ranking[6]["score"]
    found = rag.search(QUERY, k=5, min_score=least, group_by_document=True)
    assert pids(found) == folded(ranking[:7], 5)


def test_blank_queries_find_the_first_documents_that_a_filter_admits(rag: RAGPretrainedModel) -> None:
    [found, nothing] = rag.search(["", " "], k=2, filter={"n": {"$ne": 5}}, group_by_document=True)
    assert pids(found) == pids(nothing) == [(0, [1, 2, 3]), (8, [])]
    assert [each["score"] for each in found] == [0, 0]
    [some, none] = rag.search([QUERY, ""], k=2, group_by_document=True)
    assert (len(some), none) == (2, [])


def test_ranks_from_zero(rag: RAGPretrainedModel) -> None:
    found = rag.search(QUERY, k=5, group_by_document=True, zero_index_ranks=True)
    assert [each["rank"] for each in found] == list(range(5))
    others = [each["other_passages"] for each in found]
    assert any(others)
    assert all([each["rank"] for each in some] == list(range(1, len(some) + 1)) for some in others)


def test_all_passages_have_evidence_and_a_query_language(rag: RAGPretrainedModel) -> None:
    found = rag.search(QUERY, k=5, group_by_document=True, explain=True, context=1)
    shown = [each for result in found for each in (result, *result["other_passages"])]
    assert len(shown) > 5
    for each in shown:
        assert isinstance(each["evidence"], Evidence)
        assert each["evidence"].text == each["content"]
        assert each["query_language"] == "fr"
        assert each["context_before"] or each["context_after"] or each["document_id"] == "bread"


def test_encoded_queries(rag: RAGPretrainedModel) -> None:
    retriever = rag.catalog.get()
    [found] = retriever.search(retriever.encode([QUERY]), 2, group_by_document=True, context=1)
    plain = rag.search(QUERY, k=2, group_by_document=True, context=1)
    assert pids(found) == pids(plain)
    assert [each["context_after"] for each in found] == [each["context_after"] for each in plain]


def test_an_index_without_documents(rag: RAGPretrainedModel) -> None:
    rag.delete_from_index(list(DOCUMENTS))
    assert rag.search(QUERY, k=2, group_by_document=True, context=1) == []


# ---- what stands around a passage


@pytest.mark.parametrize("engine", ENGINES)
def test_context_is_what_stands_beside_a_passage_in_its_document(
    engine: str, rag: RAGPretrainedModel, tmp_path: Path
) -> None:
    made = ENGINES[engine](rag, tmp_path)
    for n in (1, 2, 10**30, np.int64(1)):
        found = made.search(QUERY, k=100, context=n)
        assert len(found) == 14
        for each in found:
            texts = cut(DOCUMENTS[each["document_id"]])
            place = texts.index(each["content"])
            assert each["context_before"] == texts[max(place - n, 0) : place]
            assert each["context_after"] == texts[place + 1 : place + 1 + n]
    made.close()


def test_context_is_off_by_default(rag: RAGPretrainedModel) -> None:
    assert all("context_before" not in each for each in rag.search(QUERY, context=0))


def test_a_document_that_changed_has_its_new_neighbours(rag: RAGPretrainedModel) -> None:
    rag.delete_from_index("river")
    rag.update_in_index({"library": "Le livre.|" + QUERY + "|La rivière."}, document_splitter_fn=cut)
    rag.add_to_index({"river": "Le pain.|Où est la bibliothèque ?"}, document_splitter_fn=cut)
    first, second = rag.search(QUERY, k=2, context=5, doc_ids=["library", "river"])
    assert (first["context_before"], first["context_after"]) == (["Le livre."], ["La rivière."])
    if second["document_id"] == "river":
        assert [*second["context_before"], second["content"]] == ["Le pain.", "Où est la bibliothèque ?"]


def test_the_contexts_of_all_results_are_read_at_once(rag: RAGPretrainedModel) -> None:
    with patch.object(LocalIndex, "around", autospec=True, side_effect=LocalIndex.around) as around:
        rag.search([QUERY, "museum"], k=3, context=1, group_by_document=True)
        rag.search(QUERY, k=3)
    assert around.call_count == 1


def test_what_was_deleted_since_it_was_found_has_no_context(rag: RAGPretrainedModel) -> None:
    with patch.object(LocalIndex, "around", lambda *_: {}):
        for each in rag.search(QUERY, context=2):
            assert each["context_before"] == each["context_after"] == []


@pytest.mark.parametrize("context", [-1, 1.0, True, "1", None])
def test_a_context_that_is_no_number_of_passages(rag: RAGPretrainedModel, context: Any) -> None:
    with pytest.raises(InputError, match=r"context=.* is not usable"):
        rag.search(QUERY, context=context)


# ---- one text


def test_with_context_is_the_document_again(rag: RAGPretrainedModel) -> None:
    for each in rag.search(QUERY, k=100, context=9):
        assert with_context(each) == DOCUMENTS[each["document_id"]].replace("|", "\n")
    assert with_context(rag.search(QUERY, k=1)[0]) in "|".join(DOCUMENTS.values())


def test_what_a_splitter_repeats_is_kept_once(rag: RAGPretrainedModel) -> None:
    words = [f"word{i}" for i in range(40)]

    def overlapping(text: str) -> list[str]:
        each = text.split(" ")
        return [" ".join(each[i : i + 10]) for i in range(0, len(each) - 4, 6)]

    rag.add_to_index({"words": " ".join(words)}, document_splitter_fn=overlapping)
    for each in rag.search("word", k=100, context=100, doc_ids="words"):
        assert with_context(each) == " ".join(words)


@pytest.mark.parametrize(
    ("before", "text", "expected"),
    [
        ("Er fuhr nach Berlin", "in der Nacht.", "Er fuhr nach Berlin\nin der Nacht."),  # alike by chance
        ("九点开门。周一闭馆，儿童免费。", "周一闭馆，儿童免费。有书。", "九点开门。周一闭馆，儿童免费。有书。"),
        ("All of it, again.", "All of it, again.", "All of it, again."),
        ("", "", "\n"),
    ],
)  # fmt: skip
def test_texts_that_overlap(before: str, text: str, expected: str) -> None:
    assert with_context({"content": text, "context_before": [before], "context_after": []}) == expected
    assert with_context({"content": before, "context_before": [], "context_after": [text]}) == expected
