"""The index: insert, update, delete, refresh, persist, load, long documents."""

from __future__ import annotations

import asyncio
import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import get_ident
from typing import Any

import llama_index.core
import pytest
from llama_index.core import Document, StorageContext
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import IndexNode, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.retrievers.ragatouille_xm import RagatouilleXMIndex, RagatouilleXMRetriever

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import FilterError, InputError

from .conftest import DOCUMENTS, IDS, TEXTS, found, in_folder, long_document, texts

# what comes back


def test_nodes_come_back_as_they_went_in(empty: RAGPretrainedModel) -> None:
    nodes = [
        TextNode(
            id_="one",
            text=TEXTS[0],
            metadata={"year": 2020, "nested": {"a": [1]}},
            excluded_llm_metadata_keys=["year"],
            excluded_embed_metadata_keys=["nested"],
            metadata_template="{key} is {value}",
            start_char_idx=5,
            relationships={
                NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"x": 1}, hash="h"),
                NodeRelationship.NEXT: RelatedNodeInfo(node_id="two"),
            },
        ),
        TextNode(id_="two", text=TEXTS[1]),
        IndexNode(id_="three", text=TEXTS[2], index_id="inner"),
    ]
    index = RagatouilleXMIndex(nodes, model=empty)
    for node in nodes:
        best = index.as_retriever(similarity_top_k=1).retrieve(node.text)[0]
        assert best.node == node
        assert type(best.node) is type(node)
        assert type(best.score) is float
        assert best.node.get_content(MetadataMode.LLM) == node.get_content(MetadataMode.LLM)


def test_documents_are_found_in_their_own_language(index: RagatouilleXMIndex) -> None:
    for text, each in zip(TEXTS, IDS, strict=True):
        assert found(index, text, similarity_top_k=1) == [each]
        language = MetadataFilters(filters=[MetadataFilter(key="passage.language", value=each)])
        assert found(index, "book", filters=language) == [each]


def test_filters_and_doc_ids(index: RagatouilleXMIndex) -> None:
    late = MetadataFilters(filters=[MetadataFilter(key="year", value=2021, operator=">=")])
    assert sorted(found(index, "book", filters=late)) == ["de", "ja"]
    assert found(index, "book", filters=late, doc_ids=["ja", "en"]) == ["ja"]
    assert sorted(found(index, "book", doc_ids=["ja", "en"], similarity_top_k=2)) == ["en", "ja"]
    for key in ("doc_id", "ref_doc_id"):
        assert found(index, "book", filters=MetadataFilters(filters=[MetadataFilter(key=key, value="zh")])) == ["zh"]
        assert found(index, "book", filters={key: "zh"}) == ["zh"]
        assert found(index, "book", filters={"$or": [{"$not": {key: {"$ne": "zh"}}}, {key: "-"}], "year": 2020}) == [
            "zh"
        ]
        answer = index.as_query_engine(llm=MockLLM(), filters={key: {"$in": ["zh", "-"]}}).query("book")
        assert [node.node.ref_doc_id for node in answer.source_nodes] == ["zh"]
    both = {"doc_id": {"$in": ["zh", "ja"]}, "ref_doc_id": {"$ne": "zh"}, "passage.language": {"$in": ["zh", "ja"]}}
    assert found(index, "book", filters=both) == ["ja"]
    assert found(index, "book", doc_ids="zh") == ["zh"]
    index.insert(
        Document(text="The book of Kells.", id_="kells", metadata={"language": "Latin", "document_id": "MS 58"})
    )
    assert found(index, "book", filters={"language": "Latin", "document_id": "MS 58"}) == ["kells"]
    (node,) = index.as_retriever(filters={"language": "Latin"}).retrieve("book")
    assert found(index, "book", filters={"passage.document_id": node.node_id}) == ["kells"]
    assert found(index, "book", filters={"language": "en"}) == []
    words = MetadataFilters(filters=[MetadataFilter(key="file_name", value="z", operator="text_match")])
    with pytest.raises(FilterError, match="TEXT_MATCH"):
        index.as_retriever(filters=words)


def test_hybrid_search_scores_whole_nodes(index: RagatouilleXMIndex) -> None:
    options = {"hybrid": True, "lexical_weight": 0.9}
    found = index.as_retriever(similarity_top_k=3, **options).retrieve("the train in the garden")
    expected = index.model.search("the train in the garden", index.index_id, 6, **options)
    best: dict[str, float] = {}
    for each in expected:
        best.setdefault(each["document_id"], each["score"])
    assert [each.score for each in found] == pytest.approx(list(best.values())[: len(found)])


