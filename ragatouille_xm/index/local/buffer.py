"""The buffer: passages whose token vectors are in the database, and in no segment yet.

A small addition needs no file. Once the buffer is worth a segment, a writer makes one of it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...errors import IndexDamagedError
from ..quantization.scalar import Quantized
from .folder import WAY_OUT
from .segment import Masks, Segment
from .state import State
from .vectors import Rows, Table, Vectors

BUFFER_TOKENS = 2**13  # token vectors from which on the buffer becomes a segment


class Buffer(NamedTuple):
    """The buffer at one commit.

    Attributes
    ----------
    segment : Segment
        Its passages, in memory.
    checksums : dict
        Of their rows, by pid.
    """

    segment: Segment
    checksums: dict[int, int]


def insert_buffered(connection: sqlite3.Connection, pids: Sequence[int], lengths: Rows, quantized: Quantized) -> None:
    """Store the token vectors of a few passages in the database."""
    start, rows = 0, []
    for i, (pid, length) in enumerate(zip(pids, lengths.tolist(), strict=True)):
        codes = quantized.codes[start : start + length].tobytes()
        residuals = None if quantized.residuals is None else quantized.residuals[start : start + length].tobytes()
        scale = float(quantized.scales[i])
        rows.append((pid, length, scale, _row_checksum(pid, length, scale, codes, residuals), codes, residuals))
        start += length
    connection.executemany("INSERT INTO buffer VALUES (?, ?, ?, ?, ?, ?)", rows)


def read_buffered(connection: sqlite3.Connection, dim: int, after: int = -1) -> Vectors:
    """Return the token vectors of the passages of larger pids in the buffer.

    Raises
    ------
    IndexDamagedError
        If a row is not the one that was written.
    """
    pids, lengths, scales = [], [], []
    planes: tuple[list[bytes], list[bytes]] = ([], [])
    sql = "SELECT pid, tokens, scale, checksum, codes, residuals FROM buffer WHERE pid > ? ORDER BY pid"
    for pid, length, scale, checksum, codes, residuals in connection.execute(sql, (after,)):
        if _row_checksum(pid, length, scale, codes, residuals) != checksum:
            raise IndexDamagedError(
                f"The token vectors of passage {pid!r} are damaged: the checksum differs. {WAY_OUT}"
            )
        pids.append(pid)
        lengths.append(length)
        scales.append(scale)
        planes[0].append(codes)
        planes[1].append(residuals)
    each = np.array(lengths, np.int64)
    table = Table(np.array(pids, np.int64), np.cumsum(each) - each, each, np.array(scales, np.float32))
    whole = [b"".join(plane) for plane in planes if None not in plane]
    return Vectors(table, [np.frombuffer(bytearray(plane), np.int8).reshape(-1, dim) for plane in whole])


def load_buffer(connection: sqlite3.Connection, state: State, old: Buffer | None) -> Buffer:
    """Return the buffer as a segment in memory. If rows were only added to an older one, these alone are read.

    Raises
    ------
    IndexDamagedError
        If it is not what was written.
    """
    there = dict(connection.execute("SELECT pid, checksum FROM buffer ORDER BY pid"))
    last = max(old.checksums) if old else -1
    if old is not None and {pid: checksum for pid, checksum in there.items() if pid <= last} == old.checksums:
        vectors = old.segment.vectors.joined(read_buffered(connection, state.meta.dim, last))
    else:
        vectors = read_buffered(connection, state.meta.dim)
    tokens = int(vectors.table.lengths.sum())
    if (len(vectors), tokens) != (state.buffered, state.buffered_tokens):
        raise IndexDamagedError(
            f"The database holds the token vectors of {len(vectors)} passages instead of {state.buffered}. {WAY_OUT}"
        )
    if (vectors.has_residuals, len(there)) != (state.storage.has_residuals, len(vectors)):
        raise IndexDamagedError(f"The token vectors in the database are not stored as {state.meta.storage}. {WAY_OUT}")
    build, generation = state.meta.state
    return Buffer(Segment(f"buffer-{build}-{generation}", vectors, None, Masks()), there)


def _row_checksum(pid: object, length: object, scale: object, codes: object, residuals: object) -> int:
    checksum = zlib.crc32(f"{pid!r} {length!r} {scale!r}".encode())
    for content in (codes, residuals):
        checksum = zlib.crc32(content if isinstance(content, bytes) else b"", checksum)
    return checksum
