"""What is added to a `RagatouilleXMVectorStore`, replaced and deleted."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_ragatouille_xm import RagatouilleXMVectorStore
from reference.five import IDS, TEXTS

from ragatouille_xm import RAGPretrainedModel

from .conftest import DOCUMENTS


def test_deleting(store: RagatouilleXMVectorStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ragatouille_xm"):
        assert store.delete(["en", "absent"]) is True
        assert store.delete(["absent"]) is True
    assert "absent" not in caplog.text
    assert store.get_by_ids(IDS) == DOCUMENTS[1:]
    assert store.delete() is True
    assert store.similarity_search("book") == store.get_by_ids(IDS) == []
    store.add_documents(DOCUMENTS[:1])
    assert store.similarity_search("book") == DOCUMENTS[:1]


def test_deleting_all_keeps_the_settings_of_the_index(empty: RAGPretrainedModel) -> None:
    made = {"pooling": 2, "max_document_length": 48, "storage": "int4", "lexical": False}
    empty.index(["The book."], ["a"], index_name="pooled", **made)
    RagatouilleXMVectorStore(empty, "pooled").delete()
    opened = empty.catalog.get("pooled")
    meta = opened.index.meta
    assert len(opened.index) == 0
    assert made == {
        "pooling": opened.pooling, "max_document_length": opened.max_document_length,
        "storage": meta.storage, "lexical": meta.lexical,
    }  # fmt: skip


def test_an_index_in_a_server_is_emptied_there(empty: RAGPretrainedModel) -> None:
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    empty.index(["The book."], ["a"], index_name="far", index_url=client)
    RagatouilleXMVectorStore(empty, "far").delete()
    again = RAGPretrainedModel(empty.encoder, empty.catalog.root, verbose=0)
    assert not again.catalog.has("far")
    again.index(["The train."], ["b"], index_name="far", index_url=client, overwrite_index="reuse")
    assert len(again.catalog.get("far").index) == len(empty.catalog.get("far").index) == 0


def test_langchains_indexing_with_a_record_manager(empty: RAGPretrainedModel) -> None:
    store, records = RagatouilleXMVectorStore(empty, "indexed"), InMemoryRecordManager("test")
    records.create_schema()
    documents = [Document(page_content=each.page_content, metadata=each.metadata) for each in DOCUMENTS]
    options = {"record_manager": records, "vector_store": store, "source_id_key": "source", "key_encoder": "sha256"}
    first = index(documents, cleanup="full", **options)  # type: ignore[arg-type]
    assert (first["num_added"], first["num_skipped"], first["num_deleted"]) == (5, 0, 0)
    changed = [*documents[:3], Document(page_content="Neues Brot.", metadata={"source": "de.txt"})]
    second = index(changed, cleanup="full", batch_size=2, **options)  # type: ignore[arg-type]
    assert (second["num_added"], second["num_skipped"], second["num_deleted"]) == (1, 3, 2)
    found = {document.page_content for document in store.similarity_search("book", k=50)}
    assert found == {document.page_content for document in changed}


class Changes(RuleBasedStateMachine):
    """Adding, replacing and deleting, against a dictionary."""

    store: RagatouilleXMVectorStore
    names = st.sampled_from(["a", "b", "c", "d"])

    def __init__(self) -> None:
        super().__init__()
        self.store.delete()
        self.expected: dict[str, Document] = {}

    @rule(chosen=st.lists(names, unique=True), text=st.sampled_from(TEXTS), year=st.integers(0, 3))
    def add(self, chosen: list[str], text: str, year: int) -> None:
        documents = [Document(id=name, page_content=f"{name} {text}", metadata={"year": year}) for name in chosen]
        assert self.store.add_documents(documents) == chosen
        self.expected.update(zip(chosen, documents, strict=True))

    @rule(chosen=st.lists(names))
    def delete(self, chosen: list[str]) -> None:
        self.store.delete(chosen)
        self.expected = {name: document for name, document in self.expected.items() if name not in chosen}

    @invariant()
    def all_and_only_these_are_found(self) -> None:
        found = {document.id: document for document in self.store.similarity_search("book", k=10)}
        assert found == self.expected
        assert {document.id: document for document in self.store.get_by_ids(["a", "b", "c", "d"])} == self.expected
        recent = self.store.similarity_search("book", k=10, filter={"year": {"$gte": 2}})
        assert {document.id for document in recent} == {
            name for name, document in self.expected.items() if document.metadata["year"] >= 2
        }


def test_any_sequence_of_changes(empty: RAGPretrainedModel) -> None:
    Changes.store = RagatouilleXMVectorStore(empty, "changes")
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Changes,
        settings=settings(
            max_examples=6, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
