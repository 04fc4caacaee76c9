"""What the persistent engine promises beyond the contract that `tests/contracts` holds it to."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import qdrant_edge as edge
import torch

import ragatouille_xm
from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    InputError,
    PassageIndexError,
    StorageError,
)
from ragatouille_xm.index import files as durable
from ragatouille_xm.index.local.index import EdgeIndex
from ragatouille_xm.index.local.lock import write_lock
from ragatouille_xm.index.local.segment import Part
from ragatouille_xm.types import Passage, TokenVectors

DIM = 16
KEPT = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "f00d", "settings": {"max_document_length": 99}}
EXACT = SearchConfig(exact=True)
LENGTH = 4  # tokens of a passage
LARGE = 2100  # passages: enough for a first stage


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


CENTRES = unit(300, DIM, seed=1)
NOISE = 0.2 * unit(5000, DIM, seed=2)


def batch(first: int, count: int, document: str = "d{}", length: int = LENGTH) -> tuple[list[Passage], TokenVectors]:
    """Return passages from pid `first` on, and vectors that depend on their pids: tokens gather around `CENTRES`."""
    pids = range(first, first + count)
    passages = [
        Passage(p, document.format(p), f"text {p}", "de" if p % 3 else "fr", {"n": p, "even": p % 2 == 0}) for p in pids
    ]
    token = torch.arange(first, first + count)[:, None] * 13 + torch.arange(length)
    vectors = torch.nn.functional.normalize(CENTRES[token * token % 300] + NOISE[token % 5000], dim=2)
    return passages, TokenVectors(vectors.reshape(-1, DIM), torch.full((count,), length))


def create(folder: Path, count: int = 0) -> EdgeIndex:
    index = EdgeIndex.create(folder, **KEPT)
    index.add(*batch(0, count))
    return index


def build(folder: Path, count: int, at_once: int = 700) -> None:
    with EdgeIndex.build(folder, **KEPT) as draft:
        for first in range(0, count, at_once):
            draft.add(*batch(draft.reserve(min(at_once, count - first)), min(at_once, count - first)))


def build_and_raise(folder: Path, error: type[BaseException]) -> None:
    with EdgeIndex.build(folder, **KEPT) as draft:
        draft.add(*batch(10, 5))
        raise error


def fail(*_) -> None:
    raise StorageError("No space left on device")


def pids_in(index) -> list[int]:
    return [passage.pid for passages, _ in index.scroll() for passage in passages]


def parts_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("part-", "trash-")))


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in another process that has the package."""
    package = Path(ragatouille_xm.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(package)},
    )  # fmt: skip


# --- Making, opening, replacing


def test_what_is_kept_with_an_index(folder):
    create(folder).close()
    index = EdgeIndex.open(folder)
    assert (index.checkpoint, index.manifest.fingerprint, index.dim) == ("tiny", "f00d", DIM)
    assert index.settings == {"max_document_length": 99}


def test_create_does_not_replace(folder):
    create(folder, 3)
    with pytest.raises(InputError, match="already"):
        EdgeIndex.create(folder, **KEPT)
    assert len(EdgeIndex.open(folder)) == 3


@pytest.mark.parametrize(
    "changes", [{"settings": {"a": {1, 2}}}, {"settings": {"a": object()}}, {"dim": 0}, {"dim": "8"}]
)
def test_what_cannot_be_kept_is_refused_before_anything_is_made(folder, changes):
    with pytest.raises(InputError), EdgeIndex.build(folder, **(KEPT | changes)):
        pass
    assert not folder.exists()


def test_open_what_is_not_there(folder):
    with pytest.raises(IndexNotFoundError, match=str(folder)):
        EdgeIndex.open(folder)
    assert not folder.exists()


def test_a_build_replaces_the_index_in_one_step(folder):
    index = create(folder, 5)
    with EdgeIndex.build(folder, **(KEPT | {"settings": {"new": True}})) as draft:
        first = draft.reserve(2)
        assert first >= 5  # a pid never means another passage
        draft.add(*batch(first, 2))
        assert (len(draft), len(index)) == (2, 5)
        assert len(EdgeIndex.open(folder)) == 5
    assert pids_in(index) == [first, first + 1]
    assert index.settings == {"new": True}
    assert parts_in(folder) == [part.name for part in index.manifest.parts]


