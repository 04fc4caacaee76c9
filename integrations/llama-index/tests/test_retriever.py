"""The retriever: its nodes, its parameters, async, threads, objects, events."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, get_ident
from typing import Any
from uuid import UUID

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.schema import MetadataMode, NodeRelationship, NodeWithScore, ObjectType, QueryBundle, TextNode
from llama_index.core.settings import Settings
from llama_index.retrievers.ragatouille_xm import RagatouilleXMRetriever

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.grouping import with_context

from .conftest import IDS, METADATAS, TEXTS

LONG = " ".join(f"The library number {i} opens in the morning, and the train is in the garden." for i in range(60))


def documents(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node.ref_doc_id for node in nodes]


# nodes


def test_a_text_finds_itself_with_everything_that_belongs_to_it(rag: RAGPretrainedModel) -> None:
    for text, document_id, metadata in zip(TEXTS, IDS, METADATAS, strict=True):
        best = RagatouilleXMRetriever(rag, similarity_top_k=1).retrieve(text)[0]
        node = best.node
        assert (node.text, node.metadata["language"], node.metadata["document_id"]) == (text, document_id, document_id)
        assert {key: node.metadata[key] for key in metadata} == metadata
        source = node.relationships[NodeRelationship.SOURCE]
        assert (source.node_id, source.metadata, node.ref_doc_id) == (document_id, metadata, document_id)
        assert source.node_type == ObjectType.DOCUMENT
        assert type(best.score) is float
        assert json.loads(best.model_dump_json())["score"] == best.score


def test_the_llm_sees_the_users_metadata_alone(rag: RAGPretrainedModel) -> None:
    node = RagatouilleXMRetriever(rag, similarity_top_k=1).retrieve(TEXTS[1])[0].node
    expected = f"year: 2019\nfile_name: fr.txt\n\n{TEXTS[1]}"
    assert node.get_content(MetadataMode.LLM) == node.get_content(MetadataMode.EMBED) == expected


def test_evidence_is_metadata_that_the_llm_does_not_see(rag: RAGPretrainedModel) -> None:
    found = RagatouilleXMRetriever(rag, similarity_top_k=2, explain=True).retrieve(TEXTS[1])
    results = rag.search(TEXTS[1], k=2, explain=True)
    for each, result in zip(found, results, strict=True):
        evidence = each.node.metadata["evidence"]
        assert evidence == result["evidence"].as_dict()
        assert json.loads(each.model_dump_json())["node"]["metadata"]["evidence"].keys() == evidence.keys()
        for span in evidence["sentences"] + evidence["highlights"]:
            assert each.node.text[span["start"] : span["end"]] == span["text"]
        assert "evidence" not in each.node.get_content(MetadataMode.LLM)
        assert "evidence" not in each.node.get_content(MetadataMode.EMBED)


def test_a_node_has_the_passages_around_it_and_the_others_of_its_document(empty: RAGPretrainedModel) -> None:
    texts = {"a": "The book.|The library opens.|The garden.|The library.", "b": "The train.|The library is closed."}
    empty.index(texts, None, [{"passage": "own"}, {}], index_name="long", document_splitter_fn=lambda t: t.split("|"))
    options = {"context": 1, "group_by_document": True, "explain": True}
    found = RagatouilleXMRetriever(empty, similarity_top_k=2, **options).retrieve("library")
    results = empty.search("library", k=2, **options)
    assert documents(found) == [result["document_id"] for result in results]
    assert sorted(documents(found)) == ["a", "b"]
    for each, result in zip(found, results, strict=True):
        node = each.node
        assert node.text == with_context(result)
        assert node.text in texts[result["document_id"]].replace("|", "\n")
        assert node.metadata["passage"] == ("own" if node.ref_doc_id == "a" else result["content"])
        assert node.metadata["other_passages"] == [other["content"] for other in result["other_passages"]]
        for span in node.metadata["evidence"]["sentences"]:
            assert result["content"][span["start"] : span["end"]] == span["text"]
        assert "other_passages" not in node.get_content(MetadataMode.LLM)
        assert node.get_content(MetadataMode.NONE) == node.text


@pytest.mark.parametrize("context", [-1, True, 1.5, None])
def test_a_context_that_is_no_number_of_passages(rag: RAGPretrainedModel, context: Any) -> None:
    with pytest.raises(ValueError, match=r"context=.* is not usable"):
        RagatouilleXMRetriever(rag, context=context)


def test_hybrid_search_counts_shared_words(rag: RAGPretrainedModel) -> None:
    options = {"hybrid": True, "lexical_weight": 0.8}
    expected = rag.search(TEXTS[1], k=3, **options)
    found = RagatouilleXMRetriever(rag, similarity_top_k=3, **options).retrieve(TEXTS[1])
    assert [each.node.text for each in found] == [each["content"] for each in expected]
    assert [each.score for each in found] == pytest.approx([each["score"] for each in expected])
    best = RagatouilleXMRetriever(rag, similarity_top_k=3, min_score=0.99, **options).retrieve(TEXTS[1])
    assert [each.node.text for each in best] == [each["content"] for each in expected if each["score"] >= 0.99]


def test_metadata_of_the_user_comes_before_that_of_the_index(empty: RAGPretrainedModel) -> None:
    empty.index(TEXTS[:1], ["a"], [{"language": "English", "passage_id": "p. 7"}], index_name="own")
    node = RagatouilleXMRetriever(empty).retrieve("library")[0].node
    assert node.metadata == {"language": "English", "passage_id": "p. 7", "document_id": "a"}
    assert "language: English" in node.get_content(MetadataMode.LLM)


def test_passages_of_long_documents_are_nodes_of_their_own(empty: RAGPretrainedModel) -> None:
    empty.index([LONG, LONG], ["a", "b"], index_name="long", max_document_length=64)
    nodes = RagatouilleXMRetriever(empty, similarity_top_k=200).retrieve("the train")
    assert len({node.node_id for node in nodes}) == len(nodes) > 20
    assert set(documents(nodes)) == {"a", "b"}


def test_equal_texts_of_two_documents_both_come_back(empty: RAGPretrainedModel) -> None:
    empty.index([TEXTS[0]] * 2, ["a", "b"], index_name="twins")
    assert sorted(documents(RagatouilleXMRetriever(empty).retrieve(TEXTS[0]))) == ["a", "b"]


def test_node_ids_are_stable_uuids_and_unlike_those_of_another_index(rag: RAGPretrainedModel) -> None:
    def ids(name: str) -> set[str]:
        return {node.node_id for node in RagatouilleXMRetriever(rag, name).retrieve(TEXTS[0])}

    before = ids("first")
    rag.close()
    assert ids("first") == before
    assert all(str(UUID(each)) == each for each in before)
    rag.index([text[::-1] for text in TEXTS], IDS, index_name="second")
    assert not before & ids("second")


def test_a_nodes_hash_does_not_depend_on_the_query(rag: RAGPretrainedModel) -> None:
    """LlamaIndex's fusion adds the scores of nodes of the same hash."""
    found = [RagatouilleXMRetriever(rag).retrieve(query) for query in ("book", TEXTS[1])]
    first, second = ({node.node_id: node.node.hash for node in nodes} for nodes in found)
    assert first == second
    assert len(set(first.values())) == 5


