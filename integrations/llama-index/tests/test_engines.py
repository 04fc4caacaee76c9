"""LlamaIndex's own engines over the retriever, the reranker and the index, with its mock of an LLM, which echoes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core import Document
from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
)
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine, TransformQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever, RouterRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import QueryEngineTool, RetrieverTool, ToolMetadata
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.retrievers.ragatouille_xm import RagatouilleXMIndex, RagatouilleXMRerank, RagatouilleXMRetriever

from ragatouille_xm import RAGPretrainedModel

from .conftest import IDS, METADATAS, TEXTS


@pytest.fixture
def retriever(rag: RAGPretrainedModel) -> RagatouilleXMRetriever:
    return RagatouilleXMRetriever(rag, similarity_top_k=2)


@pytest.fixture
def index(empty: RAGPretrainedModel) -> RagatouilleXMIndex:
    documents = [Document(text=t, id_=i, metadata=m) for t, i, m in zip(TEXTS, IDS, METADATAS, strict=True)]
    return RagatouilleXMIndex.from_documents(documents, model=empty)


def documents(nodes: list[NodeWithScore]) -> list[str | None]:
    return [node.node.ref_doc_id for node in nodes]


def test_a_query_engine_gives_the_llm_the_passages(retriever: RagatouilleXMRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    for response in (engine.query(TEXTS[1]), asyncio.run(engine.aquery(TEXTS[1]))):
        assert documents(response.source_nodes)[0] == "fr"
        assert len(response.source_nodes) == 2
        assert TEXTS[1] in str(response)
        assert "file_name: fr.txt" in str(response)
        assert "passage_id" not in str(response)


def test_a_query_engine_streams(retriever: RagatouilleXMRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), streaming=True)
    response = engine.query(TEXTS[2])
    tokens = list(response.response_gen)
    assert len(tokens) > 10
    assert TEXTS[2] in "".join(tokens)
    assert documents(response.source_nodes)[0] == "zh"

    async def stream() -> str:
        response = await engine.aquery(TEXTS[2])
        return "".join([token async for token in response.async_response_gen()])

    assert TEXTS[2] in asyncio.run(stream())


def test_a_query_engine_reranks(rag: RAGPretrainedModel) -> None:
    rerank = RagatouilleXMRerank(model=rag, top_n=1)
    engine = RetrieverQueryEngine.from_args(RagatouilleXMRetriever(rag), llm=MockLLM(), node_postprocessors=[rerank])
    assert documents(engine.query(TEXTS[3]).source_nodes) == ["de"]
    assert documents(asyncio.run(engine.aquery(TEXTS[3])).source_nodes) == ["de"]


def test_a_query_transform(retriever: RagatouilleXMRetriever) -> None:
    class Instead(BaseQueryTransform):
        def _get_prompts(self) -> dict[str, Any]:
            return {}

        def _update_prompts(self, prompts: Any) -> None: ...

        def _run(self, query_bundle: QueryBundle, metadata: dict[str, Any]) -> QueryBundle:
            return QueryBundle(query_bundle.query_str, custom_embedding_strs=[TEXTS[4]])

    engine = TransformQueryEngine(RetrieverQueryEngine.from_args(retriever, llm=MockLLM()), Instead())
    assert documents(engine.query("What is it like in Tokyo?").source_nodes)[0] == "ja"


@pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "dist_based_score", "simple"])
@pytest.mark.parametrize("use_async", [False, True])
def test_fusion_of_two_retrievers_and_several_queries(rag: RAGPretrainedModel, mode: str, use_async: bool) -> None:
    fusion = QueryFusionRetriever(
        [RagatouilleXMRetriever(rag, doc_ids=["en", "fr", "zh"]), RagatouilleXMRetriever(rag, doc_ids=["zh", "de"])],
        llm=MockLLM(),
        mode=mode,
        num_queries=3,
        similarity_top_k=10,
        use_async=use_async,
    )
    nodes = fusion.retrieve(TEXTS[0])
    assert sorted(documents(nodes)) == ["de", "en", "fr", "zh"]  # each once, whatever query or retriever found it
    assert sorted(documents(asyncio.run(fusion.aretrieve(TEXTS[0])))) == ["de", "en", "fr", "zh"]


class FirstMentioned(BaseSelector):
    """Chooses the tool whose description is in the query."""

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        place = next(i for i, choice in enumerate(choices) if choice.description in query.query_str)
        return SelectorResult(selections=[SingleSelection(index=place, reason="mentioned")])

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        return self._select(choices, query)


def test_routers_choose_among_retrievers_and_engines(rag: RAGPretrainedModel) -> None:
    by_year = {
        year: RagatouilleXMRetriever(rag, filters=MetadataFilters(filters=[MetadataFilter(key="year", value=year)]))
        for year in (2019, 2021)
    }
    tools = [RetrieverTool.from_defaults(each, description=str(year)) for year, each in by_year.items()]
    router = RouterRetriever(FirstMentioned(), tools, llm=MockLLM())
    assert documents(router.retrieve("a book of 2021")) == ["de"]
    assert documents(asyncio.run(router.aretrieve("a book of 2019"))) == ["fr"]

    engines = [
        QueryEngineTool.from_defaults(RetrieverQueryEngine.from_args(each, llm=MockLLM()), description=str(year))
        for year, each in by_year.items()
    ]
    engine = RouterQueryEngine(FirstMentioned(), engines, llm=MockLLM())
    assert documents(engine.query("a book of 2021").source_nodes) == ["de"]
    assert documents(asyncio.run(engine.aquery("a book of 2019")).source_nodes) == ["fr"]


def test_chat_engines_over_the_retriever(retriever: RagatouilleXMRetriever) -> None:
    query_engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    for engine in (
        ContextChatEngine.from_defaults(retriever=retriever, llm=MockLLM()),
        CondensePlusContextChatEngine.from_defaults(retriever=retriever, llm=MockLLM()),
        CondenseQuestionChatEngine.from_defaults(query_engine=query_engine, llm=MockLLM()),
    ):
        response = engine.chat(TEXTS[1])
        assert documents(response.source_nodes)[0] == "fr"
        assert TEXTS[1] in str(response)
        assert len(engine.chat("And then?").source_nodes) == 2
        engine.reset()
        streamed = engine.stream_chat(TEXTS[1])
        assert TEXTS[1] in "".join(streamed.response_gen)
        assert documents(streamed.source_nodes)[0] == "fr"
        engine.reset()
        assert documents(asyncio.run(engine.achat(TEXTS[1])).source_nodes)[0] == "fr"


def test_the_index_as_query_engine(index: RagatouilleXMIndex) -> None:
    late = MetadataFilters(filters=[MetadataFilter(key="year", value=2021, operator=">=")])
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=1, filters=late, response_mode="compact")
    assert documents(engine.query(TEXTS[3]).source_nodes) == ["de"]
    streaming = index.as_query_engine(llm=MockLLM(), similarity_top_k=1, streaming=True)
    assert TEXTS[0] in "".join(streaming.query(TEXTS[0]).response_gen)


@pytest.mark.parametrize("mode", ["context", "condense_question", "condense_plus_context", "best"])
def test_the_index_as_chat_engine(index: RagatouilleXMIndex, mode: str) -> None:
    engine = index.as_chat_engine(chat_mode=mode, llm=MockLLM(), similarity_top_k=1, filters={"year": {"$gte": 2019}})
    assert documents(engine.chat(TEXTS[1]).source_nodes) == ["fr"]
