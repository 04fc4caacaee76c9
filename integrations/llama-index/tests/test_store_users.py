"""What LlamaIndex builds on vector stores: pipelines, indexes, retrievers that ask a language model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata, MockLLM
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.retrievers import VectorIndexAutoRetriever
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import MetadataInfo, VectorStoreInfo
from llama_index.retrievers.ragatouille_xm import RagatouilleXMVectorStore

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError

from .conftest import DOCUMENTS, EMBEDDING, IDS, NODES, TEXTS, long_document, only


@pytest.mark.parametrize("use_async", [False, True])
def test_an_ingestion_pipeline_with_upserts(empty: RAGPretrainedModel, use_async: bool) -> None:
    store = RagatouilleXMVectorStore(model=empty)
    pipeline = IngestionPipeline(
        transformations=[TokenTextSplitter(chunk_size=64, chunk_overlap=0), EMBEDDING],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )

    def run(documents: list[Document]) -> int:
        return len(asyncio.run(pipeline.arun(documents=documents)) if use_async else pipeline.run(documents=documents))

    def held() -> dict[str | None, str]:
        return {node.ref_doc_id: node.text for node in store.get_nodes()}

    assert run(DOCUMENTS) == 5
    assert held() == dict(zip(IDS, TEXTS, strict=True))
    assert all(node.embedding is None for node in store.get_nodes())
    assert run(DOCUMENTS) == 0
    assert run([*DOCUMENTS[:4], Document(text="The new bread.", id_="ja")]) == 1
    assert held() == dict(zip(IDS, TEXTS, strict=True)) | {"ja": "The new bread."}
    assert len(store.get_nodes()) == 5
    assert run([long_document("en", 30)]) > 3
    assert run([DOCUMENTS[0]]) == 1
    assert len(store.get_nodes()) == 5
    pipeline.docstore_strategy = DocstoreStrategy.UPSERTS_AND_DELETE
    assert run(DOCUMENTS[:2]) == 0
    assert set(held()) == {"en", "fr"}


def test_a_pipeline_gives_a_store_only_what_has_an_embedding(empty: RAGPretrainedModel) -> None:
    """LlamaIndex leaves out the others without a word; the README says what to use."""
    store = RagatouilleXMVectorStore(model=empty)
    pipeline = IngestionPipeline(transformations=[TokenTextSplitter()], vector_store=store)
    assert len(pipeline.run(documents=DOCUMENTS)) == 5
    assert store.get_nodes() == []
    pipeline.transformations.append(EMBEDDING)
    pipeline.run(documents=DOCUMENTS)
    assert len(store.get_nodes()) == 5


def test_a_vector_store_index(store: RagatouilleXMVectorStore) -> None:
    index = VectorStoreIndex.from_vector_store(store, embed_model=EMBEDDING)
    found = index.as_retriever(similarity_top_k=2, filters=only("year", 2019)).retrieve("book")
    assert [node.node for node in found] == [NODES[1]]
    assert SimilarityPostprocessor(similarity_cutoff=1.01).postprocess_nodes(found) == []
    both = index.as_retriever(similarity_top_k=2, vector_store_kwargs={"language": "en", "exact": True})
    assert asyncio.run(both.aretrieve(TEXTS[0])) == both.retrieve(TEXTS[0])
    assert both.retrieve(TEXTS[0])[0].node == NODES[0]
    with pytest.raises(InputError, match="The mode 'mmr' is not offered"):
        index.as_retriever(vector_store_query_mode="mmr").retrieve("book")

    index.insert(Document(text="El libro está en el río.", id_="es"))
    assert "es" in [node.node.ref_doc_id for node in index.as_retriever(similarity_top_k=9).retrieve("libro")]
    assert index.refresh_ref_docs([Document(text="El libro no está.", id_="es")]) == [True]
    assert [node.text for node in store.get_nodes(filters={"ref_doc_id": "es"})] == ["El libro no está."]
    index.delete_ref_doc("es")
    index.delete_nodes(["en"])
    assert store.get_nodes() == NODES[1:]
    answer = index.as_query_engine(llm=MockLLM(), similarity_top_k=1).query(TEXTS[3])
    assert [node.node_id for node in answer.source_nodes] == ["de"]


@pytest.mark.parametrize("use_async", [False, True])
def test_an_index_built_from_documents(empty: RAGPretrainedModel, use_async: bool) -> None:
    store = RagatouilleXMVectorStore(model=empty)
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(
        DOCUMENTS, storage_context=context, embed_model=EMBEDDING, use_async=use_async
    )
    assert {node.ref_doc_id for node in store.get_nodes()} == set(IDS)
    for text, each in zip(TEXTS, IDS, strict=True):
        assert index.as_retriever(similarity_top_k=1).retrieve(text)[0].node.ref_doc_id == each


class Asking(CustomLLM):
    """Writes the query that an LLM would."""

    spec: dict[str, Any]

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=f"```json\n{json.dumps(self.spec)}\n```")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield self.complete(prompt)


@pytest.mark.parametrize(
    ("filters", "top_k", "expected"),
    [
        ([], None, ["de", "en", "fr", "ja", "zh"]),
        ([{"key": "year", "value": 2021, "operator": ">="}], None, ["de", "ja"]),
        ([{"key": "year", "value": [2018, 2020], "operator": "in"}], None, ["en", "zh"]),
        ([{"key": "passage.language", "value": "fr", "operator": "=="}], 1, ["fr"]),
        ([{"key": "language", "value": "fr", "operator": "=="}], None, []),
    ],
)
def test_an_auto_retriever(
    store: RagatouilleXMVectorStore, filters: list[dict[str, Any]], top_k: int | None, expected: list[str]
) -> None:
    names = {"year": "int", "language": "str", "passage.language": "str"}
    retriever = VectorIndexAutoRetriever(
        VectorStoreIndex.from_vector_store(store, embed_model=EMBEDDING),
        vector_store_info=VectorStoreInfo(
            content_info="Texts",
            metadata_info=[MetadataInfo(name=name, type=kind, description=name) for name, kind in names.items()],
        ),
        llm=Asking(spec={"query": "book", "filters": filters, "top_k": top_k}),
        similarity_top_k=10,
    )
    assert sorted(node.node_id for node in retriever.retrieve("Which books?")) == expected
    assert sorted(node.node_id for node in asyncio.run(retriever.aretrieve("Which books?"))) == expected
