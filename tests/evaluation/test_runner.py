"""Runs: written once, taken up where they were cut off, never mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragatouille_xm.errors import InputError, StorageError
from ragatouille_xm.evaluation.dataset import Dataset, Query
from ragatouille_xm.evaluation.datasets import load_dataset
from ragatouille_xm.evaluation.runner import evaluate
from ragatouille_xm.evaluation.runs import RunFile, read_run
from ragatouille_xm.evaluation.systems.base import Found, Settings, System
from ragatouille_xm.evaluation.systems.registry import make_system

pytest.importorskip("bm25s")
pytest.importorskip("ir_measures")


class Alphabetical:
    """Ranks document ids by the alphabet, for every query."""

    first_stage: System | None = None
    query_batch = 1

    def __init__(self, name: str = "alphabetical", first_stage: System | None = None) -> None:
        self.name = name
        self.first_stage = first_stage
        self.asked: list[str] = []
        self.given: dict[str, Sequence[str]] = {}

    def parameters(self, dataset: Dataset) -> dict[str, Any]:
        return {}

    def index_parameters(self, dataset: Dataset) -> dict[str, Any]:
        return {}

    def prepare(self, dataset: Dataset, folder: Path, first: Any) -> Alphabetical:
        self.given = dict(first)
        self.ids = sorted(document.document_id for document in dataset.documents())
        return self

    def search(self, queries: Sequence[Query], k: int) -> list[Found]:
        self.asked += [query.query_id for query in queries]
        return [[(each, -float(i)) for i, each in enumerate(self.ids[:k])] for _ in queries]

    def close(self) -> None:
        pass


@pytest.fixture
def dataset(english: Path) -> Dataset:
    return load_dataset(str(english))


def test_a_run_is_a_trec_file_and_measured(dataset: Dataset, tmp_path: Path) -> None:
    [measured] = evaluate([dataset], {"abc": Alphabetical()}, tmp_path / "runs", k=3, measures=["MRR@10", "R@2"])
    assert measured.run == tmp_path / "runs" / "data-en" / "abc.trec"
    assert measured.run.read_text().splitlines()[:4] == [
        "1 Q0 a 1 -0.000000 abc",
        "1 Q0 b 2 -1.000000 abc",
        "1 Q0 c 3 -2.000000 abc",
        "2 Q0 a 1 -0.000000 abc",
    ]
    assert measured.values == {
        "MRR@10": {"1": 1.0, "2": 1 / 3, "3": 1 / 2},
        "R@2": {"1": 1 / 2, "2": 0.0, "3": 1.0},
    }
    assert json.loads(measured.run.with_suffix(".values.json").read_bytes()) == measured.values


def test_a_finished_run_is_not_run_again(dataset: Dataset, tmp_path: Path) -> None:
    system = Alphabetical()
    first = evaluate([dataset], {"abc": system}, tmp_path)
    again = evaluate([dataset], {"abc": system}, tmp_path)
    assert system.asked == ["1", "2", "3"]
    assert again[0].values == first[0].values
    evaluate([dataset], {"abc": system}, tmp_path, overwrite=True)
    assert system.asked == ["1", "2", "3"] * 2


def test_other_measures_need_no_other_run(dataset: Dataset, tmp_path: Path) -> None:
    system = Alphabetical()
    evaluate([dataset], {"abc": system}, tmp_path)
    [measured] = evaluate([dataset], {"abc": system}, tmp_path, measures=["nDCG@10"])
    assert list(measured.values) == ["nDCG@10"]
    assert len(system.asked) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from test_runner_helper import Alphabetical, RunFile, evaluate, load_dataset

note, calls = RunFile._note, []
def dies(self):
    calls.append(1)
    if len(calls) == 3:  # begun, one query noted; the second's rows are written and not noted
        os.kill(os.getpid(), signal.SIGKILL)
    note(self)
RunFile._note = dies
evaluate([load_dataset(sys.argv[1])], {"abc": Alphabetical()}, sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_run_goes_on_where_it_stopped(english: Path, tmp_path: Path) -> None:
    helper = tmp_path / "test_runner_helper.py"
    helper.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(english), str(tmp_path / "runs")], env=environment, capture_output=True
    )
    assert done.returncode == -9, done.stderr.decode()
    run = tmp_path / "runs" / "data-en" / "abc.trec"
    assert set(read_run(run)) == {"1", "2"}  # more than was noted
    dataset, system = load_dataset(str(english)), Alphabetical()
    [measured] = evaluate([dataset], {"abc": system}, tmp_path / "runs")
    assert system.asked == ["2", "3"]
    [whole] = evaluate([dataset], {"abc": Alphabetical()}, tmp_path / "whole")
    assert measured.run.read_bytes() == whole.run.read_bytes()
    assert measured.values == whole.values


def test_queries_without_results_are_done_too(dataset: Dataset, tmp_path: Path) -> None:
    class Silent(Alphabetical):
        def search(self, queries: Sequence[Query], k: int) -> list[Found]:
            self.asked += [query.query_id for query in queries]
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return [[] for _ in queries]

    system = Silent()
    with pytest.raises(KeyboardInterrupt):
        evaluate([dataset], {"silent": system}, tmp_path)
    [measured] = evaluate([dataset], {"silent": system}, tmp_path)
    assert system.asked == ["1", "2", "2", "3"]
    assert measured.values["MRR@10"] == {"1": 0.0, "2": 0.0, "3": 0.0}


@pytest.mark.parametrize("change", ["k", "queries", "documents", "parameters"])
def test_a_run_made_otherwise_is_not_taken_for_this_one(
    dataset: Dataset, english: Path, tmp_path: Path, change: str
) -> None:
    evaluate([dataset], {"bm25": make_system("bm25")}, tmp_path)
    system, k = make_system("bm25"), 1000
    if change == "k":
        k = 10
    elif change == "queries":
        dataset = dataset.limited(1)
    elif change == "documents":
        (english / "collection.tsv").write_text("a\tThe library\n")
        dataset = load_dataset(str(english))
    else:
        system = make_system("bm25", Settings(k1=1.2))
    told = {"k": "k was 1000 and is 10", "queries": "queries was", "documents": "documents was",
            "parameters": "k1 was 0.9 and is 1.2"}[change]  # fmt: skip
    with pytest.raises(InputError, match=f"made with other parameters: {told}.*--overwrite"):
        evaluate([dataset], {"bm25": system}, tmp_path, k=k)
    [measured] = evaluate([dataset], {"bm25": system}, tmp_path, k=k, overwrite=True)
    assert json.loads(measured.run.with_suffix(".json").read_bytes())["finished"]


def test_an_index_is_built_once_for_what_it_depends_on(dataset: Dataset, tmp_path: Path) -> None:
    evaluate([dataset], {"bm25": make_system("bm25")}, tmp_path)
    evaluate([dataset], {"bm25": make_system("bm25")}, tmp_path, k=5, overwrite=True)
    assert len(list((tmp_path / "data-en" / "indexes").iterdir())) == 1
    evaluate([dataset], {"other": make_system("bm25", Settings(b=0.1))}, tmp_path)
    assert len(list((tmp_path / "data-en" / "indexes").iterdir())) == 2


def test_the_first_stage_is_run_and_shared(dataset: Dataset, tmp_path: Path) -> None:
    bm25, reranker = make_system("bm25"), Alphabetical("again", make_system("bm25"))
    evaluate([dataset], {"again": reranker}, tmp_path)
    assert {query: list(ids) for query, ids in reranker.given.items()} == read_run(tmp_path / "data-en" / "bm25.trec")
    before = (tmp_path / "data-en" / "bm25.trec").stat().st_mtime_ns
    evaluate([dataset], {"bm25": bm25, "again": reranker}, tmp_path)
    assert (tmp_path / "data-en" / "bm25.trec").stat().st_mtime_ns == before


def test_a_first_stage_made_otherwise_is_made_anew(dataset: Dataset, tmp_path: Path) -> None:
    evaluate([dataset], {"bm25": make_system("bm25", Settings(k1=3.0))}, tmp_path)
    evaluate([dataset], {"again": Alphabetical("again", make_system("bm25"))}, tmp_path)
    runs = {path.name for path in (tmp_path / "data-en").glob("*.trec")}
    assert len(runs) == 3
    assert {"bm25.trec", "again.trec"} < runs


def test_two_of_one_name(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Two systems are both called 'a b'"):
        evaluate([dataset], {"a b": Alphabetical(), "a-b": Alphabetical()}, tmp_path)
    with pytest.raises(InputError, match="Two datasets are both called 'data/en'"):
        evaluate([dataset, dataset], {"a": Alphabetical()}, tmp_path)


def test_an_unknown_measure_is_told_before_anything_is_run(dataset: Dataset, tmp_path: Path) -> None:
    system = Alphabetical()
    with pytest.raises(InputError, match="'MAPP' is not a measure"):
        evaluate([dataset], {"abc": system}, tmp_path / "runs", measures=["MAPP"])
    assert system.asked == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("damage", ["notes", "rows", "gone"])
def test_a_damaged_run(dataset: Dataset, tmp_path: Path, damage: str) -> None:
    [measured] = evaluate([dataset], {"abc": Alphabetical()}, tmp_path)
    if damage == "notes":
        measured.run.with_suffix(".json").write_text("{}")
    elif damage == "rows":
        measured.run.write_bytes(measured.run.read_bytes()[:-30])
    else:
        measured.run.unlink()
    with pytest.raises(InputError, match="Give --overwrite to make"):
        evaluate([dataset], {"abc": Alphabetical()}, tmp_path)
    evaluate([dataset], {"abc": Alphabetical()}, tmp_path, overwrite=True)


def test_a_row_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.trec").write_text("1 Q0 a 1 0.5 tag\n1 Q0 a\n")
    with pytest.raises(InputError, match=r"x\.trec, line 2: this is not a row"):
        read_run(tmp_path / "x.trec")
    (tmp_path / "x.trec").write_bytes(b"1 Q0 a 1 0.5 tag\n\xff Q0 a 1 0.5 tag\n")
    with pytest.raises(InputError, match=r"x\.trec, line 2: this is not UTF-8"):
        read_run(tmp_path / "x.trec")


@pytest.mark.parametrize(
    "notes", ["[" * 100_000, "[]", '{"parameters": {}, "queries": 0, "bytes": "0", "finished": false}']
)
def test_notes_that_are_none(tmp_path: Path, notes: str) -> None:
    RunFile(tmp_path / "x.trec", {})
    (tmp_path / "x.json").write_text(notes)
    with pytest.raises(InputError, match=r"x\.json' is damaged"):
        RunFile(tmp_path / "x.trec", {})


def test_ranks_go_by_the_rows(tmp_path: Path) -> None:
    run = RunFile(tmp_path / "x.trec", {})
    run.append([Query("q", "text", None)], [[("b", 1.0), ("a", 1.0)]])
    run.finish()
    assert run.ranking() == {"q": ["b", "a"]}


def test_a_place_that_cannot_be_written(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="Could not write below .*file.*repeat the call to continue"):
        evaluate([dataset], {"abc": Alphabetical()}, tmp_path / "file")
