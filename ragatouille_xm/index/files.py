"""Files as an index needs them: regular, synced, and failing in our own words."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RagatouilleXMError, StorageError
from ..files import open_regular

READ_BLOCK = 2**20  # bytes


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Raise what the operating system says of a write to `place` as a `StorageError`."""
    try:
        yield
    except RagatouilleXMError:
        raise
    except OSError as error:
        way_out = (
            "Choose another place: a part of this path is a file, or a link to nothing."
            if isinstance(error, (NotADirectoryError, FileExistsError))
            else "Free some disk space, or check the permissions, and try again."
        )
        raise StorageError(f"Could not write to {str(place)!r}: {error}. {way_out}") from error


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(READ_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, through to the disk. Windows does the latter by itself."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Write a folder and everything in it through to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))
    sync(folder.parent)


def check_space(folder: Path, needed: int) -> None:
    """Raise `StorageError` unless `needed` bytes are free where `folder` is."""
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{free >> 20} MiB are free where {str(folder)!r} is, and {(needed >> 20) + 1} are needed. "
            "Nothing was changed. Free some disk space, or choose another place."
        )


def write_file(path: Path, content: bytes) -> None:
    """Write a new file, through to the disk. Raise `StorageError` if that is not possible."""
    with storage_errors(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