# parameters


def test_top_k_filters_doc_ids_language_and_min_score(rag: RAGPretrainedModel) -> None:
    def found(**options: Any) -> list[str]:
        return documents(RagatouilleXMRetriever(rag, **options).retrieve(TEXTS[0]))

    every = found(exact=True)
    assert sorted(every) == sorted(IDS)
    assert found(similarity_top_k=2) == every[:2]
    assert found(doc_ids=["fr", "zh"], similarity_top_k=1) == [each for each in every if each in ("fr", "zh")][:1]
    assert found(doc_ids=[]) == []
    assert found(doc_ids="zh") == ["zh"]
    assert found(filters={"year": {"$gte": 2021}}) == [each for each in every if each in ("de", "ja")]
    assert found(filters={"year": {"$gte": 2021}}, doc_ids=["ja", "en"]) == ["ja"]
    second = RagatouilleXMRetriever(rag).retrieve(TEXTS[0])[1].score
    assert found(min_score=second + 1e-4) == ["en"]
    assert found(min_score=second) == every[:2]
    for wrong in (20, -0.1, float("nan"), True, "a"):
        with pytest.raises(ValueError, match="min_score=.* is not usable: give a number from 0 to 1"):
            found(min_score=wrong)
    for ids in (7, [7]):
        with pytest.raises(ValueError, match="doc_ids has 7: give a list of strings"):
            found(doc_ids=ids)
    scores = [RagatouilleXMRetriever(rag, language=each).retrieve(TEXTS[0])[0].score for each in ("en", "ja")]
    assert scores[0] != scores[1]


def test_a_language_comes_first(rag: RAGPretrainedModel) -> None:
    def languages(**options: Any) -> list[str]:
        nodes = RagatouilleXMRetriever(rag, language="en", **options).retrieve(TEXTS[0])
        return [node.node.metadata["language"] for node in nodes]

    assert languages(prefer_language="ja", language_weight=1.0)[0] == "ja"
    assert languages(prefer_language="query", language_weight=1.0)[0] == "en"
    assert languages(prefer_language="ja", language_weight=0.0) == languages()


