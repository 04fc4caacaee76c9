from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding
from llama_index.core.bridge.pydantic import Field
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.retrievers.ragatouille_xm import RagatouilleXMIndex, RagatouilleXMVectorStore
from reference.five import IDS, TEXTS
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel

METADATAS = [{"year": 2018 + i, "file_name": f"{IDS[i]}.txt"} for i in range(5)]
DOCUMENTS = [
    Document(text=text, id_=each, metadata=metadata) for text, each, metadata in zip(TEXTS, IDS, METADATAS, strict=True)
]
EMBEDDING = MockEmbedding(embed_dim=1)
NODES = [
    TextNode(
        id_=each,
        text=text,
        metadata=metadata,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{each}", metadata=metadata)},
    )
    for each, text, metadata in zip(IDS, TEXTS, METADATAS, strict=True)
]


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> RAGPretrainedModel:
    folder: Path = build_tiny_xmod(tmp_path_factory.mktemp("tiny"))
    return RAGPretrainedModel.from_pretrained(folder, verbose=0, device="cpu")


@pytest.fixture
def empty(loaded: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    """Return a model without an index; the weights are shared between tests."""
    return RAGPretrainedModel(loaded.encoder, tmp_path / "root", verbose=0)


@pytest.fixture
def rag(empty: RAGPretrainedModel) -> RAGPretrainedModel:
    empty.index(TEXTS, IDS, METADATAS, index_name="first")
    return empty


@pytest.fixture
def index(empty: RAGPretrainedModel) -> RagatouilleXMIndex:
    return RagatouilleXMIndex.from_documents(DOCUMENTS, model=empty, index_name="news")


def found(index: RagatouilleXMIndex, query: str, **options: Any) -> list[str]:
    return [node.node.ref_doc_id for node in index.as_retriever(**options).retrieve(query)]


def in_folder(index: RagatouilleXMIndex) -> set[str]:
    """Return the node ids that the index folder has."""
    results = index.model.search("book", index_name=index.index_id, k=10_000)
    return {result["document_id"] for result in results}


def long_document(name: str, n: int) -> Document:
    sentences = (
        f"The {name} library number {i} opens in the morning, and the train is in the garden." for i in range(n)
    )
    return Document(text=" ".join(sentences), id_=name)


def texts(index: RagatouilleXMIndex) -> dict[str, str]:
    """Return the text of every document that the index finds."""
    return {node.node.ref_doc_id: node.text for node in index.as_retriever(similarity_top_k=100).retrieve("book")}


def only(key: str, value: Any, operator: Any = "==") -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


@pytest.fixture
def store(empty: RAGPretrainedModel) -> RagatouilleXMVectorStore:
    """Return a store that has `NODES`."""
    made = RagatouilleXMVectorStore(model=empty, index_name="store")
    assert made.add(NODES) == IDS
    return made


class Recorder(BaseEventHandler):
    events: list[Any] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Return what records the events of LlamaIndex's instrumentation."""
    handler, dispatcher = Recorder(), get_dispatcher()
    dispatcher.add_event_handler(handler)
    yield handler
    dispatcher.event_handlers.remove(handler)
