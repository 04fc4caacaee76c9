"""Examples, their order, and the files they come from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import InputError
from ragatouille_xm.training import ExampleStream, IrDatasetsTriples, Shuffled, TrainingExample, read_examples

TEXTS = {"queries.tsv": "7\tthe book\n8\tthe river\n", "collection.tsv": "a\tone\nb\ttwo\ttitle\nc\tthree\n"}
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(name: str, content: str) -> Path:
        path = tmp_path / name
        data = content.encode("utf-8", "surrogateescape")
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    for name, content in TEXTS.items():
        one(name, content)
    return one


def read(path: Path) -> list[TrainingExample]:
    found = read_examples(path, queries=path.parent / "queries.tsv", collection=path.parent / "collection.tsv")
    return list(found)


# order


@settings(max_examples=50)
@given(st.integers(1, 7), st.integers(0, 40), st.integers(0, 3))
def test_a_stream_can_be_taken_up_anywhere(n: int, start: int, seed: int) -> None:
    examples = [TrainingExample(str(i), "yes", ("no",)) for i in range(n)]
    whole = list(islice(Shuffled(examples, seed).stream(), start + 2 * n))
    assert list(islice(Shuffled(examples, seed).stream(start), 2 * n)) == whole[start:]
    for i in range(0, n * (len(whole) // n), n):
        assert sorted(each.query for each in whole[i : i + n]) == sorted(each.query for each in examples)


def test_seeds_and_passes_have_orders_of_their_own() -> None:
    examples = [TrainingExample(str(i), "yes", ("no",)) for i in range(20)]
    first, second = (list(islice(Shuffled(examples, seed).stream(), 40)) for seed in (0, 1))
    assert first != second
    assert first[:20] != first[20:]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"negatives": ()}, "no negative passage"),
        ({"negatives": "no"}, "has negatives='no'. Give a tuple"),
        ({"negatives": ("no", None)}, "comes with the text None"),
        ({"positive": 5}, "comes with the text 5"),
        ({"scores": (1.0,)}, "1 teacher scores for 2 passages"),
    ],
)
def test_examples_that_are_none(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingExample(**({"query": "q", "positive": "yes", "negatives": ("no",)} | fields))


# files


@pytest.mark.parametrize("name", ["t.tsv", "t.tsv.gz"])
def test_tsv_of_ids(write: Write, name: str) -> None:
    assert read(write(name, "7\ta\tb\n8\tc\ta\tb\r\n")) == [
        TrainingExample("the book", "one", ("title | two",)),
        TrainingExample("the river", "three", ("one", "title | two")),
    ]


def test_tsv_of_texts(write: Write) -> None:
    found = read_examples(write("t.tsv", "où ?\tici\tlà\n"), language="fr")
    assert list(found) == [TrainingExample("où ?", "ici", ("là",), None, "fr", "fr")]
    assert found[0:1] == list(found)


def test_jsonl_of_colbert(write: Write) -> None:
    assert read(write("t.jsonl", '[7, "a", "c", "b"]\n')) == [
        TrainingExample("the book", "one", ("three", "title | two"))
    ]
    scored = '[8, ["c", 2.5], ["a", -1]]\n'
    assert read(write("s.jsonl", scored)) == [TrainingExample("the river", "three", ("one",), (2.5, -1.0))]


@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz"])
def test_hard_negatives_of_sentence_transformers(write: Write, name: str) -> None:
    rows = [
        {"qid": 7, "pos": ["a"], "neg": {"bm25": ["b", "c"], "other": ["c", "a"]}},
        {"qid": 8, "pos": [], "neg": {"bm25": ["b"]}},
        {"qid": 8, "pos": ["c", "b"], "neg": {"bm25": ["b", "c"], "other": ["a"]}},
        {"qid": 8, "pos": ["a"], "neg": {}},
    ]
    assert read(write(name, "".join(json.dumps(row) + "\n" for row in rows))) == [
        TrainingExample("the book", "one", ("title | two", "three")),
        TrainingExample("the river", "three", ("one",)),
        TrainingExample("the river", "title | two", ("one",)),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.tsv", "7\ta\tb\n7\ta\n", r"t\.tsv, line 2: expected the ids of a query"),
        ("t.tsv", "7\ta\tb\n9\ta\tb\n", r"t\.tsv, line 2: the queries have no id '9'"),
        ("t.tsv", "7\ta\tz\n", r"t\.tsv, line 1: the collection has no id 'z'"),
        ("t.tsv", "7\ta\tb\n\n", r"t\.tsv, line 2: expected"),
        ("t.tsv", "", r"t\.tsv' is empty"),
        ("t.tsv", "7\ta\t\udcff\n", r"t\.tsv, line 1: this is not UTF-8"),
        ("t.jsonl", '[7, "a", "b"]\n[7, "a"\n', r"t\.jsonl, line 2: .*\[7"),
        ("t.jsonl", '[7, "a"]\n', r"line 1: expected \[query-id"),
        ("t.jsonl", '[7, ["a", 1], "b"]\n', r"line 1: either every passage is \[id, score\], or none is"),
        ("t.jsonl", '[7, null, "b"]\n', "line 1: None is not an id"),
        ("t.jsonl", '{"qid": 7, "neg": {}}\n', "line 1: 'pos'"),
        ("t.jsonl", '{"qid": 7, "pos": ["a"], "neg": {}}\n', "no row with both a positive and a negative"),
        ("t.tsv.gz", None, r"t\.tsv\.gz' cannot be read"),
    ],
)
def test_lines_that_are_wrong(write: Write, tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = tmp_path / name
    if content is None:
        path.write_bytes(b"no gzip")
    else:
        path = write(name, content)
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\tx\na\ty\n", "line 2: the id 'a' is used twice"), ("a\n", "line 1: expected an id, a tab and a text")],
)
def test_collections_that_are_wrong(write: Write, content: str, message: str) -> None:
    path = write("t.tsv", "7\ta\ta\n")
    write("collection.tsv", content)
    with pytest.raises(InputError, match=rf"collection\.tsv, {message}"):
        read(path)


def test_texts_are_asked_for(write: Write) -> None:
    with pytest.raises(InputError, match="Give queries and collection"):
        read_examples(write("t.jsonl", '[7, "a", "b"]\n'))
    with pytest.raises(InputError, match="both queries and collection, or neither"):
        read_examples(write("t.tsv", "7\ta\tb\n"), queries={"7": "x"})
    with pytest.raises(InputError, match=r"none\.tsv' cannot be read"):
        read_examples("none.tsv")


# ir_datasets


class Catalogue:
    """What is used of a dataset of ir_datasets."""

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs

    def has_docpairs(self) -> bool:
        return self.pairs >= 0

    def queries_iter(self) -> list[Any]:
        return [SimpleNamespace(query_id=str(i), default_text=lambda i=i: f"query {i}") for i in range(5)]

    def docs_store(self) -> Any:
        return SimpleNamespace(get=lambda key: SimpleNamespace(default_text=lambda: f"text {key}"))

    def docpairs_count(self) -> int | None:
        return self.pairs

    def docpairs_iter(self) -> list[Any]:
        return [SimpleNamespace(query_id=str(i % 5), doc_id_a=f"a{i}", doc_id_b=f"b{i}") for i in range(self.pairs)]


def test_pairs_of_ir_datasets_are_streamed_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ir_datasets.load", lambda name: Catalogue(7))
    triples = IrDatasetsTriples("some/train", language="en")
    assert isinstance(triples, ExampleStream)
    whole = list(islice(triples.stream(), 20))
    assert whole[6] == TrainingExample("query 1", "text a6", ("text b6",), None, "en", "en")
    assert whole[7:14] == whole[:7]
    assert list(islice(triples.stream(9), 11)) == whole[9:]


def test_datasets_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="ir_datasets has no dataset 'nothing/at/all'"):
        IrDatasetsTriples("nothing/at/all")
    monkeypatch.setattr("ir_datasets.load", lambda name: Catalogue(-1))
    with pytest.raises(InputError, match="has no docpairs"):
        IrDatasetsTriples("some/dev")
    monkeypatch.setattr("ir_datasets.load", lambda name: Catalogue(0))
    with pytest.raises(InputError, match="no pairs"):
        next(IrDatasetsTriples("some/dev").stream(3))
