"""Plain documents leave the package; one that is found again is the same, whatever the query was."""

from __future__ import annotations

import asyncio
import logging
import pickle
import warnings
from importlib.metadata import version
from uuid import UUID

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_ragatouille_xm import RagatouilleXMRetriever, RagatouilleXMVectorStore
from reference.five import IDS

from ragatouille_xm import RAGPretrainedModel

from .conftest import ids


def test_a_document_is_the_same_for_every_query(rag: RAGPretrainedModel) -> None:
    every = rag.as_langchain_retriever(k=5)
    first, second = ({each.metadata["document_id"]: each for each in every.invoke(query)} for query in ("book", "Brot"))
    assert first == second
    assert {name: each.id for name, each in first.items()} == {name: each.id for name, each in second.items()}
    assert all(type(each) is Document for each in first.values())
    assert len({each.id for each in first.values()}) == 5
    assert all(str(UUID(each.id)) == each.id for each in first.values())
    assert first["en"] != first["fr"]
    assert first["en"] != first["en"].model_copy(update={"metadata": {**first["en"].metadata, "year": 1900}})


def test_passages_of_one_document_are_documents_of_their_own(empty: RAGPretrainedModel) -> None:
    empty.index(["The book. " * 100], ["long"], index_name="cut", max_document_length=32)
    found = empty.as_langchain_retriever(k=50).invoke("book")
    assert len(found) == len({document.id for document in found}) > 3
    assert all(document not in found[:i] for i, document in enumerate(found))


def test_scores_are_given_on_request(rag: RAGPretrainedModel) -> None:
    every = rag.as_langchain_retriever(k=5, with_scores=True)
    first, second = ({each.metadata["document_id"]: each for each in every.invoke(query)} for query in ("book", "Brot"))
    assert all(first[name].metadata["score"] != second[name].metadata["score"] for name in IDS)
    assert {name: each.id for name, each in first.items()} == {name: each.id for name, each in second.items()}
    assert [each.metadata["rank"] for each in every.invoke("book")] == [1, 2, 3, 4, 5]
    asked = every.batch(["Wo ist das Buch im Garten?", "図書館はどこですか"])
    assert [{each.metadata["query_language"] for each in documents} for documents in asked] == [{"de"}, {"ja"}]
    assert "query_language" not in every.invoke("book", with_scores=False)[0].metadata
    assert "score" not in every.invoke("book", with_scores=False)[0].metadata
    per_call = rag.as_langchain_retriever(k=5).batch(["book"], with_scores=True)[0]
    assert per_call == every.invoke("book")


def test_several_queries_find_a_document_once(rag: RAGPretrainedModel) -> None:
    classic = pytest.importorskip("langchain_classic.retrievers")
    asking = FakeListChatModel(responses=["Wo ist das Buch?\nOù est le livre ?"] * 2)
    reranked = classic.ContextualCompressionRetriever(
        base_compressor=rag.as_langchain_document_compressor(with_scores=False),
        base_retriever=rag.as_langchain_retriever(k=5),
    )
    for base in (rag.as_langchain_retriever(k=5), reranked):
        several = classic.MultiQueryRetriever.from_llm(base, asking, include_original=True)
        assert sorted(ids(several.invoke("Where is the book?"))) == sorted(IDS)
        assert sorted(ids(asyncio.run(several.ainvoke("Where is the book?")))) == sorted(IDS)
    outside = classic.ContextualCompressionRetriever(
        base_compressor=rag.as_langchain_document_compressor(k=2), base_retriever=several
    )
    assert len({found.metadata["relevance_score"] for found in outside.invoke("Where is the book?")}) == 2


@pytest.mark.parametrize("id_key", [None, "document_id"])
def test_an_ensemble_merges_what_its_retrievers_find(rag: RAGPretrainedModel, id_key: str | None) -> None:
    classic = pytest.importorskip("langchain_classic.retrievers")
    parts = [rag.as_langchain_retriever(k=3, language="de"), rag.as_langchain_retriever(k=3, language="fr")]
    ensemble = classic.EnsembleRetriever(retrievers=parts, weights=[0.5, 0.5], id_key=id_key)
    found = ensemble.invoke("Wo ist das Buch?")
    assert sorted(ids(found)) == sorted({each for part in parts for each in ids(part.invoke("Wo ist das Buch?"))})
    assert all(type(each) is Document for each in found)


@pytest.mark.skipif(version("langchain-core").startswith("1.0."), reason="langgraph-checkpoint 4.3 needs a newer one")
def test_langgraphs_checkpoints_keep_documents_without_a_warning(
    rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    serde = pytest.importorskip("langgraph.checkpoint.serde.jsonplus")
    store = RagatouilleXMVectorStore(rag, "first")
    retriever = rag.as_langchain_retriever(k=2)
    found = [
        *retriever.invoke("book"),
        *retriever.invoke("book", with_scores=True),
        *store.similarity_search("book", k=2),
        *store.max_marginal_relevance_search("book", k=2),
        *store.get_by_ids(["en"]),
        *rag.as_langchain_document_compressor(k=2).compress_documents(retriever.invoke("book"), "book"),
    ]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        for serializer in (serde.JsonPlusSerializer(), serde.JsonPlusSerializer(allowed_msgpack_modules=None)):
            again = serializer.loads_typed(serializer.dumps_typed({"documents": found}))
            assert again == {"documents": found}
            assert {type(each) for each in again["documents"]} == {type(each) for each in found} == {Document}
    assert not caplog.records


def test_a_document_is_stored_as_any_other(retriever: RagatouilleXMRetriever) -> None:
    (found, _) = retriever.invoke("book")
    (again,) = loads(dumps([found]))
    assert type(again) is Document
    assert again == found
    assert (again.id, again.metadata) == (found.id, found.metadata)
    assert pickle.loads(pickle.dumps(found)) == found
    assert found != "book"
