"""`RagatouilleXMRetriever`: alone, in chains, in callbacks, from threads and from an event loop."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnablePassthrough
from langchain_ragatouille_xm import RagatouilleXMRetriever
from pydantic import ValidationError
from reference.five import IDS, METADATAS, TEXTS

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import FilterError, IndexNotFoundError, InputError
from ragatouille_xm.grouping import with_context

from .conftest import ids


class Recorder(BaseCallbackHandler):
    """Remembers the retriever's runs."""

    def __init__(self) -> None:
        self.started: dict[Any, str] = {}
        self.ended: dict[Any, list[Document]] = {}
        self.failed: dict[Any, BaseException] = {}
        self.metadata: list[dict[str, Any]] = []
        self.names: list[str] = []

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: Any, **kwargs: Any) -> None:
        self.started[run_id] = query
        self.metadata.append(kwargs["metadata"])
        self.names.append(kwargs["name"])

    def on_retriever_end(self, documents: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.ended[run_id] = documents

    def on_retriever_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        self.failed[run_id] = error


class AsyncRecorder(AsyncCallbackHandler):
    """The same, as coroutines."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        self.seen.append(f"start {query}")

    async def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.seen.append(f"end {len(documents)}")


# what comes back


def test_documents_carry_their_metadata_and_what_the_search_says(
    rag: RAGPretrainedModel, retriever: RagatouilleXMRetriever
) -> None:
    own = {**METADATAS[1], "document_id": "fr", "passage_id": 1, "language": "fr"}
    assert retriever.invoke(TEXTS[1])[0].metadata == own
    found = retriever.invoke(TEXTS[1], with_scores=True)
    expected = rag.search(TEXTS[1], k=2)
    assert [document.page_content for document in found] == [result["content"] for result in expected]
    scores = {"rank": 1} | {key: expected[0][key] for key in ("score", "relevance", "query_language")}
    assert found[0].metadata == {**own, **scores}
    assert type(found[0].metadata["score"]) is float
    assert json.loads(found[0].model_dump_json())["metadata"]["score"] == pytest.approx(expected[0]["score"])


def test_documents_carry_evidence_that_can_be_cited(rag: RAGPretrainedModel, retriever: RagatouilleXMRetriever) -> None:
    expected = rag.search(TEXTS[1], k=2, explain=True)
    for found in (retriever.invoke(TEXTS[1], explain=True), retriever.batch([TEXTS[1]], explain=True)[0]):
        for document, result in zip(found, expected, strict=True):
            evidence = document.metadata["evidence"]
            assert evidence == result["evidence"].as_dict()
            assert json.loads(document.model_dump_json())["metadata"]["evidence"].keys() == evidence.keys()
            for span in evidence["sentences"] + evidence["highlights"]:
                assert document.page_content[span["start"] : span["end"]] == span["text"]
    assert "evidence" not in retriever.invoke(TEXTS[1])[0].metadata


def test_a_document_has_the_passages_around_it_and_the_others_of_its_document(empty: RAGPretrainedModel) -> None:
    texts = {"a": "The book.|The library opens.|The garden.|The library.", "b": "The train.|The library is closed."}
    empty.index(texts, None, [{"passage": "own"}, {}], index_name="long", document_splitter_fn=lambda t: t.split("|"))
    retriever = empty.as_langchain_retriever(k=2, context=1)
    plain = {each.id for each in empty.as_langchain_retriever(k=6).invoke("library")}
    for each, result in zip(retriever.invoke("library"), empty.search("library", k=2, context=1), strict=True):
        assert each.page_content == with_context(result)
        assert each.page_content in texts[result["document_id"]].replace("|", "\n")
        assert each.metadata["passage"] == ("own" if result["document_id"] == "a" else result["content"])
        assert each.id in plain  # the passage's, whatever is around it
    found = retriever.invoke("library", group_by_document=True, context=0)
    results = empty.search("library", k=2, group_by_document=True)
    assert sorted(each.metadata["document_id"] for each in found) == ["a", "b"]
    for each, result in zip(found, results, strict=True):
        assert each.page_content == result["content"]
        assert each.metadata["other_passages"] == [other["content"] for other in result["other_passages"]]
    assert any(each.metadata["other_passages"] for each in found)


@pytest.mark.parametrize("context", [-1, True, 1.5, None])
def test_a_context_that_is_no_number_of_passages(rag: RAGPretrainedModel, context: Any) -> None:
    with pytest.raises(ValidationError, match=r"context=.* is not usable"):
        rag.as_langchain_retriever(context=context)
    with pytest.raises(InputError, match=r"context=.* is not usable"):
        rag.as_langchain_retriever().invoke("library", context=context)


def test_hybrid_search_counts_shared_words(rag: RAGPretrainedModel, retriever: RagatouilleXMRetriever) -> None:
    options = {"k": 3, "hybrid": True, "lexical_weight": 0.8}
    expected = rag.search(TEXTS[1], **options)
    found = retriever.invoke(TEXTS[1], with_scores=True, **options)
    assert [each.page_content for each in found] == [each["content"] for each in expected]
    assert [each.metadata["score"] for each in found] == pytest.approx([each["score"] for each in expected])
    made = rag.as_langchain_retriever(**options)
    assert [each.page_content for each in made.invoke(TEXTS[1])] == [each["content"] for each in expected]


def test_a_documents_own_metadata_is_never_overwritten(empty: RAGPretrainedModel) -> None:
    empty.index(TEXTS[:1], document_metadatas=[{"score": "A+", "language": "British English"}], index_name="own")
    (found,) = empty.as_langchain_retriever(with_scores=True).invoke("book")
    assert (found.metadata["score"], found.metadata["language"]) == ("A+", "British English")
    assert 0 <= found.metadata["relevance"] <= 1


def test_bare_names_in_a_filter_are_the_users_metadata(empty: RAGPretrainedModel) -> None:
    empty.index(TEXTS[:2], IDS[:2], [{"language": "British", "document_id": "A"}, {}], index_name="own")
    retriever = empty.as_langchain_retriever()
    for given, expected in [
        ({"language": "British"}, ["en"]),
        ({"language": "en"}, []),
        ({"passage.language": "en-GB"}, ["en"]),
        ({"$or": [{"document_id": "A"}, {"passage.document_id": "fr"}]}, ["en", "fr"]),
    ]:
        retriever.filter = given
        found = [retriever.invoke("book"), *retriever.batch(["book"]), asyncio.run(retriever.ainvoke("book"))]
        found.append(empty.as_langchain_retriever().invoke("book", filter=given))
        where = [{1: "fr", 0: "en"}[each.metadata["passage_id"]] for each in found[0]]
        assert sorted(where) == expected
        assert found == [found[0]] * 4


def test_every_option_can_be_given_once_or_per_call(rag: RAGPretrainedModel) -> None:
    query = "Where is the book?"
    every = rag.as_langchain_retriever()
    assert len(every.invoke(query)) == 5
    second = every.invoke(query, with_scores=True)[1].metadata
    floor = second["score"]
    for options, expected in [
        ({"k": 1}, 1),
        ({"filter": {"year": {"$gte": 2021}}}, 2),
        ({"doc_ids": ["en", "zh", "ja"]}, 3),
        ({"min_score": floor}, 2),
        ({"min_relevance": second["relevance"]}, 2),
        ({"prefer_language": "ja", "language_weight": 1.0}, 5),
        ({"exact": True, "k": 4}, 4),
        ({"force_fast": True}, 5),
        ({"language": "de"}, 5),
    ]:
        fixed = rag.as_langchain_retriever(**options).invoke(query)
        assert len(fixed) == expected
        assert fixed == every.invoke(query, **options) == asyncio.run(every.ainvoke(query, **options))
    assert every.invoke(query, with_scores=True) != every.invoke(query, language="de", with_scores=True)
    narrow = rag.as_langchain_retriever(filter={"passage.language": "fr"}, k=1)
    assert ids(narrow.invoke(query)) == ["fr"]
    assert len(narrow.invoke(query, filter=None, k=3)) == 3


def test_a_retriever_stays_with_its_index(rag: RAGPretrainedModel, retriever: RagatouilleXMRetriever) -> None:
    rag.index(["Another book."], ["other"], index_name="second")
    assert ids(retriever.invoke("book", k=1)) != ["other"]
    assert ids(retriever.invoke("book", index_name="second")) == ["other"]
    assert ids(rag.as_langchain_retriever().invoke("book")) == ["other"]


def test_a_retriever_may_be_made_before_its_index(empty: RAGPretrainedModel) -> None:
    early = empty.as_langchain_retriever(k=1)
    with pytest.raises(InputError, match="No index is open"):
        early.invoke("book")
    empty.index(TEXTS, IDS, index_name="late")
    assert ids(early.invoke(TEXTS[0])) == ["en"]


def test_doc_ids_may_be_one(rag: RAGPretrainedModel, retriever: RagatouilleXMRetriever) -> None:
    assert ids(retriever.invoke("book", doc_ids="zh")) == ids(retriever.invoke("book", doc_ids=["zh"])) == ["zh"]
    assert ids(rag.as_langchain_retriever(doc_ids="zh").invoke("book")) == ["zh"]


# batches


def test_a_batch_is_one_search_and_a_run_for_each_query(
    retriever: RagatouilleXMRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[list[str]] = []
    search = RAGPretrainedModel.search

    def counting(self: RAGPretrainedModel, query: Any, *args: Any, **options: Any) -> Any:
        searched.append(query)
        return search(self, query, *args, **options)

    expected = [ids(retriever.invoke(text)) for text in TEXTS]
    monkeypatch.setattr(RAGPretrainedModel, "search", counting)
    recorder = Recorder()
    assert [ids(each) for each in retriever.batch(TEXTS, {"callbacks": [recorder]})] == expected
    assert searched == [TEXTS]
    assert list(recorder.started.values()) == TEXTS
    assert [ids(recorder.ended[run]) for run in recorder.started] == expected
    assert not recorder.failed
    assert [len(each) for each in retriever.batch(TEXTS[:2], k=3)] == [3, 3]
    assert retriever.batch([]) == []
    assert len(searched) == 2


async def test_an_abatch_too(retriever: RagatouilleXMRetriever) -> None:
    recorder = AsyncRecorder()
    found = await retriever.abatch(TEXTS, {"callbacks": [recorder]})
    assert found == retriever.batch(TEXTS)
    assert recorder.seen == [*(f"start {text}" for text in TEXTS), *["end 2"] * 5]
    assert await retriever.abatch([]) == []


def test_configurations_of_a_batch_may_differ(retriever: RagatouilleXMRetriever) -> None:
    recorder, run = Recorder(), uuid4()
    retriever.batch(["book", "livre"], [{"run_name": "one", "run_id": run, "callbacks": [recorder]}, {}])
    assert (recorder.names, list(recorder.started)) == (["one"], [run])


def test_a_bad_query_in_a_batch(retriever: RagatouilleXMRetriever) -> None:
    recorder = Recorder()
    good, bad = retriever.batch(["book", "\ud800"], {"callbacks": [recorder]}, return_exceptions=True)
    assert len(good) == 2
    assert isinstance(bad, InputError)
    assert (len(recorder.ended), list(recorder.failed.values())) == (1, [bad])
    with pytest.raises(InputError, match="lone surrogate"):
        retriever.batch(["book", "\ud800"])
    with pytest.raises(InputError, match="lone surrogate"):
        asyncio.run(retriever.abatch(["book", "\ud800"]))


def test_a_blank_query_in_a_batch_finds_nothing_and_costs_the_others_nothing(
    retriever: RagatouilleXMRetriever,
) -> None:
    for found in (retriever.batch(["book", " "]), asyncio.run(retriever.abatch(["book", " "]))):
        assert [len(documents) for documents in found] == [2, 0]


def test_a_bad_query_in_a_batch_fails_no_other(retriever: RagatouilleXMRetriever) -> None:
    for run in (retriever.batch, lambda *given: asyncio.run(retriever.abatch(*given))):
        recorder = Recorder()
        with pytest.raises(InputError, match="lone surrogate"):
            run(["book", "\ud800", "livre"], {"callbacks": [recorder]})
        queries = list(recorder.started)
        assert list(recorder.failed) == [queries[1]]
        assert {name: len(found) for name, found in recorder.ended.items()} == {queries[0]: 2, queries[2]: 2}


def test_a_chain_over_a_batch_searches_once(retriever: RagatouilleXMRetriever, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    search = RAGPretrainedModel.search
    monkeypatch.setattr(
        RAGPretrainedModel,
        "search",
        lambda self, query, **options: (calls.append(len(query)), search(self, query, **options))[1],
    )
    chain = retriever | (lambda documents: documents[0].metadata["document_id"])
    assert chain.batch(TEXTS) == IDS
    assert calls == [5]


# chains, events, configuration


def answering(retriever: RagatouilleXMRetriever) -> Any:
    prompt = ChatPromptTemplate.from_template("{context}\n{question}")
    model = FakeListChatModel(responses=["In the garden."])
    context = retriever | (lambda documents: "\n".join(document.page_content for document in documents))
    return {"context": context, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()


def test_in_a_chain(retriever: RagatouilleXMRetriever) -> None:
    chain = answering(retriever)
    assert chain.invoke("Where is the book?") == "In the garden."
    assert chain.batch(["Where?", "Wo?", "Où ?"]) == ["In the garden."] * 3
    assert "".join(chain.stream("Where is the book?")) == "In the garden."


async def test_a_streaming_consumer_sees_the_retrieved_documents(retriever: RagatouilleXMRetriever) -> None:
    events = [event async for event in answering(retriever).astream_events("Where is the book?", version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.index("on_retriever_start") < kinds.index("on_retriever_end") < kinds.index("on_chat_model_stream")
    (ended,) = [event for event in events if event["event"] == "on_retriever_end"]
    assert ended["data"]["output"] == retriever.invoke("Where is the book?")
    assert ended["data"]["input"] == {"query": "Where is the book?"}
    assert ended["name"] == "RagatouilleXMRetriever"


def test_configurable_fields(retriever: RagatouilleXMRetriever) -> None:
    configurable = retriever.configurable_fields(
        k=ConfigurableField(id="how_many"), filter=ConfigurableField(id="only")
    )
    assert len(configurable.invoke("book")) == 2
    config: Any = {"configurable": {"how_many": 1, "only": {"passage.language": "zh"}}}
    assert ids(configurable.invoke("book", config)) == ["zh"]
    assert [ids(each) for each in configurable.batch(["book", "livre"], config)] == [["zh"], ["zh"]]
    assert ids(retriever.bind(k=1).invoke("图书馆", language="zh")) == ids(
        retriever.invoke("图书馆", k=1, language="zh")
    )


def test_tracing_names_the_model(retriever: RagatouilleXMRetriever) -> None:
    recorder = Recorder()
    retriever.with_config(tags=["mine"], metadata={"run": 1}).invoke("book", {"callbacks": [recorder]}, k=1)
    retriever.batch(["book"], {"callbacks": [recorder]})
    alone, together = recorder.metadata
    assert alone.pop("run") == 1
    assert alone == together
    assert alone["ls_retriever_name"] == alone["ls_vector_store_provider"] == "ragatouille_xm"
    assert alone["ls_embedding_model"] == retriever.model.encoder.checkpoint.name


def test_what_is_dumped_has_no_weights(retriever: RagatouilleXMRetriever) -> None:
    dumped = json.loads(retriever.model_dump_json())
    assert "model" not in dumped
    assert (dumped["k"], dumped["index_name"]) == (2, "first")
    assert len(repr(retriever)) < 400


def test_copies_share_the_model(retriever: RagatouilleXMRetriever) -> None:
    retriever.filter = {"year": {"$gte": 2000}}
    for made in (copy.deepcopy(retriever), retriever.model_copy(deep=True), copy.deepcopy({"r": retriever})["r"]):
        assert made.model is retriever.model
        assert made.filter == retriever.filter
        assert made.filter is not retriever.filter
        assert made.invoke("book") == retriever.invoke("book")


def test_the_schema_has_all_but_the_model(retriever: RagatouilleXMRetriever) -> None:
    schema = RagatouilleXMRetriever.model_json_schema()
    assert {"k", "filter", "doc_ids"} <= set(schema["properties"])
    assert "model" not in {*schema["properties"], *schema.get("required", ())}
    assert "model" not in RagatouilleXMRetriever.model_json_schema(mode="serialization")["properties"]


def test_opentelemetry_spans_carry_the_documents(retriever: RagatouilleXMRetriever) -> None:
    instrumentation = pytest.importorskip("openinference.instrumentation.langchain")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = instrumentation.LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        alone = retriever.invoke(TEXTS[2], with_scores=True)
        retriever.batch(TEXTS[:2])
    finally:
        instrumentor.uninstrument()
    spans = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    assert [span["openinference.span.kind"] for span in spans] == ["RETRIEVER"] * 3
    assert spans[0]["input.value"] == TEXTS[2]
    for i, document in enumerate(alone):
        assert spans[0][f"retrieval.documents.{i}.document.content"] == document.page_content
        stored = json.loads(str(spans[0][f"retrieval.documents.{i}.document.metadata"]))
        assert stored["score"] == pytest.approx(document.metadata["score"])
    contents = {span["retrieval.documents.0.document.content"] for span in spans[1:]}
    assert contents == set(TEXTS[:2])


# many at once


def test_sixteen_threads(retriever: RagatouilleXMRetriever) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: ids(retriever.invoke(text, k=1)), TEXTS * 16))
    assert found == [[each] for each in IDS] * 16


async def test_fifty_searches_on_one_event_loop(retriever: RagatouilleXMRetriever) -> None:
    found = await asyncio.gather(*(retriever.ainvoke(text, k=1) for text in TEXTS * 10))
    assert [ids(each) for each in found] == [[each] for each in IDS] * 10


async def test_searching_leaves_the_event_loop_free(
    retriever: RagatouilleXMRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    search = RAGPretrainedModel.search

    def waiting(self: RAGPretrainedModel, *args: Any, **options: Any) -> Any:
        assert released.wait(60)
        return search(self, *args, **options)

    monkeypatch.setattr(RAGPretrainedModel, "search", waiting)
    pending = [asyncio.ensure_future(retriever.ainvoke("book")), asyncio.ensure_future(retriever.abatch(["book"]))]
    await asyncio.sleep(0.01)  # were the search on the loop, this would never come back
    released.set()
    first, (second,) = await asyncio.gather(*pending)
    assert first == second


# bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0 is not usable"),
        ({"k": -3}, "k=-3 is not usable"),
        ({"k": "many"}, "k='many' is not usable"),
        ({"filter": {"year": {"$near": 3}}}, r"Unknown operator '\$near' on 'year'"),
        ({"top_k": 3}, "top_k"),
        ({"model": "antoinelouis/colbert-xm"}, "RAGPretrainedModel"),
    ],
)
def test_bad_fields(rag: RAGPretrainedModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RagatouilleXMRetriever(**{"model": rag, **options})


def test_bad_calls(retriever: RagatouilleXMRetriever) -> None:
    with pytest.raises(InputError, match="A query is blank"):
        retriever.invoke("")
    with pytest.raises(InputError, match="k=0 is not usable"):
        retriever.invoke("book", k=0)
    with pytest.raises(FilterError, match=r"Unknown operator '\$near'"):
        retriever.invoke("book", filter={"year": {"$near": 3}})
    with pytest.raises(TypeError, match="top_k"):
        retriever.invoke("book", top_k=3)
    with pytest.raises(InputError, match="A query is a int"):
        retriever.invoke(3)  # type: ignore[arg-type]


def test_a_deleted_index(rag: RAGPretrainedModel, retriever: RagatouilleXMRetriever) -> None:
    shutil.rmtree(rag.catalog.path("first"))
    recorder = Recorder()
    with pytest.raises(IndexNotFoundError, match="no longer there"):
        retriever.invoke("book", {"callbacks": [recorder]})
    assert len(recorder.failed) == 1
    with pytest.raises(IndexNotFoundError, match="never"):
        rag.as_langchain_retriever(index_name="never").invoke("book")
