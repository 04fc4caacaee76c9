"""``files.json``: the files of a part, their sizes and their checksums, as they were when it was sealed."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from pathlib import Path

INVENTORY = "files.json"
BLOCK = 2**16  # bytes
_ZEROS = bytes(BLOCK)


def write_inventory(folder: Path) -> None:
    """Record the files of a part; of the JSON files, which the engine writes anew on each opening, only the names."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != INVENTORY)
    inventory = {
        path.relative_to(folder).as_posix(): None
        if path.suffix == ".json"
        else {"bytes": path.stat().st_size, "sha256": checksum(path)}
        for path in files
    }
    (folder / INVENTORY).write_text(json.dumps(inventory, indent=1))


def size_of(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk, which are fewer than those of files with holes."""
    sizes = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(512 * size.st_blocks if hasattr(size, "st_blocks") else size.st_size for size in sizes)


def check_sizes(folder: Path) -> None:
    """Raise `OSError` unless all files of a part are there in full: the engine makes some anew that are missing."""
    for name, (size, _) in _read(folder).items():
        found = (folder / name).stat().st_size
        if size not in (None, found):
            raise OSError(f"{name} has {found} bytes instead of {size}")


def altered_files(folder: Path) -> list[str]:
    """Return the names of the files whose bytes are not those that were written, as far as that is recorded."""
    return [name for name, (_, sha256) in _read(folder).items() if sha256 not in (None, checksum(folder / name))]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file's blocks of 64 KiB, each after its place; blocks of zeros are left out.

    The engine allocates files ahead: nearly all of a small part is zeros, of which most are not even on the disk.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        place = _next_data(file, 0)
        while block := file.read(BLOCK):
            if block != _ZEROS:
                digest.update(place.to_bytes(8, "little") + block)
                place += len(block)
            else:
                place = _next_data(file, place + BLOCK)
    return digest.hexdigest()


def _next_data(file: io.FileIO, place: int) -> int:
    """Go to the first block from `place` on that may hold data, and return where that is."""
    if hasattr(os, "SEEK_DATA"):  # not on Windows, where the zeros are read
        try:
            place = os.lseek(file.fileno(), place, os.SEEK_DATA) // BLOCK * BLOCK
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but zeros to the end
                return file.seek(0, io.SEEK_END)
    return file.seek(place)


def _read(folder: Path) -> dict[str, tuple[int | None, str | None]]:
    """Return the recorded size and checksum of each file; of early indexes of format 2, there are sizes alone."""
    try:
        inventory = json.loads((folder / INVENTORY).read_bytes())
        return {
            name: (each["bytes"], each["sha256"]) if isinstance(each, dict) else (each, None)
            for name, each in inventory.items()
        }
    except (AttributeError, KeyError, ValueError) as error:
        raise OSError(f"{INVENTORY} is not an inventory: {error!r}") from error
