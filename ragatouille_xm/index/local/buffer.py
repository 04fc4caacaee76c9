"""The buffer: passages whose token vectors are in the database, and in no segment yet.

A small addition needs no file. Once the buffer is worth a segment, a writer makes one of it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from ...errors import IndexDamagedError
from ..quantization.scalar import Quantized
from .folder import WAY_OUT
from .segment import Masks, Segment
from .state import State
from .vectors import Rows, Table, Vectors

BUFFER_TOKENS = 2**14  # token vectors from which on the buffer becomes a segment


def insert_buffered(connection: sqlite3.Connection, pids: Sequence[int], lengths: Rows, quantized: Quantized) -> None:
    """Store the token vectors of a few passages in the database."""
    start, rows = 0, []
    for i, (pid, length) in enumerate(zip(pids, lengths.tolist(), strict=True)):
        codes = quantized.codes[start : start + length].tobytes()
        residuals = None if quantized.residuals is None else quantized.residuals[start : start + length].tobytes()
        columns = (pid, length, float(quantized.scales[i]), codes, residuals)
        rows.append((*columns, _row_checksum(columns)))
        start += length
    connection.executemany("INSERT INTO buffer VALUES (?, ?, ?, ?, ?, ?)", rows)


def read_buffered(connection: sqlite3.Connection, dim: int) -> Iterator[tuple[int, int, float, bytes, bytes | None]]:
    """Yield pid, length, scale, codes and residuals of the passages in the buffer, by growing pid.

    Raises
    ------
    IndexDamagedError
        If a row is not the one that was written.
    """
    for *columns, expected in connection.execute(
        "SELECT pid, tokens, scale, codes, residuals, checksum FROM buffer ORDER BY pid"
    ):
        pid, length, scale, codes, residuals = columns
        if _row_checksum(tuple(columns)) != expected or len(codes) != length * dim:
            raise IndexDamagedError(
                f"The token vectors of passage {pid!r} are damaged: their checksum differs. {WAY_OUT}"
            )
        yield pid, length, scale, codes, residuals


def buffer_segment(connection: sqlite3.Connection, state: State) -> Segment:
    """Return the passages in the buffer as a segment in memory.

    Raises
    ------
    IndexDamagedError
        If they are not those that were written.
    """
    rows = list(read_buffered(connection, state.meta.dim))
    tokens = sum(length for _, length, *_ in rows)
    if (len(rows), tokens) != (state.buffered, state.buffered_tokens):
        raise IndexDamagedError(
            f"The database holds the token vectors of {len(rows)} passages instead of {state.buffered}. {WAY_OUT}"
        )
    lengths = np.array([length for _, length, *_ in rows], np.int64)
    table = Table(
        np.array([pid for pid, *_ in rows], np.int64),
        np.cumsum(lengths) - lengths,
        lengths,
        np.array([scale for _, _, scale, *_ in rows], np.float32),
    )
    codes = np.frombuffer(bytearray(b"".join(row[3] for row in rows)), np.int8).reshape(-1, state.meta.dim)
    residuals = None
    if state.residuals:
        content = bytearray(b"".join(row[4] or b"" for row in rows))
        residuals = np.frombuffer(content, np.int8).reshape(codes.shape)
    build, generation = state.meta.state
    return Segment(f"buffer-{build}-{generation}", Vectors(table, codes, residuals), None, Masks())


def _row_checksum(columns: tuple[object, ...]) -> int:
    pid, length, scale, codes, residuals = columns
    checksum = zlib.crc32(f"{pid} {length} {scale!r}".encode())
    for content in (codes, residuals):
        checksum = zlib.crc32(content if isinstance(content, bytes) else b"", checksum)
    return checksum
