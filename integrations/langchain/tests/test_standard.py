"""LangChain's own suites, unmodified."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_ragatouille_xm import RagatouilleXMRetriever, RagatouilleXMVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests
from reference.five import IDS, METADATAS, TEXTS

from ragatouille_xm import RAGPretrainedModel


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _model(self, empty: RAGPretrainedModel) -> None:
        empty.index(TEXTS, IDS, METADATAS, index_name="first")
        self.model = empty

    @property
    def retriever_constructor(self) -> type[RagatouilleXMRetriever]:
        return RagatouilleXMRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        return {"model": self.model}

    @property
    def retriever_query_example(self) -> str:
        return "Where is the book?"


@pytest.fixture(scope="module")
def demo() -> RAGPretrainedModel:
    return RAGPretrainedModel.from_pretrained("demo", verbose=0, device="cpu")


class TestVectorStore(VectorStoreIntegrationTests):
    """On the demo checkpoint: the suite expects a ranking that random weights do not give."""

    @pytest.fixture
    def vectorstore(self, demo: RAGPretrainedModel, tmp_path: Path) -> VectorStore:
        return RagatouilleXMVectorStore(RAGPretrainedModel(demo.encoder, tmp_path, verbose=0))