def test_a_build_that_fails_changes_nothing(folder):
    index = create(folder, 5)
    before = (folder / "manifest.json").read_bytes(), parts_in(folder)
    with pytest.raises(KeyboardInterrupt):
        build_and_raise(folder, KeyboardInterrupt)
    assert ((folder / "manifest.json").read_bytes(), parts_in(folder)) == before
    assert len(index) == 5


def test_a_first_build_that_fails_leaves_no_index(folder):
    with pytest.raises(ZeroDivisionError):
        build_and_raise(folder, ZeroDivisionError)
    assert not folder.exists()
    with pytest.raises(IndexNotFoundError):
        EdgeIndex.open(folder)


def test_a_draft_is_an_index_while_it_is_made(folder):
    with EdgeIndex.build(folder, **KEPT) as draft:
        draft.add(*batch(0, 6))
        draft.add(*batch(6, 2, document="d1"), replace=True)
        assert draft.delete(["d3", "nobody"]) == 1
        assert pids_in(draft) == [0, 2, 4, 5, 6, 7]
        assert draft.contains(["d1", "d2", "d3"]) == {"d1", "d2"}
        draft.optimize()
        assert draft.search(CENTRES[None, :2], 10).pids[0].tolist().count(-1) == 4
    assert pids_in(EdgeIndex.open(folder)) == [0, 2, 4, 5, 6, 7]
    assert EdgeIndex.open(folder).reserve(1) == 8


def test_an_empty_build(folder):
    build(folder, 0)
    assert len(EdgeIndex.open(folder)) == 0
    assert parts_in(folder) == []


# --- Several objects and processes


def test_another_object_sees_a_change_at_its_next_call(folder):
    writer, reader = create(folder, 3), EdgeIndex.open(folder)
    writer.add(*batch(3, 2))
    assert len(reader) == 5
    writer.delete(["d0"])
    assert pids_in(reader) == [1, 2, 3, 4]
    reader.add(*batch(5, 1))
    assert pids_in(writer) == [1, 2, 3, 4, 5]
    assert writer.reserve(2) == 6
    assert reader.reserve(1) == 8


def test_a_scroll_goes_on_over_what_it_began_with(folder):
    index = create(folder, 30)
    index.add(*batch(30, 30))
    scroll = index.scroll(with_vectors=True, batch_size=10)
    found = [passage.pid for passage in next(scroll)[0]]
    other = EdgeIndex.open(folder)
    other.delete([f"d{i}" for i in range(0, 60, 2)])
    other.optimize()
    build(folder, 5)
    for passages, vectors in scroll:
        found += [passage.pid for passage in passages]
        assert vectors.vectors.shape == (10 * LENGTH, DIM)
    assert found == list(range(60))


def test_two_writers_whose_calls_collide_wait_for_each_other(folder):
    create(folder)
    with ThreadPoolExecutor(2) as pool:
        indexes = [EdgeIndex.open(folder) for _ in range(2)]
        list(pool.map(lambda i: [indexes[i].add(*batch(i * 10 + n, 1)) for n in range(5)], range(2)))
    assert pids_in(EdgeIndex.open(folder)) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


