"""What a write leaves behind: all of it, or nothing; in the buffer, in segments, and merged."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ragatouille_xm.errors import (
    IndexNotFoundError,
    InputError,
    PassageIndexError,
    StorageError,
)
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.vector_writer import VectorWriter
from ragatouille_xm.index.local.verify import find_faults
from ragatouille_xm.types import Passage, TokenVectors

from .samples import (
    CENTRES,
    DIM,
    EXACT,
    KEPT,
    LENGTH,
    batch,
    create,
    pids_in,
    segment_files,
    unit,
)


def fail(*_: object, **__: object) -> None:
    raise StorageError("No space left on device")


# ---- failing writes


def test_a_file_size_limit_is_a_storage_error(folder):
    resource = pytest.importorskip("resource")
    index = create(folder, 3)
    before = segment_files(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, limits[1]))
    try:
        for passages, vectors in (batch(3, 6000), ([Passage(3, "d3", "x" * 2**20, "en")], batch(3, 1)[1])):
            with pytest.raises(StorageError):
                index.add(passages, vectors)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert pids_in(index) == pids_in(LocalIndex.open(folder)) == [0, 1, 2]
    assert segment_files(folder) == before
    index.add(*batch(3, 2))
    assert len(index) == 5
    assert list(find_faults(folder, full=True)) == []


@pytest.mark.parametrize("step", ["copy", "flush", "finish"])
def test_files_that_cannot_be_written_leave_the_index_as_it_was(folder, tiny_buffer, monkeypatch, step):
    index = create(folder, 3)
    before = segment_files(folder)
    with monkeypatch.context() as patch:
        patch.setattr(VectorWriter, step, fail)
        with pytest.raises(StorageError, match="No space left"):
            index.add(*batch(0, 5), replace=True)
    assert pids_in(index) == pids_in(LocalIndex.open(folder)) == [0, 1, 2]
    assert segment_files(folder) == before


def test_a_merge_that_fails_does_not_undo_the_additions_before_it(folder, tiny_buffer, monkeypatch):
    index = create(folder)
    for n in range(5):
        index.add(*batch(3 * n, 3))
    monkeypatch.setattr("ragatouille_xm.index.local.index.merge_segments", fail)
    with pytest.raises(StorageError):
        index.optimize()
    assert pids_in(LocalIndex.open(folder)) == list(range(15))
    assert segment_files(folder) == set(index.state.files)


def test_nothing_of_a_transaction_with_an_addition_that_failed_is_committed(folder, monkeypatch):
    index = create(folder, 3)
    surrogate = Passage(9, "d9", "\ud800", "fr")

    def add_both() -> None:
        with index.writer() as writer:
            writer.add(*batch(3, 1))
            with pytest.raises(InputError):
                writer.add([surrogate], batch(9, 1)[1])

    with pytest.raises(PassageIndexError, match="nothing of it"):
        add_both()
    assert pids_in(index) == [0, 1, 2]


@pytest.mark.parametrize(
    "changes", [{"text": "\ud800"}, {"document_id": "\udfff"}, {"metadata": {"a": {"b": "\ud800"}}}]
)
def test_a_lone_surrogate_cannot_be_stored(folder, changes):
    index = create(folder, 1)
    passages, vectors = batch(1, 2)
    stored = {"pid": 2, "document_id": "d2", "text": "t", "language": "fr"} | changes
    with pytest.raises(InputError, match="passage 2 .*surrogate"):
        index.add([passages[0], Passage(**stored)], vectors)
    assert pids_in(index) == [0]
    assert index.contains(["\udfff"]) == set()


def test_an_index_that_was_removed_or_closed_says_so(folder):
    index = create(folder, 3)
    shutil.rmtree(folder)
    for call in (lambda: len(index), lambda: index.search(CENTRES[None, :1], 1), lambda: next(index.scroll())):
        with pytest.raises(IndexNotFoundError, match="no longer there"):
            call()
    with pytest.raises(PassageIndexError):
        index.reserve(1)
    index.close()
    with pytest.raises(PassageIndexError, match="closed"):
        len(index)


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_was_removed_and_made_again_is_read_and_written(folder, again):
    index = create(folder, 3)
    writer = LocalIndex.open(folder)
    writer.reserve(1)
    shutil.rmtree(folder)
    other = create(folder, 7)
    if again:
        other.add(*batch(7, 1))
    assert len(index) == len(other)
    writer.add(*batch(20, 2))
    index.close()
    writer.close()
    other.add(*batch(30, 1))
    assert pids_in(LocalIndex.open(folder)) == [*range(7 + again), 20, 21, 30]
    assert list(find_faults(folder, full=True)) == []


# ---- what is stored


def test_vectors_that_are_the_same_are_stored_the_same_whatever_they_come_with(folder, tiny_buffer):
    """So equals tie to the bit, and the smaller pid comes first."""
    vectors = unit(3, DIM, seed=5)
    index = LocalIndex.create(folder, **KEPT)
    for pids in ([8], [3, 1, 0], range(9, 40), [5]):
        passages = [Passage(pid, str(pid), "", "en") for pid in pids]
        index.add(passages, TokenVectors(vectors.repeat(len(pids), 1), torch.full((len(pids),), 3)))
    assert len(index.state.segments) > 1
    assert index.state.buffered == 1
    for seed in range(20):
        hits = index.search(unit(1, 5, DIM, seed=seed), 40, config=EXACT)
        assert hits.pids[0, :35].tolist() == sorted([8, 3, 1, 0, *range(9, 40), 5])[:35]
        assert len(set(hits.scores[0, :35].tolist())) == 1


def test_vectors_come_back_nearly_as_they_were(folder):
    index = create(folder, 5)
    ((_, vectors),) = index.scroll(with_vectors=True)
    assert vectors.vectors.dtype == torch.float32
    assert torch.allclose(vectors.vectors, batch(0, 5)[1].vectors, atol=1e-4)


@pytest.mark.parametrize("where", ["buffer", "segment"])
def test_a_passage_that_is_overwritten_is_found_by_its_new_metadata(folder, tiny_buffer, where):
    index = create(folder, 10)
    passages, vectors = batch(3, 1 if where == "buffer" else 3)
    index.add([Passage(p.pid, p.document_id, p.text, "it", {"new": True}) for p in passages], vectors)
    for each in (index, LocalIndex.open(folder)):
        assert pids_in(each, {"new": True}) == [p.pid for p in passages]
        assert pids_in(each, {"language": "it"}) == [p.pid for p in passages]
        assert pids_in(each, {"n": 3}) == []
        assert pids_in(each, {"n": {"$lt": 3}}) == [0, 1, 2]


def test_the_buffer_becomes_a_segment_once_it_is_worth_one(folder, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 5 * LENGTH)
    index = create(folder)
    for pid in range(5):
        index.add(*batch(pid, 1))
    assert (index.state.buffered, index.state.segments) == (5, ())
    assert segment_files(folder) == set()
    index.delete(["d2"])
    assert index.state.buffered == 4
    index.add(*batch(5, 2))
    assert (index.state.buffered, [segment.passages for segment in index.state.segments]) == (0, [6])
    assert pids_in(index) == [0, 1, 3, 4, 5, 6]
    ((_, vectors),) = index.scroll(with_vectors=True)
    expected = torch.cat([batch(pid, 1)[1].vectors for pid in (0, 1, 3, 4, 5, 6)])
    assert torch.allclose(vectors.vectors, expected, atol=1e-4)


def test_passages_of_a_segment_under_way_can_be_replaced(folder, tiny_buffer):
    index = create(folder, 1)
    with index.writer(replace=True) as writer:
        writer.add(*batch(1, 5, document="a"))
        writer.add(*batch(6, 5, document="b"))
        writer.add(*batch(11, 2, document="a"))
        assert writer.delete(["d0", "nobody"]) == 1
    assert pids_in(index) == [6, 7, 8, 9, 10, 11, 12]
    with index.writer() as writer:
        writer.add(*batch(20, 5, document="c"))
        assert writer.delete(["c"]) == 5
    assert len(index) == 7
    assert segment_files(folder) == set(index.state.files)
    assert list(find_faults(folder, full=True)) == []


def test_deleted_passages_leave_the_disk(folder, tiny_buffer):
    index = create(folder, 100)
    index.delete([f"d{i}" for i in range(10)])
    index.optimize()
    assert [(segment.passages, segment.deletes) for segment in index.state.segments] == [(100, 10)]
    index.delete([f"d{i}" for i in range(10, 40)])
    index.optimize()
    assert [(segment.passages, segment.deletes) for segment in index.state.segments] == [(60, 0)]
    assert pids_in(index) == list(range(40, 100))
    index.delete([f"d{i}" for i in range(100)])
    assert segment_files(folder) == set()
    assert index.search(CENTRES[None, :2], 2).pids.tolist() == [[-1, -1]]


# ---- merges


def test_many_small_additions_stay_in_few_segments(folder, tiny_buffer):
    index = create(folder)
    for n in range(40):
        index.add(*batch(3 * n, 3))
        index.optimize()
        assert len(index.state.segments) <= np.log2(3 * n + 3) + 2
    assert pids_in(index) == list(range(120))
    assert list(find_faults(folder, full=True)) == []


def test_one_small_addition_does_not_rewrite_a_large_segment(folder, tiny_buffer):
    index = create(folder, 500)
    large = index.state.segments[0].name
    for n in range(5):
        index.add(*batch(500 + 3 * n, 3))
        index.optimize()
    assert large in [segment.name for segment in index.state.segments]


@pytest.mark.parametrize("storage", ["int16", "int8", "int4"])
def test_a_merge_changes_no_answer_and_no_vector(folder, tiny_buffer, storage):
    index = create(folder, storage=storage)
    for n in range(6):
        index.add(*batch(20 * n, 20))
        index.delete([f"d{20 * n + 7}"])
    index.add(*batch(3, 2))  # overwrites
    reader = LocalIndex.open(folder)
    query = unit(5, 4, DIM, seed=3)

    def seen() -> tuple[object, ...]:
        hits = reader.search(query, 200, config=EXACT)
        vectors = torch.cat([vectors.vectors for _, vectors in reader.scroll(with_vectors=True)])
        return hits.pids.tolist(), hits.scores.tolist(), vectors.tolist(), pids_in(reader, {"even": True})

    before = seen()
    index.optimize(refit=True)
    assert len(index.state.segments) == 1
    assert segment_files(folder) == set(index.state.files)
    assert seen() == before
    state = index.state
    index.optimize(refit=True)
    assert index.state == state, "there was nothing to do"
    assert list(find_faults(folder, full=True)) == []


def test_a_reader_follows_a_merge_and_searches_under_way_end_well(folder, tiny_buffer):
    index, reader = create(folder, 30), LocalIndex.open(folder)
    stop, found = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            found.append(len(set(reader.search(CENTRES[None, :2], 30).pids[0].tolist())))

    with ThreadPoolExecutor(2) as pool:
        searching = [pool.submit(search) for _ in range(2)]
        try:
            for n in range(8):
                index.add(*batch(30 + 5 * n, 5))
                index.optimize(refit=True)
        finally:
            stop.set()
        for each in searching:
            each.result()
    assert set(found) == {30}
    assert len(reader) == 70