def test_scores_are_relevance_which_a_cutoff_can_use(rag: RAGPretrainedModel) -> None:
    for query in ("book", TEXTS[0], " ".join(TEXTS[:2])):
        expected = rag.search(query, k=5)
        nodes = RagatouilleXMRetriever(rag).retrieve(query)
        assert documents(nodes) == [result["document_id"] for result in expected]
        assert [node.score for node in nodes] == [result["relevance"] for result in expected]
        assert all(0 <= node.score <= 1 for node in nodes)
        cutoff = (nodes[1].score + nodes[2].score) / 2
        kept = SimilarityPostprocessor(similarity_cutoff=cutoff).postprocess_nodes(nodes)
        assert documents(kept) == documents(nodes)[:2]
        assert SimilarityPostprocessor(similarity_cutoff=1.01).postprocess_nodes(nodes) == []


def test_clamped_scores_keep_the_order(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        {"document_id": each, "passage_id": i, "content": each, "language": "en", "score": score, "relevance": r}
        for i, (each, score, r) in enumerate([("b", 33.0, 1.0), ("a", 32.5, 1.0), ("c", 1.0, 0.03), ("z", -2, 0.0)])
    ]
    monkeypatch.setattr(rag, "search", lambda *args, **options: made)
    assert documents(RagatouilleXMRetriever(rag).retrieve("book")) == ["b", "a", "c", "z"]


def test_top_k_can_be_assigned_to(rag: RAGPretrainedModel) -> None:
    retriever = RagatouilleXMRetriever(rag)
    retriever.similarity_top_k = 2
    assert len(retriever.retrieve("book")) == retriever.similarity_top_k == 2
    with pytest.raises(ValueError, match="similarity_top_k=0 is not usable"):
        retriever.similarity_top_k = 0


def test_it_stays_with_the_index_that_was_in_use(rag: RAGPretrainedModel) -> None:
    retriever = RagatouilleXMRetriever(rag)
    rag.index(["Another library."], ["other"], index_name="second")
    assert documents(RagatouilleXMRetriever(rag).retrieve("library")) == ["other"]
    assert "other" not in documents(retriever.retrieve("library"))
    assert "en" in documents(RagatouilleXMRetriever(rag, "first").retrieve("library"))


def test_copies_share_the_model(rag: RAGPretrainedModel) -> None:
    retriever = RagatouilleXMRetriever(rag, filters={"year": {"$gte": 2021}})
    for made in (copy.copy(retriever), copy.deepcopy(retriever)):
        assert made.retrieve("book") == retriever.retrieve("book")
        made.similarity_top_k = 1
        assert (len(made.retrieve("book")), len(retriever.retrieve("book"))) == (1, 2)


def test_the_model_makes_one(rag: RAGPretrainedModel) -> None:
    retriever = rag.as_llama_index_retriever(similarity_top_k=2, filters={"year": 2019})
    assert isinstance(retriever, RagatouilleXMRetriever)
    assert documents(retriever.retrieve("book")) == ["fr"]


def test_a_query_transforms_strings_are_searched_for(rag: RAGPretrainedModel) -> None:
    retriever = RagatouilleXMRetriever(rag, similarity_top_k=2)
    one = QueryBundle("anything", custom_embedding_strs=[TEXTS[2]])
    assert documents(retriever.retrieve(one))[0] == "zh"
    two = QueryBundle("anything", custom_embedding_strs=[TEXTS[0], TEXTS[3]])
    assert sorted(documents(retriever.retrieve(two))) == ["de", "en"]


