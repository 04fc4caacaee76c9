"""What people bring as documents, metadata, queries and paths: taken, converted, or refused before the model runs."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import CheckpointError, DuplicateDocumentError, InputError, LanguageError
from ragatouille_xm.text.detect import detect_languages

TEXTS = ["The library opens in the morning.", "La bibliothèque est au bord de la rivière.", "Das Buch ist im Garten."]
IDS = ["en", "fr", "de"]
BLANK = ["", "  \n\t", "\ufeff\u200b"]


@pytest.fixture
def rag(model: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    return RAGPretrainedModel(model.encoder, tmp_path / "root", verbose=0)


@pytest.fixture
def never_encoding(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an index, and fail the test if anything is encoded from then on."""
    rag.index(TEXTS, IDS, index_name="first")
    monkeypatch.setattr(rag.encoder, "encode_documents", None)


def ids(results: list[dict[str, Any]]) -> list[str]:
    return [result["document_id"] for result in results]


def stored(rag: RAGPretrainedModel, *names: str) -> dict[str, str]:
    return {each["document_id"]: each["content"] for each in rag.get_passages(names or IDS)}


# paths


def test_a_model_stays_in_the_folder_in_which_it_was_opened(
    model: RAGPretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        place.mkdir()
        monkeypatch.chdir(place)
        RAGPretrainedModel(model.encoder, verbose=0).index({"a": f"The book is {place.name}."}, index_name="one")
    monkeypatch.chdir(here)
    rag = RAGPretrainedModel(model.encoder, verbose=0)
    explicit = RAGPretrainedModel(model.encoder, ".ragatouille", verbose=0)
    monkeypatch.chdir(there)
    for each in (rag, explicit):
        assert each.search("book", "one")[0]["content"] == "The book is here."
    rag.close()
    rag.add_to_index(["A river."], ["river"], index_name="one")
    rag.delete_from_index("a", index_name="one")
    assert ids(explicit.search("book", "one")) == ["river"]
    other = RAGPretrainedModel(model.encoder, verbose=0)
    assert other.search("book", "one")[0]["content"] == "The book is there."
    made = Path(rag.index(TEXTS, IDS, index_name="two"))
    assert made == here / ".ragatouille" / "colbert" / "indexes" / "two"
    assert rag.index(TEXTS, IDS, index_name="two", overwrite_index="reuse") == str(made)
    assert not (there / ".ragatouille" / "colbert" / "indexes" / "two").exists()


def test_an_index_and_its_checkpoint_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_xmod(tmp_path / "tiny")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    made = RAGPretrainedModel.from_pretrained("./tiny", verbose=0, device="cpu")
    monkeypatch.chdir("elsewhere")
    path = Path(made.index(["The book."], ["a"], languages="en", index_name="one"))
    assert path == tmp_path / ".ragatouille" / "colbert" / "indexes" / "one"
    made.add_to_index(["Das Buch.", "图书馆。"], ["b", "c"], languages=["de", "zh"])  # adapters that are read only now
    made.close()
    monkeypatch.chdir(tmp_path)
    opened = RAGPretrainedModel.from_index(".ragatouille/colbert/indexes/one", verbose=0, device="cpu")
    monkeypatch.chdir("elsewhere")
    opened.close()
    assert len(opened.search("Buch", k=5)) == 3
    assert opened.delete_from_index("a") == 1
    assert opened.index(["A river."], index_name="two") == str(path.with_name("two"))


def test_the_home_folder_may_be_written_as_a_tilde(
    model: RAGPretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rag = RAGPretrainedModel(model.encoder, "~/indexes", verbose=0)
    assert rag.index(TEXTS, index_name="one") == str(tmp_path / "indexes" / "colbert" / "indexes" / "one")
    rag.close()
    assert len(RAGPretrainedModel.from_index("~/indexes/colbert/indexes/one", verbose=0).search("book")) == 3


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x1b[31mb", "a\0b", "a\x7f", "a\u2028b", "a\ud800", "a/b", "a\\b"])
def test_an_index_name_has_no_control_characters(rag: RAGPretrainedModel, name: str) -> None:
    for call in (lambda: rag.index(TEXTS, index_name=name), lambda: rag.search("a", name)):
        with pytest.raises(InputError, match="cannot be a folder's name") as caught:
            call()
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["my index", "کتاب‌ها", "索引", "notes-v1.2"])
def test_an_index_name_may_be_of_any_script(rag: RAGPretrainedModel, name: str) -> None:
    assert Path(rag.index(TEXTS, IDS, index_name=name)).name == name
    assert len(rag.search("book", name)) == 3


def test_an_address_with_a_secret_is_never_shown(rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("qdrant_client")
    secret = "https://me:S3CRET@host:6333"
    for call in (
        lambda: rag.index(TEXTS, IDS, index_url=secret),
        lambda: rag.index(TEXTS, IDS, index_url=f"https://host:6333?api_key={secret}", overwrite_index="reuse"),
        lambda: RAGPretrainedModel.from_index("news", index_url=secret),
        lambda: RAGPretrainedModel.from_index(f"{secret}/news"),
    ):
        with caplog.at_level("DEBUG"), pytest.raises(InputError, match="https://host:6333") as caught:
            call()
        assert "S3CRET" not in str(caught.value) + repr(caught.value) + caplog.text
    with pytest.raises(CheckpointError, match="'https://huggingface.co/me/mine'.* Give a hub id") as refused:
        RAGPretrainedModel.from_pretrained("https://me:S3CRET@huggingface.co/me/mine?token=S3CRET")
    assert "S3CRET" not in str(refused.value)
    for call in (lambda: rag.index(TEXTS, index_name=f"{secret}/news"), lambda: rag.search("book", f"{secret}/news")):
        with pytest.raises(InputError, match="'https://host:6333/news' cannot be a folder's name") as caught:
            call()
        assert "S3CRET" not in str(caught.value)
    with pytest.raises(InputError, match=r"give its name, 'news', and index_url='https://host:6333'"):
        RAGPretrainedModel.from_index("https://host:6333/news")


# documents


@pytest.mark.parametrize("kind", [dict, OrderedDict, lambda pairs: pd.Series(dict(pairs)).to_dict()])
def test_a_mapping_is_ids_and_texts(rag: RAGPretrainedModel, kind: Callable[[Any], Any]) -> None:
    rag.index(kind(zip(IDS, TEXTS, strict=True)), None, [{"n": 1}, {"n": 2}, {"n": 3}])
    assert stored(rag) == dict(zip(IDS, TEXTS, strict=True))
    assert ids(rag.search("book", filter={"n": 2})) == ["fr"]
    rag.add_to_index({"new": "A river."})
    rag.update_in_index({"en": "A garden.", "newer": "A book."}, languages="en")
    assert stored(rag, "en", "new", "newer") == {"en": "A garden.", "new": "A river.", "newer": "A book."}
    assert len(rag.search("book")) == 5
    rag.index(kind(zip(IDS, TEXTS, strict=True)), overwrite_index="resume")
    assert stored(rag) == dict(zip(IDS, TEXTS, strict=True))


@pytest.mark.parametrize(
    "column", [tuple, np.array, pd.Series, pd.Index, iter, lambda given: dict.fromkeys(given).keys()]
)
def test_columns_of_any_ordered_kind(rag: RAGPretrainedModel, column: Callable[[list[str]], Any]) -> None:
    rag.index(column(TEXTS), column(IDS), languages=column(IDS))
    assert stored(rag) == dict(zip(IDS, TEXTS, strict=True))
    assert all(type(each) is str for pair in stored(rag).items() for each in pair)
    assert [ids(found)[0] for found in rag.search(column(TEXTS), k=1)] == IDS
    assert [each["result_index"] for each in rag.rerank(TEXTS[1], column(TEXTS), k=1)] == [1]
    rag.encode(column(TEXTS), verbose=False)
    assert rag.search_encoded_docs(TEXTS[2], k=1)[0]["result_index"] == 2


MAPPING = dict(zip(IDS, TEXTS, strict=True))
FRAME = pd.DataFrame({"text": TEXTS, "id": IDS})
NOT_A_ROW = [
    # call, error, message
    (lambda rag: rag.index(MAPPING, IDS), InputError, "The collection is a mapping.*leave out document_ids"),
    (lambda rag: rag.add_to_index(MAPPING, IDS), InputError, "mapping.*leave out document_ids"),
    (lambda rag: rag.update_in_index(MAPPING, IDS), InputError, "mapping.*leave out document_ids"),
    (lambda rag: rag.update_in_index(TEXTS), InputError, r"give document_ids, or a mapping \{id: text\}"),
    (lambda rag: rag.rerank("book", MAPPING), InputError, r"mapping.*give list\(documents.values\(\)\)"),
    (lambda rag: rag.encode(MAPPING, verbose=False), InputError, r"mapping.*give list\(documents.values\(\)\)"),
    (lambda rag: rag.index(set(TEXTS)), InputError, "The collection is a set, which has no order; give a list"),
    (lambda rag: rag.index(TEXTS, frozenset(IDS)), InputError, "document_ids is a frozenset, which has no order"),
    (lambda rag: rag.index(TEXTS, IDS, languages={"en"}), InputError, "languages is a set, which has no order"),
    (lambda rag: rag.rerank("book", set(TEXTS)), InputError, "set, which has no order"),
    (lambda rag: rag.encode(set(TEXTS), verbose=False), InputError, "set, which has no order"),
    (lambda rag: rag.search({"a", "b"}), InputError, "list of queries is a set, which has no order"),
    (lambda rag: rag.detect_languages(MAPPING), InputError, "texts is a dict: give a list of strings, or one"),
    (lambda rag: rag.detect_languages(set(TEXTS)), InputError, "texts is a set: give a list of strings, or one"),
    (lambda rag: detect_languages(MAPPING), InputError, "texts is a dict: give a list of strings, or one"),
    (lambda rag: rag.search(["a", "b"], language={"fr", "en"}), InputError, "language is a set, which has no order"),
    (lambda rag: rag.index(b"text"), InputError, "The collection is a bytes; give a list"),
    (lambda rag: rag.index(FRAME), InputError, "The collection is a DataFrame .* give a column of it"),
    (lambda rag: rag.index(TEXTS, IDS, FRAME), InputError, r"metadatas is a DataFrame .* frame.to_dict\(.records.\)"),
    (lambda rag: rag.index(np.array([TEXTS])), InputError, "The collection is a ndarray .* give a column of it"),
    (lambda rag: rag.index(TEXTS, b"abc"), InputError, "document_ids is b'abc'; give a list"),
    (lambda rag: rag.search(b"book"), InputError, r"The query is a bytes; decode it: query.decode\(\)"),
    (lambda rag: rag.search({"q1": "book"}), InputError, "The query is a dict; give a string, or a list"),
    (lambda rag: rag.search(["book", b"book"]), InputError, r"Query 1 is a bytes.*query.decode\(\)"),
    (lambda rag: rag.search(["book", np.nan]), InputError, "Query 1 is a float, not a string: nan"),
    (lambda rag: rag.search(["book", "a\ud800"]), InputError, "Query 1 has a lone surrogate"),
    (lambda rag: rag.search("book", doc_ids=b"en"), InputError, "doc_ids has b'en': give a list of strings"),
    (lambda rag: rag.delete_from_index(b"en"), InputError, "document_ids has b'en': give a list of strings"),
    (lambda rag: rag.index(TEXTS, index_name=b"first"), InputError, "b'first' cannot be a folder's name"),
    (lambda rag: rag.search("book", k=np.float64(3)), InputError, "k=np.float64.* is not usable"),
    (lambda rag: rag.search("book", k=np.int64(0)), InputError, "k=np.int64.* is not usable"),
    (lambda rag: rag.search("book", k=np.bool_(True)), InputError, "k=np.True_ is not usable"),
    (lambda rag: rag.search("book", min_score=np.float32("nan")), InputError, "min_score=np.float32.* is not usable"),
]


@pytest.mark.parametrize(("call", "error", "message"), NOT_A_ROW)
def test_what_is_no_column_is_refused_in_one_sentence(
    rag: RAGPretrainedModel, call: Callable[[RAGPretrainedModel], object], error: type[Exception], message: str
) -> None:
    rag.index(TEXTS, IDS, index_name="first")
    with pytest.raises(error, match=f"(?s){message}"):
        call(rag)
    assert stored(rag) == MAPPING
    assert len(rag.search("book")) == 3


BAD_ROWS = [
    # text, id, metadata and language of the last row; error; message
    (np.nan, "x", None, None, InputError, r"Document 600 \('x'\) is a float, not a string: nan\. Leave such"),
    (None, "x", None, None, InputError, r"Document 600 \('x'\) is a NoneType, not a string"),
    (pd.NA, "x", None, None, InputError, r"Document 600 \('x'\) is a NAType, not a string"),
    (b"text", "x", None, None, InputError, r"Document 600 \('x'\) is a bytes.*Decode it: text.decode\(\)"),
    ({"text": "a"}, "x", None, None, InputError, r"Document 600 \('x'\) is a dict, not a string"),
    ("a\ud800", "x", None, None, InputError, r"Document 600 \('x'\) has a lone surrogate"),
    ("a", 7, None, None, InputError, r"document_ids\[600\] is 7; ids are strings .* str\(7\)"),
    ("a", np.nan, None, None, InputError, r"document_ids\[600\] is nan"),
    ("a", " ", None, None, InputError, r"document_ids\[600\] is ' '"),
    ("a", "d3", None, None, DuplicateDocumentError, "document_ids holds 'd3' twice, at 3 and 600"),
    ("a", "x", {"k": [1, {"z": {1}}]}, None, InputError, r"Document 600 \('x'\): Metadata 'k\[1\]\.z' .* a set"),
    ("a", "x", {"k": np.inf}, None, InputError, r"Document 600 \('x'\): Metadata 'k' .* inf is not a finite"),
    ("a", "x", {"k": b"x"}, None, InputError, r"Document 600 \('x'\): Metadata 'k' .* bytes"),
    ("a", "x", [1], None, InputError, r"Document 600 \('x'\): Metadata must be a mapping"),
    ("a", "x", None, 5, InputError, r"Document 600 \('x'\): languages\[600\] is 5; give a code"),
    ("a", "x", None, "klingon", LanguageError, r"Document 600 \('x'\): languages\[600\]: 'klingon' is not a language"),
]


@pytest.mark.parametrize(("text", "name", "metadata", "language", "error", "message"), BAD_ROWS)
@pytest.mark.usefixtures("never_encoding")
def test_every_row_is_checked_before_the_model_runs(
    rag: RAGPretrainedModel, text: Any, name: Any, metadata: Any, language: Any, error: type[Exception], message: str
) -> None:
    texts, names = [f"text {i}" for i in range(600)], [f"d{i}" for i in range(600)]  # more than a batch
    metadatas, languages = [None] * 600, ["en"] * 600
    for call in (rag.index, rag.add_to_index, rag.update_in_index):
        with pytest.raises(error, match=message):
            call([*texts, text], [*names, name], [*metadatas, metadata], languages=[*languages, language])
    with pytest.raises(error, match=message):
        rag.index(pd.Series([*texts, text], dtype=object), np.array([*names, name], object), [*metadatas, metadata],
                  languages=(*languages, language))  # fmt: skip


@pytest.mark.usefixtures("never_encoding")
def test_in_memory_too(rag: RAGPretrainedModel) -> None:
    for call in (lambda texts: rag.rerank("book", texts), lambda texts: rag.encode(texts, verbose=False)):
        with pytest.raises(InputError, match="Document 600 is a float, not a string: nan"):
            call(["text"] * 600 + [np.nan])
    with pytest.raises(LanguageError, match=r"Document 1: languages\[1\]: 'klingon'"):
        rag.rerank("book", ["a", "b"], languages=["en", "klingon"])
    with pytest.raises(InputError, match="Document 1: Metadata 'k' .* a set"):
        rag.encode(["a", "b"], document_metadatas=[{}, {"k": {1}}], verbose=False)
    for query, k, message in (("", 1, "A query is blank"), (["a", 5], 1, "Query 1 is a int"), ("a", 0, "k=0")):
        with pytest.raises(InputError, match=message):
            rag.rerank(query, TEXTS, k)


@pytest.mark.usefixtures("never_encoding")
def test_lengths_are_compared_before_the_model_runs(rag: RAGPretrainedModel) -> None:
    texts = pd.Series(["text"] * 600)
    with pytest.raises(InputError, match="document_ids has 601 entries for 600 texts"):
        rag.index(texts, np.arange(601).astype(str))
    with pytest.raises(InputError, match="metadatas has fewer entries"):
        rag.index(texts, None, [{}] * 599)


def test_what_can_be_read_only_once_is_checked_as_it_is_read(rag: RAGPretrainedModel) -> None:
    rag.index(TEXTS, IDS, index_name="first")

    def texts() -> Iterator[Any]:
        yield from ["text"] * 600
        yield np.nan

    with pytest.raises(InputError, match="Document 600 is a float"):
        rag.index(texts(), index_name="first")
    with pytest.raises(InputError, match="Document 600 is a float"):
        rag.add_to_index(texts(), index_name="first")
    assert len(rag.search("book", k=1000)) == 3


def test_missing_metadata_and_languages_of_a_frame(rag: RAGPretrainedModel) -> None:
    frame = pd.DataFrame({"metadata": [{"n": 1}, None, np.nan], "language": ["de", None, pd.NA]})
    rag.index(TEXTS, IDS, frame["metadata"], languages=frame["language"])
    found = {each["document_id"]: each for each in rag.get_passages(IDS)}
    assert [found[name].get("document_metadata") for name in IDS] == [{"n": 1}, None, None]
    assert [found[name]["language"] for name in IDS] == ["de", "fr", "de"]
    for missing in (None, np.nan, pd.NA):  # of queries too
        asked = rag.search(TEXTS[:2], k=1, language=pd.Series(["de", missing], dtype=object))
        assert [results[0]["query_language"] for results in asked] == ["de", "fr"]
        assert rag.search(TEXTS[1], k=1, language=missing)[0]["query_language"] == "fr"


# values


def test_a_frame_as_people_have_it(rag: RAGPretrainedModel) -> None:
    frame = pd.DataFrame(
        {
            "text": TEXTS,
            "id": IDS,
            "year": [2019, 2021, 2024],
            "rating": [1.5, np.nan, 4.0],
            "draft": [True, False, False],
            "when": pd.to_datetime(["2019-01-01 00:00", "2021-05-01 09:30", None]),
            "count": pd.array([1, None, 3], dtype="Int64"),
        }
    )
    metadatas = frame[["year", "rating", "draft", "when", "count"]].to_dict("records")
    metadatas[0] |= {"uuid": UUID(int=1), "tags": ("a", "b"), "day": date(2024, 5, 1), "authors": [{"name": "Ada"}]}
    rag.index(frame["text"], frame["id"], metadatas)
    found = {each["document_id"]: each["document_metadata"] for each in rag.get_passages(IDS)}
    assert found == {
        "en": {
            "year": 2019,
            "rating": 1.5,
            "draft": True,
            "when": "2019-01-01T00:00:00",
            "count": 1,
            "uuid": "00000000-0000-0000-0000-000000000001",
            "tags": ["a", "b"],
            "day": "2024-05-01",
            "authors": [{"name": "Ada"}],
        },
        "fr": {"year": 2021, "rating": None, "draft": False, "when": "2021-05-01T09:30:00", "count": None},
        "de": {"year": 2024, "rating": 4.0, "draft": False, "when": None, "count": 3},
    }
    assert json.loads(json.dumps(found)) == found

    def admitted(filter: dict[str, Any], k: Any = 10) -> list[str]:
        return sorted(ids(rag.search("book", k=k, filter=filter)))

    assert admitted({"year": frame["year"].max()}) == ["de"]
    assert admitted({"year": {"$in": frame["year"].unique()[:2]}}) == ["en", "fr"]
    assert admitted({"draft": frame["draft"].iloc[0]}) == ["en"]
    assert admitted({"rating": None}) == ["fr"]
    assert admitted({"rating": {"$gte": np.float32(1.5)}}) == ["de", "en"]
    assert admitted({"when": {"$gte": frame["when"].iloc[1]}}) == ["fr"]
    assert admitted({"when": frame["when"].iloc[1]}) == ["fr"]
    assert admitted({"when": datetime(2021, 5, 1, 9, 30, tzinfo=UTC)}) == ["fr"]
    assert admitted({"when": date(2019, 1, 1), "day": datetime(2024, 5, 1)}) == ["en"]
    assert admitted({"uuid": UUID(int=1), "authors.name": "Ada"}) == ["en"]
    assert len(admitted({"year": {"$gt": np.int64(0)}}, k=np.int64(2))) == 2
    assert len(rag.search("book", k=np.uint8(2), min_score=np.float32(-100))) == 2
    assert len(rag.rerank("book", TEXTS, k=np.int32(2), bsize=np.int64(2))) == 2
    rag.index(TEXTS, IDS, index_name="lengths", max_document_length=np.int64(64), bsize=np.int16(2))
    rag.add_to_index({"new": "A river."}, bsize=np.int64(2))
    assert len(rag.search("book")) == 4
    rag.encode(TEXTS, document_metadatas=metadatas, verbose=False, max_document_length=np.int64(64))
    assert rag.search_encoded_docs("book", filter={"when": date(2019, 1, 1)})[0]["result_index"] == 0


# blank documents and queries


def test_blank_documents_have_no_passage_and_are_reported(
    rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        rag.index([BLANK[0], *TEXTS, *BLANK[1:], "", ""], ["b0", *IDS, "b1", "b2", "b3", "b4"], index_name="some")
    assert caplog.messages == ["5 of 8 documents are blank and have no passage: 'b0', 'b1', 'b2' and 2 more"]
    assert sorted(ids(rag.search("book", k=10))) == sorted(IDS)
    assert rag.get_passages(["b0", "b1"]) == []
    caplog.clear()
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        rag.add_to_index([*BLANK, "A river."], ["b0", "b1", "b2", "river"])
        rag.index(BLANK, ["b0", "b1", "b2"], index_name="none")
    assert caplog.messages == [
        "3 of 4 documents are blank and have no passage: 'b0', 'b1', 'b2'",
        "3 of 3 documents are blank and have no passage: 'b0', 'b1', 'b2'",
    ]
    assert rag.search("book") == []
    assert len(rag.search("book", "some", k=10)) == 4


def test_a_document_that_becomes_blank_is_removed(rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)
    rag.index(TEXTS, IDS)
    rag.update_in_index({"fr": " ", "never": "", "new": "A river."})
    assert sorted(ids(rag.search("book"))) == ["de", "en", "new"]
    rag.update_in_index({"de": ""})
    assert sorted(ids(rag.search("book"))) == ["en", "new"]
    with pytest.raises(DuplicateDocumentError, match="already has 'en'"):
        rag.add_to_index({"en": ""})


def test_a_document_that_is_blank_in_a_resumed_build_is_removed(rag: RAGPretrainedModel) -> None:
    def broken() -> Iterator[str]:
        yield from TEXTS
        raise RuntimeError("the source broke")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 3)
        with pytest.raises(RuntimeError, match="the source broke"):
            rag.index(broken(), [*IDS, "x"], index_name="long")
    rag.index({"en": TEXTS[0], "fr": "", "de": TEXTS[2]}, index_name="long", overwrite_index="resume")
    assert sorted(ids(rag.search("book"))) == ["de", "en"]


def test_positions_in_memory_count_blank_documents(rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        found = rag.rerank(TEXTS[1], ["", TEXTS[0], " ", TEXTS[1]], k=10)
    assert [each["result_index"] for each in found] == [3, 1]
    assert caplog.messages == ["2 of 4 documents are blank and have no passage: '0', '2'"]
    assert rag.rerank("book", BLANK) == []
    rag.encode(["", TEXTS[0]], verbose=False)
    rag.encode([TEXTS[1], " ", TEXTS[2]], verbose=False)
    assert [rag.search_encoded_docs(text, k=1)[0]["result_index"] for text in TEXTS] == [1, 2, 4]


@pytest.mark.parametrize("blank", BLANK)
def test_a_blank_query_finds_what_the_filter_admits(rag: RAGPretrainedModel, blank: str) -> None:
    rag.index(TEXTS, IDS, [{"n": 1}, {"n": 2}, {"n": 2}])
    found = rag.search(blank, filter={"n": 2})
    assert ids(found) == ["fr", "de"]  # by passage id
    assert [(each["score"], each["relevance"], each["rank"]) for each in found] == [(0.0, 0.0, 1), (0.0, 0.0, 2)]
    assert found[0] | rag.get_passages("fr")[0] == found[0]
    assert {each["query_language"] for each in [*found, *rag.search(blank, doc_ids="fr", language="de")]} == {None}
    assert ids(rag.search(blank, k=1, filter={"n": 2})) == ["fr"]
    assert [each["rank"] for each in rag.search(blank, filter={"n": 2}, zero_index_ranks=True)] == [0, 1]
    assert ids(rag.search(blank, doc_ids=["de", "en"])) == ["en", "de"]
    assert ids(rag.search(blank, doc_ids=["de", "en"], filter={"n": 2}, language="fr")) == ["de"]
    assert rag.search(blank, filter={"n": 2}, min_score=1) == []
    assert rag.search(blank, doc_ids=[]) == []
    for unfiltered in ({}, None):
        with pytest.raises(InputError, match="A query is blank. Give at least one word, or a filter"):
            rag.search(blank, filter=unfiltered)
    for without_a_filter in (rag.rerank, lambda query, texts: rag.explain(query, texts[0])):
        with pytest.raises(InputError, match=r"A query is blank\. Give at least one word\.$"):
            without_a_filter(blank, TEXTS)


def test_a_blank_query_among_others_finds_nothing_and_costs_them_nothing(
    rag: RAGPretrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    rag.index(TEXTS, IDS, [{"n": 1}, {"n": 2}, {"n": 2}])
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        found = rag.search([TEXTS[0], "", TEXTS[1], " \n"], k=1, language=["en", None, "fr", None])
        assert [ids(each) for each in found] == [["en"], [], ["fr"], []]
        assert found[0] == rag.search(TEXTS[0], k=1, language="en")
    assert caplog.messages == ["2 of 4 queries are blank and find nothing: 1, 3"]
    for only_blank in ("", [" \n"], ["", " "]):
        with pytest.raises(InputError, match="A query is blank"):
            rag.search(only_blank)
    assert [ids(each) for each in rag.search(["", TEXTS[2], ""], filter={"n": 2})] == [
        ["fr", "de"],
        ["de", "fr"],
        ["fr", "de"],
    ]
    ranks = rag.search(["", ""], filter={"n": 2}, zero_index_ranks=True)
    assert [[each["rank"] for each in results] for results in ranks] == [[0, 1], [0, 1]]
    assert [len(each) for each in rag.rerank(["", "book"], TEXTS)] == [0, 3]
    rag.encode(TEXTS, document_metadatas=[{"n": 1}, {"n": 2}, {"n": 2}], verbose=False)
    assert [each["result_index"] for each in rag.search_encoded_docs("", filter={"n": 2})] == [1, 2]


# copies


def test_a_copy_is_the_model_itself_and_a_pickle_is_refused(rag: RAGPretrainedModel) -> None:
    assert copy.copy(rag) is rag
    assert copy.deepcopy({"model": rag})["model"] is rag
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(InputError, match=r"cannot be pickled: call from_pretrained\(\) or from_index\(\)"):
            pickle.dumps([rag], protocol)
