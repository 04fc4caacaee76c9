"""What every engine promises of writing and of reading back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import InputError
from ragatouille_xm.types import TokenVectors

from .conftest import ENGINES, TRANSACTIONS, opened
from .strategies import DIM, METADATA, UNUSUAL, assert_search, encode, everything, passage, plain, put, query


def stored_languages(n):
    return [passage(i, f"d{i}", language=("fr", "de", "fr", "zh-TW")[i % 4], metadata={"n": i}) for i in range(n)]


def encoded(*passages):
    return list(passages), encode(passages)


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


def test_an_addition_counts_as_a_whole_at_its_end(engine):
    engine.needs(TRANSACTIONS)
    index = engine.index
    put(index, passage(0, "a"), passage(1, "a"), passage(2, "b"))
    before = plain(everything(index))
    with index.writer(replace=True) as addition:
        for document_id in ("a", "c", "d"):
            first = addition.reserve(2)
            addition.add(*encoded(passage(first, document_id), passage(first + 1, document_id)))
            assert plain(everything(index)) == before
            assert index.contains(["a", "b", "c"]) == {"a", "b"}
        addition.add([], encode([]))
    found = everything(index)
    assert [p.document_id for p in found] == ["b", "a", "a", "c", "c", "d", "d"]
    assert len({p.pid for p in found}) == len(index) == 7
    assert_search(index, query("q"), 9, found, engine.tolerance)
    assert index.reserve(1) > max(p.pid for p in found)


def test_an_addition_deletes_documents_in_the_same_commit(engine):
    engine.needs(TRANSACTIONS)
    index = engine.index
    put(index, passage(0, "a"), passage(1, "a"), passage(2, "b"), passage(3, "c"))
    before = plain(everything(index))
    with index.writer(replace=True) as addition:
        addition.delete(["a", "nobody"])
        addition.add(*encoded(passage(addition.reserve(1), "c", "another")))
        addition.delete(["b"])
        assert plain(everything(index)) == before
    found = everything(index)
    assert [(p.document_id, p.text) for p in found] == [("c", "another")]
    assert_search(index, query("q"), 9, found, engine.tolerance)
    with index.writer() as addition:
        addition.delete(["c"])
    assert everything(index) == []
    assert len(index) == 0


def test_an_addition_that_fails_changes_nothing(engine):
    engine.needs(TRANSACTIONS)
    index = engine.index
    put(index, passage(0, "a"), passage(1, "b"))
    before = plain(everything(index))
    for wrong in (lambda added: added.add([passage(9)], encode([])), lambda added: added.reserve(-1)):
        with pytest.raises(InputError), index.writer(replace=True) as addition:  # noqa: PT012
            addition.add(*encoded(passage(addition.reserve(1), "a", "another")))
            wrong(addition)
        assert plain(everything(index)) == before
    with pytest.raises(KeyboardInterrupt), index.writer() as addition:  # noqa: PT012
        addition.add(*encoded(passage(addition.reserve(1), "c")))
        raise KeyboardInterrupt
    assert plain(everything(index)) == before
    assert index.languages() == {"fr": 2}
    with index.writer():
        pass
    assert plain(everything(index)) == before


def test_pids_grow_within_an_addition(engine):
    engine.needs(TRANSACTIONS)
    index = engine.index
    with pytest.raises(InputError, match="take pids from reserve"), index.writer() as addition:  # noqa: PT012
        addition.add(*encoded(passage(5)))
        addition.add(*encoded(passage(5)))
    assert len(index) == 0


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
        ([passage(2, "a"), passage(3, None)], good, "document_id of passage 3 is None"),
        ([passage(2, "a"), passage(3, "b", b"text")], good, "text of passage 3 is b'text'"),
        ([passage(2, "a"), passage(3, "b", language=None)], good, "language of passage 3 is None"),
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


def test_vectors_keep_the_order_and_name_what_is_missing(engine):
    index = engine.index
    passages = put(index, *(passage(i, f"d{i}") for i in range(6)))
    put(index, passages[5], passage(6, "d6"))
    asked = [4, 0, 5, 4, 6]
    found, original = index.vectors(asked), encode(passage(i) for i in asked)
    assert found.lengths.tolist() == original.lengths.tolist()
    torch.testing.assert_close(found.vectors.float(), original.vectors, atol=max(1e-3, engine.tolerance / 10), rtol=0)
    assert (len(index.vectors([])), index.vectors([]).dim) == (0, DIM)
    index.delete(["d4"])
    for missing in (4, 77, -1):
        with pytest.raises(KeyError, match=str(missing)):
            index.vectors([0, missing])


def test_around_is_what_stands_beside_a_passage_in_its_document(index):
    put(index, *(passage(pid, "ab"[pid % 2], metadata={"n": pid}) for pid in range(10)))
    put(index, passage(10, "alone"))
    found = index.around([4, 1, 9, 10, 4], 2)
    assert {pid: [p.pid for p in near] for pid, near in found.items()} == {
        4: [0, 2, 4, 6, 8],
        1: [1, 3, 5],
        9: [5, 7, 9],
        10: [10],
    }
    assert plain(found[1]) == plain(index.fetch([1, 3, 5]))
    assert index.around([4], 0) == {4: index.fetch([4])}
    assert index.around([], 1) == {}
    put(index, passage(11, "a"), passage(12, "a"), replace=True)  # an updated document has new pids
    index.delete(["b"])
    found = index.around([4, 1, 11, 12, 77, -1], 2**62)
    assert {pid: [p.pid for p in near] for pid, near in found.items()} == {11: [11, 12], 12: [11, 12]}


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
        torch.testing.assert_close(
            vectors.vectors.float(), original.vectors, atol=max(1e-3, engine.tolerance / 10), rtol=0
        )
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


@pytest.mark.parametrize("n", [-1, 1.5, "3", None])
def test_reserving_takes_a_whole_number_from_zero(index, n):
    first = index.reserve(2)
    with pytest.raises(InputError, match="takes a whole number of 0 or more, not"):
        index.reserve(n)
    assert index.reserve(0) == first + 2


def test_pids_that_a_transaction_reserved_and_did_not_use_never_repeat(index):
    with index.writer() as writer:
        first = writer.reserve(5)
        writer.add(*encoded(passage(first, "a")))
    assert index.reserve(1) >= first + 5


def test_reserving_from_many_threads(index):
    with ThreadPoolExecutor(8) as pool:
        starts = list(pool.map(lambda _: index.reserve(3), range(50)))
    taken = [start + i for start in starts for i in range(3)]
    assert len(set(taken)) == 150


# --- What can be stored


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
