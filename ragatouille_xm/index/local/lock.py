"""One writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import IndexLockedError
from ..files import storage_errors
from .folder import LOCK

PATIENCE = 2.0  # seconds: two short commits wait for each other, nobody waits for a build


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Hold the right to write to the index in `folder`; the system takes it back when the process ends, even if killed.

    Raises
    ------
    IndexLockedError
        If another process, or another index object of this one, keeps writing.
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
        except NotImplementedError as error:  # on some network file systems
            raise OSError(str(error)) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether somebody is writing to the index in `folder`."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # this user may not write to it
        return _is_locked_to_readers(folder / LOCK)
    lock.release()
    return False


def _is_locked_to_readers(path: Path) -> bool:
    try:
        import fcntl  # not on Windows

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ImportError):
        return False
    return False


def remove_lock(folder: Path) -> None:
    """Remove the lock file, which this process holds, from a folder that has nothing else."""
    if [path.name for path in folder.iterdir()] == [LOCK]:
        with suppress(OSError):  # Windows keeps an open file
            (folder / LOCK).unlink()