def test_a_second_writer_is_refused_and_may_search(folder, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.lock.PATIENCE", 0.01)
    index = create(folder, 3)
    other = EdgeIndex.open(folder)
    with EdgeIndex.build(folder, **KEPT):
        for write in (
            lambda: other.add(*batch(3, 1)),
            lambda: other.delete(["d0"]),
            lambda: other.reserve(1),
            lambda: build(folder, 1),
        ):
            with pytest.raises(IndexLockedError, match=str(folder)):
                write()
        assert len(other) == len(index) == 3
        assert other.search(CENTRES[None, :2], 1).pids[0, 0] >= 0
        other.optimize()  # leaves it to whoever is writing
    other.add(*batch(3, 1))


def test_another_process_reads_and_is_refused_to_write(folder):
    create(folder, 3)
    code = """
import sys, torch
from ragatouille_xm.index.local.index import EdgeIndex
index = EdgeIndex.open(sys.argv[1])
print(len(index), *index.search(torch.eye(16)[None, :1], 2).pids.shape, index.fetch([2])[0].text)
index.reserve(1)
"""
    with write_lock(folder):
        done = run(code, folder)
    assert done.stdout.split() == ["3", "1", "2", "text", "2"]
    assert "IndexLockedError" in done.stderr.splitlines()[-1]
    assert run(code, folder).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_a_forked_process_searches(folder):
    create(folder, 30)
    done = run(
        """
import os, signal, sys, torch, warnings
from ragatouille_xm.index.local.index import EdgeIndex
warnings.simplefilter("ignore", DeprecationWarning)  # of fork, from Python 3.12 on
torch.set_num_threads(1)
index = EdgeIndex.open(sys.argv[1])
query = torch.eye(16)[None, :2]
before = index.search(query, 3).pids.tolist()
child = os.fork()
signal.alarm(30)
assert index.search(query, 3).pids.tolist() == before
if child:
    sys.exit(os.waitpid(child, 0)[1] != 0)
""",
        folder,
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- Failing writes


def test_a_file_size_limit_is_a_storage_error(folder):
    resource = pytest.importorskip("resource")
    index = create(folder, 3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(StorageError, match="as it was"):
            index.add(*batch(3, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert pids_in(index) == pids_in(EdgeIndex.open(folder)) == [0, 1, 2]
    assert parts_in(folder) == [part.name for part in index.manifest.parts]
    index.add(*batch(3, 2))
    assert len(index) == 5


def test_a_disk_that_is_too_full_is_noticed_before_it_is_written_to(folder, monkeypatch):
    index = create(folder, 3)
    usage = namedtuple("usage", "total used free")(2**40, 2**40, 2**20)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(StorageError, match="1 MiB are free"):
            index.add(*batch(3, 2))
        with pytest.raises(StorageError), EdgeIndex.build(folder, **KEPT) as draft:
            draft.add(*batch(3, 2))
    assert pids_in(EdgeIndex.open(folder)) == [0, 1, 2]


def test_texts_and_metadata_count_as_room(folder, monkeypatch):
    index = create(folder, 3)
    usage = namedtuple("usage", "total used free")(2**40, 2**40, durable.MARGIN + 2**20)
    passages, vectors = batch(3, 1)
    large = [replace(passages[0], text="x" * 2**20), replace(passages[0], metadata={"x": ["y" * 2**18] * 4})]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        for passage in large:
            with pytest.raises(StorageError, match="65 MiB are free"):
                index.add([passage], vectors)
        index.add(passages, vectors)
        with pytest.raises(StorageError, match="65 MiB are free"):
            index.optimize(refit=True)
    assert pids_in(EdgeIndex.open(folder)) == [0, 1, 2, 3]


def test_a_full_disk_is_no_damage_and_what_a_dead_writer_left_on_it_is_removed(folder, monkeypatch):
    create(folder, 3).close()
    left = folder / "part-000000000000"
    left.mkdir()
    usage = namedtuple("usage", "total used free")

    def free(_):
        return usage(2**40, 2**40, 0 if left.exists() else 2**30)

    def load(path):
        if left.exists() or full:
            raise Exception("No space left on device (os error 28)")
        return original(path)

    original, full = edge.EdgeShard.load, False
    monkeypatch.setattr(shutil, "disk_usage", free)
    monkeypatch.setattr(edge, "EdgeShard", SimpleNamespace(load=load))
    assert len(EdgeIndex.open(folder)) == 3
    assert not left.exists()
    full = True
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40, 0))
    with pytest.raises(StorageError, match="is full: No space left"):
        EdgeIndex.open(folder)


def test_vectors_that_are_the_same_are_stored_the_same_whatever_they_come_with(folder):
    """So equals tie to the bit, and the smaller pid comes first."""
    vectors = unit(3, DIM, seed=5)
    index = EdgeIndex.create(folder, **KEPT)
    for pids in ([8], [3, 1, 0], range(9, 40), [5]):
        passages = [Passage(pid, str(pid), "", "en") for pid in pids]
        index.add(passages, TokenVectors(vectors.repeat(len(pids), 1), torch.full((len(pids),), 3)))
    for seed in range(20):
        hits = index.search(unit(1, 5, DIM, seed=seed), 40, config=EXACT)
        assert hits.pids[0, :35].tolist() == sorted([8, 3, 1, 0, *range(9, 40), 5])[:35]
        assert len(set(hits.scores[0, :35].tolist())) == 1


@pytest.mark.parametrize("step", ["append", "seal"])
def test_an_engine_that_fails_leaves_the_index_as_it_was(folder, monkeypatch, step):
    index = create(folder, 3)
    original = getattr(Part, step)

    def broken(part, *arguments):
        original(part, *arguments)
        with durable.storage_errors(part.folder):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Part, step, broken)
        with pytest.raises(StorageError, match="No space left"):
            index.add(*batch(3, 2), replace=True)
    assert pids_in(index) == pids_in(EdgeIndex.open(folder)) == [0, 1, 2]
    assert parts_in(folder) == [part.name for part in index.manifest.parts]


def test_a_merge_that_fails_does_not_undo_the_addition_before_it(folder, monkeypatch):
    index = create(folder)
    for pid in range(16):
        index.add(*batch(pid, 1))
    monkeypatch.setattr("ragatouille_xm.index.local.index.copy_alive", fail)
    index.add(*batch(16, 1))
    assert pids_in(index) == list(range(17))
    with pytest.raises(StorageError):
        index.optimize()
    assert pids_in(EdgeIndex.open(folder)) == list(range(17))


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


# --- Damage


def spoil(path: Path) -> None:
    for file in path.rglob("segment.json"):
        file.write_text("?")


@pytest.mark.parametrize(
    "damage",
    [
        shutil.rmtree,
        lambda part: shutil.rmtree(part / "segments"),
        lambda part: (part / "edge_config.json").write_text("?"),
        lambda part: os.truncate(part / "codes.bin", 7),
        lambda part: (part / "files.json").write_text("[") and None,
        spoil,
    ],
)
def test_a_damaged_part_is_named_with_the_way_out(folder, damage):
    index = create(folder, 3)
    name = index.manifest.parts[0].name
    index.close()
    damage(folder / name)
    with pytest.raises(IndexDamagedError, match=f"{name}.*Index the documents again"):
        EdgeIndex.open(folder)
    build(folder, 4)
    assert len(EdgeIndex.open(folder)) == 4
    assert len(parts_in(folder)) == 1


def test_every_file_is_missed(folder):
    create(folder, 3).close()
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "write.lock"]
    assert len(files) > 20
    for path in files:
        aside = path.rename(folder.parent / "aside")
        with pytest.raises((IndexDamagedError, IndexNotFoundError), match=path.name):
            EdgeIndex.open(folder)
        aside.rename(path)
    assert len(EdgeIndex.open(folder)) == 3


def test_a_damaged_manifest_can_be_built_over(folder):
    create(folder, 3).close()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(IndexDamagedError):
        EdgeIndex.open(folder)
    with pytest.raises(IndexDamagedError):
        EdgeIndex.create(folder, **KEPT)
    build(folder, 4)
    assert len(EdgeIndex.open(folder)) == 4
    assert len(parts_in(folder)) == 1


def test_an_open_index_notices_that_it_was_upgraded_or_removed(folder):
    index = create(folder, 3)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 9}))
    with pytest.raises(IndexFormatError):
        index.search(CENTRES[None, :1], 1)
    shutil.rmtree(folder)
    with pytest.raises(IndexNotFoundError):
        len(index)


