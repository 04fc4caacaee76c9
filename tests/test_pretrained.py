"""The facade, end to end on a tiny checkpoint: what users see."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.catalog import IndexCatalog
from ragatouille_xm.errors import (
    CheckpointError,
    DuplicateDocumentError,
    FilterError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    InputError,
    LanguageError,
    MissingExtraError,
    PassageIndexError,
    StorageError,
)
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.quantization.codebook import Codebook

DOCUMENTS = [
    "The library opens in the morning and the book is in the garden.",
    "La bibliothèque est au bord de la rivière, et le livre est dans le jardin.",
    "图书馆在北京市，今天有水和火，明年有雨雪。",
    "Das Buch ist in der Bibliothek und das Brot ist im Garten am Fluss.",
    "図書館は東京にあります。今日の天気は雨です。",
]
IDS = ["en", "fr", "zh", "de", "ja"]
METADATAS = [{"year": 2018 + i, "tags": ["a", "b"][: i % 3]} for i in range(5)]


@pytest.fixture
def rag(model: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    """Return a model with one index, ``first``, sharing the encoder between tests."""
    fresh = RAGPretrainedModel(model.encoder, tmp_path / "root", verbose=0)
    fresh.index(DOCUMENTS, IDS, METADATAS, index_name="first")
    return fresh


def ids(results: list[dict]) -> list[str]:
    return [result["document_id"] for result in results]


# index and search


def test_a_document_finds_itself_in_its_own_language(rag: RAGPretrainedModel) -> None:
    for text, document_id, language in zip(DOCUMENTS, IDS, ["en", "fr", "zh", "de", "ja"], strict=True):
        best = rag.search(text, k=1)[0]
        assert (best["document_id"], best["language"], best["content"]) == (document_id, language, text)


def test_results_have_all_keys_in_order_of_score(rag: RAGPretrainedModel) -> None:
    results = rag.search("Where is the book?", k=5)
    assert [result["rank"] for result in results] == [1, 2, 3, 4, 5]
    assert sorted(ids(results)) == sorted(IDS)
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    for result in results:
        assert result["document_metadata"] == METADATAS[IDS.index(result["document_id"])]
        assert type(result["score"]) is float
        assert type(result["passage_id"]) is int
    relevance = [result["relevance"] for result in results]
    assert relevance == sorted(relevance, reverse=True)
    assert 0 <= relevance[-1] < relevance[0] <= 1


def test_metadata_is_left_out_where_there_is_none(rag: RAGPretrainedModel) -> None:
    rag.index(DOCUMENTS[:2], index_name="plain")
    assert "document_metadata" not in rag.search("book", k=1)[0]


def test_a_list_of_queries_gives_a_list_each(rag: RAGPretrainedModel) -> None:
    queries = ["Where is the book?", "Où est le livre ?", "图书馆"]
    together = rag.search(queries, k=2)
    for query, results in zip(queries, together, strict=True):
        alone = rag.search(query, k=2)
        assert ids(results) == ids(alone)
        assert [r["score"] for r in results] == pytest.approx([r["score"] for r in alone], abs=1e-3)
    assert len(rag.search(["book"], k=1)) == 1
    assert isinstance(rag.search(["book"], k=1)[0], list)
    assert rag.search([], k=1) == []


def test_zero_index_ranks(rag: RAGPretrainedModel) -> None:
    assert [r["rank"] for r in rag.search("book", k=3, zero_index_ranks=True)] == [0, 1, 2]


def test_the_users_language_wins(model: RAGPretrainedModel, tmp_path: Path) -> None:
    rag = RAGPretrainedModel(model.encoder, tmp_path, verbose=0)
    rag.index(DOCUMENTS[:2], ["a", "b"], languages=["de-AT", None])
    assert {r["document_id"]: r["language"] for r in rag.search("x", k=2)} == {"a": "de", "b": "fr"}
    rag.index(DOCUMENTS[:2], languages="zh_CN")
    assert {r["language"] for r in rag.search("x", k=2)} == {"zh"}


def test_the_query_language_decides_the_adapter(rag: RAGPretrainedModel) -> None:
    german, french = (rag.search("Buch", k=5, language=language)[0]["score"] for language in ("de", "fr"))
    assert german != french
    both = rag.search(["Buch", "Buch"], k=5, language=["de", "fr"])
    assert [each[0]["score"] for each in both] == pytest.approx([german, french], abs=1e-3)


def test_a_query_is_in_its_own_language_even_if_no_document_is(rag: RAGPretrainedModel) -> None:
    rag.index(DOCUMENTS[:1], IDS[:1], index_name="english")
    query = "Où est la bibliothèque de la ville ?"
    [found] = rag.search(query, "english", k=1)
    assert found["language"] == "en"
    assert found["query_language"] == "fr"
    assert found["score"] == rag.search(query, "english", k=1, language="fr")[0]["score"]
    assert found["score"] != rag.search(query, "english", k=1, language="en")[0]["score"]
    assert rag.search("図書館はどこですか", "english", k=1)[0]["query_language"] == "ja"


def test_a_query_that_says_little_is_in_a_language_of_the_index(rag: RAGPretrainedModel) -> None:
    for language in ("de", "fr"):
        rag.index(DOCUMENTS[:2], IDS[:2], index_name="one", languages=language)
        for query in ("RTX 4090", "12:30"):
            assert rag.search(query, "one", k=1)[0]["query_language"] == language
            [told] = rag.detect_languages(query, index_name="one")
            assert told.language == language
    assert rag.detect_languages("RTX 4090")[0].language == "en"


def test_queries_do_not_decide_each_others_language(rag: RAGPretrainedModel) -> None:
    queries = ["Meias", "Bolsa de couro", "Où est la gare ?", "RTX 4090"]
    together = rag.search(queries, k=1)
    assert [r[0]["query_language"] for r in together] == [rag.search(q, k=1)[0]["query_language"] for q in queries]


def test_filters(rag: RAGPretrainedModel) -> None:
    assert sorted(ids(rag.search("book", k=5, filter={"year": {"$gte": 2021}}))) == ["de", "ja"]
    assert ids(rag.search("book", k=5, filter={"language": "zh-Hans"})) == ["zh"]
    assert sorted(ids(rag.search("book", k=5, filter={"language": {"$in": ["fr_XX", "deu"]}}))) == ["de", "fr"]
    assert sorted(ids(rag.search("book", k=5, doc_ids=["en", "zh", "absent"]))) == ["en", "zh"]
    assert ids(rag.search("book", k=5, doc_ids=["en", "zh"], filter={"year": 2020})) == ["zh"]
    assert rag.search("book", filter={"year": 1900}) == []


def test_one_document_id_need_not_be_in_a_list(rag: RAGPretrainedModel) -> None:
    rag.index(DOCUMENTS[:3], ["1", "2", "21"], index_name="numbered")
    assert ids(rag.search("book", doc_ids="21")) == ["21"]
    assert [each["document_id"] for each in rag.get_passages("21")] == ["21"]
    assert rag.delete_from_index("21") == 1
    assert sorted(ids(rag.search("book"))) == ["1", "2"]


def test_document_ids_may_be_any_iterable(rag: RAGPretrainedModel) -> None:
    assert sorted(ids(rag.search("book", doc_ids=(each for each in ("en", "fr"))))) == ["en", "fr"]
    assert [each["document_id"] for each in rag.get_passages(each for each in ("fr", "en"))] == ["fr", "en"]
    assert rag.delete_from_index(each for each in ("en", "fr")) == 2
    assert sorted(ids(rag.search("book"))) == ["de", "ja", "zh"]


def test_codebooks_by_faiss_are_asked_for_once_and_stay_so(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ragatouille_xm.index.quantization.codebook.EXACT_BELOW", 3)
    use_faiss: list[bool] = []
    fit = Codebook.fit_codes

    def noted(*given: Any, **options: Any) -> Codebook:
        use_faiss.append(options["use_faiss"])
        return fit(*given, **options)

    monkeypatch.setattr(Codebook, "fit_codes", noted)
    rag.index(DOCUMENTS, IDS, index_name="ours")
    rag.index(DOCUMENTS, IDS, index_name="theirs", use_faiss=True)
    rag.add_to_index([text * 2 for text in DOCUMENTS], [f"{name}2" for name in IDS])
    assert use_faiss == [False, True, True]
    assert rag.search(DOCUMENTS[0], k=1)[0]["language"] == "en"

    monkeypatch.setattr("ragatouille_xm.index.quantization.faiss_kmeans.find_spec", lambda name: None)
    rag.add_to_index(["A river."], ["river"])
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        rag.optimize_index()
    assert use_faiss[3:] == [False]
    assert "faiss is not installed" in caplog.text
    with pytest.raises(MissingExtraError, match="faiss"):
        rag.index(DOCUMENTS, IDS, index_name="theirs", use_faiss=True)
    assert len(rag.search(DOCUMENTS[0], index_name="theirs", k=100)) == 11  # as it was


def test_min_score_and_exact_and_fast(rag: RAGPretrainedModel) -> None:
    every = rag.search("book", k=5)
    floor = every[2]["score"]
    assert ids(rag.search("book", k=5, min_score=floor)) == ids(every[:3])
    assert ids(rag.search("book", k=5, exact=True)) == ids(every)
    assert len(rag.search("book", k=5, force_fast=True)) == 5


@pytest.mark.parametrize("k", [1000, 10**11, 2**63])
def test_k_larger_than_the_index(rag: RAGPretrainedModel, k: int) -> None:
    every = rag.search("book", k=5)
    assert rag.search("book", k=k) == rag.search("book", k=k, exact=True) == every
    assert rag.search(["book"], k=k, force_fast=True) == [every]
    assert ids(rag.search("book", k=k, filter={"year": 2020})) == ["zh"]
    assert len(rag.rerank("book", DOCUMENTS, k=k)) == 5
    rag.encode(DOCUMENTS, verbose=False)
    assert len(rag.search_encoded_docs("book", k=k)) == 5


def test_asearch(rag: RAGPretrainedModel) -> None:
    async def many() -> list[list[dict]]:
        return await asyncio.gather(*(rag.asearch(text, k=1) for text in DOCUMENTS))

    assert [ids(found)[0] for found in asyncio.run(many())] == IDS
    arguments = ("book", "first", 2, False, True, ["en", "fr", "zh"])
    assert asyncio.run(rag.asearch(*arguments)) == rag.search(*arguments)


def test_searching_from_threads_while_adding(rag: RAGPretrainedModel) -> None:
    found: list[str] = []
    threads = [Thread(target=lambda: found.extend(ids(rag.search(DOCUMENTS[1], k=1)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    rag.add_to_index(["Le pain est dans le jardin."], ["more"])
    for thread in threads:
        thread.join()
    assert found == ["fr"] * 8


# long documents, hooks


def test_long_documents_are_split_and_inherit_their_language(rag: RAGPretrainedModel) -> None:
    text = "图书馆在北京市，今天有水和火，明年有雨雪。" * 20
    rag.index([text, DOCUMENTS[0]], ["long", "short"], index_name="long", max_document_length=32)
    results = rag.search("北京", k=100, doc_ids=["long"])
    assert len(results) > 5
    assert {result["language"] for result in results} == {"zh"}
    passages = sorted(results, key=lambda result: result["passage_id"])
    assert "".join(result["content"] for result in passages) == text
    assert all(max(rag.encoder.tokenizer.count([r["content"]])) <= 28 for r in passages)


def test_without_splitting_documents_are_cut_off_and_that_is_said(
    rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        rag.index(["library " * 100], ["long"], index_name="cut", max_document_length=32, split_documents=False)
    assert len(rag.search("library", k=10)) == 1
    assert "1 of 1 texts longer than 32 tokens" in caplog.text


def test_splitter_and_preprocessing_hooks_as_ragatouille_calls_them(rag: RAGPretrainedModel) -> None:
    def splitter(documents: list[str], document_ids: list[str], chunk_size: int = 256) -> list[dict[str, str]]:
        assert chunk_size == 64
        return [
            {"document_id": document_id, "content": part}
            for document, document_id in zip(documents, document_ids, strict=True)
            for part in document.split("|")
        ]

    def shout(documents: list[dict[str, str]], document_ids: list[str]) -> list[dict[str, str]]:
        return [{**document, "content": document["content"].upper()} for document in documents]

    rag.index(["the book|the bread", "a garden"], ["x", "y"], index_name="hooks", max_document_length=64,
              document_splitter_fn=splitter, preprocessing_fn=[shout])  # fmt: skip
    found = {(r["document_id"], r["content"]) for r in rag.search("book", k=10)}
    assert found == {("x", "THE BOOK"), ("x", "THE BREAD"), ("y", "A GARDEN")}


# add, update, delete, reopen


def test_added_documents_are_found_at_once_and_after_reopening(rag: RAGPretrainedModel) -> None:
    rag.add_to_index(["Ein neues Brot."], ["bread"], [{"year": 2030}])
    assert "bread" in ids(rag.search("Ein neues Brot.", k=10))
    path = rag.catalog.root / "colbert" / "indexes" / "first"
    rag.close()
    again = RAGPretrainedModel.from_index(path, verbose=0)
    (best,) = again.search("Ein neues Brot.", k=1, doc_ids=["bread"])
    assert (best["document_id"], best["document_metadata"]) == ("bread", {"year": 2030})
    assert again.catalog.current == "first"


def test_deletes_leave_every_other_document_as_it_was(rag: RAGPretrainedModel) -> None:
    before = {r["document_id"]: r for r in rag.search("book", k=5)}
    assert rag.delete_from_index(["fr"]) == 1
    after = {r["document_id"]: r for r in rag.search("book", k=5)}
    assert set(after) == set(IDS) - {"fr"}
    for document_id, result in after.items():
        assert {**before[document_id], "rank": 0} == {**result, "rank": 0}


def test_deleting_unknown_ids_is_said(rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        assert rag.delete_from_index("absent") == 0
    assert "nothing to delete for 'absent'" in caplog.text


def test_passages_come_back_as_they_were_stored(rag: RAGPretrainedModel) -> None:
    rag.add_to_index(["The book. " * 200], ["long"])
    whole, *parts = rag.get_passages(["fr", "absent", "long", "fr"])
    assert whole == {
        "content": DOCUMENTS[1],
        "document_id": "fr",
        "passage_id": 1,
        "language": "fr",
        "document_metadata": METADATAS[1],
    }
    assert {part["document_id"] for part in parts} == {"long"}
    assert [part["passage_id"] for part in parts] == list(range(5, 5 + len(parts)))
    assert " ".join(part["content"] for part in parts).split() == ("The book. " * 200).split()
    assert rag.get_passages("fr") == [whole]
    assert rag.get_passages([]) == []
    with pytest.raises(InputError, match="give a list of strings"):
        rag.get_passages([1])


def test_an_index_from_elsewhere_opens_again(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    rag.close()
    elsewhere = rag.catalog.path("first").rename(tmp_path / "moved")
    again = RAGPretrainedModel.from_index(elsewhere, verbose=0)
    again.close()
    assert ids(again.search(DOCUMENTS[1], k=1)) == ids(again.search(DOCUMENTS[1], "moved", k=1)) == ["fr"]


def test_an_index_may_start_empty(rag: RAGPretrainedModel) -> None:
    rag.index([], index_name="empty")
    assert rag.search("book") == rag.get_passages("fr") == []
    rag.add_to_index(["The book."], ["first"])
    assert ids(rag.search("book")) == ["first"]


def test_update_replaces_and_adds(rag: RAGPretrainedModel) -> None:
    rag.update_in_index(["The new bread.", "A river."], ["fr", "river"])
    found = {r["document_id"]: r["content"] for r in rag.search("bread", k=10)}
    assert found["fr"] == "The new bread."
    assert found["river"] == "A river."
    assert len(found) == 6


def test_an_existing_id_is_refused_and_nothing_is_added(rag: RAGPretrainedModel) -> None:
    with pytest.raises(DuplicateDocumentError, match=r"already has 'fr'\. Use update_in_index"):
        rag.add_to_index(["A river.", "Le pain."], ["river", "fr"])
    assert len(rag.search("book", k=10)) == 5


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_added_in_many_batches_counts_as_a_whole(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)
    before = rag.search("book", k=10)
    texts, names = [f"A river, number {i}." for i in range(6)], ["fr", "zh", "x1", "x2", "x3", "x4"]
    names = names if replace else [f"new {name}" for name in names]
    add = rag.update_in_index if replace else rag.add_to_index
    seen: list[int] = []

    def watched(texts: list[str], ids: list[str] | None) -> list[dict[str, Any]]:
        other = RAGPretrainedModel(rag.encoder, rag.catalog.root, verbose=0)
        seen.append(len(other.search("book", "first", k=100)))
        with pytest.raises(IndexLockedError):
            other.index(["A garden."], ["garden"], index_name="first")
        return [{"document_id": i, "content": text} for i, text in zip(ids or [], texts, strict=True)]

    with pytest.raises(LanguageError):
        add(texts, names, languages=["en"] * 5 + ["xx"])
    assert rag.search("book", k=10) == before
    monkeypatch.setattr("ragatouille_xm.index.local.lock.PATIENCE", 0.1)
    add(texts, names, document_splitter_fn=lambda documents, document_ids, chunk_size: watched(documents, document_ids))
    assert seen == [5, 5, 5]
    assert len(rag.search("book", k=100)) == (9 if replace else 11)


def test_an_index_is_searched_by_a_thread_while_it_is_built_anew(rag: RAGPretrainedModel) -> None:
    found: list[list[str]] = []
    failed: list[Exception] = []
    done = Event()

    def search() -> None:
        try:
            while not done.is_set():
                found.append(ids(rag.search("book", "first", k=1)))
        except Exception as error:
            failed.append(error)

    threads = [Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(4):
        rag.index(DOCUMENTS, [f"{name}{n}" for name in IDS], index_name="first")
    done.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert found


def test_another_thread_closes_an_index_that_is_asked_for(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closes_meanwhile(catalog: IndexCatalog, name: str) -> None:
        monkeypatch.undo()
        catalog.current = name
        thread = Thread(target=catalog.close)
        thread.start()
        thread.join()

    monkeypatch.setattr(IndexCatalog, "current", property(lambda catalog: "first", closes_meanwhile), raising=False)
    with pytest.raises(PassageIndexError, match="was closed"):
        rag.search("book")
    assert len(rag.search("book", k=10)) == 5


def test_several_indexes_with_one_model(rag: RAGPretrainedModel) -> None:
    rag.index(["A river."], ["river"], index_name="second")
    assert ids(rag.search("book", k=10)) == ["river"]
    assert len(rag.search("book", "first", k=10)) == 5
    assert len(rag.search("book", k=10)) == 5  # the one used last


def test_overwriting(rag: RAGPretrainedModel) -> None:
    rag.index(["A river."], ["river"], index_name="first")
    assert ids(rag.search("book", k=10)) == ["river"]
    with pytest.raises(InputError, match="There is an index 'first' already"):
        rag.index(["A garden."], index_name="first", overwrite_index=False)


def test_reusing(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rag.index(["A river."], ["river"], index_name="second", overwrite_index="reuse")
    assert ids(rag.search("book")) == ["river"]
    with monkeypatch.context() as patch:
        patch.setattr(rag.encoder, "encode_documents", None)  # nothing is encoded
        first = rag.index(["A garden."], ["garden"], index_name="first", overwrite_index="reuse")
        assert first == str(rag.catalog.path("first"))
        assert rag.catalog.current == "first"
        rag.close()  # nor need the index be open
        assert rag.index(["A garden."], index_name="second", overwrite_index="reuse") == made
    assert ids(rag.search("book")) == ["river"]
    assert len(rag.search("book", "first")) == 5
    rag.index(["A garden."], ["garden"], index_name="first", overwrite_index="force_silent_overwrite")
    assert ids(rag.search("book")) == ["garden"]
    with pytest.raises(InputError, match="There is an index 'first' already"):
        rag.index(["A garden."], index_name="first", overwrite_index=0)


def test_reusing_in_qdrant(rag: RAGPretrainedModel) -> None:
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    made = rag.index(DOCUMENTS[:2], IDS[:2], index_name="shared", index_url=client)
    again = RAGPretrainedModel(rag.encoder, rag.catalog.root, verbose=0)
    assert again.index(["A river."], ["river"], index_name="shared", index_url=client, overwrite_index="reuse") == made
    assert sorted(ids(again.search("book"))) == ["en", "fr"]


def test_a_failed_rebuild_leaves_the_old_index(rag: RAGPretrainedModel) -> None:
    def broken() -> object:
        yield "A river."
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        rag.index(broken(), index_name="first")
    assert len(rag.search("book", k=10)) == 5
    folder = rag.catalog.root / "colbert" / "indexes" / "first"
    rag.close()
    assert len(RAGPretrainedModel.from_index(folder, verbose=0).search("book", k=10)) == 5


def test_a_build_that_was_broken_off_encodes_only_what_is_missing(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)
    monkeypatch.setattr("ragatouille_xm.index.local.build.SAVE_SECONDS", -1.0)
    encoded: list[str] = []
    encode = rag.encoder.encode_documents

    def failing(texts: list[str], *args: object, **kwargs: object) -> object:
        if len(encoded) == 4:
            raise KeyboardInterrupt
        encoded.extend(texts)
        return encode(texts, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(rag.encoder, "encode_documents", failing)
        with pytest.raises(KeyboardInterrupt):
            rag.index(DOCUMENTS, IDS, METADATAS, index_name="long", overwrite_index="resume")
    assert len(encoded) == 4
    assert not rag.catalog.has("long")

    def watched(texts: list[str], *args: object, **kwargs: object) -> object:
        encoded.extend(texts)
        return encode(texts, *args, **kwargs)

    monkeypatch.setattr(rag.encoder, "encode_documents", watched)
    rag.index(DOCUMENTS, IDS, METADATAS, index_name="long", overwrite_index="resume")
    assert encoded == DOCUMENTS
    assert ids(rag.search("book", "long", k=5)) == ids(rag.search("book", "first", k=5))


def test_long_documents_are_encoded_and_stored_a_few_passages_at_a_time(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, and what a build that is broken off has lost, do not grow with the length of documents."""
    numbers = {"a": 2, "b": 3, "blank": 0, "c": 9, "d": 1, "e": 1}
    texts = {name: "|".join(f"A river, number {name} {i}." for i in range(n)) for name, n in numbers.items()}
    rag.index(texts, index_name="whole", document_splitter_fn=lambda text: text.split("|"))
    whole = rag.get_passages(list(texts))
    together: list[int] = []
    encode = rag.encoder.encode_documents

    def watched(texts: list[str], *args: object, **kwargs: object) -> object:
        together.append(len(texts))
        return encode(texts, *args, **kwargs)

    monkeypatch.setattr(rag.encoder, "encode_documents", watched)
    monkeypatch.setattr("ragatouille_xm.indexing.PASSAGE_BATCH", 4)
    rag.index(texts, index_name="parts", document_splitter_fn=lambda text: text.split("|"))
    assert together == [2, 3, 9, 2]
    assert rag.get_passages(list(texts)) == whole
    rag.update_in_index(texts, document_splitter_fn=lambda text: text.split("|"))
    shown = ("document_id", "content", "language")
    updated = rag.get_passages(list(texts))
    assert [[each[key] for key in shown] for each in updated] == [[each[key] for key in shown] for each in whole]


