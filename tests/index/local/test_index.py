"""What the index in a folder promises beyond the contract that `tests/contracts` holds it to."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragatouille_xm.errors import (
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
    InputError,
    PassageIndexError,
)
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.lock import write_lock
from ragatouille_xm.index.local.verify import find_faults

from .samples import (
    CENTRES,
    DIM,
    KEPT,
    LENGTH,
    batch,
    build,
    create,
    files_in,
    pids_in,
    run,
    segment_files,
)

HAS_FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")


def build_and_raise(folder: Path, error: type[BaseException], **changes: object) -> None:
    with LocalIndex.build(folder, **(KEPT | changes)) as draft:
        draft.add(*batch(10, 5))
        raise error


# ---- making, opening, replacing


def test_what_is_kept_with_an_index(folder):
    create(folder).close()
    index = LocalIndex.open(folder)
    assert (index.checkpoint, index.meta.fingerprint, index.dim) == ("tiny", "f00d", DIM)
    assert index.settings == {"max_document_length": 99}


def test_create_does_not_replace(folder):
    create(folder, 3)
    with pytest.raises(InputError, match="already"):
        LocalIndex.create(folder, **KEPT)
    assert len(LocalIndex.open(folder)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"a": {1, 2}}},
        {"settings": {"a": object()}},
        {"dim": 0},
        {"dim": "8"},
        {"dim": True},
        {"storage": "?"},
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_made(folder, changes):
    with pytest.raises(InputError), LocalIndex.build(folder, **(KEPT | changes)):
        pass
    assert not folder.exists()


def test_open_what_is_not_there(folder):
    with pytest.raises(IndexNotFoundError, match=str(folder)):
        LocalIndex.open(folder)
    assert not folder.exists()


@pytest.mark.parametrize("storage", ["int16", "int8", "int4"])
def test_a_build_replaces_the_index_in_one_step(folder, storage):
    index = create(folder, 5)
    with LocalIndex.build(folder, **(KEPT | {"settings": {"new": True}, "storage": storage})) as draft:
        first = draft.reserve(2)
        assert first >= 5  # a pid never means another passage
        draft.add(*batch(first, 2))
        assert (len(draft), len(index)) == (2, 5)
        assert len(LocalIndex.open(folder)) == 5
    assert pids_in(index) == [first, first + 1]
    assert index.settings == {"new": True}
    assert index.meta.storage == storage
    assert segment_files(folder) == set(index.state.files)
    assert not (folder / "build.db").exists()


def test_a_build_with_large_segments_replaces_one_with_a_codebook(own):
    index = LocalIndex.open(own)
    build(own, 30)
    assert len(index) == 30
    assert index.codebook() is None
    assert segment_files(own) == set(index.state.files)


def test_a_build_that_fails_changes_nothing(folder):
    index = create(folder, 5)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(KeyboardInterrupt):
        build_and_raise(folder, KeyboardInterrupt, keep=False)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert pids_in(index) == pids_in(LocalIndex.open(folder)) == [0, 1, 2, 3, 4]


def test_a_first_build_that_fails_leaves_no_index(folder):
    with pytest.raises(ZeroDivisionError):
        build_and_raise(folder, ZeroDivisionError, keep=False)
    assert not folder.exists()
    with pytest.raises(IndexNotFoundError):
        LocalIndex.open(folder)


def test_a_first_build_that_fails_may_be_gone_on_with(folder):
    with pytest.raises(ZeroDivisionError) as caught:
        build_and_raise(folder, ZeroDivisionError)
    assert "5 passages" in caught.value.__notes__[0]
    with pytest.raises(IndexNotFoundError, match="interrupted, with 5 passages so far"):
        LocalIndex.open(folder)
    with LocalIndex.build(folder, **KEPT, resume=True) as draft:
        assert len(draft) == 5
    assert pids_in(LocalIndex.open(folder)) == list(range(10, 15))


def test_an_empty_build(folder):
    build(folder, 0)
    assert len(LocalIndex.open(folder)) == 0
    assert segment_files(folder) == set()


# ---- several objects, threads and processes


def test_another_object_sees_a_change_at_its_next_call(folder):
    writer, reader = create(folder, 3), LocalIndex.open(folder)
    writer.add(*batch(3, 2))
    assert len(reader) == 5
    writer.delete(["d0"])
    assert pids_in(reader) == [1, 2, 3, 4]
    reader.add(*batch(5, 1))
    assert pids_in(writer) == [1, 2, 3, 4, 5]
    assert writer.reserve(2) == 6
    assert reader.reserve(1) == 8
    assert LocalIndex.open(folder).reserve(1) == 9


def test_a_scroll_goes_on_over_what_it_began_with(folder, tiny_buffer):
    index = create(folder, 30)
    index.add(*batch(30, 30))
    scroll = index.scroll(with_vectors=True, batch_size=10)
    found = [passage.pid for passage in next(scroll)[0]]
    other = LocalIndex.open(folder)
    other.delete([f"d{i}" for i in range(0, 60, 2)])
    other.optimize(refit=True)
    build(folder, 5)
    for passages, vectors in scroll:
        found += [passage.pid for passage in passages]
        assert vectors.vectors.shape == (10 * LENGTH, DIM)
    assert found == list(range(60))


def test_two_writers_whose_calls_collide_wait_for_each_other(folder):
    create(folder)
    with ThreadPoolExecutor(2) as pool:
        indexes = [LocalIndex.open(folder) for _ in range(2)]
        list(pool.map(lambda i: [indexes[i].add(*batch(i * 10 + n, 1)) for n in range(5)], range(2)))
    assert pids_in(LocalIndex.open(folder)) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


def test_a_second_writer_is_refused_and_may_search(folder, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.lock.PATIENCE", 0.01)
    index = create(folder, 3)
    other = LocalIndex.open(folder)
    with LocalIndex.build(folder, **KEPT):
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
    build(folder, 3)
    other.add(*batch(10, 1))
    assert len(index) == 4


def test_a_thread_that_writes_within_its_own_transaction_is_told_so(folder):
    index = create(folder, 3)
    with index.writer() as writer:
        writer.add(*batch(3, 1))
        with pytest.raises(IndexLockedError, match="this thread already"):
            index.delete(["d0"])
    assert pids_in(index) == [0, 1, 2, 3]


def test_another_process_reads_and_is_refused_to_write(folder):
    create(folder, 3)
    code = """
