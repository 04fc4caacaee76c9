"""A document that the retriever finds is the same document whatever the query was."""

from __future__ import annotations

import asyncio
import pickle
from uuid import UUID

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_ragatouille_xm import RagatouilleXMRetriever
from reference.five import IDS

from ragatouille_xm import RAGPretrainedModel

from .conftest import ids


def test_a_document_is_the_same_for_every_query(rag: RAGPretrainedModel) -> None:
    every = rag.as_langchain_retriever(k=5)
    first, second = ({each.metadata["document_id"]: each for each in every.invoke(query)} for query in ("book", "Brot"))
    assert first == second
    assert {name: each.id for name, each in first.items()} == {name: each.id for name, each in second.items()}
    assert all(first[name].metadata["score"] != second[name].metadata["score"] for name in IDS)
    assert len({each.id for each in first.values()}) == 5
    assert all(str(UUID(each.id)) == each.id for each in first.values())
    assert first["en"] != first["fr"]
    assert first["en"] != first["en"].model_copy(update={"metadata": {**first["en"].metadata, "year": 1900}})


def test_passages_of_one_document_are_documents_of_their_own(empty: RAGPretrainedModel) -> None:
    empty.index(["The book. " * 100], ["long"], index_name="cut", max_document_length=32)
    found = empty.as_langchain_retriever(k=50).invoke("book")
    assert len(found) == len({document.id for document in found}) > 3
    assert all(document not in found[:i] for i, document in enumerate(found))


def test_several_queries_find_a_document_once(rag: RAGPretrainedModel) -> None:
    classic = pytest.importorskip("langchain_classic.retrievers")
    asking = FakeListChatModel(responses=["Wo ist das Buch?\nOù est le livre ?"] * 2)
    reranked = classic.ContextualCompressionRetriever(
        base_compressor=rag.as_langchain_document_compressor(), base_retriever=rag.as_langchain_retriever(k=5)
    )
    for base in (rag.as_langchain_retriever(k=5), reranked):
        several = classic.MultiQueryRetriever.from_llm(base, asking, include_original=True)
        assert sorted(ids(several.invoke("Where is the book?"))) == sorted(IDS)
        assert sorted(ids(asyncio.run(several.ainvoke("Where is the book?")))) == sorted(IDS)


def test_a_document_is_stored_as_any_other(retriever: RagatouilleXMRetriever) -> None:
    (found, _) = retriever.invoke("book")
    (again,) = loads(dumps([found]))
    assert type(again) is Document
    assert again == found
    assert (again.id, again.metadata) == (found.id, found.metadata)
    assert pickle.loads(pickle.dumps(found)) == found
    assert found != "book"
