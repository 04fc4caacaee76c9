"""Filters as SQL agree with filters in Python."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import matches, parse_filter
from ragatouille_xm.index.local.database import execute_script
from ragatouille_xm.index.local.filters import admitted, admitted_among, estimate
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.passages import INDEXES, TABLES, insert_passages
from ragatouille_xm.index.local.state import read_version
from ragatouille_xm.types import Passage

from ...contracts.strategies import filters, languages, metadatas
from .samples import EXACT, batch, create, overlap, pids_in, queries

FIXED = [
    Passage(0, "2024-02-29", "", "fr", {"a": [1, True, "x" * 300], "b": {"a": None}}),
    Passage(1, "d", "", "de", None),
    Passage(2, "d", "", "zh-TW", {"a": 2**53 + 1, "b": float(2**53), "language": "fr", "": []}),
    Passage(3, "é\u0301", "", "fr", {"a": ["2024-02-29T23:30:00-01:00", -0.0], "a.b": 1, "two words": False}),
]


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        execute_script(connection, TABLES + INDEXES)
        yield connection


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(
    drawn=st.lists(st.tuples(metadatas, languages, st.sampled_from(["d", "a", "2024-03-01"])), max_size=8),
    written=st.lists(filters, min_size=8, max_size=8),
    gap=st.integers(1, 1000),
    data=st.data(),
)
def test_they_admit_what_they_admit_in_python(database, drawn, written, gap, data):
    passages = FIXED + [
        Passage(4 + gap * n, document, "", language, metadata) for n, (metadata, language, document) in enumerate(drawn)
    ]
    pids = np.array([passage.pid for passage in passages])
    database.execute("BEGIN")
    try:
        insert_passages(database, passages, {})
        some = np.array(sorted(data.draw(st.sets(st.sampled_from(pids.tolist())))), np.int64)
        for condition in map(parse_filter, written):
            expected = np.array([matches(condition, passage) for passage in passages])
            assert admitted(database, condition, pids).tolist() == expected.tolist()
            assert admitted_among(database, condition, some).tolist() == expected[np.isin(pids, some)].tolist()
            assert admitted(database, condition, some).tolist() == expected[np.isin(pids, some)].tolist()
            count, rows = estimate(database, condition, len(passages))
            assert 0 <= count <= len(passages)
            assert rows >= 0
    finally:
        database.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("written", "count", "rows"),
    [
        ({"n": 5}, 1, 1),
        ({"n": {"$lt": 20}}, 20, 20),
        ({"language": "fr"}, 34, 34),
        ({"even": True}, 50, 50),
        ({"n": {"$ne": 5}}, 99, 1),
        ({"missing": 1}, 0, 0),
        ({"n": {"$in": [1, 2, 3]}, "even": True}, 3, 53),
        ({"$or": [{"even": True}, {"even": False}, {"n": 5}]}, 100, 101),
    ],
)
def test_what_a_filter_admits_and_costs_is_estimated(database, written, count, rows):
    database.execute("BEGIN")
    try:
        insert_passages(database, batch(0, 100)[0], {})
        assert estimate(database, parse_filter(written), 100) == (count, rows)
    finally:
        database.execute("ROLLBACK")


def test_more_values_than_a_statement_takes(database):
    database.execute("BEGIN")
    try:
        insert_passages(database, batch(0, 30)[0], {})
        for written in (
            {"n": {"$in": list(range(20, 5000))}},
            {"document_id": {"$in": [f"d{n}" for n in range(20, 5000)]}},
        ):
            condition = parse_filter(written)
            assert np.flatnonzero(admitted(database, condition, np.arange(30))).tolist() == list(range(20, 30))
            assert np.flatnonzero(admitted_among(database, condition, np.arange(30))).tolist() == list(range(20, 30))
    finally:
        database.execute("ROLLBACK")


# ---- in searches


BROAD, NARROW = {"even": True}, {"n": {"$gte": 880}}


def test_broad_and_narrow_filters_keep_their_word_however_often_they_come(large, monkeypatch):
    """The first time, candidates are asked about where that is less work; later, what was looked up is remembered."""
    monkeypatch.setattr("ragatouille_xm.index.local.search.ROWS_PER_CANDIDATE", 0)
    for written in (BROAD, NARROW, {"$not": NARROW}, {"n": {"$lt": 600}, "language": "de"}, {"n": -1}):
        index, condition = LocalIndex.open(large), parse_filter(written)
        admits = set(pids_in(LocalIndex.open(large), written))
        assert admits == {passage.pid for passage in batch(0, 900)[0] if matches(condition, passage)}
        exact = LocalIndex.open(large).search(queries(), 10, filter=condition, config=EXACT)
        for _ in range(3):
            hits = index.search(queries(), 10, filter=condition, config=SearchConfig(candidates=150))
            assert set(hits.pids.flatten().tolist()) - {-1} <= admits
            assert ((hits.pids >= 0).sum(1) == min(10, len(admits))).all()
            assert not admits or overlap(hits, exact) > 0.8


def test_a_new_broad_filter_is_asked_of_candidates_alone(large, monkeypatch):
    looked_up = []

    def recorded(connection, condition, pids):
        looked_up.append(condition)
        return admitted(connection, condition, pids)

    monkeypatch.setattr("ragatouille_xm.index.local.snapshot.admitted", recorded)
    config, broad, narrow = SearchConfig(candidates=100), parse_filter(BROAD), parse_filter({"n": 7})
    monkeypatch.setattr("ragatouille_xm.index.local.search.ROWS_PER_CANDIDATE", 1)
    index = LocalIndex.open(large)
    index.search(queries(4), 5, filter=broad, config=config)
    assert looked_up == []
    for _ in range(3):
        index.search(queries(4), 5, filter=broad, config=config)
        assert looked_up == [broad]
    index.search(queries(4), 5, filter=narrow, config=config)
    assert looked_up == [broad, narrow]


def test_what_is_remembered_of_a_filter_follows_changes(own, monkeypatch):
    index = LocalIndex.open(own)
    for _ in range(2):
        before = index.search(queries(1), 900, filter=parse_filter(BROAD)).pids[0]
    assert sorted(before[:450].tolist()) == list(range(0, 900, 2))
    index.add(*batch(900, 4))
    index.delete(["d0"])
    _, vectors = batch(2, 1)
    index.add([Passage(2, "d2", "", "fr", {"even": False})], vectors)
    index.add([Passage(3, "d3", "", "fr", {"even": True})], vectors)
    for _ in range(2):
        pids = index.search(queries(1), 900, filter=parse_filter(BROAD)).pids[0]
        assert sorted(pids[pids >= 0].tolist()) == sorted([3, *range(4, 900, 2), 900, 902])
    index.optimize(refit=True)
    assert pids_in(index, BROAD) == sorted([3, *range(4, 900, 2), 900, 902])


def test_what_a_newer_commit_admits_is_not_taken_for_an_older_one(folder, tiny_buffer):
    """A search may still read the older one, while others remember filters."""
    index = create(folder, 30)
    condition = parse_filter(BROAD)
    with index._database.snapshot() as connection:
        older = index._load(connection, read_version(connection))
        index.delete(["d2", "d4"])
        newer = sorted({*range(0, 30, 2)} - {2, 4})
        assert pids_in(index, BROAD) == newer
        assert older.pids(older.masks(connection, condition)).tolist() == list(range(0, 30, 2))
        assert pids_in(index, BROAD) == newer


@pytest.mark.parametrize("function", ["local.search.admitted_among", "local.snapshot.admitted"])
def test_one_thread_at_a_time_uses_the_connection_of_a_search(large, monkeypatch, function):
    """SQLite's Python module may give threads that use one connection the rows of one another."""
    used, counts = threading.Lock(), []
    original = admitted_among if function.endswith("among") else admitted

    def alone(*arguments):
        counts.append(used.acquire(blocking=False))
        try:
            time.sleep(0.01)
            return original(*arguments)
        finally:
            if counts[-1]:
                used.release()

    monkeypatch.setattr(f"ragatouille_xm.index.{function}", alone)
    monkeypatch.setattr("ragatouille_xm.index.local.search.ROWS_PER_CANDIDATE", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        index, config = LocalIndex.open(large), SearchConfig(candidates=30, probes=1)
        index.search(queries(9), 40, filter=parse_filter({"n": {"$lt": 300}}), config=config)
    finally:
        torch.set_num_threads(before)
    assert counts
    assert all(counts)