def test_whole_nodes_are_not_explained(index: RagatouilleXMIndex) -> None:
    with pytest.raises(ValueError, match="explain= says where words stand in a passage"):
        index.as_retriever(explain=True)


@pytest.mark.parametrize("options", [{"context": 1}, {"group_by_document": True}])
def test_whole_nodes_need_no_context_and_no_grouping(index: RagatouilleXMIndex, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}= .* returns whole nodes"):
        index.as_retriever(**options)


def test_the_async_retriever_finds_the_same(index: RagatouilleXMIndex) -> None:
    retriever = index.as_retriever(similarity_top_k=3)
    assert asyncio.run(retriever.aretrieve("book")) == retriever.retrieve("book")


# long documents


@pytest.mark.parametrize("k", [1, 4, 9, 100])
def test_a_node_of_many_passages_comes_back_once(empty: RAGPretrainedModel, k: int) -> None:
    nodes = [TextNode(id_=f"n{i}", text=long_document(f"river{i}", 20).text) for i in range(12)]
    index = RagatouilleXMIndex(nodes, model=empty, max_document_length=48)
    results = empty.search("the train in the garden", k=10_000, exact=True)
    assert len(results) > 100
    best: dict[str, float] = {}
    for result in results:
        best.setdefault(result["document_id"], result["relevance"])
    got = index.as_retriever(similarity_top_k=k, exact=True).retrieve("the train in the garden")
    assert {node.node_id: node.score for node in got} == pytest.approx(dict(list(best.items())[:k]), abs=1e-5)
    assert len(got) == min(k, 12)


def test_a_long_node_hides_no_other(empty: RAGPretrainedModel) -> None:
    """One node has all the best passages: there are still k nodes."""
    winner = TextNode(id_="winner", text="The library opens in the morning. " * 400)
    others = [TextNode(id_=f"other{i}", text=text) for i, text in enumerate(TEXTS[1:])]
    index = RagatouilleXMIndex([winner, *others], model=empty, max_document_length=32)
    first = {result["document_id"] for result in empty.search("The library opens in the morning.", k=50)}
    assert first == {"winner"}
    nodes = index.as_retriever(similarity_top_k=4).retrieve("The library opens in the morning.")
    assert nodes[0].node_id == "winner"
    assert len({node.node_id for node in nodes}) == 4


