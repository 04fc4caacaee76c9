"""The files of an index by name: what belongs to a commit, and what is left over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ragatouille_xm.index.local.folder import (
    LOCK,
    delete_orphans,
    is_codebook_name,
    is_segment_name,
    new_codebook_name,
    new_segment_name,
    orphans,
    postings_suffix,
)
from ragatouille_xm.index.local.lock import is_locked

A, B, C = "segment-aaaaaaaaaaaa", "segment-bbbbbbbbbbbb", "segment-cccccccccccc"
CODEBOOK, OTHER = "codebook-0123456789ab.safetensors", "codebook-ba9876543210.safetensors"
NAMED = [f"{A}.codes", f"{A}.residuals", f"{A}.table", f"{A}.postings-0123456789ab", CODEBOOK]
LEFT = [f"{A}.postings-ba9876543210", f"{A}.records", f"{B}.codes", f"{B}.table", OTHER]
GROWING = [f"{C}.codes", f"{C}.residuals", f"{C}.records"]
FOREIGN = [
    "index.db",
    "index.db-wal",
    "build.db",
    "write.lock",
    "notes.txt",
    "segment-1.codes",
    f"{B}.txt",
    f"x{B}.codes",
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in (*NAMED, *LEFT, *GROWING, *FOREIGN):
        (tmp_path / name).touch()
    return tmp_path


def test_orphans_are_files_of_ours_that_no_commit_names(place):
    assert sorted(path.name for path in orphans(place, NAMED, [C])) == sorted(LEFT)
    assert sorted(path.name for path in orphans(place, NAMED)) == sorted(LEFT + GROWING)
    delete_orphans(place, NAMED, [C])
    assert sorted(os.listdir(place)) == sorted(NAMED + GROWING + FOREIGN)


def test_what_cannot_be_deleted_is_left_for_a_later_writer(place, monkeypatch):
    unlink = Path.unlink

    def in_use(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith(B):
            raise PermissionError(path)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", in_use)
        delete_orphans(place, NAMED, [C])
    assert sorted(path.name for path in orphans(place, NAMED, [C])) == [f"{B}.codes", f"{B}.table"]


def test_new_names_are_names_and_never_the_same():
    segments, codebooks = ({new() for _ in range(50)} for new in (new_segment_name, new_codebook_name))
    assert len(segments) == len(codebooks) == 50
    assert all(map(is_segment_name, segments))
    assert all(map(is_codebook_name, codebooks))
    assert postings_suffix(CODEBOOK) == ".postings-0123456789ab"


@pytest.mark.parametrize("start", ["", "../", "/", "./", "x"])
@pytest.mark.parametrize("end", ["", "/..", "\n", "\0", ".codes", "a"])
def test_what_is_no_name(start, end):
    if start or end:
        assert not is_segment_name(f"{start}{A}{end}")
        assert not is_codebook_name(f"{start}{CODEBOOK}{end}")


def test_a_user_who_may_not_write_sees_the_writer_too(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="not on Windows")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ragatouille_xm.index.local.lock.FileLock.acquire", refuse)
    (tmp_path / LOCK).touch()
    assert not is_locked(tmp_path)
    with (tmp_path / LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(tmp_path)
