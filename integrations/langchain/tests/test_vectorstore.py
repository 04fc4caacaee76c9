"""`RagatouilleXMVectorStore` beyond LangChain's own suite."""

from __future__ import annotations

import asyncio
import copy
import datetime
import logging
import shutil
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_ragatouille_xm import RagatouilleXMVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from reference.five import IDS, METADATAS, TEXTS

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import FilterError, IndexNotFoundError, InputError

from .conftest import DOCUMENTS


def names(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


# what goes in and comes out


def test_evidence_is_in_the_metadata_if_asked_for(store: RagatouilleXMVectorStore) -> None:
    store.add_texts(["La bibliothèque ouvre le matin."], [{"year": 2024}], ids=["a"])
    (plain,) = store.similarity_search("library", k=1, doc_ids=["a"])
    assert plain.metadata == {"year": 2024}
    (found,) = store.similarity_search("library", k=1, doc_ids=["a"], explain=True)
    assert found.metadata.pop("evidence")["query"] == "library"
    assert found == plain
    (found,) = store.as_retriever(search_kwargs={"k": 1, "doc_ids": ["a"], "explain": True}).invoke("library")
    assert "evidence" in found.metadata


def test_documents_come_back_as_they_went_in(store: RagatouilleXMVectorStore) -> None:
    assert store.get_by_ids(["ja", "absent", "en"]) == [DOCUMENTS[4], DOCUMENTS[0]]
    for document in DOCUMENTS:
        assert store.similarity_search(document.page_content, k=1) == [document]
    assert sorted(map(str, names(store.similarity_search("book", k=50)))) == sorted(IDS)
    assert asyncio.run(store.asimilarity_search(TEXTS[1], k=1)) == [DOCUMENTS[1]]


def test_languages_may_be_given(store: RagatouilleXMVectorStore) -> None:
    assert store.add_texts(["Taxi", "Hotel"], ids=["taxi", "hotel"], languages=["fr", None]) == ["taxi", "hotel"]
    store.add_texts(["Radio"], ids=["radio"], languages="de")
    passages = store.model.get_passages(["taxi", "radio"], index_name="store")
    assert [passage["language"] for passage in passages] == ["fr", "de"]
    assert "radio" in names(store.similarity_search("Taxi", k=9, filter={"passage.language": "de"}))


def test_ids_are_made_where_none_are_given(store: RagatouilleXMVectorStore) -> None:
    made = store.add_texts(["One book.", "Two books."], [{"n": 1}, {"n": 2}])
    mixed = store.add_documents([Document(id="given", page_content="a"), Document(page_content="b")])
    assert mixed[0] == "given"
    assert len({*made, *mixed}) == 4
    assert [document.metadata for document in store.get_by_ids(made)] == [{"n": 1}, {"n": 2}]


def test_of_several_texts_with_one_id_the_last_stays(store: RagatouilleXMVectorStore) -> None:
    texts, years = ["First.", "Other.", "Last."], [{"year": 1}, {"year": 2}, {"year": 3}]
    ids = store.add_texts(texts, years, ids=["u", "o", "u"], languages=["fr", None, "de"])
    assert ids == ["u", "o", "u"]
    assert [(each.page_content, each.metadata) for each in store.get_by_ids(["u"])] == [("Last.", {"year": 3})]
    assert len(store.similarity_search("book", k=50)) == 7
    (passage,) = store.model.get_passages("u", index_name="store")
    assert passage["language"] == "de"


def test_one_id_may_be_given_as_it_is_and_what_is_no_list_is_refused(store: RagatouilleXMVectorStore) -> None:
    assert store.get_by_ids("en") == [DOCUMENTS[0]]
    assert names(store.similarity_search("book", doc_ids="ja")) == ["ja"]
    assert store.delete("en") is True
    assert store.get_by_ids(["en"]) == []
    with pytest.raises(InputError, match="ids is a str; give a list, with one entry for each text"):
        store.add_texts(["a", "b"], ids="ab")
    with pytest.raises(InputError, match="texts is a str; give a list"):
        store.add_texts("ab")
    with pytest.raises(InputError, match=r"documents\[0\] is a str; give Document"):
        store.add_documents(["ab"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="fetch_k='x' is not usable"):
        store.max_marginal_relevance_search("book", fetch_k="x")  # type: ignore[arg-type]
    assert len(store.similarity_search("book", k=50)) == 4


def test_copies_share_the_index(store: RagatouilleXMVectorStore) -> None:
    for made in (copy.copy(store), copy.deepcopy(store)):
        assert made.model is store.model
        assert made.get_by_ids(["en"]) == [DOCUMENTS[0]]


def test_the_index_serves_the_facade_too(store: RagatouilleXMVectorStore, tmp_path: Path) -> None:
    found = store.model.search(TEXTS[0], index_name="store", k=1)
    assert found[0]["document_id"] == "en"
    again = RagatouilleXMVectorStore(RAGPretrainedModel(store.model.encoder, store.model.catalog.root, 0), "store")
    assert again.similarity_search(TEXTS[0], k=1) == [DOCUMENTS[0]]


def test_an_index_with_several_passages_a_document(rag: RAGPretrainedModel) -> None:
    rag.index(["The book. " * 100], ["long"], index_name="cut", max_document_length=32)
    store = RagatouilleXMVectorStore(rag, "cut")
    assert set(names(store.similarity_search("book", k=3))) == {"long"}
    assert len(store.get_by_ids(["long"])) > 3
    assert len(store.max_marginal_relevance_search("book", k=3)) == 3


def test_long_documents(empty: RAGPretrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    text = " ".join(f"Chapter {n}. {TEXTS[n % 5]}" for n in range(200))
    store = RagatouilleXMVectorStore(empty, "long", max_document_length=48)
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        store.add_texts([text], ids=["whole"])
    assert "1 of 1 texts longer than 48 tokens" in caplog.text
    assert store.get_by_ids(["whole"])[0].page_content == text
    chunks = RecursiveCharacterTextSplitter(chunk_size=120, chunk_overlap=20).create_documents([text], [{"n": 1}])
    ids = store.add_documents(chunks)
    assert len(ids) == len(chunks) > 100
    assert [document.page_content for document in store.get_by_ids(ids)] == [chunk.page_content for chunk in chunks]
    assert len(store.similarity_search("Chapter 7", k=10, filter={"n": 1})) == 10


# scores


def test_scores_and_relevance(store: RagatouilleXMVectorStore) -> None:
    scored = store.similarity_search_with_score(TEXTS[2], k=3)
    expected = store.model.search(TEXTS[2], index_name="store", k=3)
    assert [(document.id, score) for document, score in scored] == [(r["document_id"], r["score"]) for r in expected]
    relevant = store.similarity_search_with_relevance_scores(TEXTS[2], k=3)
    assert [score for _, score in relevant] == [result["relevance"] for result in expected]
    assert asyncio.run(store.asimilarity_search_with_relevance_scores(TEXTS[2], k=3)) == relevant
    threshold = relevant[1][1]
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": threshold, "k": 5}
    )
    assert names(retriever.invoke(TEXTS[2])) == [document.id for document, _ in relevant[:2]]


def test_a_language_comes_first(store: RagatouilleXMVectorStore) -> None:
    options = {"language": "en", "language_weight": 1.0}
    for language in ("ja", "fr"):
        assert names(store.similarity_search(TEXTS[0], prefer_language=language, **options))[0] == language
    assert names(store.similarity_search(TEXTS[0], prefer_language="query", **options))[0] == "en"


def test_filters_and_options(store: RagatouilleXMVectorStore) -> None:
    assert names(store.similarity_search("book", filter={"year": 2020})) == ["zh"]
    assert set(names(store.similarity_search("book", doc_ids=["en", "ja"]))) == {"en", "ja"}
    retriever = store.as_retriever(search_kwargs={"k": 5, "filter": {"passage.language": {"$in": ["fr", "de"]}}})
    assert set(names(retriever.invoke("book"))) == {"fr", "de"}
    assert len(retriever.invoke("book", filter={"year": {"$gt": 2019}}, k=2)) == 2


def test_bare_names_in_a_filter_are_the_users_metadata(store: RagatouilleXMVectorStore) -> None:
    store.add_texts(["The book of Kells."], [{"language": "Latin", "document_id": "MS 58"}], ids=["kells"])
    for search in (
        store.similarity_search,
        store.max_marginal_relevance_search,
        lambda query, **options: [document for document, _ in store.similarity_search_with_score(query, **options)],
        lambda query, **options: store.as_retriever(search_kwargs=options).invoke(query),
    ):
        assert names(search("book", filter={"language": "Latin"})) == ["kells"]
        assert names(search("book", filter={"document_id": {"$ne": None}})) == ["kells"]
        assert names(search("book", filter={"language": "en"})) == []
        assert names(search("book", filter={"passage.language": "en", "passage.document_id": "en"})) == ["en"]


def test_marginal_relevance_prefers_what_is_new(store: RagatouilleXMVectorStore) -> None:
    copies = ["copy 1", "copy 2"]
    store.add_texts([TEXTS[0], TEXTS[0]], ids=copies)
    query = TEXTS[0]
    assert set(names(store.similarity_search(query, k=3))) == {"en", *copies}
    diverse = names(store.max_marginal_relevance_search(query, k=3, lambda_mult=0.3))
    assert diverse[0] in {"en", *copies}
    assert not {"en", *copies} & set(diverse[1:])
    assert set(names(store.max_marginal_relevance_search(query, k=3, lambda_mult=1.0))) == {"en", *copies}
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 2})
    assert set(names(retriever.invoke(query))) <= {"en", *copies}
    assert len(asyncio.run(retriever.ainvoke(query))) == 2
    assert store.max_marginal_relevance_search(query, filter={"year": 1900}) == []