def test_a_resumed_build_holds_what_it_is_given(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents whose text, language or metadata changed are encoded anew; ids that are no longer given go."""
    names = [*IDS, "river", "new"]
    texts = [*DOCUMENTS, "A river."]

    def broken() -> Iterator[str]:
        yield from texts
        raise RuntimeError("the source broke")

    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)
    with pytest.raises(RuntimeError, match="the source broke"):
        rag.index(broken(), names, [*METADATAS, {}, {}], index_name="long")
    encoded: list[str] = []
    encode = rag.encoder.encode_documents

    def watched(texts: list[str], *args: object, **kwargs: object) -> object:
        encoded.extend(texts)
        return encode(texts, *args, **kwargs)

    monkeypatch.setattr(rag.encoder, "encode_documents", watched)
    changed = [DOCUMENTS[0], "Le pain est dans le jardin.", DOCUMENTS[2], DOCUMENTS[3], "The garden."]
    metadatas = [METADATAS[0], METADATAS[1], METADATAS[2] | {"year": 1999}, METADATAS[3], {"year": 2000}]
    rag.index(
        changed, ["en", "fr", "zh", "de", "new"], metadatas, index_name="long", overwrite_index="resume",
        languages=[None, None, None, "fr", None],
    )  # fmt: skip
    assert encoded == [changed[1], changed[2], changed[3], changed[4]]
    found = {each["document_id"]: each for each in rag.search("book", "long", k=100)}
    assert {name: each["content"] for name, each in found.items()} == dict(
        zip(["en", "fr", "zh", "de", "new"], changed, strict=True)
    )
    assert [each["document_id"] for each in rag.search("x", "long", filter={"year": 1999})] == ["zh"]
    assert rag.search("x", "long", filter={"year": 2020}) == []
    assert found["de"]["language"] == "fr"


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_a_smaller_storage_finds_the_same(rag: RAGPretrainedModel, storage: str) -> None:
    rag.index(DOCUMENTS, IDS, METADATAS, index_name="small", storage=storage)
    for text in DOCUMENTS:
        one, other = rag.search(text, "small", k=1)[0], rag.search(text, "first", k=1)[0]
        assert one["document_id"] == other["document_id"]
        assert one["score"] == pytest.approx(other["score"], rel=0.01)


def test_optimizing_converts_an_index_to_a_smaller_storage(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    folder = rag.index(DOCUMENTS, IDS, METADATAS, index_name="first")
    before = [rag.search(text, k=1)[0] for text in DOCUMENTS]
    rag.optimize_index("first", storage="int4")
    assert {path.suffix for path in Path(folder).glob("segment-*")} == {".packed", ".bases", ".table", ".lexical"}
    after = [rag.search(text, k=1)[0] for text in DOCUMENTS]
    assert [each["document_id"] for each in after] == [each["document_id"] for each in before]
    assert [each["score"] for each in after] == pytest.approx([each["score"] for each in before], rel=0.02)
    with pytest.raises(InputError, match="Index the documents again"):
        rag.optimize_index("first", storage="int16")


def test_optimizing_changes_no_answer(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    rag.index(DOCUMENTS, IDS, METADATAS, index_name="first")
    rag.add_to_index(["The river is in the garden."], ["river"])
    rag.delete_from_index("de")
    index = rag.catalog.get().index
    assert isinstance(index, LocalIndex)
    assert [(segment.passages, segment.deletes) for segment in index.state.segments] == [(5, 1), (1, 0)]
    before = rag.search("the garden", k=5)
    rag.optimize_index()
    assert rag.search("the garden", k=5) == before
    assert [(segment.passages, segment.deletes) for segment in index.state.segments] == [(5, 0)]


def test_index_takes_any_iterable(rag: RAGPretrainedModel) -> None:
    path = rag.index((text for text in DOCUMENTS), (i for i in IDS), index_name="streamed")
    assert Path(path).name == "streamed"
    assert len(rag.search("book", k=10)) == 5


def test_an_empty_index_finds_nothing_until_documents_come(rag: RAGPretrainedModel) -> None:
    rag.index([], index_name="empty")
    assert rag.search("book") == []
    rag.add_to_index(["A river."], ["river"])
    assert ids(rag.search("book")) == ["river"]
    rag.delete_from_index("river")
    assert rag.search("book") == []


# in memory


def test_rerank(rag: RAGPretrainedModel) -> None:
    results = rag.rerank(DOCUMENTS[3], DOCUMENTS, k=3)
    assert [r["rank"] for r in results] == [1, 2, 3]
    assert (results[0]["result_index"], results[0]["content"]) == (3, DOCUMENTS[3])
    assert "document_id" not in results[0]
    assert len(rag.rerank("book", DOCUMENTS, k=50)) == 5
    assert [each[0]["result_index"] for each in rag.rerank(DOCUMENTS, DOCUMENTS, k=1)] == [0, 1, 2, 3, 4]
    assert rag.rerank("book", DOCUMENTS, k=1, zero_index_ranks=True)[0]["rank"] == 0
    assert rag.rerank("book", [], k=3) == []


def test_rerank_scores_as_search_does(rag: RAGPretrainedModel) -> None:
    reranked = {r["content"]: r["score"] for r in rag.rerank("Where is the book?", DOCUMENTS, k=5)}
    for result in rag.search("Where is the book?", k=5):
        assert result["score"] == pytest.approx(reranked[result["content"]], abs=0.02)  # stored in half precision


def test_encode_search_and_clear(rag: RAGPretrainedModel) -> None:
    rag.encode(DOCUMENTS[:2], document_metadatas=METADATAS[:2], verbose=False)
    rag.encode(DOCUMENTS[2:], verbose=False)
    for i, text in enumerate(DOCUMENTS):
        best = rag.search_encoded_docs(text, k=1)[0]
        assert (best["result_index"], best["rank"]) == (i, 1)
    assert rag.search_encoded_docs(DOCUMENTS[1], k=1)[0]["document_metadata"] == METADATAS[1]
    assert "document_metadata" not in rag.search_encoded_docs(DOCUMENTS[4], k=1)[0]
    assert [each[0]["result_index"] for each in rag.search_encoded_docs(DOCUMENTS, k=1)] == [0, 1, 2, 3, 4]
    rag.clear_encoded_docs()
    with pytest.raises(InputError, match="Call encode"):
        rag.search_encoded_docs("book")


def test_threads_that_encode_lose_nothing(rag: RAGPretrainedModel) -> None:
    texts = [[f"A river, number {n}.", f"A garden, number {n}."] for n in range(6)]
    threads = [Thread(target=lambda some=some: rag.encode(some, verbose=False)) for some in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = rag.search_encoded_docs("river", k=100)
    assert sorted(result["content"] for result in found) == sorted(text for some in texts for text in some)
    assert sorted(result["result_index"] for result in found) == list(range(12))


def test_a_failed_encode_keeps_what_was_encoded(rag: RAGPretrainedModel) -> None:
    rag.encode(DOCUMENTS[:2], verbose=False)
    with pytest.raises(InputError):
        rag.encode(["fine", 5], verbose=False)
    rag.encode(DOCUMENTS[2:3], verbose=False)
    assert rag.search_encoded_docs(DOCUMENTS[2], k=1)[0]["result_index"] == 2


def test_detect_languages(rag: RAGPretrainedModel) -> None:
    (found,) = rag.detect_languages("Где находится ближайшая библиотека в этом городе?")
    # the tiny checkpoint has no Russian adapter: what is said is what would be used
    assert found.language in rag.encoder.adapters.languages
    assert found.adapter == rag.encoder.adapters.adapter_for(found.language)
    assert 0 <= found.confidence <= 1


def test_documents_are_detected_together_and_with_the_index(
    rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    sentences = ["Wo ist der Bahnhof?", "Das Museum ist geschlossen.", "Die Karte kostet zehn Euro."]
    short = "RTX 4090"
    assert [found.language for found in rag.detect_languages([short, *sentences], together=True)] == ["de"] * 4
    with caplog.at_level(logging.INFO, "ragatouille_xm.indexing"):
        rag.index([*sentences, short, " "], index_name="german")
    assert "languages of the documents: de 4, uncertain 1" in caplog.messages
    rag.add_to_index([short], ["added"], index_name="german")
    assert rag.get_passages("added", "german")[0]["language"] == "de"


def test_texts_together_have_the_languages_that_an_index_of_them_stores(rag: RAGPretrainedModel) -> None:
    texts = ["RTX 4090"] * 600 + ["Das Buch ist im Garten.", "La bibliothèque est au bord de la rivière."] * 20
    told = [found.language for found in rag.detect_languages(texts, together=True)]
    names = [str(i) for i in range(len(texts))]
    rag.index(texts, names, index_name="many")
    assert told == [passage["language"] for passage in rag.get_passages(names)]
    more = [*texts[::-1], "RTX 4090"]
    told = [found.language for found in rag.detect_languages(more, index_name="many", together=True)]
    names = [f"more {i}" for i in range(len(more))]
    rag.add_to_index(more, names)
    assert told == [passage["language"] for passage in rag.get_passages(names)]


def test_a_resumed_build_has_the_languages_of_one_that_was_not_broken_off(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 3)
    texts = ["RTX 4090", "", "Das Buch ist im Garten.", "RTX 4090", "Le livre.", "RTX 4090", "Das Brot.", "RTX 4090"]
    names = list("abcdefgh")
    rag.index(texts, names, index_name="whole")

    def broken() -> Iterator[str]:
        yield from texts[:7]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        rag.index(broken(), names, index_name="resumed")
    encoded: list[str] = []
    encode = rag.encoder.encode_documents

    def note(those: list[str], *rest: Any, **options: Any) -> Any:
        encoded.extend(those)
        return encode(those, *rest, **options)

    monkeypatch.setattr(rag.encoder, "encode_documents", note)
    rag.index(texts, names, index_name="resumed", overwrite_index="resume")
    assert encoded == texts[6:]
    languages = [
        [(each["document_id"], each["language"]) for each in rag.get_passages(names, index_name)]
        for index_name in ("whole", "resumed")
    ]
    assert languages[0] == languages[1]
    assert dict(languages[0])["a"] == "de"


def test_a_root_that_is_a_file_is_told_as_such(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    other = RAGPretrainedModel(rag.encoder, tmp_path / "file", verbose=0)
    with pytest.raises(StorageError, match="Choose another place: a part of this path is a file"):
        other.index(["A text."], index_name="new")


def test_an_index_that_is_a_link_to_nothing_is_told_as_such(rag: RAGPretrainedModel) -> None:
    rag.catalog.path("linked").symlink_to("nowhere")
    with pytest.raises(StorageError, match="a part of this path is a file, or a link to nothing"):
        rag.index(["A text."], index_name="linked")


# odd text


@pytest.mark.parametrize("text", ["🙂🙂", "\x00\x01\x02", "مرحبا hello 你好 привет", "x" * 5000])
def test_odd_documents_are_stored_and_found(rag: RAGPretrainedModel, text: str) -> None:
    rag.add_to_index([text], ["odd"])
    found = rag.search("book", k=500, doc_ids=["odd"])
    assert found
    assert "".join(r["content"] for r in sorted(found, key=lambda r: r["passage_id"])) == text


def test_a_long_text_and_many_duplicates(rag: RAGPretrainedModel) -> None:
    rag.index(["The library opens. " * 5_000], ["long"], index_name="long")
    assert len(rag.search("library", k=3)) == 3
    rag.index(["The library opens."] * 2_100, index_name="same")  # more than are scored without a first stage
    assert len({r["document_id"] for r in rag.search("library", k=50)}) == 50


# bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda rag: rag.search(""), InputError, "query is blank"),
        (lambda rag: rag.search([" \n"]), InputError, "query is blank"),
        (lambda rag: rag.search(5), InputError, "query is a int"),
        (lambda rag: rag.search([5]), InputError, "query is a int, not a string: 5"),
        (lambda rag: rag.search("a", k=0), InputError, "k=0 is not usable"),
        (lambda rag: rag.search("a", k=2.5), InputError, "k=2.5 is not usable"),
        (lambda rag: rag.search("a", k=10**11, min_score="a"), InputError, "min_score='a' is not usable"),
        (lambda rag: rag.search("a", min_score=float("nan")), InputError, "min_score=nan is not usable"),
        (lambda rag: rag.search("a", min_score=True), InputError, "min_score=True is not usable"),
        (lambda rag: rag.search("a", doc_ids=[1]), InputError, "doc_ids has 1: give a list of strings"),
        (lambda rag: rag.search("a", doc_ids=1), InputError, "doc_ids has 1: give a list of strings"),
        (lambda rag: rag.search("a\ud800"), InputError, "A query has a lone surrogate"),
        (lambda rag: rag.search("a", language=5), InputError, "language is 5; give a code such as 'fr'"),
        (lambda rag: rag.search(["a"], language=[5]), InputError, "language is 5; give a code such as 'fr'"),
        (lambda rag: rag.search("a", language="klingon"), LanguageError, "klingon"),
        (lambda rag: rag.search(["a", "b"], language=["fr"]), InputError, "2 queries came with 1 languages"),
        (lambda rag: rag.search("a", filter={"year": {"$near": 3}}), FilterError, r"\$near"),
        (lambda rag: rag.search("a", "absent"), IndexNotFoundError, "absent"),
        (lambda rag: rag.search("a", "../up"), InputError, "cannot be a folder's name"),
        (lambda rag: rag.index("one text"), InputError, r"give a list of texts"),
        (lambda rag: rag.index(["a", 5]), InputError, "Document 1 is a int, not a string"),
        (lambda rag: rag.index(["a", "b"], ["x"]), InputError, "document_ids has fewer entries"),
        (lambda rag: rag.index(["a"], ["x", "y"]), InputError, "document_ids has 2 entries for 1 texts"),
        (lambda rag: rag.index(["a", "b"], ["x", "x"]), DuplicateDocumentError, "'x' twice"),
        (lambda rag: rag.index(["a"], [" "]), InputError, "ids are strings that are not blank"),
        (lambda rag: rag.index(["a"], ["x"], [{"when": object()}]), InputError, "when"),
        (lambda rag: rag.index(["a", "b\ud800"]), InputError, "Document 1 has a lone surrogate"),
        (lambda rag: rag.index(["a"], languages=5), InputError, "languages is 5; give a list"),
        (lambda rag: rag.index(["a"], preprocessing_fn=5), InputError, "preprocessing_fn=5 is not usable"),
        (lambda rag: rag.index(["a"], preprocessing_fn=[str, 5]), InputError, "preprocessing_fn=.* is not usable"),
        (lambda rag: rag.index(["a"], languages=["fr", "de"]), InputError, "languages has 2 entries for 1 texts"),
        (lambda rag: rag.index(["a"], languages="klingon"), LanguageError, "klingon"),
        (lambda rag: rag.index(["a"], max_document_length=5), InputError, "from 8 to 512"),
        (lambda rag: rag.index(["a"], overwrite_index="maybe"), InputError, "overwrite_index='maybe'"),
        (lambda rag: rag.index(["a"], overwrite_index="resume"), InputError, "give document_ids"),
        (lambda rag: rag.index(["a"], storage="int3"), InputError, "storage='int3' is not known"),
        (lambda rag: rag.index(["a"], index_name=""), InputError, "cannot be a folder's name"),
        (lambda rag: rag.index(["a"], bsize=0), InputError, "bsize=0"),
        (lambda rag: rag.delete_from_index([5]), InputError, "give a list of strings"),
        (lambda rag: rag.delete_from_index(None), InputError, "document_ids has None: give a list of strings"),
        (lambda rag: rag.detect_languages(None), InputError, "texts has None: give a list of strings"),
        (lambda rag: rag.detect_languages([None]), InputError, "texts has None: give a list of strings"),
        (lambda rag: rag.encode(["a"], max_document_length=0), InputError, "length of 0 tokens .* from 8 to 512"),
        (lambda rag: rag.encode(["a\ud800"], verbose=False), InputError, "Document 0 has a lone surrogate"),
        (lambda rag: rag.rerank("a", "one text"), InputError, "give a list of texts"),
        (lambda rag: rag.rerank("a", ["a"], index_name="absent"), IndexNotFoundError, "absent"),
        (lambda rag: rag.save_pretrained(7), InputError, "7 is not a path: give a string"),
        (lambda rag: RAGPretrainedModel(rag.encoder, 7), InputError, "7 is not a path: give a string"),
        (lambda rag: rag.index(["a"], index_url=7), InputError, "index_url=7 is no address and no QdrantClient"),
        (lambda rag: rag.search("a", prefer_language=7), InputError, "prefer_language is 7; .* 'fr', or None"),
        (lambda rag: rag.encode([None], verbose=False), InputError, "Document 0 is a NoneType"),
        (lambda rag: rag.update_in_index(["a"], ["x"], index_name="absent"), IndexNotFoundError, "absent"),
    ],
)
def test_bad_input_gets_one_clear_error_and_changes_nothing(
    rag: RAGPretrainedModel, call: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(rag)
    assert len(rag.search("book", "first", k=10)) == 5
    folders = {path.name for path in (rag.catalog.root / "colbert" / "indexes").iterdir() if path.is_dir()}
    assert folders == {"first"}


def test_no_index_yet(model: RAGPretrainedModel, tmp_path: Path) -> None:
    rag = RAGPretrainedModel(model.encoder, tmp_path, verbose=0)
    for call in (lambda: rag.search("a"), lambda: rag.add_to_index(["a"]), lambda: rag.delete_from_index("a")):
        with pytest.raises(InputError, match=r"No index is open\. Call index\(\), or give index_name="):
            call()


def test_an_index_of_another_checkpoint_is_refused(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    other = RAGPretrainedModel.from_pretrained(
        build_tiny_xmod(tmp_path / "other", seed=1), verbose=0, index_root=str(rag.catalog.root)
    )
    with pytest.raises(IndexFormatError, match="index 'first' was filled by the checkpoint"):
        other.search("book", "first")


def test_missing_checkpoint_and_missing_index() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder './absent'"):
        RAGPretrainedModel.from_pretrained("./absent")
    with pytest.raises(IndexNotFoundError, match="absent"):
        RAGPretrainedModel.from_index("./absent")


@pytest.mark.parametrize("nothing", [None, 5, "", " "])
def test_what_cannot_name_a_checkpoint_or_an_index(nothing: Any) -> None:
    with pytest.raises(InputError, match=f"The checkpoint is {nothing!r}. Give a hub id"):
        RAGPretrainedModel.from_pretrained(nothing)
    with pytest.raises(InputError, match=f"The index is {nothing!r}. Give its folder"):
        RAGPretrainedModel.from_index(nothing)


def test_the_missing_wrapper_names_its_install(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "langchain_ragatouille_xm", None)
    for call in (rag.as_langchain_retriever, rag.as_langchain_document_compressor):
        with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[langchain\]"'):
            call()


def test_preparing_ahead_changes_nothing(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)
    monkeypatch.setattr(type(rag.encoder), "works_ahead", True)
    rag.index(DOCUMENTS, IDS, METADATAS, index_name="ahead")
    for text in DOCUMENTS:
        found, expected = rag.search(text, "ahead", k=5), rag.search(text, "first", k=5)
        assert ids(found) == ids(expected)
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=1e-4)

    def broken() -> Iterator[str]:
        yield from DOCUMENTS
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        rag.index(broken(), index_name="never")
    assert not rag.catalog.has("never")
