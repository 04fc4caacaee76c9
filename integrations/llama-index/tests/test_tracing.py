"""OpenTelemetry spans, as openinference makes them, carry the documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore
from llama_index.retrievers.ragatouille_xm import RagatouilleXMRerank, RagatouilleXMRetriever

from ragatouille_xm import RAGPretrainedModel

from .conftest import TEXTS

openinference = pytest.importorskip("openinference.instrumentation.llama_index")


@pytest.fixture
def exporter() -> Iterator[Any]:
    from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    instrumentor = openinference.LlamaIndexInstrumentor()
    if conflict := get_dependency_conflicts(instrumentor.instrumentation_dependencies()):
        pytest.skip(f"openinference does not support this llama-index-core: {conflict}")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


def spans(exporter: Any, kind: str) -> list[dict[str, Any]]:
    attributes = [dict(span.attributes) for span in exporter.get_finished_spans()]
    return [each for each in attributes if each["openinference.span.kind"] == kind]


def assert_carries(span: dict[str, Any], prefix: str, nodes: list[NodeWithScore]) -> None:
    for i, node in enumerate(nodes):
        document = f"{prefix}.{i}.document"
        assert span[f"{document}.id"] == node.node_id
        assert span[f"{document}.content"] == node.text
        assert span[f"{document}.score"] == pytest.approx(node.score)
        assert json.loads(span[f"{document}.metadata"]) == node.metadata


def test_spans_of_retrieval(rag: RAGPretrainedModel, exporter: Any) -> None:
    retriever = RagatouilleXMRetriever(rag, similarity_top_k=3)
    nodes = retriever.retrieve(TEXTS[2])
    asyncio.run(retriever.aretrieve(TEXTS[2]))
    carrying = [span for span in spans(exporter, "RETRIEVER") if "retrieval.documents.0.document.id" in span]
    assert len(carrying) == 2
    for span in carrying:
        assert span["input.value"] == TEXTS[2]
        assert_carries(span, "retrieval.documents", nodes)


@pytest.mark.parametrize("use_async", [False, True])
def test_spans_of_a_query_with_reranking(rag: RAGPretrainedModel, exporter: Any, use_async: bool) -> None:
    rerank = RagatouilleXMRerank(model=rag, top_n=2)
    engine = RetrieverQueryEngine.from_args(RagatouilleXMRetriever(rag), llm=MockLLM(), node_postprocessors=[rerank])
    response = asyncio.run(engine.aquery(TEXTS[2])) if use_async else engine.query(TEXTS[2])
    (span,) = [span for span in spans(exporter, "RERANKER") if "reranker.query" in span]
    assert (span["reranker.query"], span["reranker.top_k"]) == (TEXTS[2], 2)
    assert span["reranker.model_name"] == rag.encoder.checkpoint.name
    assert "reranker.input_documents.4.document.content" in span
    assert_carries(span, "reranker.output_documents", response.source_nodes)
    made = exporter.get_finished_spans()
    assert len({each.context.trace_id for each in made}) == 1  # one trace, threads or not
