"""Datasets by name: folders of tsv, and ir_datasets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragatouille_xm.errors import InputError, MissingExtraError
from ragatouille_xm.evaluation.catalogue import FAMILIES
from ragatouille_xm.evaluation.datasets import load_dataset

from .conftest import COLLECTION, FRENCH, QUERIES, write_folder

ir_datasets = pytest.importorskip("ir_datasets")

# Folders


def test_a_folder_is_read_as_it_stands(english: Path) -> None:
    dataset = load_dataset(str(english))
    assert {d.document_id: d.text for d in dataset.documents()} == COLLECTION
    assert {d.language for d in dataset.documents()} == {"en"}
    assert dataset.family == "data"
    assert dataset.languages == ("en",)


def test_only_judged_queries_count(english: Path) -> None:
    dataset = load_dataset(str(english))
    assert {q.query_id: q.text for q in dataset.queries} == {i: QUERIES[i] for i in "123"}
    assert set(dataset.qrels) == {"1", "2", "3"}


def test_texts_come_in_the_order_asked_for(english: Path) -> None:
    found = load_dataset(str(english)).texts(["d", "a", "d"])
    assert [(d.document_id, d.text) for d in found] == [(i, COLLECTION[i]) for i in "dad"]


def test_documents_can_be_read_again_and_again(english: Path) -> None:
    dataset = load_dataset(str(english))
    assert list(dataset.documents()) == list(dataset.documents())


def test_a_folder_of_no_language_tells_none(tmp_path: Path) -> None:
    assert load_dataset(str(write_folder(tmp_path / "docs"))).languages == (None,)


def test_subfolders_become_one_collection(mixed: Path) -> None:
    dataset = load_dataset(str(mixed))
    assert [(d.document_id, d.language) for d in dataset.documents()][3:] == [
        ("en/d", "en"),
        ("fr/a", "fr"),
        ("fr/b", "fr"),
    ]
    assert [(q.query_id, q.language) for q in dataset.queries][-1] == ("fr/1", "fr")
    assert dataset.qrels["fr/1"] == {"fr/a": 1}
    assert [d.text for d in dataset.texts(["fr/b", "en/a"])] == [FRENCH["b"], COLLECTION["a"]]
    assert dataset.languages == ("en", "fr")


def test_collections_whose_names_begin_alike_are_told_apart(tmp_path: Path) -> None:
    write_folder(tmp_path / "zh", {"TW-1": "甲"}, {"q": "甲"}, {"q": {"TW-1": 1}})
    write_folder(tmp_path / "zh-TW", {"1": "乙"}, {"q": "乙"}, {"q": {"1": 1}})
    dataset = load_dataset(str(tmp_path))
    assert [d.text for d in dataset.texts(["zh-TW/1", "zh/TW-1"])] == ["乙", "甲"]
    assert dataset.languages == ("zh", "zh-TW")


def test_the_first_queries_only(english: Path) -> None:
    dataset = load_dataset(str(english)).limited(2)
    assert [q.query_id for q in dataset.queries] == list(dataset.qrels) == ["1", "2"]
    with pytest.raises(InputError, match="A limit of 0 queries leaves none"):
        dataset.limited(0)


def test_other_documents_are_another_identity(english: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other" / "en", COLLECTION | {"a": "The book is in the garden."})
    same = write_folder(tmp_path / "same" / "en")
    identity = load_dataset(str(english)).identity
    assert load_dataset(str(same)).identity == identity
    assert load_dataset(str(other)).identity != identity


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("collection.tsv", "a\tone\nb two\n", "collection.tsv, line 2: expected an id, a tab and a text: 'b two'"),
        ("collection.tsv", "a\tone\na\ttwo\n", "collection.tsv, line 2: the id 'a' is used twice"),
        ("collection.tsv", b"a\tone\n\n\xff\ttwo\n", "collection.tsv, line 3: this is not UTF-8"),
        ("queries.tsv", "1\tone\n\ttwo\n", "queries.tsv, line 2: expected an id, a tab and a text"),
        ("queries.tsv", "1\tone\n1\ttwo\n", "queries.tsv, line 2: the id '1' is used twice"),
        ("queries.tsv", "1\tone\n2\t \n", "queries.tsv, line 2: the query '2' is blank"),
        ("qrels.tsv", "1 0 a 1\n1 0 a\n", "qrels.tsv, line 2: expected 'query-id 0 passage-id grade': '1 0 a'"),
        ("qrels.tsv", "1 0 a yes\n", "qrels.tsv, line 1: expected 'query-id 0 passage-id grade'"),
        ("qrels.tsv", "1 0 a --1\n", "qrels.tsv, line 1: expected 'query-id 0 passage-id grade'"),
        ("qrels.tsv", f"1 0 a {10**30}\n", "qrels.tsv, line 1: expected 'query-id 0 passage-id grade'"),
        ("qrels.tsv", "9 0 a 1\n", "No query of .* has a relevant document"),
    ],
)
def test_a_bad_line_is_named(english: Path, file: str, content: str | bytes, message: str) -> None:
    (english / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        list(load_dataset(str(english)).documents())


@pytest.mark.parametrize("file", ["queries.tsv", "qrels.tsv"])
def test_a_missing_file_is_named(english: Path, file: str) -> None:
    (english / file).unlink()
    with pytest.raises(InputError, match=f"has no {file}"):
        load_dataset(str(english))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no collection\.tsv, and neither have its subfolders"):
        load_dataset(str(tmp_path))


# ir_datasets


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[str]:
    """Yield the id of a dataset of ir_datasets that is made here: titled documents, Dutch under mMARCO's code."""
    from typing import NamedTuple

    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import JsonlDocs, TrecQrels, TsvQueries
    from ir_datasets.util import LocalDownload

    class Titled(NamedTuple):
        doc_id: str
        title: str
        text: str

        def default_text(self) -> str:
            return f"{self.title}\n\n{self.text}"

    name = "local-test/dt/dev"
    (tmp_path / "docs.jsonl").write_text(
        '{"id": "7", "title": "Boek", "text": "Een boek."}\n{"id": "8", "title": "Brood", "text": "Vers\\nbrood."}\n'
    )
    (tmp_path / "q.tsv").write_text("1\tboek\n2\tniets\n")
    (tmp_path / "qrels").write_text("1 0 7 1\n1 0 8 0\n2 0 7 0\n")
    fields = {"doc_id": "id", "title": "title", "text": "text"}
    ir_datasets.registry.register(
        name,
        Dataset(
            JsonlDocs(LocalDownload(tmp_path / "docs.jsonl"), doc_cls=Titled, mapping=fields, lang="dt"),
            TsvQueries(LocalDownload(tmp_path / "q.tsv"), lang="dt"),
            TrecQrels(LocalDownload(tmp_path / "qrels"), {}),
        ),
    )
    yield name
    del ir_datasets.registry._registered[name]


