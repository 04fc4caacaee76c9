"""An index in a smaller storage, without encoding again."""

from __future__ import annotations

import shutil
from contextlib import suppress

import pytest
import torch

from ragatouille_xm.errors import InputError, StorageError
from ragatouille_xm.index.local import merge
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.storages import STORAGES
from ragatouille_xm.index.local.vector_writer import VectorWriter
from ragatouille_xm.index.local.verify import find_faults

from .samples import EXACT, batch, create, pids_in, queries, segment_files

SMALLER = [("int16", "int8"), ("int16", "int4"), ("int8", "int4")]
ERROR = {"int8": 0.01, "int4": 0.25}  # of a vector


def vectors_in(index: LocalIndex) -> torch.Tensor:
    return torch.cat([vectors.vectors for _, vectors in index.scroll(with_vectors=True)])


@pytest.mark.parametrize(("before", "after"), SMALLER)
def test_a_smaller_storage_has_the_same_passages_and_nearly_the_same_vectors(folder, tiny_buffer, before, after):
    index = create(folder, 200, storage=before)
    index.add(*batch(200, 40))
    index.add(*batch(240, 2))  # stay in the buffer
    index.delete(["d7", "d210"])
    reader, vectors = LocalIndex.open(folder), vectors_in(index)
    assert len(index.state.segments) == 2
    index.convert(after)
    assert (index.meta.storage, reader.meta.storage) == (after, after)
    assert len(index.state.segments) == 1
    assert index.state.buffered == 2
    assert {path.suffix for path in folder.glob("segment-*")} == {*STORAGES[after].files, ".table"}
    assert pids_in(reader) == sorted({*range(242)} - {7, 210})
    assert float((vectors_in(reader) - vectors).norm(dim=1).max()) < ERROR[after]
    assert list(find_faults(folder, full=True)) == []


def test_what_is_added_later_is_stored_alike_and_merges_change_no_answer(folder, tiny_buffer):
    index = create(folder, 200)
    index.convert("int4")
    for n in range(3):
        index.add(*batch(200 + 50 * n, 50))
    assert len({segment.files[".bases"] for segment in index.state.segments}) == 1
    expected, vectors = index.search(queries(), 20, config=EXACT), vectors_in(index)
    index.optimize(refit=True)
    found = index.search(queries(), 20, config=EXACT)
    assert (found.pids.tolist(), found.scores.tolist()) == (expected.pids.tolist(), expected.scores.tolist())
    assert torch.equal(vectors_in(index), vectors)


@pytest.mark.parametrize(("before", "after"), SMALLER)
def test_the_first_stage_stays(own, before, after):
    index = LocalIndex.open(own)
    if before != index.meta.storage:
        index.convert(before)
    codebook, expected = index.state.codebook, index.search(queries(), 10)
    index.convert(after)
    assert index.state.codebook == codebook
    found = index.search(queries(), 10)
    assert (found.pids[:, 0] == expected.pids[:, 0]).mean() > 0.75  # near equals may change places
    assert found.scores == pytest.approx(expected.scores, abs=0.3)
    assert list(find_faults(own, full=True)) == []


def test_an_index_without_segments(folder):
    index = create(folder, 5)
    index.convert("int4")
    assert (index.meta.storage, index.state.buffered) == ("int4", 5)
    assert list(find_faults(folder, full=True)) == []
    assert index.search(batch(3, 1)[1].vectors[None], 1).pids.tolist() == [[3]]
    empty = LocalIndex.create(folder / "empty", **{name: getattr(index.meta, name) for name in index.meta.description})
    empty.convert("int4")
    empty.add(*batch(0, 3))
    assert pids_in(empty) == [0, 1, 2]


def test_the_same_storage_changes_nothing(folder):
    index = create(folder, 5, storage="int8")
    state = index.state
    index.convert("int8")
    assert index.state == state


@pytest.mark.parametrize(("before", "after"), [(after, before) for before, after in SMALLER] + [("int16", "int2")])
def test_a_larger_storage_is_refused(folder, before, after):
    index = create(folder, 5, storage=before)
    state = index.state
    with pytest.raises(InputError, match="is not known" if after == "int2" else "Index the documents again"):
        index.convert(after)
    assert index.state == state


@pytest.mark.parametrize("step", ["add", "flush", "finish"])
def test_what_cannot_be_written_leaves_the_index_as_it_was(folder, tiny_buffer, monkeypatch, step):
    def fail(*_, **__):
        raise StorageError("No space left on device")

    index = create(folder, 50)
    index.add(*batch(50, 1))
    before, files, vectors = index.state, segment_files(folder), vectors_in(index)
    monkeypatch.setattr(VectorWriter, step, fail)
    with pytest.raises(StorageError, match="No space"):
        index.convert("int4")
    assert (index.state, segment_files(folder)) == (before, files)
    assert torch.equal(vectors_in(LocalIndex.open(folder)), vectors)


def test_a_process_that_dies_before_the_commit_leaves_the_index_as_it_was(folder, tiny_buffer, monkeypatch):
    index = create(folder, 50)
    index.add(*batch(50, 1))
    copy, real = folder.with_name("copy"), merge.insert_buffered

    def copied(*given):
        real(*given)
        shutil.copytree(folder, copy)  # as a killed process would leave it

    monkeypatch.setattr("ragatouille_xm.index.local.merge.insert_buffered", copied)
    index.convert("int8")
    left = LocalIndex.open(copy)
    assert left.meta.storage == "int16"
    assert pids_in(left) == list(range(51))
    left.add(*batch(60, 1))
    assert segment_files(copy) == set(left.state.files)
    assert list(find_faults(copy, full=True)) == []


def test_a_build_in_4_bits_that_was_broken_off_goes_on(folder, tiny_buffer):
    index = create(folder, 1, storage="int4")
    description = index.meta.description
    with suppress(RuntimeError), LocalIndex.build(folder, **description) as draft:
        draft.add(*batch(draft.first_pid, 60))
        raise RuntimeError
    bases = [path.read_bytes() for path in folder.glob("*.bases")]
    with LocalIndex.build(folder, **description, resume=True) as draft:
        assert len(draft) == 60
        draft.add(*batch(draft.first_pid + 60, 60))
    assert [path.read_bytes() for path in folder.glob("*.bases")] == bases
    assert len(LocalIndex.open(folder)) == 120
    assert list(find_faults(folder, full=True)) == []