# bad input


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"similarity_top_k": 0}, "similarity_top_k=0 is not usable: give a whole number of at least 1."),
        ({"similarity_top_k": -3}, "similarity_top_k=-3"),
        ({"similarity_top_k": True}, "similarity_top_k=True"),
        ({"similarity_top_k": "2"}, "similarity_top_k='2'"),
        ({"filters": {"year": {"$near": 3}}}, r"Unknown operator '\$near'"),
        ({"filters": [("year", 3)]}, "filters is a list; give MetadataFilters"),
        ({"model": "colbert-xm"}, "model is a str; give a ragatouille_xm.RAGPretrainedModel or a RAGClient."),
    ],
)
def test_unusable_parameters(rag: RAGPretrainedModel, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RagatouilleXMRetriever(**{"model": rag, **options})


def test_an_unknown_parameter_is_refused(rag: RAGPretrainedModel) -> None:
    with pytest.raises(TypeError, match="top_k"):
        RagatouilleXMRetriever(rag, top_k=3)


@pytest.mark.parametrize("query", ["", "  ", QueryBundle(""), QueryBundle("a", custom_embedding_strs=[])])
def test_a_blank_query(rag: RAGPretrainedModel, query: str | QueryBundle) -> None:
    retriever = RagatouilleXMRetriever(rag)
    with pytest.raises(ValueError, match="A query is blank"):
        retriever.retrieve(query)
    with pytest.raises(ValueError, match="A query is blank"):
        asyncio.run(retriever.aretrieve(query))


def test_indexes_that_are_not_there(rag: RAGPretrainedModel, empty: RAGPretrainedModel, tmp_path: Path) -> None:
    retriever = RagatouilleXMRetriever(rag)
    shutil.rmtree(rag.catalog.path("first"))
    with pytest.raises(ValueError, match="indexes.*first"):
        retriever.retrieve("book")
    with pytest.raises(ValueError, match="never"):
        RagatouilleXMRetriever(rag, "never").retrieve("book")
    bare = RAGPretrainedModel(rag.encoder, tmp_path / "elsewhere", verbose=0)
    with pytest.raises(ValueError, match="No index is open"):
        RagatouilleXMRetriever(bare).retrieve("book")


def test_an_unknown_language(rag: RAGPretrainedModel) -> None:
    with pytest.raises(ValueError, match=r"'\?' is not a language"):
        RagatouilleXMRetriever(rag, language="?").retrieve("book")


# async and threads


def test_fifty_searches_at_once_leave_the_event_loop_free(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, in_threads, search = Event(), set(), rag.search

    def wait_and_search(*args: Any, **kwargs: Any) -> Any:
        if not let_go.wait(10):
            let_go.set()
            raise AssertionError("the search ran on the event loop, which could not let it go")
        in_threads.add(get_ident())
        return search(*args, **kwargs)

    monkeypatch.setattr(rag, "search", wait_and_search)
    retriever = RagatouilleXMRetriever(rag, similarity_top_k=1)

    async def main() -> list[list[NodeWithScore]]:
        tasks = [asyncio.create_task(retriever.aretrieve(text)) for text in TEXTS * 10]
        for _ in range(100):
            await asyncio.sleep(0)  # all have started, and none can finish before the loop goes on
        assert not any(task.done() for task in tasks)
        let_go.set()
        return await asyncio.gather(*tasks)

    assert [documents(nodes) for nodes in asyncio.run(main())] == [[each] for each in IDS * 10]
    assert get_ident() not in in_threads


def test_sixteen_threads(rag: RAGPretrainedModel) -> None:
    retriever = RagatouilleXMRetriever(rag, similarity_top_k=1)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(retriever.retrieve, TEXTS * 10))
    assert [documents(nodes) for nodes in found] == [[each] for each in IDS * 10]


# objects


def test_an_object_stands_in_for_a_document(rag: RAGPretrainedModel) -> None:
    rag.index(["Inner library."], ["inner"], index_name="second")
    inner = RagatouilleXMRetriever(rag, "second")
    outer = RagatouilleXMRetriever(rag, "first", 2, object_map={"en": inner}, doc_ids=["en", "fr"])
    assert sorted(documents(outer.retrieve(TEXTS[0]))) == ["fr", "inner"]
    assert sorted(documents(asyncio.run(outer.aretrieve(TEXTS[0])))) == ["fr", "inner"]
    node = TextNode(text="Instead.")
    outer = RagatouilleXMRetriever(rag, "first", 1, object_map={"en": node})
    assert [each.node for each in outer.retrieve(TEXTS[0])] == [node]


# events


def test_instrumentation_and_callbacks_carry_the_nodes(rag: RAGPretrainedModel, recorder: Any) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    retriever = RagatouilleXMRetriever(rag, callback_manager=CallbackManager([debug]))
    for nodes in (retriever.retrieve("book"), asyncio.run(retriever.aretrieve("book"))):
        assert len(nodes) == 5
        assert recorder.of(RetrievalStartEvent)[-1].str_or_query_bundle == "book"
        assert recorder.of(RetrievalEndEvent)[-1].nodes == nodes
        start, end = debug.get_event_pairs(CBEventType.RETRIEVE)[-1]
        assert start.payload == {EventPayload.QUERY_STR: "book"}
        assert end.payload == {EventPayload.NODES: nodes}


def test_the_callbacks_of_the_settings_are_the_default(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    monkeypatch.setattr(Settings, "_callback_manager", CallbackManager([debug]))
    RagatouilleXMRetriever(rag).retrieve("book")
    assert len(debug.get_event_pairs(CBEventType.RETRIEVE)) == 1
