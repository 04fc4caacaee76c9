from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_ragatouille_xm import RagatouilleXMRetriever, RagatouilleXMVectorStore
from reference.five import IDS, METADATAS, TEXTS
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel

DOCUMENTS = [
    Document(id=name, page_content=text, metadata=metadata)
    for name, text, metadata in zip(IDS, TEXTS, METADATAS, strict=True)
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
def retriever(rag: RAGPretrainedModel) -> RagatouilleXMRetriever:
    made: RagatouilleXMRetriever = rag.as_langchain_retriever(k=2)
    return made


@pytest.fixture
def store(empty: RAGPretrainedModel) -> RagatouilleXMVectorStore:
    made = RagatouilleXMVectorStore(empty, "store")
    made.add_documents(DOCUMENTS)
    return made


def ids(documents: list[Document]) -> list[str]:
    return [document.metadata["document_id"] for document in documents]
