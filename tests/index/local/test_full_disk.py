"""A disk that is full, or becomes so at any moment of a write: a small file system in memory."""

# ruff: noqa: PT017 - an error may come or not

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragatouille_xm.errors import IndexNotFoundError, StorageError
from ragatouille_xm.index.local.folder import BUILD_DATABASE
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.install import read_saved

from . import crash_writer as writer

SIZE = 4 * 2**20
STEPS = (0, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 512)  # KiB that are free when a write begins


@pytest.fixture(autouse=True)
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in writer.LIMITS:
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(mounted)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to mount a small file system: {error}")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True, capture_output=True)


def leave_free(disk: Path, kib: int) -> Path:
    """Fill the disk except for so many KiB; return the file that does it."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    status = os.statvfs(disk)
    ballast.write_bytes(bytes(max(status.f_bavail * status.f_frsize - kib * 1024, 0)))
    return ballast


def begin(disk: Path) -> tuple[LocalIndex, writer.Documents]:
    index = LocalIndex.create(disk / "index", **writer.KEPT)
    held: writer.Documents = {}
    for start in range(0, 20, 5):
        batch = dict(list(writer.planned(0).items())[start : start + 5])
        held |= (documents := writer.numbered(batch, index.reserve(sum(map(len, batch.values())))))
        index.add(*writer.arguments(documents))
    return index, held


NEW = writer.numbered({f"d{i}": [f"d{i} new {j} " + "x" * 2000 for j in range(3)] for i in range(20, 30)}, 1000)


@pytest.mark.parametrize("action", ["add", "delete", "optimize"])
def test_a_write_works_or_says_why_not_and_the_index_is_as_it_was(disk: Path, action: str) -> None:
    index, held = begin(disk)
    gone = list(held)[:5]
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: index.add(*writer.arguments(NEW)),
        "delete": lambda: index.delete(gone),
        "optimize": lambda: index.optimize(refit=True),
    }
    after = {
        "add": held | NEW,
        "delete": {name: pairs for name, pairs in held.items() if name not in gone},
        "optimize": held,
    }[action]
    outcomes = []
    for kib in STEPS:
        ballast = leave_free(disk, kib)
        try:
            calls[action]()
        except StorageError as error:
            assert "disk space" in str(error)
            assert writer.contents(index) == held
            outcomes.append(False)
        else:
            assert writer.contents(index) == after
            outcomes.append(True)
        ballast.unlink()
        writer.check_files(index)
        if outcomes[-1]:
            break
    index.close()
    assert writer.check(disk / "index") == after
    assert outcomes[-1]
    assert not outcomes[0] or action == "delete"  # which may fit into the log


@pytest.mark.parametrize("old", [False, True], ids=["first", "replacing"])
def test_a_build_is_kept_and_resumed(disk: Path, old: bool) -> None:
    folder, held = disk / "index", {}
    if old:
        index, held = begin(disk)
        index.close()
    else:
        folder.mkdir()
    texts = {name: [text + " x" * 500 for text in each] for name, each in writer.planned(1).items()}
    stored, failures = 0, 0
    for kib in range(160, 2000, 80):
        ballast = leave_free(disk, kib)
        try:
            with LocalIndex.build(folder, **writer.KEPT, resume=True) as build:
                writer.fill(build, texts)
        except StorageError as error:
            failures += 1
            ballast.unlink()
            saved = read_saved(folder, BUILD_DATABASE)
            assert (saved.passages if saved else 0) >= stored
            if saved is not None:
                stored = saved.passages
                assert re.search(f"({stored:,}|All stored) passages.*resume", error.__notes__[0])
            if old:
                assert writer.check(folder) == held
            else:
                with pytest.raises(IndexNotFoundError, match="resume" if saved else "no index"):
                    LocalIndex.open(folder)
                folder.mkdir(exist_ok=True)
        else:
            ballast.unlink()
            break
    assert failures > 1
    assert stored
    found = writer.check(folder)
    assert {name: [text for _, text in pairs] for name, pairs in found.items()} == texts
