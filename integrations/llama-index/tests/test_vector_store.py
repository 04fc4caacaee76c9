"""The vector store by itself; `test_store_users.py` has what LlamaIndex builds on one."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from threading import get_ident
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.schema import IndexNode, MetadataMode, TextNode
from llama_index.core.vector_stores import VectorStoreQuery
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.retrievers.ragatouille_xm import RagatouilleXMVectorStore

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import FilterError, InputError

from .conftest import EMBEDDING, IDS, NODES, TEXTS, long_document, only


def ask(store: RagatouilleXMVectorStore, text: str | None = "book", k: int = 50, **fields: Any) -> list[str]:
    query = VectorStoreQuery(query_str=text, similarity_top_k=k, **fields)
    result = store.query(query)
    other = asyncio.run(store.aquery(query))
    assert (result.ids, result.similarities) == (other.ids, other.similarities)
    assert result.ids == [node.node_id for node in result.nodes or ()]
    return list(result.ids or ())


def test_nodes_come_back_as_they_went_in(store: RagatouilleXMVectorStore) -> None:
    nodes = [
        TextNode(
            id_="rich",
            text="The book of Kells.\n\n 'Quoted', \u2028 and 漢字",
            metadata={"nested": {"a": [1]}, "ref_doc_id": "mine", "_node_content": "mine", "document_id": "mine"},
            excluded_llm_metadata_keys=["nested"],
            metadata_template="{key} is {value}",
            start_char_idx=5,
            embedding=[0.5],
        ),
        IndexNode(id_="link", text="A link.", index_id="inner"),
    ]
    store.add(nodes)
    for node in nodes:
        expected = node.model_copy(update={"embedding": None})
        result = store.query(VectorStoreQuery(query_str="book", similarity_top_k=50))
        (best,) = [each for each in result.nodes or () if each.node_id == node.node_id]
        assert best == expected == store.get_nodes([node.node_id])[0]
        assert type(best) is type(node)
        assert best.hash == expected.hash
    assert nodes[0].embedding == [0.5]


def test_a_document_comes_back_as_a_node_with_text(store: RagatouilleXMVectorStore) -> None:
    document = Document(
        id_="whole", text="A whole document.", metadata={"year": 1, "secret": 2}, excluded_llm_metadata_keys=["secret"]
    )
    store.add([document])
    (node,) = store.get_nodes(["whole"])
    assert isinstance(node, TextNode)
    assert (node.text, node.metadata, node.node_id) == (document.text, document.metadata, "whole")
    for mode in MetadataMode:
        assert node.get_content(mode) == document.get_content(mode)
    retriever = VectorStoreIndex.from_vector_store(store, embed_model=EMBEDDING).as_retriever(similarity_top_k=9)
    assert "A whole document." in [found.text for found in retriever.retrieve("book")]
    assert ask(store, doc_ids=["whole"]) == ["whole"]


def test_scores_are_relevance(store: RagatouilleXMVectorStore) -> None:
    result = store.query(VectorStoreQuery(query_str=TEXTS[0], similarity_top_k=3))
    expected = store.model.search(TEXTS[0], "store", 3)
    assert result.similarities == [each["relevance"] for each in expected]
    assert result.ids == [each["document_id"] for each in expected]
    floor = result.similarities[1]
    assert store.query(VectorStoreQuery(query_str=TEXTS[0], similarity_top_k=3), min_score=floor).ids == result.ids[:2]
    assert store.query(VectorStoreQuery(query_str=TEXTS[0], similarity_top_k=9), language="ja", exact=True).ids


@pytest.mark.parametrize("k", [1, 3, 100])
def test_a_node_of_many_passages_comes_back_once(store: RagatouilleXMVectorStore, k: int) -> None:
    long = [TextNode(id_=f"n{i}", text=long_document(f"river{i}", 60).text) for i in range(4)]
    store.add(long)
    assert len(store.model.search("the train in the garden", "store", 10_000)) > 12
    found = ask(store, "The river3 library number 59 opens in the morning", k=k)
    assert len(found) == len(set(found)) == min(k, 9)
    assert store.get_nodes(["n2"]) == [long[2]]
    store.add([TextNode(id_="n2", text="Short now.")])
    assert store.get_nodes(["n2"])[0].text == "Short now."
    store.delete_nodes(["n0", "n1", "n2", "n3", "unknown"])
    assert sorted(ask(store)) == sorted(IDS)


def test_filters_doc_ids_and_node_ids(store: RagatouilleXMVectorStore) -> None:
    store.add([TextNode(id_="kells", text="The book.", metadata={"language": "Latin", "document_id": "MS 58"})])
    assert sorted(ask(store, filters=only("year", 2021, ">="))) == ["de", "ja"]
    assert (
        ask(store, filters=only("language", "Latin")) == ask(store, filters=only("document_id", "MS 58")) == ["kells"]
    )
    assert ask(store, filters=only("passage.language", "fr")) == ["fr"]
    assert ask(store, filters=only("passage.document_id", "zh")) == ["zh"]
    for key in ("doc_id", "ref_doc_id"):
        assert ask(store, filters=only(key, ["doc-zh", "x"], "in")) == ["zh"]
    assert ask(store, doc_ids=["doc-ja", "kells"], filters=only("year", 2000, ">")) == ["ja"]
    assert sorted(ask(store, doc_ids=["doc-ja", "kells"])) == ["ja", "kells"]  # without a source, it is its own
    assert ask(store, doc_ids=[]) == []
    assert ask(store, node_ids=["en", "unknown"]) == ["en"]
    assert len(ask(store, node_ids=[])) == 6
    assert ask(store, k=2, filters=only("passage.language", ["en", "ja", "zh-TW"], "in")) != []
    with pytest.raises(FilterError, match="TEXT_MATCH"):
        ask(store, filters=only("file_name", "z", "text_match"))


def test_reading_and_deleting(store: RagatouilleXMVectorStore) -> None:
    assert store.get_nodes(["ja", "unknown", "en", "ja"]) == [NODES[4], NODES[0]]
    assert store.get_nodes() == NODES
    assert store.get_nodes(filters=only("year", 2019)) == [NODES[1]]
    assert store.get_nodes(["en", "fr"], only("passage.language", "en-GB")) == [NODES[0]]
    assert asyncio.run(store.aget_nodes(["zh"])) == [NODES[2]]
    assert store.get_nodes("zh") == [NODES[2]]
    store.delete("doc-en")
    store.delete("unknown")
    asyncio.run(store.adelete("doc-fr"))
    assert store.get_nodes() == NODES[2:]
    store.delete_nodes(["zh", "de"], only("year", 2021))
    asyncio.run(store.adelete_nodes(filters={"year": 1900}))
    assert store.get_nodes() == [NODES[2], NODES[4]]
    with pytest.raises(InputError, match=r"node_ids= or filters=.* call clear\(\)"):
        store.delete_nodes()
    store.clear()
    assert store.get_nodes() == []
    assert ask(store) == []
    asyncio.run(store.async_add(NODES))
    asyncio.run(store.aclear())
    assert store.add([]) == store.get_nodes() == []


def test_an_id_is_one_id_and_not_its_letters(store: RagatouilleXMVectorStore) -> None:
    store.add([TextNode(id_="f", text="Another book.")])
    store.delete_nodes("fr")
    assert [node.node_id for node in store.get_nodes()] == ["en", "zh", "de", "ja", "f"]


def test_clearing_keeps_the_settings_of_the_index(empty: RAGPretrainedModel) -> None:
    made = {"pooling": 2, "max_document_length": 48, "storage": "int4", "lexical": False}
    empty.index(["The book."], ["a"], index_name="pooled", **made)
    RagatouilleXMVectorStore(model=empty, index_name="pooled").clear()
    opened = empty.catalog.get("pooled")
    meta = opened.index.meta
    assert len(opened.index) == 0
    assert made == {
        "pooling": opened.pooling, "max_document_length": opened.max_document_length,
        "storage": meta.storage, "lexical": meta.lexical,
    }  # fmt: skip


def test_an_index_in_a_server_is_emptied_there(empty: RAGPretrainedModel) -> None:
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    empty.index(["The book."], ["a"], index_name="far", index_url=client)
    RagatouilleXMVectorStore(model=empty, index_name="far").clear()
    again = RAGPretrainedModel(empty.encoder, empty.catalog.root, verbose=0)
    assert not again.catalog.has("far")
    again.index(["The train."], ["b"], index_name="far", index_url=client, overwrite_index="reuse")
    assert len(again.catalog.get("far").index) == len(empty.catalog.get("far").index) == 0


def test_nodes_without_text_are_left_out(store: RagatouilleXMVectorStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert store.add([TextNode(id_="blank", text=" \n"), TextNode(id_="more", text="More.")]) == ["blank", "more"]
    assert "1 nodes have no text and are left out" in caplog.text
    assert "blank" not in ask(store)
    store.add([TextNode(id_="more", text="\u200b"), TextNode(id_="other", text="Other.")])  # it has no text any more
    assert [node.node_id for node in store.get_nodes(["more", "other"])] == ["other"]
    assert "more" not in ask(store)


def test_of_several_nodes_with_one_id_the_last_stays(store: RagatouilleXMVectorStore) -> None:
    store.add([TextNode(id_="a", text="First."), TextNode(id_="a", text="Last.")])
    assert [node.text for node in store.get_nodes(["a"])] == ["Last."]


def test_languages_may_be_given(empty: RAGPretrainedModel) -> None:
    store = RagatouilleXMVectorStore(model=empty, language=lambda node: node.metadata.get("lang"))
    store.add([TextNode(id_="a", text="Taxi", metadata={"lang": "fr"}), TextNode(id_="b", text="The old book")])
    assert ask(store, filters=only("passage.language", "fr")) == ["a"]
    assert ask(store, filters=only("passage.language", "en")) == ["b"]


@pytest.mark.parametrize("metadata_mode", [MetadataMode.NONE, MetadataMode.EMBED])
def test_a_node_that_says_little_is_in_a_language_of_the_store(
    empty: RAGPretrainedModel, metadata_mode: MetadataMode
) -> None:
    store = RagatouilleXMVectorStore(model=empty, metadata_mode=metadata_mode)
    store.add([TextNode(text=text) for text in ("Das Buch ist im Garten.", "Die Bibliothek ist geschlossen.")])
    store.add([TextNode(id_="short", text="RTX 4090", metadata={"title": "A book in English"})])
    assert ask(store, filters=only("passage.language", "de"), node_ids=["short"]) == ["short"]


def test_a_store_is_opened_again_and_copied(store: RagatouilleXMVectorStore) -> None:
    fresh = RAGPretrainedModel(store.model.encoder, store.model.catalog.root, verbose=0)
    assert RagatouilleXMVectorStore(model=fresh, index_name="store").get_nodes() == NODES
    for made in (copy.copy(store), copy.deepcopy(store), store.model_copy(deep=True)):
        assert made.model is store.model is made.client
        assert made.get_nodes() == NODES
    with pytest.raises(InputError, match="A RagatouilleXMVectorStore cannot be pickled"):
        pickle.dumps(store)
    dumped = store.to_dict()
    assert (dumped["class_name"], dumped["index_name"]) == ("RagatouilleXMVectorStore", "store")
    assert "model" not in json.loads(store.to_json())
    schema = RagatouilleXMVectorStore.model_json_schema()
    assert {"index_name", "max_document_length", "metadata_mode"} <= set(schema["properties"])
    assert "model" not in {*schema["properties"], *schema.get("required", ())}
    with pytest.raises(ValueError, match="has max_document_length=256, not 32"):
        RagatouilleXMVectorStore(model=fresh, index_name="store", max_document_length=32)


def test_another_kind_of_index_is_refused(rag: RAGPretrainedModel) -> None:
    store = RagatouilleXMVectorStore(model=rag, index_name="first")
    for read in (store.get_nodes, lambda: ask(store)):
        with pytest.raises(
            InputError, match="no RagatouilleXMVectorStore wrote. Search it with RagatouilleXMRetriever"
        ):
            read()


@pytest.mark.parametrize(("alpha", "weight"), [(None, 0.3), (0.0, 1.0), (0.5, 0.5)])
def test_the_hybrid_mode_counts_shared_words(store: RagatouilleXMVectorStore, alpha: float, weight: float) -> None:
    asked = VectorStoreQuery(query_str=TEXTS[0], similarity_top_k=3, mode=VectorStoreQueryMode.HYBRID, alpha=alpha)
    result = store.query(asked)
    expected = store.model.search(TEXTS[0], "store", 6, hybrid=True, lexical_weight=weight)[:3]
    assert result.ids == [each["document_id"] for each in expected]
    assert result.similarities == pytest.approx([each["score"] for each in expected])
    assert store.query(asked, min_score=0.99).ids == result.ids[:1]


def test_what_cannot_be_asked(store: RagatouilleXMVectorStore) -> None:
    for mode in VectorStoreQueryMode:
        if mode not in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID):
            with pytest.raises(InputError, match=f"The mode {mode.value!r} is not offered.*QueryFusionRetriever"):
                ask(store, mode=mode)
    with pytest.raises(InputError, match="no query_str: this store searches by text, not by an embedding"):
        ask(store, None, query_embedding=[0.5])
    with pytest.raises(InputError, match="similarity_top_k=0"):
        ask(store, k=0)
    for ids in (7, [7]):
        for refuse in (store.get_nodes, store.delete_nodes):
            with pytest.raises(InputError, match="node_ids has 7: give a list of strings"):
                refuse(ids)
    with pytest.raises(InputError, match="alpha=5 is not usable: give a number from 0 to 1"):
        ask(store, mode=VectorStoreQueryMode.HYBRID, alpha=5)
    with pytest.raises(InputError, match="min_score=20"):
        store.query(VectorStoreQuery(query_str="book"), min_score=20)
    with pytest.raises(ValueError, match="model"):
        RagatouilleXMVectorStore(model="colbert")  # type: ignore[arg-type]
    before = store.get_nodes()
    with pytest.raises(InputError, match="Metadata 'what'"):
        store.add([TextNode(text="Good."), TextNode(text="Bad.", metadata={"what": object()})])
    assert store.get_nodes() == before


async def test_the_event_loop_stays_free(store: RagatouilleXMVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    for name in ("search", "update_in_index", "delete_from_index", "index"):

        def noting(*args: Any, its: Any = getattr(store.model, name), **options: Any) -> Any:
            threads.add(get_ident())
            return its(*args, **options)

        monkeypatch.setattr(store.model, name, noting)
    await store.async_add(NODES)
    await store.aquery(VectorStoreQuery(query_str="book"))
    await store.adelete("doc-en")
    await store.adelete_nodes(["fr"])
    await store.aclear()
    assert threads
    assert get_ident() not in threads
