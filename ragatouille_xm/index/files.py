"""Files that are wholly there or not there, whatever happens to the process or the machine."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import RagatouilleXMError, StorageError

ASIDE = ".tmp"  # the name's end of a file that is not finished
TRASH = "trash-"
MARGIN = 64 * 2**20  # bytes left free: a full disk under a memory map kills the process instead of raising
FULL = 2**20  # bytes: less than the engine writes when it opens something
PATIENCE = 1.0  # seconds


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Raise what the operating system or the engine has to say about a write to `place` as a `StorageError`."""
    try:
        yield
    except BaseException as error:
        if not is_foreign(error):
            raise
        raise StorageError(
            f"Could not write to {str(place)!r}: {error}. The index is as it was before the call. "
            "Free some disk space, or check the permissions, and try again."
        ) from error


def is_foreign(error: BaseException) -> bool:
    """Return whether the operating system or the engine raised `error`.

    The engine raises plain exceptions, and panics, which are no `Exception`.
    """
    if isinstance(error, RagatouilleXMError):
        return False
    return isinstance(error, OSError) or type(error) is Exception or type(error).__name__ == "PanicException"


def write_durably(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: a reader sees the old file or the new one, also after a power cut.

    Raises
    ------
    StorageError
        If that is not possible; the old file is still there.
    """
    aside = path.with_name(path.name + ASIDE)
    with storage_errors(path):
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _replace(aside, path)
        with suppress(OSError):  # it is done: whoever called must not take it for undone
            sync(path.parent)


def _replace(source: Path, target: Path) -> None:
    """Rename; on Windows, wait for readers that have `target` open for a moment."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if os.name != "nt" or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, written through to the disk. Windows does the latter by itself."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Have a folder and everything in it written through to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))
    sync(folder.parent)


def check_space(folder: Path, needed: int) -> None:
    """Raise `StorageError` unless `needed` bytes and a margin are free where `folder` is."""
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < needed + MARGIN:
        raise StorageError(
            f"{free >> 20} MiB are free where {str(folder)!r} is, and the call needs about {(needed + MARGIN) >> 20}. "
            "Nothing was changed. Free some disk space, or put the index elsewhere (index_root)."
        )


def is_full(folder: Path) -> bool:
    """Return whether next to nothing is free where `folder` is."""
    try:
        return shutil.disk_usage(folder).free < FULL
    except OSError:
        return False


def remove_tree(folder: Path) -> None:
    """Take a folder away, as far as possible: what another process still reads may stay until the next time.

    It is renamed first, so that nobody opens half of it.
    """
    if not folder.name.startswith(TRASH):
        with suppress(OSError):
            folder = folder.rename(folder.with_name(f"{TRASH}{folder.name}"))
    shutil.rmtree(folder, ignore_errors=True)
