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
from ..lexical import PieceCounts
from ..meta import IndexMeta
from ..quantization.scalar import Quantized
from .folder import WAY_OUT
from .lexical import PieceLists
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
    pieces : PieceCounts or None
        Theirs, in an index with lexical search.
    checksums : dict
        Of their rows, by pid.
    """

    segment: Segment
    pieces: PieceCounts | None
    checksums: dict[int, int]


def insert_buffered(
    connection: sqlite3.Connection,
    pids: Sequence[int],
    lengths: Rows,
    quantized: Quantized,
    pieces: PieceCounts | None,
) -> None:
    """Store the token vectors of a few passages in the database, and their pieces."""
    start, rows = 0, []
    counted = [None] * len(pids) if pieces is None else [np.stack(pair).astype("<i4").tobytes() for pair in pieces]
    for i, (pid, length) in enumerate(zip(pids, lengths.tolist(), strict=True)):
        codes = quantized.codes[start : start + length].tobytes()
        residuals = None if quantized.residuals is None else quantized.residuals[start : start + length].tobytes()
        scale = float(quantized.scales[i])
        content = codes, residuals, counted[i]
        rows.append((pid, length, scale, _row_checksum(pid, length, scale, *content), *content))
        start += length
    connection.executemany("INSERT INTO buffer VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def read_buffered(
    connection: sqlite3.Connection, meta: IndexMeta, after: int = -1
) -> tuple[Vectors, PieceCounts | None]:
    """Return the token vectors of the passages of larger pids in the buffer, and their pieces, if they are kept.

    Raises
    ------
    IndexDamagedError
        If a row is not the one that was written.
    """
    pids, lengths, scales = [], [], []
    planes: tuple[list[bytes], list[bytes]] = ([], [])
    counted = []
    sql = "SELECT pid, tokens, scale, checksum, codes, residuals, pieces FROM buffer WHERE pid > ? ORDER BY pid"
    for pid, length, scale, checksum, codes, residuals, pieces in connection.execute(sql, (after,)):
        if _row_checksum(pid, length, scale, codes, residuals, pieces) != checksum:
            raise IndexDamagedError(
                f"The token vectors of passage {pid!r} are damaged: the checksum differs. {WAY_OUT}"
            )
        pids.append(pid)
        lengths.append(length)
        scales.append(scale)
        planes[0].append(codes)
        planes[1].append(residuals)
        if meta.lexical:
            ids, counts = np.frombuffer(pieces or b"", "<i4").reshape(2, -1)
            counted.append(PieceCounts(ids, counts, np.array([len(ids)])))
    each = np.array(lengths, np.int64)
    table = Table(np.array(pids, np.int64), np.cumsum(each) - each, each, np.array(scales, np.float32))
    whole = [b"".join(plane) for plane in planes if None not in plane]
    vectors = Vectors(table, [np.frombuffer(bytearray(plane), np.int8).reshape(-1, meta.dim) for plane in whole])
    return vectors, PieceCounts.joined(counted) if meta.lexical else None


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
        added, pieces = read_buffered(connection, state.meta, last)
        vectors = old.segment.vectors.joined(added)
        if pieces is not None and old.pieces is not None:
            pieces = PieceCounts.joined([old.pieces, pieces])
    else:
        vectors, pieces = read_buffered(connection, state.meta)
    tokens = int(vectors.table.lengths.sum())
    if (len(vectors), tokens) != (state.buffered, state.buffered_tokens):
        raise IndexDamagedError(
            f"The database holds the token vectors of {len(vectors)} passages instead of {state.buffered}. {WAY_OUT}"
        )
    if (vectors.has_residuals, len(there)) != (state.storage.has_residuals, len(vectors)):
        raise IndexDamagedError(f"The token vectors in the database are not stored as {state.meta.storage}. {WAY_OUT}")
    build, generation = state.meta.state
    lists = None if pieces is None else PieceLists.of(pieces)
    return Buffer(Segment(f"buffer-{build}-{generation}", vectors, None, lists, Masks()), pieces, there)


def _row_checksum(pid: object, length: object, scale: object, *contents: object) -> int:
    checksum = zlib.crc32(f"{pid!r} {length!r} {scale!r}".encode())
    for content in contents:
        checksum = zlib.crc32(content if isinstance(content, bytes) else b"", checksum)
    return checksum
