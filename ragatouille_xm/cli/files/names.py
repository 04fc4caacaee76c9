"""What files and records are called, however their paths were typed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

STDIN = "-"

_DIGEST = 12  # hexadecimal digits of a record's hash


def locate(path: str | Path) -> Path:
    """Return where `path` is: absolute, the links among its folders followed, its own name kept.

    A file that is a link keeps its name, and so its format, wherever the content is.
    """
    folder, name = os.path.split(os.fspath(path).rstrip("/" + os.sep) or os.sep)
    if name in ("", ".", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(folder or "."), name)


def file_id(path: str | Path, base: str | Path) -> str:
    r"""Return the id of a file, however its path is spelled: its path below `base`, elsewhere its absolute path.

    Bytes of a name that are not text become ``\udce9``, since an index stores Unicode.

    Examples
    --------
    >>> {file_id(path, "/home") for path in ("/home/notes/a.txt", "/home/./b/../notes/a.txt")}
    {'notes/a.txt'}
    >>> file_id("/letters/a.txt", "/home")
    '/letters/a.txt'
    """
    if os.fspath(path) == STDIN:
        return STDIN
    place = locate(path)
    real_base = os.path.realpath(base)
    below = place.relative_to(real_base) if place.is_relative_to(real_base) else place
    return storable_name(below.as_posix())


def record_id(file: str, text: str) -> str:
    """Return the id of a record that states none: that of its file, and a hash of its text, wherever it stands.

    Examples
    --------
    >>> record_id("notes/faq.csv", "Where is the library?")
    'notes/faq.csv:f8e393752c58'
    """
    return f"{file}:{hashlib.sha256(text.encode(errors='backslashreplace')).hexdigest()[:_DIGEST]}"


def storable_name(name: str) -> str:
    """Return a name without lone surrogates, which an index cannot store."""
    return name.encode(errors="backslashreplace").decode()