import sys, torch
from ragatouille_xm.index.local.index import LocalIndex
index = LocalIndex.open(sys.argv[1])
print(len(index), *index.search(torch.eye(16)[None, :1], 2).pids.shape, index.fetch([2])[0].text)
index.reserve(1)
"""
    with write_lock(folder):
        done = run(code, folder)
    assert done.stdout.split() == ["3", "1", "2", "text", "2"]
    assert "IndexLockedError" in done.stderr.splitlines()[-1]
    assert run(code, folder).returncode == 0


@HAS_FORKS
def test_a_forked_process_searches_and_writes(folder):
    create(folder, 30)
    done = run(
        """
import os, signal, sys, torch, warnings
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.types import Passage, TokenVectors
warnings.simplefilter("ignore", DeprecationWarning)  # of fork, from Python 3.12 on
torch.set_num_threads(1)
index = LocalIndex.open(sys.argv[1])
query = torch.eye(16)[None, :2]
before = index.search(query, 3).pids.tolist()
index.reserve(1)
child = os.fork()
signal.alarm(60)
assert index.search(query, 3).pids.tolist() == before
pid = index.reserve(1)
index.add([Passage(pid, str(pid), "", "en")], TokenVectors(-query[0], torch.tensor([2])))
index.close()
if child:
    sys.exit(os.waitpid(child, 0)[1] != 0)
""",
        folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert pids_in(LocalIndex.open(folder)) == [*range(30), 31, 32]
    assert list(find_faults(folder, full=True)) == []


@HAS_FORKS
def test_a_process_that_is_forked_while_another_thread_writes_may_close(folder):
    create(folder, 3)
    done = run(
        """
import os, signal, sys, threading, warnings
from ragatouille_xm.index.local.index import LocalIndex
warnings.simplefilter("ignore", DeprecationWarning)
index = LocalIndex.open(sys.argv[1])
writing, done = threading.Event(), threading.Event()
def write():
    with index.writer():
        writing.set()
        done.wait(60)
thread = threading.Thread(target=write)
thread.start()
writing.wait(60)
child = os.fork()
if not child:
    signal.alarm(20)
    index.close()
    os._exit(0)
