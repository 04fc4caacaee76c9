"""What every engine promises, engine by engine."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import matches, parse_filter
from ragatouille_xm.errors import InputError
from ragatouille_xm.index.base import PassageIndex
from ragatouille_xm.types import TokenVectors

from . import strategies as some
from .conftest import ENGINES, examples, opened
from .strategies import DIM, assert_best, assert_search, encode, everything, passage, plain, put, query

EXACT = SearchConfig(exact=True)


def stored_languages(n):
    return [passage(i, f"d{i}", language=("fr", "de", "fr", "zh-TW")[i % 4], metadata={"n": i}) for i in range(n)]


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


def test_ties_go_to_the_smaller_pid(index):
    """Along an axis, similarities are exact in every precision, so these are real ties."""
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
    assert hits.scores.tolist() == [[1.0] * 7 + [0.0]]


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
    assert index.search(torch.stack([axis, axis * 0], 1), 1).scores.tolist() == [[-1.0]]


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
    @settings(deadline=None, max_examples=examples(name, 50), suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(some.metadatas, some.languages), min_size=8, max_size=16),
        st.lists(some.filters, min_size=6, max_size=12),
        st.integers(1, 6),
    )
    def check(parts, filters, k):
        passages = [passage(i, f"d{i % 3}", "", code, metadata) for i, (metadata, code) in enumerate(parts)]
        with opened(name) as engine:
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


# --- Writing


def test_the_same_pid_overwrites(engine):
    index = engine.index
    put(index, passage(0, "a", "old", "fr", {"v": 1}), passage(1, "b"))
    new = passage(0, "c", "quite new", "de", {"v": 2})
    put(index, new)
    assert len(index) == 2
    assert plain(index.fetch([0])) == plain([new])
    assert index.contains(["a", "b", "c"]) == {"b", "c"}
    assert index.languages() == {"de": 1, "fr": 1}
    assert_search(index, query("q"), 5, [new, passage(1, "b")], engine.tolerance)
    assert_search(index, query("q"), 5, [new], engine.tolerance, {"v": {"$gte": 1}})
    assert index.delete(["a"]) == 0


def test_replace_removes_the_rest_of_the_documents(engine):
    index = engine.index
    put(index, passage(0, "a"), passage(1, "a"), passage(2, "b"), passage(3, "c"), passage(4, "c"))
    kept = [passage(1, "a", "a, second version"), passage(5, "c", "c, second version")]
    put(index, *kept, replace=True)
    assert plain(everything(index)) == plain([kept[0], passage(2, "b"), kept[1]])
    assert_search(index, query("q"), 9, [passage(2, "b"), *kept], engine.tolerance)


def test_without_replace_the_rest_of_the_document_stays(index):
    put(index, passage(0, "a"), passage(1, "a"))
    put(index, passage(2, "a"))
    assert [p.pid for p in everything(index)] == [0, 1, 2]
    assert index.delete(["a"]) == 3


def test_delete_counts_passages_and_passes_over_the_unknown(engine):
    index = engine.index
    put(index, *(passage(i, "ab"[i % 2]) for i in range(5)), passage(5, "c"))
    assert index.delete(["a", "nobody", "c", "a"]) == 4
    assert index.delete(["a"]) == 0
    assert len(index) == 2
    assert index.contains(["a", "b", "c", "nobody"]) == {"b"}
    assert_search(index, query("q"), 9, [passage(1), passage(3)], engine.tolerance)
    assert index.delete(["b"]) == 2
    assert_search(index, query("q"), 9, [], engine.tolerance)
    put(index, passage(7, "a"))
    assert_search(index, query("q"), 9, [passage(7)], engine.tolerance)


def test_an_addition_that_is_refused_changes_nothing(index):
    before = put(index, passage(0, "a"), passage(1, "b"))
    fine = [passage(2, "a"), passage(3, "b")]
    good = encode(fine)
    wide = TokenVectors(torch.ones(2, DIM + 1), torch.tensor([1, 1]))
    refused = [
        ([passage(2, "a"), passage(2, "b")], good, "pid 2 .*twice"),
        ([passage(2, "a"), passage(-1, "b")], good, "-1"),
        ([passage(2, "a"), passage("3", "b")], good, "'3'"),
        ([passage(2, "a"), passage(True, "b")], good, "True"),
        ([passage(2, "a"), passage(2**63, "b")], good, "pid"),
        (fine, wide, f"{DIM + 1}"),
        (fine[:1], good, "1 passages"),
        (fine, TokenVectors(good.vectors[:-1], good.lengths), "sum"),
        (fine, TokenVectors(torch.ones(2, DIM), torch.tensor([2, 0])), "1 or more"),
        (fine, TokenVectors(good.vectors * torch.nan, good.lengths), "not finite"),
    ]
    for passages, vectors, says in refused:
        with pytest.raises(InputError, match=says):
            index.add(passages, vectors, replace=True)
        assert plain(everything(index)) == plain(before)


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_k_must_be_a_whole_number_from_one(index, k):
    put(index, passage(0))
    with pytest.raises(InputError, match="k must be"):
        index.search(query("q"), k)


@pytest.mark.parametrize("shape", [(DIM,), (2, DIM), (1, 2, DIM + 1)])
def test_queries_must_fit(index, shape):
    with pytest.raises(InputError, match="queries have the shape"):
        index.search(torch.ones(shape), 1)


def test_queries_must_be_finite(index):
    with pytest.raises(InputError, match="queries .*not finite"):
        index.search(query("q") * torch.inf, 1)


# --- Reading back


def test_fetch_keeps_the_order_and_names_what_is_missing(index):
    passages = put(index, *(passage(i, f"d{i}", metadata={"n": i}) for i in range(6)))
    assert plain(index.fetch([4, 0, 5, 4])) == plain([passages[4], passages[0], passages[5], passages[4]])
    index.delete(["d4"])
    for missing in (4, 77, -1):
        with pytest.raises(KeyError, match=str(missing)):
            index.fetch([0, missing])


def test_scroll_goes_by_growing_pid_in_batches_with_the_vectors(engine):
    index = engine.index
    pids = [int(pid) for pid in np.random.default_rng(0).permutation(60)]
    for start in range(0, 60, 20):
        put(index, *(passage(pid, f"d{pid % 7}", metadata={"n": pid}) for pid in pids[start : start + 20]))
    index.delete(["d3"])
    expected = [passage(pid, f"d{pid % 7}", metadata={"n": pid}) for pid in range(60) if pid % 7 != 3]
    assert [len(batch) for batch, _ in index.scroll(batch_size=20)] == [20, 20, len(expected) - 40]
    assert all(vectors is None for _, vectors in index.scroll())
    found = list(index.scroll(with_vectors=True, batch_size=13))
    assert plain(p for batch, _ in found for p in batch) == plain(expected)
    for batch, vectors in found:
        original = encode(batch)
        assert vectors.lengths.tolist() == original.lengths.tolist()
        torch.testing.assert_close(vectors.vectors.float(), original.vectors, atol=1e-3, rtol=0)
    some_of_them = everything(index, parse_filter({"n": {"$lt": 10}}))
    assert [p.pid for p in some_of_them] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_scroll_and_add_move_an_index(engine):
    passages = put(engine.index, *(passage(i * 3, f"d{i}", metadata={"n": i}) for i in range(30)))
    for name in ENGINES:
        with opened(name) as other:
            for batch, vectors in engine.index.scroll(with_vectors=True, batch_size=16):
                other.index.add(batch, vectors)
            assert plain(everything(other.index)) == plain(passages)
            assert_search(other.index, query("q"), 5, passages, max(engine.tolerance, other.tolerance))


def test_languages_are_counted_most_frequent_first(index):
    assert index.languages() == {}
    put(index, *stored_languages(8))
    assert list(index.languages().items()) == [("fr", 4), ("de", 2), ("zh-TW", 2)]
    index.delete(["d0", "d2", "d4"])
    assert list(index.languages().items()) == [("de", 2), ("zh-TW", 2), ("fr", 1)]
    index.delete(["d6"])
    assert list(index.languages().items()) == [("de", 2), ("zh-TW", 2)]


# --- Pids


def test_reserved_pids_never_repeat(index):
    first, second = index.reserve(3), index.reserve(2)
    assert second >= first + 3
    put(index, passage(second + 1, "a"))
    index.delete(["a"])
    third = index.reserve(1)
    assert third >= second + 2
    put(index, passage(third + 1000, "a"))  # a pid from elsewhere, as when an index is moved
    assert index.reserve(1) > third + 1000


def test_reserving_from_many_threads(index):
    with ThreadPoolExecutor(8) as pool:
        starts = list(pool.map(lambda _: index.reserve(3), range(50)))
    taken = [start + i for start in starts for i in range(3)]
    assert len(set(taken)) == 150


# --- What can be stored


UNUSUAL = [
    "emoji 👩🏽‍🚀 and 𝔘nicode",
    "nul \0 and controls \x01\x1b[31m\x7f\u2028",
    "combining e\u0301, bidi \u202eabc, BOM \ufeff",
    " leading and trailing \n\t",
    "\"; DROP TABLE passages; -- ' \\ {} [] %s $x",
    "中文 العربية עברית हिन्दी ไทย",
    "long " * 20_000,
]


def test_unusual_texts_ids_and_languages_come_back_as_they_were(engine):
    index = engine.index
    ids = [*UNUSUAL[:-1], "x" * 2000, " ", "0", "None", "a/b", "A", "a", "a\0", "é", "e\u0301"]
    passages = [passage(i, name, text, "zh-TW") for i, (name, text) in enumerate(zip(ids, UNUSUAL * 3, strict=False))]
    put(index, *passages)
    assert plain(everything(index)) == plain(passages)
    assert index.contains([*ids, "b", ""]) == set(ids)
    for one in passages:
        found = everything(index, parse_filter({"document_id": one.document_id}))
        assert plain(found) == plain([one])
        assert index.delete([one.document_id]) == 1
    assert len(index) == 0


METADATA = {
    "numbers": [0, -1, 2**63 - 1, -(2**63), 0.1, -2.5, 1e308, 5e-324, 1.0, 100.0],
    "nothing": None,
    "flags": [True, False],
    "texts": UNUSUAL,
    "nested": {"a": {"b": [{"c": [1, [2, {}]]}, []]}, "": {"": 1}},
    "a.b": 1,
    'k"ey \0 [x] 日本': "v",
    "document_id": "mine",
    "text": "mine too",
    "tok": [1.0],
}


def test_metadata_comes_back_as_it_was(engine):
    index = engine.index
    wide = {f"key {i}": i for i in range(2000)} | {"large": "x" * 1_000_000}
    put(index, passage(0, metadata=METADATA), passage(1, metadata=wide), passage(2), passage(3, metadata={}))
    stored = {p.pid: dict(p.metadata or {}) for p in index.fetch([0, 1, 2, 3])}
    for pid, expected in enumerate([METADATA, wide, {}, {}]):  # as JSON: 1 is not 1.0, and True not 1
        assert json.dumps(stored[pid], sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert [p.pid for p in everything(index, parse_filter({"key 1999": 1999, "large": "x" * 1_000_000}))] == [1]


def test_nobody_can_change_what_is_stored(index):
    given_ = {"tags": ["a"]}
    put(index, passage(0, metadata=given_))
    given_["tags"].append("b")
    index.fetch([0])[0].metadata["tags"].append("c")
    everything(index)[0].metadata["tags"].append("d")
    assert index.fetch([0])[0].metadata == {"tags": ["a"]}


def test_vectors_are_copied(index):
    vectors = encode([passage(0)])
    index.add([passage(0)], vectors)
    before = index.search(query("q"), 1).scores.tolist()
    vectors.vectors.zero_()
    for _, found in index.scroll(with_vectors=True):
        found.vectors.zero_()
    assert index.search(query("q"), 1).scores.tolist() == before


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


# --- Threads


def test_searching_while_documents_are_replaced_sees_one_version_of_each(engine):
    index = engine.index
    documents, versions = [f"d{i}" for i in range(4)], 7
    done = threading.Event()
    version_of: dict[int, tuple[str, int]] = {}

    def store(version):
        pids = iter(range(first := index.reserve(8), first + 8))
        passages = [passage(next(pids), d, f"{d} {version} {i}") for d in documents for i in range(2)]
        version_of.update({p.pid: (p.document_id, version) for p in passages})
        put(index, *passages, replace=True)

    def write():
        try:
            for version in range(1, versions):
                store(version)
                if version % 3 == 0:
                    index.optimize()
        finally:
            done.set()

    def read(i):
        rounds = 0
        while rounds < 3 or not done.is_set():
            if i == 0:  # the others only search, so that nothing makes them wait for the writer
                assert sum(index.languages().values()) == 8
            hits = index.search(query(f"reader {i}"), 20)
            found = [version_of[pid] for pid in hits.pids[0].tolist() if pid != -1]
            assert Counter(d for d, _ in found) == dict.fromkeys(documents, 2)
            assert len({version for _, version in found}) == 1
            rounds += 1

    store(0)
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, i) for i in range(3)]
        writer = pool.submit(write)
        for future in (writer, *readers):
            future.result(timeout=120)
    assert {version_of[p.pid][1] for p in everything(index)} == {versions - 1}


def test_writing_from_many_threads(engine):
    index = engine.index

    def write(name):
        for i in range(3):
            first = index.reserve(2)
            put(index, passage(first, f"{name} {i}"), passage(first + 1, f"{name} {i}"))
        index.delete([f"{name} 0"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, ["a", "b", "c", "d"]))
    found = everything(index)
    assert len(index) == len(found) == 16
    assert index.contains([f"{name} {i}" for name in "abcd" for i in range(3)]) == {
        f"{name} {i}" for name in "abcd" for i in range(1, 3)
    }
    assert_search(index, query("q"), 10, found, engine.tolerance)