# making one


def test_from_texts_and_documents(empty: RAGPretrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    store = RagatouilleXMVectorStore.from_documents(DOCUMENTS, None, model=empty, index_name="made")  # type: ignore[arg-type]
    assert store.get_by_ids(IDS) == DOCUMENTS
    more = RagatouilleXMVectorStore.from_texts(["Brot"], ids=["bread"], model=empty, index_name="made")
    assert names(more.get_by_ids(["bread", "en"])) == ["bread", "en"]
    other = asyncio.run(RagatouilleXMVectorStore.afrom_texts(TEXTS, None, METADATAS, ids=IDS, model=empty))  # type: ignore[arg-type]
    assert other.index_name == "langchain"
    assert other.get_by_ids(IDS) == DOCUMENTS
    assert not caplog.text
    RagatouilleXMVectorStore.from_texts(["x"], DeterministicFakeEmbedding(size=3), model=empty)
    assert "embedding=DeterministicFakeEmbedding has no effect" in caplog.text


def test_any_iterables_are_taken(empty: RAGPretrainedModel) -> None:
    store = RagatouilleXMVectorStore(empty)
    columns = {"metadatas": (each for each in METADATAS), "ids": (each for each in IDS), "languages": iter(IDS)}
    assert store.add_texts((text for text in TEXTS), **columns) == IDS
    assert store.get_by_ids(IDS) == DOCUMENTS
    assert store.add_documents(iter(DOCUMENTS)) == IDS
    asyncio.run(store.aadd_texts(iter(TEXTS), iter(METADATAS), ids=iter(IDS)))  # type: ignore[arg-type]
    asyncio.run(store.aadd_documents(iter(DOCUMENTS)))  # type: ignore[arg-type]
    assert store.get_by_ids(IDS) == DOCUMENTS
    assert len(store.similarity_search("book", k=50)) == 5
    kind = RagatouilleXMVectorStore
    for made in (
        kind.from_texts(iter(TEXTS), metadatas=iter(METADATAS), ids=iter(IDS), model=empty, index_name="1"),
        kind.from_documents(iter(DOCUMENTS), model=empty, index_name="2"),
        asyncio.run(kind.afrom_documents(iter(DOCUMENTS), model=empty, index_name="3")),
    ):
        assert made.get_by_ids(IDS) == DOCUMENTS
    with pytest.raises(InputError, match="metadatas has 4 entries for 5 texts"):
        store.add_texts(TEXTS, iter(METADATAS[:4]))
    for wrong in ({"a": "text"}, {"text"}):
        with pytest.raises(InputError, match=f"texts is a {type(wrong).__name__}; give a list"):
            store.add_texts(wrong)


def test_no_embedding_need_be_named(empty: RAGPretrainedModel) -> None:
    kind = RagatouilleXMVectorStore
    for store in (
        kind.from_texts(TEXTS, metadatas=METADATAS, ids=IDS, model=empty, index_name="1"),
        kind.from_documents(DOCUMENTS, model=empty, index_name="2"),
        asyncio.run(kind.afrom_texts(TEXTS, metadatas=METADATAS, ids=IDS, model=empty, index_name="3")),
        asyncio.run(kind.afrom_documents(DOCUMENTS, model=empty, index_name="4")),
    ):
        assert store.get_by_ids(IDS) == DOCUMENTS


def test_an_empty_store(empty: RAGPretrainedModel) -> None:
    store = RagatouilleXMVectorStore(empty)
    assert store.similarity_search("book") == store.get_by_ids(["a"]) == []
    assert store.max_marginal_relevance_search("book") == store.similarity_search_with_score("book") == []
    assert store.embeddings is None
    assert store.add_texts([]) == []


# bad input


def test_bad_input(store: RagatouilleXMVectorStore) -> None:
    with pytest.raises(InputError, match="A query is blank"):
        store.similarity_search(" ")
    with pytest.raises(InputError, match="The query is a list"):
        store.similarity_search(["book"])  # type: ignore[arg-type]
    for search in (store.similarity_search, store.max_marginal_relevance_search):
        with pytest.raises(InputError, match="k=0 is not usable"):
            search("book", k=0)
    with pytest.raises(FilterError, match="Unknown operator"):
        store.similarity_search("book", filter={"year": {"$near": 1}})
    with pytest.raises(TypeError, match="top_k"):
        store.similarity_search("book", top_k=3)
    with pytest.raises(InputError, match="lambda_mult=2"):
        store.max_marginal_relevance_search("book", lambda_mult=2)
    with pytest.raises(InputError, match="model is a str"):
        RagatouilleXMVectorStore("antoinelouis/colbert-xm")  # type: ignore[arg-type]


def test_bad_documents_add_nothing(store: RagatouilleXMVectorStore) -> None:
    for texts, metadatas, ids in [
        (["one", "two"], None, ["1"]),
        (["one"], [{}, {}], None),
        (["one", "two"], None, ["same", "same", "same"]),
        (["one", "two"], [{}, {"when": datetime.timedelta(1)}], None),
        (["one", 2], None, None),
    ]:
        with pytest.raises(ValueError):
            store.add_texts(texts, metadatas, ids=ids)  # type: ignore[arg-type]
    assert len(store.similarity_search("book", k=50)) == 5


def test_another_length(store: RagatouilleXMVectorStore) -> None:
    with pytest.raises(InputError, match="has max_document_length=.*, not 32"):
        RagatouilleXMVectorStore(store.model, "store", max_document_length=32)


def test_a_deleted_index(store: RagatouilleXMVectorStore) -> None:
    shutil.rmtree(store.model.catalog.path("store"))
    for use in (
        lambda: store.similarity_search("book"),
        lambda: store.add_texts(["x"]),
        lambda: store.get_by_ids(["en"]),
    ):
        with pytest.raises(IndexNotFoundError, match="no longer there"):
            use()
