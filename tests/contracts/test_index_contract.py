"""What every engine promises of searching, and of an index that is empty, closed or opened again."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime
from operator import eq, ge, lt

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.fields import Field, summarize_fields
from ragatouille_xm.corpus.filters import matches, parse_filter
from ragatouille_xm.index.base import PassageIndex
from ragatouille_xm.types import Calibration, TokenVectors

from . import strategies as some
from .conftest import ENGINES, EXACT_RANGES, TIES, examples, opened
from .strategies import DIM, METADATA, UNUSUAL, assert_best, assert_search, everything, passage, plain, put, query

EXACT = SearchConfig(exact=True)

# --- An empty index, and small questions


def test_the_engine_is_a_passage_index(index):
    assert isinstance(index, PassageIndex)
    assert index.dim == DIM


def test_an_empty_index(index):
    assert len(index) == 0
    assert index.languages() == {}
    assert index.contains(["a"]) == set()
    assert index.delete(["a"]) == 0
    assert index.fetch([]) == []
    assert list(index.scroll(with_vectors=True)) == []
    assert_best(index.search(query("q"), 3), 0, {}, 3, 0)
    index.optimize()
    assert len(index) == 0


def test_nothing_to_do(index):
    put(index)
    put(index, replace=True)
    assert len(index) == 0
    put(index, passage(0))
    assert index.delete([]) == 0
    assert index.contains([]) == set()
    assert index.search(torch.empty(0, 4, DIM), 2).pids.shape == (0, 2)
    assert len(index) == 1


# --- Metadata fields


def test_fields_are_those_of_the_passages_that_are_there(index):
    metadata = [
        METADATA,
        {"year": 2020, "topic": "maps"},
        {"year": 2020.0, "topic": "x" * 200},
        {"tags": ["a", "a", True, 1]},
    ]
    passages = put(index, *(passage(i, str(i), metadata=each) for i, each in enumerate(metadata)))
    assert fields(index.fields()) == fields(summarize_fields(passages))
    index.delete([passages[1].document_id])
    del passages[1]
    assert fields(index.fields()) == fields(summarize_fields(passages))


def fields(found: list[Field]) -> list[object]:
    """Return fields without long values, which an engine need not name."""
    short = [tuple((value, n) for value, n in field.values if len(str(value)) < 80) for field in found]
    return [replace(field, values=values) for field, values in zip(found, short, strict=True)]


# --- Search


def test_hits_are_arrays_of_the_agreed_form(index):
    put(index, passage(0), passage(1))
    hits = index.search(torch.cat([query("same shape")] * 2), 5)
    assert hits.pids.shape == hits.scores.shape == (2, 5)
    assert (hits.pids.dtype, hits.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [1, 7, 40, 45])
def test_the_best_k_by_maxsim(engine, k):
    passages = put(engine.index, *(passage(i) for i in range(40)))
    for i in range(5):
        assert_search(engine.index, query(f"q{i}"), k, passages, engine.tolerance)


def test_all_k_come_whenever_k_qualify(engine):
    passages = put(engine.index, *(passage(i, metadata={"even": i % 2 == 0}) for i in range(300)))
    for k in (149, 150, 151, 300):
        assert_search(engine.index, query("q"), k, passages, engine.tolerance, {"even": True})


def test_ties_go_to_the_smaller_pid(engine):
    """Along an axis, similarities are exact in every precision, so these are real ties."""
    engine.needs(TIES)
    index = engine.index
    pids = [9, 3, 27, 1, 8, 4, 2, 30]
    axis = torch.zeros(len(pids), DIM)
    axis[:, 0] = 1
    axis[pids.index(27), 0] = 0
    axis[pids.index(27), 1] = 1
    for i in range(0, len(pids), 3):
        some_of_them = [passage(pid) for pid in pids[i : i + 3]]
        index.add(some_of_them, TokenVectors(axis[i : i + 3], torch.ones(len(some_of_them), dtype=torch.int64)))
    for k in (1, 3, 7):
        assert index.search(axis[None, :1], k).pids.tolist() == [[1, 2, 3, 4, 8, 9, 30][:k]]
    hits = index.search(axis[None, :1], 8)
    assert hits.pids.tolist() == [[1, 2, 3, 4, 8, 9, 30, 27]]
    assert hits.scores[0].tolist() == pytest.approx([1.0] * 7 + [0.0], abs=3e-3)


def test_rows_of_zeros_change_nothing(index):
    put(index, *(passage(i) for i in range(30)))
    bare = query("padded")
    padded = torch.cat([bare, torch.zeros(1, 3, DIM)], 1)
    one, other = index.search(bare, 10), index.search(padded, 10)
    assert one.pids.tolist() == other.pids.tolist()
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_a_row_of_zeros_adds_nothing_where_all_similarities_are_negative(index):
    axis = torch.eye(DIM)[:1]
    index.add([passage(0)], TokenVectors(-axis, torch.tensor([1])))
    assert index.search(torch.stack([axis, axis * 0], 1), 1).scores[0].tolist() == pytest.approx([-1.0], abs=1e-4)


def test_a_batch_of_queries_is_answered_as_one_by_one(index):
    put(index, *(passage(i) for i in range(50)))
    queries = torch.nn.functional.normalize(torch.randn(70, 5, DIM, generator=torch.Generator().manual_seed(1)), dim=2)
    together = index.search(queries, 4)
    for i in range(len(queries)):
        alone = index.search(queries[i : i + 1], 4)
        assert alone.pids[0].tolist() == together.pids[i].tolist()
        np.testing.assert_allclose(alone.scores[0], together.scores[i], atol=1e-5)


def test_ten_thousand_duplicates(engine):
    """More equals than any list of candidates holds."""
    index = engine.index
    put(index, *(passage(i, f"d{i % 100}", text="the same") for i in range(10_000)), passage(10_000, text="another"))
    same, another = some.scores_of(query("q"), [passage(0, text="the same"), passage(1, text="another")]).values()
    assert same != another
    hits = index.search(query("q"), 5)
    assert len(set(hits.pids[0].tolist()) - {-1}) == 5
    np.testing.assert_allclose(hits.scores[0], sorted([another, *[same] * 5], reverse=True)[:5], atol=engine.tolerance)
    hits = index.search(query("q"), 9_901, filter=parse_filter({"document_id": {"$ne": "d0"}}), config=EXACT)
    assert set(hits.pids[0].tolist()) == {i for i in range(10_000) if i % 100} | {10_000}
    assert index.delete([f"d{i}" for i in range(99)]) == 9_900
    assert len(index) == 101


# --- Filters


@pytest.mark.parametrize("name", ENGINES)
def test_filters_mean_what_they_mean_in_python_and_come_before_the_best_k(name):
    @settings(max_examples=examples(name, 30), suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(some.metadatas, some.languages), min_size=8, max_size=16),
        st.lists(some.filters, min_size=6, max_size=12),
        st.integers(1, 6),
    )
    def check(parts, filters, k):
        passages = [passage(i, f"d{i % 3}", "", code, metadata) for i, (metadata, code) in enumerate(parts)]
        with opened(name) as engine:
            if EXACT_RANGES in engine.not_kept and any(str(2**53 + 1) in str(p.metadata) for p in passages):
                return
            put(engine.index, *passages)
            for i, written in enumerate(filters):
                condition = parse_filter(written)
                assert plain(everything(engine.index, condition)) == plain(p for p in passages if matches(condition, p))
                assert_search(engine.index, query(f"q{i}"), k, passages, engine.tolerance, written)

    check()


def test_a_filter_that_few_of_many_pass(engine):
    passages = [passage(i, f"d{i}", metadata={"rare": True} if i % 100 == 7 else None) for i in range(500)]
    put(engine.index, *passages)
    assert_search(engine.index, query("q"), 3, passages, engine.tolerance, {"rare": True})
    assert_search(engine.index, query("q"), 9, passages, engine.tolerance, {"rare": True})
    assert_search(engine.index, query("q"), 9, passages, engine.tolerance, {"document_id": {"$in": ["d3", "d44"]}})
    assert_search(engine.index, query("q"), 9, passages, engine.tolerance, {"rare": False})


def test_filters_reach_into_lists_of_objects(engine):
    people = [{"name": "Ada", "born": 1815}, {"name": "Bo", "tags": ["x", "y"]}]
    passages = put(
        engine.index,
        passage(0, metadata={"authors": people}),
        passage(1, metadata={"authors": [{"name": "Bo"}, "Cy"]}),
        passage(2, metadata={"authors": {"name": "Di"}}),
        passage(3),
    )

    def found(**condition):
        assert_search(engine.index, query("q"), 9, passages, engine.tolerance, condition)
        return [p.pid for p in everything(engine.index, parse_filter(condition))]

    assert found(**{"authors.name": "Bo"}) == [0, 1]
    assert found(**{"authors.name": {"$in": ["Ada", "Di"]}}) == [0, 2]
    assert found(**{"authors.born": {"$lt": 1900}}) == [0]
    assert found(**{"authors.tags": "y"}) == [0]
    assert found(**{"authors.name": None}) == [3]
    assert found(**{"authors.name": {"$ne": "Bo"}}) == [2, 3]
    assert found(authors="Cy") == [1]


def test_dates_equal_what_holds_the_same_moment(engine):
    written = ["2024-05-01", "2024-05-01T00:00:00Z", ["x", "2024-04-30T22:00:00-02:00"], "2024-05-02", None, 20240501]
    passages = put(engine.index, *(passage(i, metadata={"day": value}) for i, value in enumerate(written)))
    passages += put(engine.index, passage(6, "2024-05-01"))

    def found(**condition):
        assert_search(engine.index, query("q"), 9, passages, engine.tolerance, condition)
        return [p.pid for p in everything(engine.index, parse_filter(condition))]

    for same in (date(2024, 5, 1), datetime(2024, 5, 1), datetime(2024, 5, 1, tzinfo=UTC)):
        assert found(day=same) == [0, 1, 2]
        assert found(day={"$ne": same}) == [3, 4, 5, 6]
        assert found(day={"$in": [same, 20240501]}) == [0, 1, 2, 5]
        assert found(day={"$nin": [same, None]}) == [3, 5]
        assert found(document_id=same) == [6]
    assert found(day="2024-05-01") == [0]


def test_numbers_and_moments_keep_their_last_digit(index):
    source = random.Random(0)
    numbers = [0.1 + 0.2, 5e-324, -1.7976931348623157e308, 2**53 + 2.0]
    numbers += [source.uniform(-1.9e9, 1.9e9) for _ in range(30)] + [source.gauss(0, 1) for _ in range(30)]
    moments = [f"2031-05-17T08:{minute:02}:07.{minute:06}Z" for minute in range(5)]
    values = [*numbers, *moments]
    put(index, *(passage(i, f"d{i}", metadata={"x": [value], "y": value}) for i, value in enumerate(values)))
    assert [p.metadata for p in everything(index)] == [{"x": [value], "y": value} for value in values]

    def found(**condition):
        return {p.pid for p in everything(index, parse_filter(condition))}

    def ordered(key, within):
        return {i for i, other in enumerate(values) if type(other) is type(key) and within(other, key)}

    for value in values:
        assert found(x=value) == ordered(value, eq)
        assert found(x={"$gte": value}) == found(y={"$gte": value}) == ordered(value, ge)
        assert found(x={"$lt": value}) == found(y={"$lt": value}) == ordered(value, lt)


# --- Life of an index


def test_optimize_changes_no_answer(engine):
    index = engine.index
    passages = [passage(i, f"d{i}", metadata={"n": i}) for i in range(90)]
    for start in range(0, 90, 18):
        put(index, *passages[start : start + 18])
    index.delete([f"d{i}" for i in range(0, 90, 3)])
    left = [p for p in passages if p.pid % 3]
    for _ in range(2):
        assert_search(index, query("q"), 20, left, engine.tolerance)
        assert_search(index, query("q"), 20, left, engine.tolerance, {"n": {"$gt": 50}})
        assert plain(everything(index)) == plain(left)
        index.optimize()
    assert len(index) == 60
    put(index, passage(90))
    assert_search(index, query("q"), 20, [*left, passage(90)], engine.tolerance)


def test_most_of_a_large_index_deleted(engine):
    passages = [passage(i, f"d{i}", language="fr" if i % 2 else "de") for i in range(400)]
    put(engine.index, *passages)
    for start in range(0, 390, 130):
        engine.index.delete([f"d{i}" for i in range(start, start + 130)])
    assert plain(everything(engine.index)) == plain(passages[390:])
    assert_search(engine.index, query("q"), 20, passages[390:], engine.tolerance)
    assert engine.index.languages() == {"de": 5, "fr": 5}


def test_a_calibration_is_kept_whatever_changes(engine):
    index = engine.index
    assert index.calibration is None
    left = put(index, *(passage(i, f"d{i}") for i in range(40)))
    before = index.search(query("q"), 10)
    made = Calibration(40, (3, 5, 7), 9.5, 0.25)
    index.calibrate(made)
    assert index.calibration == made
    assert index.search(query("q"), 10).pids.tolist() == before.pids.tolist()
    index.delete(["d3"])
    put(index, passage(40, "d40"))
    index.optimize(refit=True)
    assert index.calibration == made
    if engine.persistent:
        index = engine.reopen()
        assert index.calibration == made
    assert_search(index, query("q"), 10, [*(each for each in left if each.pid != 3), passage(40)], engine.tolerance)
    index.calibrate(Calibration(40, (), 1.0, 0.0))
    assert index.calibration == Calibration(40, (), 1.0, 0.0)


def test_closing_twice(index):
    put(index, passage(0))
    index.close()
    index.close()


def test_a_reopened_index_is_the_same(engine):
    if not engine.persistent:
        pytest.skip("in memory only")
    passages = put(engine.index, *(passage(i, f"d{i}", f"{UNUSUAL[i % 6]} {i}", "de", METADATA) for i in range(20)))
    engine.index.delete(["d4"])
    left = [p for p in passages if p.pid != 4]
    reserved = engine.index.reserve(10)
    for _ in range(2):
        index = engine.reopen()
        assert (len(index), index.dim, index.languages()) == (19, DIM, {"de": 19})
        assert plain(everything(index)) == plain(left)
        assert_search(index, query("q"), 5, left, engine.tolerance)
        assert_search(index, query("q"), 5, left, engine.tolerance, {"nothing": None, "numbers": 0.1})
        assert index.reserve(1) >= reserved + 10
    engine.index.delete([f"d{i}" for i in range(20)])
    index = engine.reopen()
    assert len(index) == 0
    assert index.reserve(1) >= reserved + 12
