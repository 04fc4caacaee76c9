"""One writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import IndexLockedError
from ..files import storage_errors

LOCK = "write.lock"
PATIENCE = 2.0  # seconds: two commits that collide wait for each other, but nobody waits for a build


def forget_lock(folder: Path) -> None:
    """Remove the lock file, held, from a folder that is nothing else: who waits for it looks for a new one."""
    if [path.name for path in folder.iterdir()] == [LOCK]:
        with suppress(OSError):  # Windows keeps an open file
            (folder / LOCK).unlink()


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Hold the right to write to the index in `folder`; the system takes it back when the process ends, even if killed.

    Raises
    ------
    IndexLockedError
        If another process, or another index object of this one, is writing and does not come to its end at once.
    StorageError
        If the lock file cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=PATIENCE)
    with storage_errors(folder):
        try:
            lock.acquire(poll_interval=0.02)
        except Timeout as error:
            raise IndexLockedError(
                f"The index at {str(folder)!r} is being written to by another process, or by another object of this "
                "one. It can be searched meanwhile; write when the other is done."
            ) from error
        except NotImplementedError as error:  # by some network file systems
            raise OSError(str(error)) from error
    try:
        yield
    finally:
        lock.release()
