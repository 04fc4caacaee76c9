"""The index, persisted and loaded."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

import pytest
from llama_index.core import Document, StorageContext
from llama_index.core.schema import TextNode
from llama_index.retrievers.ragatouille_xm import RagatouilleXMIndex

from ragatouille_xm import RAGPretrainedModel

from .conftest import DOCUMENTS, IDS, TEXTS, found, texts


def test_persist_and_load(index: RagatouilleXMIndex, empty: RAGPretrainedModel, tmp_path: Path) -> None:
    index.storage_context.persist(str(tmp_path / "storage"))
    before = index.as_retriever().retrieve("book")

    fresh = RAGPretrainedModel(empty.encoder, tmp_path / "root", verbose=0)
    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "storage"))
    again = RagatouilleXMIndex.load(context, model=fresh, index_name="news")
    assert again.index_id == "news"
    assert again.as_retriever().retrieve("book") == before
    assert again.ref_doc_info == index.ref_doc_info
    assert again.refresh_ref_docs([*DOCUMENTS, Document(text="New bread.", id_="new")]) == [False] * 5 + [True]
    again.delete_ref_doc("en", delete_from_docstore=True)
    again.storage_context.persist(str(tmp_path / "storage"))

    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "storage"))
    third = RagatouilleXMIndex.load(context, model=fresh, index_name="news")
    assert set(third.ref_doc_info) == {"fr", "zh", "de", "ja", "new"}
    assert set(texts(third)) == {"fr", "zh", "de", "ja", "new"}


def test_two_indexes_in_one_storage(index: RagatouilleXMIndex, empty: RAGPretrainedModel, tmp_path: Path) -> None:
    RagatouilleXMIndex(
        [TextNode(text="Bread.", id_="b")], model=empty, index_name="other", storage_context=index.storage_context
    )
    index.storage_context.persist(str(tmp_path / "storage"))
    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "storage"))
    assert len(RagatouilleXMIndex.load(context, model=empty, index_name="news").as_retriever().retrieve("book")) == 5
    other = RagatouilleXMIndex.load(context, model=empty, index_name="other")
    assert [node.node_id for node in other.as_retriever().retrieve("book")] == ["b"]


def test_what_is_not_there_cannot_be_loaded(index: RagatouilleXMIndex, empty: RAGPretrainedModel) -> None:
    with pytest.raises(ValueError, match=r"The storage has no index 'llama_index'; it has \['news'\]"):
        RagatouilleXMIndex.load(index.storage_context, model=empty)
    empty.close()
    shutil.rmtree(empty.catalog.path("news"))
    with pytest.raises(ValueError, match="indexes.*news"):
        RagatouilleXMIndex.load(index.storage_context, model=empty, index_name="news")


def test_nodes_that_were_not_persisted_are_passed_over(
    index: RagatouilleXMIndex, empty: RAGPretrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index.storage_context.persist(str(tmp_path / "storage"))
    index.insert_nodes([TextNode(text=f"The book {i}.", id_=f"lost{i}") for i in range(20)])
    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "storage"))
    again = RagatouilleXMIndex.load(context, model=empty, index_name="news")
    caplog.set_level(logging.WARNING)
    assert sorted(found(again, "The book 3.", similarity_top_k=5)) == sorted(IDS)
    assert "20 nodes of the index are not in the document store" in caplog.text


@pytest.mark.parametrize("use_async", [False, True])
def test_refreshing_brings_back_what_was_deleted_and_not_persisted(
    index: RagatouilleXMIndex,
    empty: RAGPretrainedModel,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    use_async: bool,
) -> None:
    index.storage_context.persist(str(tmp_path / "storage"))
    index.delete_ref_doc("en", delete_from_docstore=True)
    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "storage"))
    with caplog.at_level(logging.WARNING):
        again = RagatouilleXMIndex.load(context, model=empty, index_name="news")
    assert "1 nodes were deleted since the index was persisted" in caplog.text
    assert context.docstore.get_document_hash("en") == DOCUMENTS[0].hash
    assert set(again.ref_doc_info) == set(IDS) - {"en"}
    assert "en" not in found(again, "book")

    def refresh() -> list[bool]:
        return asyncio.run(again.arefresh_ref_docs(DOCUMENTS)) if use_async else again.refresh_ref_docs(DOCUMENTS)

    assert refresh() == [True] + [False] * 4
    assert found(again, TEXTS[0], similarity_top_k=1) == ["en"]
    assert len(found(again, "book")) == 5
    assert refresh() == [False] * 5
    again.storage_context.persist(str(tmp_path / "storage"))
    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "storage"))
    third = RagatouilleXMIndex.load(context, model=empty, index_name="news")
    assert third.refresh_ref_docs(DOCUMENTS) == [False] * 5
    assert set(third.ref_doc_info) == set(IDS)


def test_refreshing_brings_back_what_was_deleted_from_the_index_alone(index: RagatouilleXMIndex) -> None:
    index.delete_ref_doc("fr")
    index.model.delete_from_index([node.node_id for node in index.docstore.docs.values() if node.ref_doc_id == "zh"])
    documents = [*DOCUMENTS, Document(text="", id_="empty")]
    assert index.refresh_ref_docs(documents) == [False, True, True, False, False, True]
    assert index.refresh_ref_docs(documents) == [False] * 6
    assert found(index, TEXTS[1], similarity_top_k=1) == ["fr"]
    assert len(found(index, "book")) == 5
