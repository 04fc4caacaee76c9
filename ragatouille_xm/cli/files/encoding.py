"""Opening and decoding: regular files only, byte order marks, and errors that say where."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ...errors import InputError
from ...files import open_regular
from ...shell import quoted, typed
from .names import STDIN
from .skipped import BadFileError

UTF8 = "utf-8"

_SNIFF_BYTES = 8192  # a NUL among them marks a binary file, as for git and grep
_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WITH_NULS = ("utf-16", "utf-32")
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


class Bytes(io.BufferedReader):
    """A stream that counts what was taken from it, so that an error of its decoder can be located."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any stream, and count."""
        data = super().read(size)
        self.taken += len(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        """Read as any stream, and count."""
        data = super().read1(size)
        self.taken += len(data)
        return data


@contextmanager
def open_bytes(path: str) -> Iterator[Bytes]:
    """Open a regular file, or standard input for ``-``.

    Raises
    ------
    BadFileError
        If it is something else, which is not opened; or if it cannot be read, then or later.
    """
    name = describe(path)
    try:
        if path == STDIN:
            if sys.stdin is None:
                raise BadFileError("unreadable", f"{name} is closed.")
            stream = Bytes(sys.stdin.buffer)  # type: ignore[arg-type]  # all it needs is readinto
            try:
                yield stream
            finally:
                stream.detach()  # others may read it too
            return
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "something else")
            kind = f"a link to {kind}" if os.path.islink(path) else kind
            raise BadFileError(
                "not a file",
                f"{name} is {kind}, and only regular files are opened. Standard input is read for '-', with --format.",
            )
        with Bytes(open_regular(Path(path), links=True).detach()) as stream:  # type: ignore[attr-defined]
            yield stream
    except OSError as error:
        raise BadFileError("unreadable", f"{name} cannot be read: {error.strerror or error}.") from error


@contextmanager
def open_text(
    stream: Bytes, path: str, encoding: str | None = None, *, default: str = UTF8, newline: str | None = None
) -> Iterator[TextIO]:
    """Decode a stream by its byte order mark, else by `encoding`, else by `default`.

    Raises
    ------
    BadFileError
        If it is binary, or has bytes that are not text in that encoding, then or later.
    """
    name = describe(path)
    head = stream.peek(_SNIFF_BYTES)[:_SNIFF_BYTES]
    marked = next((marked for mark, marked in _MARKS if head.startswith(mark)), None)
    used = marked or encoding or default
    if b"\0" in head and not codecs.lookup(used).name.startswith(_WITH_NULS):
        raise BadFileError("binary", f"{name} is a binary file. Convert it to text first.")
    try:
        text = io.TextIOWrapper(stream, used, newline=newline)
        try:
            yield text
        finally:
            text.detach()
    except UnicodeDecodeError as error:
        offset = stream.taken - len(error.object) + error.start
        shown = "UTF-8" if used in (UTF8, "utf-8-sig") else used
        raise BadFileError(
            f"not {shown}",
            f"{name} is not {shown} text: the byte 0x{error.object[error.start]:02x} at offset {offset:,} "
            f"({error.reason}). Name its encoding, for instance --encoding cp1252, or convert it.",
        ) from error


def check_encoding(encoding: str) -> None:
    """Raise `InputError` unless Python decodes text by an encoding of that name."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
    except LookupError as error:
        raise InputError(
            f"--encoding {quoted(encoding)} is not known. Use a name such as cp1252, latin-1, shift_jis or gb18030."
        ) from error


def describe(path: str) -> str:
    """Return how a file is called in a message."""
    return "Standard input" if path == STDIN else quoted(path)


def place_name(path: str) -> str:
    """Return how a file is called before the number of a line."""
    return "standard input" if path == STDIN else typed(path)