status = os.waitpid(child, 0)[1]
done.set()
thread.join()
sys.exit(status != 0)
""",
        folder,
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---- folders


def test_a_small_index_is_small(folder):
    index = create(folder)
    for pid in range(20):
        index.add(*batch(pid, 1))
    copy = shutil.copytree(folder, folder.with_name("copy"))
    assert len(LocalIndex.open(copy)) == 20
    assert sum(path.stat().st_size for path in copy.iterdir()) < 2 * 2**20


@pytest.mark.parametrize("is_open", [True, False])
def test_a_plain_copy_is_an_index(own, is_open):
    index = LocalIndex.open(own)
    index.add(*batch(5000, 10))
    if not is_open:
        index.close()
    copy = shutil.copytree(own, own.with_name("copy"))
    assert list(find_faults(copy, full=True)) == []
    other = LocalIndex.open(copy)
    assert len(other) == 910
    other.add(*batch(6000, 1))
    assert len(LocalIndex.open(own)) == 910


READ = """
import sys, os, torch
from ragatouille_xm.errors import StorageError
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.index.local.index import LocalIndex
if os.getuid() == 0:  # who may write anywhere; this user may not even read what was imported above
    os.setgid(65534)
    os.setuid(65534)
index = LocalIndex.open(sys.argv[1])
for _ in range(2):
    print(len(index), index.search(torch.eye(16)[None, :2], 3).pids[0, 0] >= 0, index.fetch([2])[0].text)
print(sum(len(passages) for passages, _ in index.scroll(parse_filter({"even": True}), with_vectors=True)))
for write in (lambda: index.reserve(1), lambda: index.delete(["d0"])):
    try:
        write()
    except StorageError:
        print("refused")
index.close()
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="there are no such users on this system")
@pytest.mark.parametrize("log", ["no log", "a log"])
def test_an_ordinary_user_searches_a_folder_that_only_its_owner_writes(folder, tiny_buffer, log):
    folder.parent.chmod(0o755)
    if os.getuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        pytest.skip("other users cannot reach temporary folders on this system")
    index = create(folder, 40)
    index.add(*batch(40, 1))
    if log == "no log":
        index.close()
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    before = files_in(folder), [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    try:
        done = run(READ, folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["41 True text 2"] * 2 + ["21"] + ["refused"] * 2
        assert (files_in(folder), [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]) == before
    finally:
        folder.chmod(0o755)


def test_a_missing_file_is_named_with_the_way_out(own):
    files = sorted(LocalIndex.open(own).state.files)
    assert len(files) == 5
    for name in files:
        aside = (own / name).rename(own.parent / "aside")
        with pytest.raises(IndexDamagedError, match=f"{name.partition('.')[0]}.*Index the documents again"):
            len(LocalIndex.open(own))
        aside.rename(own / name)
    assert len(LocalIndex.open(own)) == 900


def test_a_damaged_index_can_be_built_over(folder, tiny_buffer):
    index = create(folder, 30)
    name = index.state.segments[0].name
    (folder / f"{name}.codes").write_bytes(b"?")
    with pytest.raises(IndexDamagedError):
        LocalIndex.open(folder)
    with pytest.raises(InputError, match="already"):
        LocalIndex.create(folder, **KEPT)
    build(folder, 4)
    assert len(LocalIndex.open(folder)) == 4
    assert segment_files(folder) == set(LocalIndex.open(folder).state.files)


def test_what_a_killed_writer_left_is_removed_by_the_next(folder, tiny_buffer):
    index = create(folder, 3)
    for name in ("segment-0123456789ab.codes", "segment-0123456789ab.records", "codebook-0123456789ab.safetensors"):
        (folder / name).write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    assert len(LocalIndex.open(folder)) == 3
    index.reserve(1)
    assert segment_files(folder) == set(index.state.files)
    assert (folder / "notes.txt").read_text() == "mine"


def test_unusual_paths(folder):
    for name in ("two words", "100%41", "a?b#c", "日本 é", "-x;'\""):
        create(folder.with_name(name), 2).close()
        assert len(LocalIndex.open(folder.with_name(name))) == 2


def test_a_relative_path_stays_where_it_was(folder, monkeypatch):
    folder.mkdir()
    monkeypatch.chdir(folder)
    index = create(Path("mine"), 2)
    monkeypatch.chdir(folder.parent)
    index.add(*batch(2, 1))
    assert len(index) == 3


def test_a_closed_index_refuses_calls_and_a_scroll_that_began_goes_on(folder):
    index = create(folder, 3)
    scroll = index.scroll(batch_size=1)
    next(scroll)
    index.close()
    index.close()
    assert [passage.pid for passages, _ in scroll for passage in passages] == [1, 2]
    for call in (lambda: index.search(CENTRES[None, :1], 1), lambda: index.reserve(1)):
        with pytest.raises(PassageIndexError, match="closed"):
            call()