def test_long_documents_through_the_sentence_splitter(
    empty: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version("llama-index-core").startswith("0.13"):  # it downloads what it has in its own folder
        monkeypatch.setenv("NLTK_DATA", str(Path(llama_index.core.__file__).parent))
    documents = [long_document("English", 1500), long_document("other", 300)]
    index = RagatouilleXMIndex.from_documents(
        documents, model=empty, transformations=[SentenceSplitter(chunk_size=512, chunk_overlap=32)]
    )
    ids = set(index.index_struct.nodes_dict)
    assert len(ids) > 40
    nodes = index.as_retriever(similarity_top_k=20).retrieve("The English library number 1234 opens in the morning")
    assert len({node.node_id for node in nodes}) == 20
    assert {node.node_id for node in nodes} <= ids
    whole = documents[0].text
    for node in nodes:
        if node.node.ref_doc_id == "English":
            assert whole[node.node.start_char_idx : node.node.end_char_idx] == node.text
    index.delete_ref_doc("English", delete_from_docstore=True)
    assert set(index.ref_doc_info) == {"other"}
    assert {node.node.ref_doc_id for node in index.as_retriever(similarity_top_k=100).retrieve("library")} == {"other"}


# insert, update, delete, refresh


def test_insert_update_and_delete(index: RagatouilleXMIndex) -> None:
    assert set(index.ref_doc_info) == set(IDS)
    index.insert(Document(text="El libro está en el río.", id_="es"))
    assert texts(index) == dict(zip(IDS, TEXTS, strict=True)) | {"es": "El libro está en el río."}
    index.update_ref_doc(Document(text="Winter bread.", id_="es"))
    assert texts(index)["es"] == "Winter bread."
    assert len(index.ref_doc_info["es"].node_ids) == 1
    index.delete_ref_doc("es", delete_from_docstore=True)
    assert set(index.ref_doc_info) == set(IDS)
    assert "es" not in texts(index)
    assert in_folder(index) == set(index.index_struct.nodes_dict)
    index.delete_ref_doc("es", delete_from_docstore=True)  # there is none, which is logged
    index.delete_nodes(["no such node"])


def test_deleting_twice_and_keeping_the_nodes(index: RagatouilleXMIndex) -> None:
    for _ in range(2):
        index.delete_ref_doc("fr")
    assert "fr" not in found(index, TEXTS[1])
    assert set(index.ref_doc_info) == set(IDS) - {"fr"}
    assert index.docstore.get_ref_doc_info("fr") is not None


def test_refresh_inserts_and_updates_what_changed(index: RagatouilleXMIndex) -> None:
    changed = [DOCUMENTS[0], Document(text="Das Brot.", id_="de"), Document(text="New.", id_="new")]
    assert index.refresh_ref_docs(changed) == [False, True, True]
    assert index.refresh_ref_docs(changed) == [False, False, False]
    assert set(index.ref_doc_info) == {*IDS, "new"}
    assert (texts(index)["de"], texts(index)["en"]) == ("Das Brot.", TEXTS[0])
    assert len(in_folder(index)) == 6


def test_the_same_asynchronously_without_blocking_the_event_loop(
    empty: RAGPretrainedModel, index: RagatouilleXMIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    for name in ("update_in_index", "delete_from_index"):
        monkeypatch.setattr(empty, name, _noting(getattr(empty, name), threads))

    async def main() -> list[bool]:
        await asyncio.gather(*(index.ainsert(Document(text=f"Library {i}.", id_=f"n{i}")) for i in range(7)))
        await index.aupdate_ref_doc(Document(text="Winter bread.", id_="n3"))
        await index.adelete_ref_doc("n4", delete_from_docstore=True)
        return await index.arefresh_ref_docs([DOCUMENTS[0], Document(text="Brot.", id_="n5")])

    assert asyncio.run(main()) == [False, True]
    assert set(index.ref_doc_info) == {*IDS, *(f"n{i}" for i in range(7) if i != 4)}
    assert (texts(index)["n3"], texts(index)["n5"]) == ("Winter bread.", "Brot.")
    assert in_folder(index) == set(index.index_struct.nodes_dict)
    assert threads
    assert get_ident() not in threads


def _noting(function: Any, threads: set[int]) -> Any:
    return lambda *args, **kwargs: (threads.add(get_ident()), function(*args, **kwargs))[1]


def test_sixteen_threads_insert_nodes_of_one_document(index: RagatouilleXMIndex) -> None:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}
    nodes = [TextNode(id_=f"n{i}", text=f"Library {i}.", relationships=source) for i in range(16)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda node: index.insert_nodes([node]), nodes))
    finally:
        sys.setswitchinterval(interval)
    assert sorted(index.ref_doc_info["doc"].node_ids) == sorted(node.node_id for node in nodes)
    assert in_folder(index) == set(index.index_struct.nodes_dict)


def test_nodes_of_the_same_id_are_replaced(index: RagatouilleXMIndex) -> None:
    index.insert_nodes([TextNode(id_="x", text="Winter bread.")])
    index.insert_nodes([TextNode(id_="x", text="El río.")])
    assert [
        node.text for node in index.as_retriever(similarity_top_k=100).retrieve("bread") if node.node_id == "x"
    ] == ["El río."]
    index.insert_nodes([TextNode(id_="x", text="")])
    assert "x" not in in_folder(index)


def test_of_several_nodes_with_one_id_the_last_is_taken(empty: RAGPretrainedModel, index: RagatouilleXMIndex) -> None:
    nodes = [TextNode(id_="u", text="First."), TextNode(id_="o", text="Other."), TextNode(id_="u", text="Last.")]
    index.insert_nodes(nodes)
    for each in (index, RagatouilleXMIndex(nodes, model=empty)):
        retrieved = {node.node_id: node.text for node in each.as_retriever(similarity_top_k=100).retrieve("Last.")}
        assert (retrieved["u"], retrieved["o"]) == ("Last.", "Other.")
        assert each.docstore.get_document("u").text == "Last."


def test_one_node_id_may_be_given_as_it_is(index: RagatouilleXMIndex) -> None:
    index.insert_nodes([TextNode(id_="bread", text="Winter bread.")])
    index.delete_nodes("bread", delete_from_docstore=True)
    assert "bread" not in in_folder(index)
    assert not index.docstore.document_exists("bread")


def test_copies_share_the_folder_and_the_document_store(index: RagatouilleXMIndex) -> None:
    for made in (copy.copy(index), copy.deepcopy(index)):
        assert made.model is index.model
        index.insert(Document(text="Winter bread.", id_="bread"))
        assert "bread" in made.ref_doc_info
        made.delete_ref_doc("bread", delete_from_docstore=True)
        assert texts(made) == texts(index) == dict(zip(IDS, TEXTS, strict=True))


