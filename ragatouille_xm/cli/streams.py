"""Standard output and standard error: UTF-8, and failures to write that are told from all others."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

BAD_OUTPUT = 2  # as for bad input
READER_GONE = 141  # 128 + SIGPIPE, as for programs that the signal ends


class OutputError(Exception):
    """Standard output or standard error cannot be written."""


class _Guarded(io.FileIO):
    """A file descriptor that says so if it cannot be written."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(self.fileno(), error.errno, error.strerror) from error


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Write results and messages as UTF-8; end the program with one sentence, or silently, if that fails."""
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)
    try:
        try:
            yield
        finally:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
    except OutputError as error:
        _give_up(*error.args)


def _guarded(stream: Any) -> Any:
    if not isinstance(stream, io.TextIOWrapper):  # closed, or a test's
        return stream
    if hasattr(os, "set_blocking") and os.name != "nt":
        os.set_blocking(stream.fileno(), True)  # else a full pipe would be an error
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Guarded(stream.fileno(), "w", closefd=False)),
        # The locale's encoding may lack characters of the results, and a query may hold bytes that are not text.
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _give_up(descriptor: int, number: int, reason: str) -> NoReturn:
    gone = number in (errno.EPIPE, errno.ESHUTDOWN)
    if not gone:
        with suppress(OSError):  # it may be standard error itself
            os.write(2, f"Error: The output cannot be written: {reason}.\n".encode())
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # what is still buffered goes there
    sys.exit(READER_GONE if gone else BAD_OUTPUT)
