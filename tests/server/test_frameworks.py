"""Retrievers of frameworks, over a service instead of a model; and clients of others, for reranking."""

from __future__ import annotations

import pytest
from langchain_ragatouille_xm import RagatouilleXMRetriever as LangChainRetriever
from llama_index.retrievers.ragatouille_xm import RagatouilleXMRetriever as LlamaIndexRetriever
from server.conftest import Listen

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.client import RAGClient

DOCUMENTS = ["Der Bahnhof ist am Markt.", "Das Museum zeigt alte Karten.", "Die Bibliothek ist offen."]


def test_langchain(listen: Listen, rag: RAGPretrainedModel):
    with RAGClient(listen()) as client:
        options = {"k": 2, "filter": {"year": {"$lte": 2021}}, "explain": True}
        over_service = LangChainRetriever(model=client, **options)
        over_model = LangChainRetriever(model=rag, **options)
        assert over_service.index_name == "town"
        found, expected = (retriever.batch(["gare", "Bibliothek"]) for retriever in (over_service, over_model))
    for one, other in zip(found, expected, strict=True):
        assert [(d.id, d.page_content) for d in one] == [(d.id, d.page_content) for d in other]
        assert [d.metadata["evidence"]["highlights"] for d in one] == [
            d.metadata["evidence"]["highlights"] for d in other
        ]


async def test_llama_index(listen: Listen, rag: RAGPretrainedModel):
    with RAGClient(listen()) as client:
        over_service, over_model = (LlamaIndexRetriever(model, similarity_top_k=2) for model in (client, rag))
        found, expected = over_service.retrieve("gare"), over_model.retrieve("gare")
        assert [node.node_id for node in await over_service.aretrieve("gare")] == [node.node_id for node in expected]
    assert [(node.node_id, node.text) for node in found] == [(node.node_id, node.text) for node in expected]
    assert [node.score for node in found] == pytest.approx([node.score for node in expected], abs=1e-4)


@pytest.fixture
def best(rag: RAGPretrainedModel) -> list[int]:
    """Return the positions of the documents, best first."""
    return [result["result_index"] for result in rag.rerank("Bahnhof", DOCUMENTS, k=3)]


def test_coheres_client(listen: Listen, best: list[int]):
    cohere = pytest.importorskip("cohere", reason="too heavy for every run")
    url = listen(read_keys=("secret",))
    client = cohere.ClientV2("secret", base_url=url)
    answer = client.rerank(model="any", query="Bahnhof", documents=DOCUMENTS, top_n=2)
    assert [result.index for result in answer.results] == best[:2]


def test_langchains_cohere_reranker(listen: Listen, best: list[int]):
    langchain_cohere = pytest.importorskip("langchain_cohere", reason="too heavy for every run")
    from langchain_core.documents import Document

    reranker = langchain_cohere.CohereRerank(cohere_api_key="x", base_url=listen(), model="any", top_n=3)
    found = reranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], "Bahnhof")
    assert [document.page_content for document in found] == [DOCUMENTS[i] for i in best]


def test_llama_indexs_tei_reranker(listen: Listen, best: list[int]):
    tei = pytest.importorskip(
        "llama_index.postprocessor.tei_rerank", reason="LlamaIndex's TEI reranker is not installed"
    )
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    reranker = tei.TextEmbeddingInference(base_url=listen(), top_n=3, model_name="any")
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in DOCUMENTS]
    found = reranker.postprocess_nodes(nodes, QueryBundle("Bahnhof"))
    assert [node.text for node in found] == [DOCUMENTS[i] for i in best]


def test_llama_indexs_jina_reranker(listen: Listen, best: list[int]):
    jina = pytest.importorskip(
        "llama_index.postprocessor.jinaai_rerank", reason="LlamaIndex's Jina reranker is not installed"
    )
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    reranker = jina.JinaRerank(base_url=f"{listen()}/v1", api_key="x", top_n=3)
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in DOCUMENTS]
    found = reranker.postprocess_nodes(nodes, QueryBundle("Bahnhof"))
    assert [node.text for node in found] == [DOCUMENTS[i] for i in best]


@pytest.mark.parametrize("provider", ["cohere", "jina_ai"])
def test_litellm(listen: Listen, best: list[int], provider: str):
    litellm = pytest.importorskip("litellm", reason="too heavy for every run")
    answer = litellm.rerank(
        model=f"{provider}/any",
        query="Bahnhof",
        documents=DOCUMENTS,
        top_n=3,
        api_base=f"{listen()}/v1/rerank",
        api_key="x",
    )
    assert [result["index"] for result in answer.results] == best