def test_nodes_without_text_are_not_found(empty: RAGPretrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    index = RagatouilleXMIndex([TextNode(id_="a", text="  "), TextNode(id_="b", text="Bread.")], model=empty)
    assert [node.node_id for node in index.as_retriever().retrieve("bread")] == ["b"]
    assert "1 nodes have no text" in caplog.text
    index.delete_nodes(["a"], delete_from_docstore=True)
    assert not index.docstore.document_exists("a")


def test_an_empty_index(empty: RAGPretrainedModel) -> None:
    index = RagatouilleXMIndex([], model=empty)
    assert index.as_retriever().retrieve("book") == []
    assert index.ref_doc_info == {}
    index.insert(DOCUMENTS[1])
    assert found(index, "livre") == ["fr"]


def test_objects_are_entered(empty: RAGPretrainedModel, rag: RAGPretrainedModel) -> None:
    inner = RagatouilleXMRetriever(rag, "first", 1)
    node = IndexNode(id_="link", text="All about libraries.", index_id="inner", obj=inner)
    index = RagatouilleXMIndex([], objects=[node], model=empty)
    retriever = index.as_retriever()
    assert [each.node.ref_doc_id for each in retriever.retrieve(TEXTS[3])] == ["de"]
    assert [each.node.ref_doc_id for each in asyncio.run(retriever.aretrieve(TEXTS[3]))] == ["de"]


# options


def test_languages_can_be_given(empty: RAGPretrainedModel) -> None:
    nodes = [TextNode(id_=each, text=TEXTS[0], metadata={"lang": each}) for each in ("fr", "de")]

    def languages(**options: Any) -> list[str]:
        index = RagatouilleXMIndex(nodes, model=empty, overwrite=True, **options)
        index.insert_nodes([TextNode(id_="late", text=TEXTS[0], metadata={"lang": "ja"})])
        return [each["language"] for each in empty.get_passages(["fr", "de", "late"], index_name=index.index_id)]

    assert languages() == ["en", "en", "en"]
    assert languages(language="de") == ["de", "de", "de"]
    assert languages(language=lambda node: node.metadata["lang"]) == ["fr", "de", "ja"]
    assert languages(language=lambda node: None) == ["en", "en", "en"]


def test_metadata_can_be_encoded_and_does_not_decide_the_language(empty: RAGPretrainedModel) -> None:
    metadata = {"title": TEXTS[0] * 4, "secret": "x"}
    node = TextNode(id_="fr", text=TEXTS[1], metadata=metadata, excluded_embed_metadata_keys=["secret"])
    for mode, content in (
        (MetadataMode.NONE, node.text),
        (MetadataMode.EMBED, f"title: {metadata['title']}\n\n{node.text}"),
    ):
        RagatouilleXMIndex([node], model=empty, overwrite=True, metadata_mode=mode)
        stored = empty.get_passages("fr")
        assert "".join(each["content"] for each in stored).split() == content.split()
        assert {each["language"] for each in stored} == {"fr"}


@pytest.mark.parametrize("metadata_mode", [MetadataMode.NONE, MetadataMode.EMBED])
def test_a_node_that_says_little_is_in_a_language_of_the_index(
    empty: RAGPretrainedModel, metadata_mode: MetadataMode
) -> None:
    nodes = [TextNode(text=text) for text in ("Das Buch ist im Garten.", "Die Bibliothek ist geschlossen.")]
    index = RagatouilleXMIndex(nodes, model=empty, metadata_mode=metadata_mode)
    index.insert_nodes([TextNode(id_="short", text="RTX 4090", metadata={"title": TEXTS[0]})])
    assert {each["language"] for each in empty.get_passages("short")} == {"de"}


def test_an_index_is_not_replaced_by_accident(index: RagatouilleXMIndex, empty: RAGPretrainedModel) -> None:
    context = StorageContext.from_defaults()
    with pytest.raises(InputError, match="There is an index 'news' already.*overwrite=True"):
        RagatouilleXMIndex([TextNode(text="a", id_="a")], model=empty, index_name="news", storage_context=context)
    assert not context.docstore.docs
    assert found(index, TEXTS[1], similarity_top_k=1) == ["fr"]
    other = RagatouilleXMIndex([TextNode(text="a", id_="a")], model=empty, index_name="news", overwrite=True)
    assert in_folder(other) == {"a"}
