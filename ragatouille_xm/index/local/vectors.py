"""The token vectors of a segment: flat files, written once and mapped."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ...files import open_regular
from ...types import TokenVectors
from ..parallel import parallel_map
from ..quantization.packing import Packing
from ..quantization.query import Query
from ..quantization.scalar import Floats, Quantized, dequantize
from .folder import BASES, TABLE
from .storages import Storage

RECORD = np.dtype([("pid", "<i8"), ("start", "<i8"), ("length", "<i4"), ("scale", "<f4")])
TOKENS_BLOCK = 16_384  # read at once
SCORED_BLOCK = 4_096  # scored at once: codes and products stay in a core's cache

Rows: TypeAlias = NDArray[np.int64]
Planes: TypeAlias = Sequence[NDArray[Any]]  # as they lie in the files of a storage, a row for each token vector


class Table(NamedTuple):
    """The passages of a segment, by growing pid. A row is a passage's place in it.

    Attributes
    ----------
    pids, starts, lengths : numpy.ndarray
        Shape ``(n,)``, int64: pid, first token vector, number of token vectors.
    scales : numpy.ndarray
        Shape ``(n,)``, float32: of the codes.
    """

    pids: Rows
    starts: Rows
    lengths: Rows
    scales: Floats

    @classmethod
    def of_records(cls, records: NDArray[np.void]) -> Table:
        """Return the table of records in any order."""
        records = records[np.argsort(records["pid"], kind="stable")]
        pids, starts, lengths = (records[name].astype(np.int64) for name in ("pid", "start", "length"))
        return cls(pids, starts, lengths, records["scale"].copy())

    def records(self) -> NDArray[np.void]:
        """Return the records that make it up."""
        records = np.empty(len(self.pids), RECORD)
        for name, column in zip(RECORD.names or (), self, strict=True):
            records[name] = column
        return records

    def rows_of(self, pids: Sequence[int] | Rows) -> Rows:
        """Return the rows of those of the pids that are here."""
        wanted = np.asarray(pids, np.int64)
        if not len(self.pids):
            return np.empty(0, np.int64)
        rows = np.minimum(np.searchsorted(self.pids, wanted), len(self.pids) - 1)
        return rows[self.pids[rows] == wanted]

    def check(self, tokens: int) -> None:
        """Raise `ValueError` if a row lies outside of so many token vectors, or the pids do not grow."""
        if (np.diff(self.pids) <= 0).any() or self.pids[0] < 0:
            raise ValueError("the pids do not grow")
        if (self.lengths < 1).any() or (self.starts < 0).any() or (self.starts > tokens - self.lengths).any():
            raise ValueError("a passage lies outside of the token vectors")
        if not np.isfinite(self.scales).all():
            raise ValueError("a scale is not finite")


class Vectors:
    """Token vectors of passages, as whole numbers, in memory or mapped. Reading is safe from many threads.

    Parameters
    ----------
    table : Table
    planes : sequence of numpy.ndarray
        Codes ``(T, dim)``, int8; those and their residuals; or packed rows, uint8.
    packing : Packing or None
        Of packed rows.
    maps : sequence of mmap.mmap
        The memory behind the planes, if they are mapped.

    Examples
    --------
    >>> table = Table(np.array([4, 5]), np.array([0, 1]), np.array([1, 2]), np.full(2, 1 / 127, np.float32))
    >>> codes = np.array([[127, 0], [0, 127], [127, 0]], np.int8)
    >>> Vectors(table, [codes, np.zeros_like(codes)]).take(np.array([1])).codes.tolist()
    [[0, 127], [127, 0]]
    """

    def __init__(
        self, table: Table, planes: Planes, packing: Packing | None = None, maps: Sequence[mmap.mmap] = ()
    ) -> None:
        self.table = table
        self.packing = packing
        self._planes = planes
        self._maps = maps

    @classmethod
    def open(cls, folder: Path, name: str, dim: int, storage: Storage) -> Vectors:
        """Map the files of a segment. A file that is removed later stays readable.

        Raises
        ------
        OSError, ValueError
            If a file is missing, or they do not belong together.
        """
        with open_regular(folder / f"{name}{TABLE}") as file:
            table = Table.of_records(np.frombuffer(file.read(), RECORD))
        packing = Packing.open(folder / f"{name}{BASES}", dim) if storage.is_packed else None
        maps: list[mmap.mmap] = []
        dtype = np.uint8 if storage.is_packed else np.int8
        planes = [_map(folder / f"{name}{end}", storage.row_bytes(dim), maps).view(dtype) for end in storage.planes]
        if len({len(plane) for plane in planes}) > 1:
            raise ValueError("there are more codes than residuals, or fewer")
        table.check(len(planes[0]))
        return cls(table, planes, packing, maps)

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return int(self._planes[0].shape[1]) if self.packing is None else self.packing.dim

    @property
    def has_residuals(self) -> bool:
        """Whether there are 16 bits for each number."""
        return len(self._planes) > 1

    def __len__(self) -> int:
        return len(self.table.pids)

    def joined(self, other: Vectors) -> Vectors:
        """Return these vectors, in memory, followed by those of passages of larger pids."""
        if not len(other):
            return self
        table = Table(*(np.concatenate(columns) for columns in zip(self.table, other.table, strict=True)))
        table.starts[len(self) :] += len(self._planes[0])
        pairs = zip(self._planes, other._planes, strict=True)
        return Vectors(table, [np.concatenate(pair) for pair in pairs], self.packing)

    def take(self, rows: Rows, *, residuals: bool = True) -> Quantized:
        """Return the token vectors of the passages in these rows, one after the other."""
        codes, *rest = self.stored(rows, 2 if residuals else 1)
        if self.packing is not None:
            codes = self.packing.unpack(codes)
        return Quantized(codes, rest[0] if rest else None, self.table.scales[rows])

    def stored(self, rows: Rows, n: int | None = None) -> Planes:
        """Return the same as it lies in the first `n` files, or all."""
        starts, lengths, planes = self.table.starts[rows], self.table.lengths[rows], self._planes[:n]
        if (starts[1:] == starts[:-1] + lengths[:-1]).all():  # they lie that way: no copy
            span = slice(int(starts[0]), int(starts[-1] + lengths[-1])) if len(rows) else slice(0)
            return [plane[span] for plane in planes]
        places = np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
        return [np.take(plane, places, axis=0) for plane in planes]  # in half the time of indexing

    def blocks(self, rows: Rows, tokens: int = TOKENS_BLOCK) -> list[Rows]:
        """Return the rows in runs of about so many tokens."""
        if not len(rows):
            return []
        number = self._starts_within(rows) // tokens
        runs: list[Rows] = np.split(rows, np.flatnonzero(number[1:] != number[:-1]) + 1)
        return runs

    def approximate_scores(self, query: Query, rows: Rows) -> Floats:
        """Score the passages in these rows by their codes alone: ``(n,)`` float32."""

        def score(block: Rows) -> Floats:
            taken = self.take(block, residuals=False)
            return query.approximate_scores(taken.codes, self._starts_within(block), taken.scales)

        return _concatenate(parallel_map(score, self.blocks(rows, SCORED_BLOCK)))

    def scores(self, query: Query, rows: Rows) -> Floats:
        """Score the passages in these rows by all that is stored of them: ``(n,)`` float32."""

        def score(block: Rows) -> Floats:
            return query.scores(self.take(block), self._starts_within(block))

        return _concatenate(parallel_map(score, self.blocks(rows, SCORED_BLOCK)))

    def _starts_within(self, rows: Rows) -> Rows:
        lengths = self.table.lengths[rows]
        return np.cumsum(lengths) - lengths

    def vectors_of(self, rows: Rows) -> TokenVectors:
        """Return the vectors, float32, of the passages in these rows."""
        lengths = self.table.lengths[rows]
        return TokenVectors(dequantize(self.take(rows), lengths), torch.from_numpy(lengths))

    def read_once(self, rows: Rows | None = None, tokens: int = TOKENS_BLOCK) -> Iterator[Rows]:
        """Yield the rows of all passages, or those given, about so many tokens at a time, to be read once.

        The system takes back the memory that each run was mapped to: a pass over everything holds little of it.
        """
        for block in self.blocks(np.arange(len(self)) if rows is None else rows, tokens):
            yield block
            starts = self.table.starts[block]
            width = self._planes[0].shape[1]
            first = int(starts.min()) * width // mmap.PAGESIZE * mmap.PAGESIZE
            end = int((starts + self.table.lengths[block]).max()) * width
            for memory in self._maps:
                if hasattr(memory, "madvise"):  # not on Windows
                    memory.madvise(mmap.MADV_DONTNEED, first, end - first)


def _map(path: Path, width: int, maps: list[mmap.mmap]) -> NDArray[np.int8]:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0 or size % width:
            raise ValueError(f"{path.name} has {size} bytes, which are no vectors of {width} bytes")
        maps.append(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))  # torch warns of read-only memory
    return np.frombuffer(maps[-1], np.int8).reshape(-1, width)


def _concatenate(scores: Sequence[Floats]) -> Floats:
    return np.concatenate(scores) if scores else np.empty(0, np.float32)