def test_an_id_of_ir_datasets(registered: str) -> None:
    dataset = load_dataset(registered)
    assert [(d.document_id, d.text, d.language) for d in dataset.documents()] == [
        ("7", "Boek Een boek.", "nl"),  # title and body on one line, as in the published numbers
        ("8", "Brood Vers brood.", "nl"),
    ]
    assert [tuple(q) for q in dataset.queries] == [("1", "boek", "nl")]
    assert dataset.qrels == {"1": {"7": 1, "8": 0}}
    assert dataset.identity == {"ir_datasets": registered}
    assert [d.text for d in dataset.texts(["8", "7"])] == ["Brood Vers brood.", "Boek Een boek."]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_short_name_is_in_ir_datasets(family: str) -> None:
    known = set(ir_datasets.registry)
    for language, identifier in FAMILIES[family].ids.items():
        assert identifier in known, language
        code = ir_datasets.load(identifier).docs_lang()
        assert code == ("dt" if language == "nl" else language)


def test_dutch_has_two_names() -> None:
    from ragatouille_xm.evaluation.catalogue import _resolve

    assert _resolve("mmarco/nl") == _resolve("mmarco/dt") == ("mmarco/nl", "mmarco", "mmarco/v2/dt/dev/small")
    assert _resolve("mmarco/en")[2] == "msmarco-passage/dev/small"
    assert _resolve("miracl/yo") == ("miracl/yo", "miracl", "miracl/yo/dev")
    assert _resolve("mmarco/v2/fr/dev") == ("mmarco/v2/fr/dev",) * 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mmarco/sw", "mmarco has no language 'sw'. It has: en, es, fr"),
        ("mr-tydi/xx", "mr-tydi has no language 'xx'"),
        ("msmarco-pasage/dev", "neither a folder nor in ir_datasets. Did you mean msmarco-passage/dev"),
        ("miracl", "lacks documents, queries or judgements"),
        ("./nowhere", "There is no folder './nowhere'"),
    ],
)
def test_an_unknown_dataset(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(name)


def test_what_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, registered: str) -> None:
    source = ir_datasets.load(registered)

    def fails() -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(type(source), "queries_iter", lambda self: fails(), raising=False)
    with pytest.raises(InputError, match="could not be downloaded or read: ConnectionError: no route"):
        load_dataset(registered)


def test_without_ir_datasets(monkeypatch: pytest.MonkeyPatch, english: Path) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    assert load_dataset(str(english)).queries  # a folder needs nothing
    with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[evaluate\]"'):
        load_dataset("mmarco/fr")
