"""The reranker: order, fields, events, async, bad input."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from threading import get_ident
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.retrievers.ragatouille_xm import RagatouilleXMRerank

from ragatouille_xm import RAGPretrainedModel

from .conftest import IDS, TEXTS


@pytest.fixture
def nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(text=text, id_=each, metadata={"file": f"{each}.txt"}), score=0.5)
        for text, each in zip(TEXTS, IDS, strict=True)
    ]


def test_the_best_come_first_and_what_was_given_stays_as_it_is(
    loaded: RAGPretrainedModel, nodes: list[NodeWithScore]
) -> None:
    rerank = RagatouilleXMRerank(model=loaded, top_n=3)
    for text, each in zip(TEXTS, IDS, strict=True):
        best = rerank.postprocess_nodes(nodes, query_str=text)
        assert (len(best), best[0].node_id) == (3, each)
        assert [node.score for node in best] == sorted((node.score for node in best), reverse=True)
        assert all(type(node.score) is float for node in best)
        assert best[0].node is nodes[IDS.index(each)].node
    assert [node.score for node in nodes] == [0.5] * 5


def test_scores_are_those_of_the_model(loaded: RAGPretrainedModel, nodes: list[NodeWithScore]) -> None:
    def scores(query: str, **options: Any) -> list[float]:
        return [
            node.score for node in RagatouilleXMRerank(model=loaded, **options).postprocess_nodes(nodes, None, query)
        ]

    def expected(query: str, texts: list[str], **options: Any) -> list[float]:
        return pytest.approx([each["relevance"] for each in loaded.rerank(query, texts, k=5, **options)], abs=1e-5)

    assert scores("book") == expected("book", TEXTS)
    assert scores("book", language="ja") == expected("book", TEXTS, language="ja")
    assert scores("book", document_language="ja") == expected("book", TEXTS, languages="ja")
    shown = [f"file: {each}.txt\n\n{text}" for each, text in zip(IDS, TEXTS, strict=True)]
    found = scores("book", metadata_mode=MetadataMode.EMBED)
    assert found == expected("book", shown, languages=IDS)  # the language is the text's, not the file name's


def test_no_nodes_and_more_asked_for_than_there_are(loaded: RAGPretrainedModel, nodes: list[NodeWithScore]) -> None:
    rerank = RagatouilleXMRerank(model=loaded, top_n=50)
    assert rerank.postprocess_nodes([], query_str="book") == []
    assert len(rerank.postprocess_nodes(nodes, query_str="book")) == 5


def test_events(loaded: RAGPretrainedModel, nodes: list[NodeWithScore], recorder: Any) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = RagatouilleXMRerank(model=loaded, top_n=2, callback_manager=CallbackManager([debug]))
    query = QueryBundle("book")
    for best in (rerank.postprocess_nodes(nodes, query), asyncio.run(rerank.apostprocess_nodes(nodes, query))):
        started = recorder.of(ReRankStartEvent)[-1]
        assert (started.query, started.nodes, started.top_n) == (query, nodes, 2)
        assert started.model_name == loaded.encoder.checkpoint.name
        assert recorder.of(ReRankEndEvent)[-1].nodes == best
        start, end = debug.get_event_pairs(CBEventType.RERANKING)[-1]
        assert start.payload[EventPayload.NODES] == nodes
        assert (start.payload[EventPayload.QUERY_STR], start.payload[EventPayload.TOP_K]) == ("book", 2)
        assert end.payload[EventPayload.NODES] == best
    assert len(recorder.of(ReRankStartEvent)) == len(recorder.of(ReRankEndEvent)) == 2


def test_async_leaves_the_event_loop(
    loaded: RAGPretrainedModel, nodes: list[NodeWithScore], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, rerank = [], loaded.rerank
    monkeypatch.setattr(loaded, "rerank", lambda *a, **k: (threads.append(get_ident()), rerank(*a, **k))[1])
    best = asyncio.run(RagatouilleXMRerank(model=loaded).apostprocess_nodes(nodes, query_str=TEXTS[2]))
    assert best[0].node_id == "zh"
    assert get_ident() not in threads


def test_settings_are_serialised_and_the_model_is_not(loaded: RAGPretrainedModel) -> None:
    rerank = RagatouilleXMRerank(model=loaded, top_n=3, language="fr")
    settings = json.loads(rerank.to_json())
    assert settings == {
        "top_n": 3,
        "language": "fr",
        "document_language": None,
        "metadata_mode": "none",
        "class_name": "RagatouilleXMRerank",
    }
    assert RagatouilleXMRerank.from_dict(settings, model=loaded).top_n == 3
    assert "RAGPretrainedModel" not in repr(rerank)


def test_copies_share_the_model_and_the_schema_is_without_it(
    loaded: RAGPretrainedModel, nodes: list[NodeWithScore]
) -> None:
    rerank = RagatouilleXMRerank(model=loaded, top_n=2)
    for made in (copy.deepcopy(rerank), rerank.model_copy(deep=True)):
        assert made.model is loaded
        assert made.postprocess_nodes(nodes, query_str="book") == rerank.postprocess_nodes(nodes, query_str="book")
    with pytest.raises(ValueError, match="A RagatouilleXMRerank cannot be pickled: make it again"):
        pickle.dumps(rerank)
    schema = RagatouilleXMRerank.model_json_schema()
    assert {"top_n", "language", "document_language", "metadata_mode"} <= set(schema["properties"])
    assert "model" not in {*schema["properties"], *schema.get("required", ())}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"top_n": 0}, "top_n=0 is not usable: give a whole number of at least 1."),
        ({"top_n": 2.5}, "top_n=2.5"),
        ({"model": "colbert"}, "RAGPretrainedModel"),
        ({"k": 3}, "Extra inputs are not permitted"),
    ],
)
def test_unusable_fields(loaded: RAGPretrainedModel, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RagatouilleXMRerank(**{"model": loaded, **options})


def test_unusable_queries(loaded: RAGPretrainedModel, nodes: list[NodeWithScore]) -> None:
    rerank = RagatouilleXMRerank(model=loaded)
    with pytest.raises(ValueError, match="Reranking needs a query"):
        rerank.postprocess_nodes(nodes)
    with pytest.raises(ValueError, match="A query is blank"):
        rerank.postprocess_nodes(nodes, query_str="  ")