def test_a_closed_index_says_so(folder):
    index = create(folder, 3)
    index.close()
    with pytest.raises(PassageIndexError, match="closed"):
        len(index)


def test_what_a_killed_writer_left_is_removed_by_the_next(folder):
    index = create(folder, 3)
    shutil.copytree(folder / parts_in(folder)[0], folder / "part-leftover")
    (folder / "codebook-7.safetensors").write_bytes(b"half")
    assert len(EdgeIndex.open(folder)) == 3
    index.reserve(1)
    assert parts_in(folder) == [part.name for part in index.manifest.parts]
    assert not (folder / "codebook-7.safetensors").exists()


# --- Parts


def test_many_small_additions_stay_in_few_parts(folder):
    index = create(folder)
    for pid in range(60):
        index.add(*batch(pid, 1))
        assert len(index.manifest.parts) <= 17
    index.optimize()
    assert len(index.manifest.parts) <= 7
    assert pids_in(index) == list(range(60))


def test_one_small_addition_does_not_rewrite_a_large_part(folder):
    build(folder, 500)
    index = EdgeIndex.open(folder)
    large = index.manifest.parts[0].name
    for pid in range(500, 505):
        index.add(*batch(pid, 1))
        index.optimize()
    assert large in parts_in(folder)


def test_deleted_passages_leave_the_disk(folder):
    index = create(folder, 100)
    index.delete([f"d{i}" for i in range(10)])
    index.optimize()
    assert index.manifest.parts[0].deleted == tuple(range(10))
    index.delete([f"d{i}" for i in range(10, 40)])
    index.optimize()
    assert [(part.passages, part.deleted) for part in index.manifest.parts] == [(60, ())]
    index.delete([f"d{i}" for i in range(100)])
    assert parts_in(folder) == []


