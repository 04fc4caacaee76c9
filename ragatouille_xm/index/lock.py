"""One writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import IndexLockedError
from .durable import storage_errors

LOCK = "write.lock"


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Hold the right to write to the index in `folder`; the system takes it back when the process ends, even if killed.

    Raises
    ------
    IndexLockedError
        At once, if another process or another index object of this one is writing.
    StorageError
        If the lock file cannot be written.
    """
    lock = FileLock(folder / LOCK, blocking=False)
    with storage_errors(folder):
        try:
            lock.acquire()
        except Timeout as error:
            raise IndexLockedError(
                f"The index at {str(folder)!r} is being written to by another process, or by another object of this "
                "one. It can be searched meanwhile; write when the other is done."
            ) from error
    try:
        yield
    finally:
        lock.release()
