"""Paths and addresses as users give them, and files that others wrote, read without trusting them.

Nothing here waits for a pipe or follows a name elsewhere.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from urllib.parse import SplitResult, urlsplit

from .errors import InputError

_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_MEMORY = re.compile(r"out of memory|(can't|cannot|unable to) allocate memory|not enough memory", re.IGNORECASE)


def open_regular(path: Path, *, links: bool = False) -> BinaryIO:
    """Open a file for reading. Raise `OSError` for a pipe, which may block, and for a link unless `links` allows it."""
    if not links and path.is_symlink():
        raise OSError(f"{path.name} is a link")
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT | (0 if links else getattr(os, "O_NOFOLLOW", 0)))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path.name} is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def absolute(path: str | Path) -> Path:
    """Return the path that the user means now, which a later change of the working folder does not change.

    Raise `InputError` if it is no path.
    """
    if not isinstance(path, (str, Path)):
        raise InputError(f"{path!r} is not a path: give a string or a pathlib.Path.")
    return Path(os.path.expanduser(path)).absolute()


def without_secrets(url: str) -> str:
    """Return an address, or what was given as one, without what may be secret: user, password, query and fragment.

    Examples
    --------
    >>> without_secrets("https://me:secret@host:6333/db?api_key=secret"), without_secrets("me:secret@host")
    ('https://host:6333/db', 'host')
    """
    address, _, _ = url.partition("?")
    address, _, _ = address.partition("#")
    scheme, separator, rest = address.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def http_parts(url: object) -> SplitResult | None:
    """Return the parts of the HTTP address of a server, or None if it is none.

    Examples
    --------
    >>> [http_parts(url) and http_parts(url).hostname for url in ("http://host:6333", "host:6333", "http://host:port")]
    ['host', None, None]
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isprintable() and url == url.strip() else None
        usable = parts is not None and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        return None
    return parts if usable else None


def shown_place(place: str) -> str:
    """Return a name or a path as messages show it: an address that was given in its place, without secrets.

    Examples
    --------
    >>> shown_place("notes/me@home.txt"), shown_place("https://me:secret@host/notes.txt")
    ('notes/me@home.txt', 'https://host/notes.txt')
    """
    return without_secrets(place) if "://" in place else place


def parse_json(text: str | bytes) -> Any:
    """Parse JSON as RFC 8259 has it, so without ``NaN`` and ``Infinity``. Raise `ValueError` for anything else.

    Examples
    --------
    >>> parse_json(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse_json("1e999")
    Traceback (most recent call last):
    ValueError: the number 1e999 is not finite
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"the number {number} is not finite")


def _finite(number: str) -> float:
    return value if math.isfinite(value := float(number)) else _refuse(number)


def is_file_name(value: object) -> bool:
    r"""Return whether `value`, found in a file, names something in the folder of that file and nothing elsewhere.

    Examples
    --------
    >>> [is_file_name(value) for value in ("a.json", "../a.json", "/a.json", "C:a", "..", "a\0", 7)]
    [True, False, False, False, False, False, False]
    """
    return isinstance(value, str) and value not in ("", ".", "..") and not re.search(r"[/\\:\0]", value)


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error, of Python or a library, is a lack of memory, which says nothing of a file.

    Examples
    --------
    >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("CUDA out of memory.")), lacks_memory(ValueError())
    (True, True, False)
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, (RuntimeError, OSError)) and _NO_MEMORY.search(str(error)) is not None