def test_vectors_come_back_in_half_precision(folder):
    index = create(folder, 5)
    ((_, vectors),) = index.scroll(with_vectors=True)
    assert vectors.vectors.dtype == torch.float16
    assert torch.allclose(vectors.vectors.float(), batch(0, 5)[1].vectors, atol=3e-4)


# --- The first stage


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder with an index that has a codebook. Copy it to change it."""
    folder = tmp_path_factory.mktemp("large") / "index"
    build(folder, LARGE)
    return folder


@pytest.fixture
def own(large, folder):
    return shutil.copytree(large, folder)


def queries(count: int = 20) -> torch.Tensor:
    """Return queries that some passages answer well: ``(count, 6, DIM)``."""
    vectors = batch(50, count, length=6)[1].vectors.reshape(count, 6, DIM)
    return torch.nn.functional.normalize(vectors + 0.3 * unit(count, 6, DIM, seed=5), dim=2)


def overlap(one, other) -> float:
    pairs = zip(one.pids.tolist(), other.pids.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in pairs]))


def test_the_first_stage_finds_what_exact_search_does(large):
    index = EdgeIndex.open(large)
    assert index.manifest.codebook.tokens == LARGE * LENGTH
    exact, staged = index.search(queries(), 10, config=EXACT), index.search(queries(), 10)
    assert overlap(exact, staged) > 0.9
    assert np.array_equal(exact.scores[:, 0], staged.scores[:, 0])
    few = index.search(queries(), 10, config=SearchConfig(candidates=12, probes=1))
    fast = index.search(queries(), 10, config=SearchConfig(fast=True))
    assert overlap(exact, few) < overlap(exact, fast) < overlap(exact, staged)  # so there is a first stage at all


def test_the_first_stage_gives_k_under_any_filter(large):
    index = EdgeIndex.open(large)
    few = SearchConfig(candidates=5, probes=1)
    for written, admitted in (({"n": {"$lt": 12}}, range(12)), ({"even": True}, range(0, LARGE, 2)), ({"n": -1}, [])):
        for k in (1, 10, 300):
            hits = index.search(queries(4), k, filter=parse_filter(written), config=few)
            for row in hits.pids.tolist():
                found = [pid for pid in row if pid >= 0]
                assert len(set(found)) == len(found) == min(k, len(admitted))
                assert set(found) <= set(admitted)


@pytest.mark.parametrize("asked", [0, 10**9], ids=["asked about candidates first", "looked up at once"])
def test_a_filter_is_met_again(large, monkeypatch, asked):
    """However it is found out whom it admits, the first time and later, the same are found."""
    monkeypatch.setattr("ragatouille_xm.index.local.segment.ASKED", asked)
    index, condition = EdgeIndex.open(large), parse_filter({"even": True})
    exact = index.search(queries(), 10, filter=condition, config=EXACT)
    index = EdgeIndex.open(large)  # which has met no filter yet
    for _ in range(3):
        hits = index.search(queries(), 10, filter=condition)
        assert (hits.pids % 2 == 0).all()
        assert overlap(hits, exact) > 0.9
    assert not (index.search(queries(), 10, filter=parse_filter({"even": False})).pids % 2 == 0).any()


def test_all_passages_come_when_k_is_larger_than_the_index(large):
    hits = EdgeIndex.open(large).search(queries(2), LARGE + 5, config=SearchConfig(candidates=5))
    assert sorted(hits.pids[1].tolist()) == [-1] * 5 + list(range(LARGE))


def test_additions_join_the_first_stage(own):
    index = EdgeIndex.open(own)
    passages, vectors = batch(LARGE, 1)
    index.add(passages, vectors)
    found = index.search(vectors.vectors[None], 1, config=SearchConfig(candidates=5))
    assert found.pids.tolist() == [[LARGE]]
    index.delete([passages[0].document_id])
    assert LARGE not in index.search(vectors.vectors[None], 100).pids


def test_a_codebook_comes_when_the_index_outgrows_exact_search(folder):
    index = create(folder, 1500)
    other = EdgeIndex.open(folder)
    index.optimize()
    assert index.manifest.codebook is None
    index.add(*batch(1500, 600))
    before = parts_in(folder)
    index.optimize()
    assert index.manifest.codebook.version == 1
    assert parts_in(folder) == before, "vectors and texts are not written anew"
    for each in (index, other, EdgeIndex.open(folder)):
        assert overlap(each.search(queries(), 10, config=EXACT), each.search(queries(), 10)) > 0.9


def test_a_codebook_is_fitted_again_when_the_index_has_doubled(own):
    index = EdgeIndex.open(own)
    index.add(*batch(LARGE, 30, length=240))
    index.optimize()
    assert index.manifest.codebook.version == 1
    index.add(*batch(2 * LARGE, 10, length=240))
    reader = EdgeIndex.open(own)
    index.optimize()
    assert index.manifest.codebook.version == 2
    assert [path.name for path in own.glob("codebook*")] == ["codebook-2.safetensors"]
    assert overlap(reader.search(queries(), 10, config=EXACT), reader.search(queries(), 10)) > 0.9


def test_refitting_before_that_is_due(own):
    index = EdgeIndex.open(own)
    index.add(*batch(LARGE, 30, length=240))
    index.delete(["d3"])
    reader = EdgeIndex.open(own)
    before = reader.search(queries(), 10, config=EXACT)
    index.optimize(refit=True)
    assert index.manifest.codebook.version == 2
    assert [part.deleted for part in index.manifest.parts] == [()]
    assert np.array_equal(reader.search(queries(), 10, config=EXACT).pids, before.pids)
    state = index.manifest.state
    index.optimize(refit=True)
    assert index.manifest.state == state, "there was nothing to do"


def test_refitting_is_refused_while_another_writes(own):
    index = EdgeIndex.open(own)
    index.add(*batch(LARGE, 30, length=240))
    with write_lock(own), pytest.raises(IndexLockedError):
        index.optimize(refit=True)


def test_the_codebook_does_not_depend_on_chance(large, folder):
    build(folder, LARGE, at_once=500)
    one, other = EdgeIndex.open(large), EdgeIndex.open(folder)
    assert np.array_equal(one.search(queries(), 10).pids, other.search(queries(), 10).pids)
    assert (large / "codebook-1.safetensors").read_bytes() == (folder / "codebook-1.safetensors").read_bytes()


def test_a_missing_codebook_is_named(own):
    (own / "codebook-1.safetensors").unlink()
    with pytest.raises(IndexDamagedError, match="codebook-1"):
        EdgeIndex.open(own)


def test_a_fit_that_fails_changes_nothing(folder, monkeypatch):
    index = create(folder, LARGE)
    before = (folder / "manifest.json").read_bytes()
    monkeypatch.setattr("ragatouille_xm.index.local.merge.write_postings", fail)
    with pytest.raises(StorageError):
        index.optimize()
    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["manifest.json", index.manifest.parts[0].name, "write.lock"]
    assert index.search(queries(1), 3).pids.shape == (1, 3)
