"""The token vectors of a segment: flat files, written once and mapped."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ...files import open_regular
from ...types import TokenVectors
from ..files import storage_errors, sync
from ..parallel import parallel_map
from ..quantization.query import Query
from ..quantization.scalar import Codes, Floats, Quantized, dequantize
from .folder import CODES, RECORDS, RESIDUALS, TABLE
from .state import FileMeta

RECORD = np.dtype([("pid", "<i8"), ("start", "<i8"), ("length", "<i4"), ("scale", "<f4")])
TOKENS_BLOCK = 16_384  # scored at once: codes and products stay in a core's cache

Rows: TypeAlias = NDArray[np.int64]


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
    codes : numpy.ndarray
        Shape ``(T, dim)``, int8.
    residuals : numpy.ndarray or None
        Shape ``(T, dim)``, int8; None with 8-bit storage.
    maps : sequence of mmap.mmap
        The memory behind both, if they are mapped.

    Examples
    --------
    >>> table = Table(np.array([4, 5]), np.array([0, 1]), np.array([1, 2]), np.full(2, 1 / 127, np.float32))
    >>> codes = np.array([[127, 0], [0, 127], [127, 0]], np.int8)
    >>> Vectors(table, codes, np.zeros_like(codes)).take(np.array([1])).codes.tolist()
    [[0, 127], [127, 0]]
    """

    def __init__(self, table: Table, codes: Codes, residuals: Codes | None, maps: Sequence[mmap.mmap] = ()) -> None:
        self.table = table
        self._codes = codes
        self._residuals = residuals
        self._maps = maps

    @classmethod
    def open(cls, folder: Path, name: str, dim: int, *, residuals: bool) -> Vectors:
        """Map the files of a segment. A file that is removed later stays readable.

        Raises
        ------
        OSError, ValueError
            If a file is missing, or they do not belong together.
        """
        with open_regular(folder / f"{name}{TABLE}") as file:
            table = Table.of_records(np.frombuffer(file.read(), RECORD))
        maps: list[mmap.mmap] = []
        planes = [_map(folder / f"{name}{end}", dim, maps) for end in (CODES, *([RESIDUALS] if residuals else []))]
        if len({len(plane) for plane in planes}) > 1:
            raise ValueError("there are more codes than residuals, or fewer")
        table.check(len(planes[0]))
        return cls(table, planes[0], planes[1] if residuals else None, maps)

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return int(self._codes.shape[1])

    @property
    def has_residuals(self) -> bool:
        """Whether there are 16 bits for each number."""
        return self._residuals is not None

    def __len__(self) -> int:
        return len(self.table.pids)

    def joined(self, other: Vectors) -> Vectors:
        """Return these vectors, in memory, followed by those of passages of larger pids."""
        table = Table(*(np.concatenate(columns) for columns in zip(self.table, other.table, strict=True)))
        table.starts[len(self) :] += len(self._codes)
        residuals = None
        if self._residuals is not None and other._residuals is not None:
            residuals = np.concatenate([self._residuals, other._residuals])
        return Vectors(table, np.concatenate([self._codes, other._codes]), residuals)

    def take(self, rows: Rows, *, residuals: bool = True) -> Quantized:
        """Return the token vectors of the passages in these rows, one after the other."""
        table = self.table
        starts, lengths = table.starts[rows], table.lengths[rows]
        planes = [self._codes] if self._residuals is None or not residuals else [self._codes, self._residuals]
        if (starts[1:] == starts[:-1] + lengths[:-1]).all():  # they lie that way: no copy
            span = slice(int(starts[0]), int(starts[-1] + lengths[-1])) if len(rows) else slice(0)
            taken = [plane[span] for plane in planes]
        else:
            places = np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
            taken = [np.take(plane, places, axis=0) for plane in planes]  # in half the time of indexing
        return Quantized(taken[0], taken[1] if len(taken) > 1 else None, table.scales[rows])

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

        return _concatenate(parallel_map(score, self.blocks(rows)))

    def scores(self, query: Query, rows: Rows) -> Floats:
        """Score the passages in these rows by all that is stored of them: ``(n,)`` float32."""

        def score(block: Rows) -> Floats:
            return query.scores(self.take(block), self._starts_within(block))

        return _concatenate(parallel_map(score, self.blocks(rows)))

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
            first = int(starts.min()) * self.dim // mmap.PAGESIZE * mmap.PAGESIZE
            end = int((starts + self.table.lengths[block]).max()) * self.dim
            for memory in self._maps:
                if hasattr(memory, "madvise"):  # not on Windows
                    memory.madvise(mmap.MADV_DONTNEED, first, end - first)


def _map(path: Path, dim: int, maps: list[mmap.mmap]) -> Codes:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0 or size % dim:
            raise ValueError(f"{path.name} has {size} bytes, which are no vectors of {dim} numbers")
        maps.append(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))  # torch warns of read-only memory
    return np.frombuffer(maps[-1], np.int8).reshape(-1, dim)


def _concatenate(scores: Sequence[Floats]) -> Floats:
    return np.concatenate(scores) if scores else np.empty(0, np.float32)


class VectorWriter:
    """Writes the vector files of a segment that no commit names yet.

    Parameters
    ----------
    folder : Path
    name : str
        Of the segment.
    dim : int
        Width of a token vector.
    residuals : bool
        Whether there are 16 bits for each number, or 8.

    Raises
    ------
    StorageError
        If the files cannot be written.
    """

    def __init__(self, folder: Path, name: str, dim: int, *, residuals: bool) -> None:
        self.name = name
        self._folder = folder
        self._dim = dim
        self._ends = [CODES, RESIDUALS] if residuals else [CODES]
        self._files: dict[str, BinaryIO] = {}
        self._digests = {end: hashlib.sha256() for end in self._ends}
        self.passages = 0
        self.tokens = 0
        self.lowest_pid = 2**63 - 1
        with storage_errors(folder):
            for end in (*self._ends, RECORDS):
                self._files[end] = (folder / f"{name}{end}").open("ab")
            sync(folder)

    def append(self, pids: Sequence[int] | Rows, lengths: Rows, quantized: Quantized) -> None:
        """Write the vectors of passages whose pids are not here."""
        records = np.empty(len(pids), RECORD)
        columns = (pids, self.tokens + np.cumsum(lengths) - lengths, lengths, quantized.scales)
        for field, column in zip(RECORD.names or (), columns, strict=True):
            records[field] = column
        with storage_errors(self._folder):
            for end, content in zip(self._ends, quantized, strict=False):
                data = np.ascontiguousarray(content).data
                self._files[end].write(data)
                self._digests[end].update(data)
            self._files[RECORDS].write(records.tobytes())
        self.lowest_pid = min(self.lowest_pid, int(records["pid"].min()))
        self.passages += len(records)
        self.tokens += int(lengths.sum())

    def flush(self) -> None:
        """Write everything through to the disk."""
        with storage_errors(self._folder):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())

    def recover(self, passages: int, tokens: int) -> None:
        """Go on with files of another process, which had written so many passages and tokens when it committed last.

        Raises
        ------
        ValueError
            If there is less in them.
        """
        sizes = {**dict.fromkeys(self._ends, tokens * self._dim), RECORDS: passages * RECORD.itemsize}
        with storage_errors(self._folder):
            for end, size in sizes.items():
                if self._files[end].seek(0, os.SEEK_END) < size:
                    raise ValueError(f"{self.name}{end} is shorter than when it was committed")
                self._files[end].truncate(size)
            for end, digest in self._digests.items():
                with open_regular(self._folder / f"{self.name}{end}") as content:
                    while block := content.read(2**20):
                        digest.update(block)
        self.passages, self.tokens, self.lowest_pid = passages, tokens, 0

    def finish(self, pids: Rows) -> Mapping[str, FileMeta]:
        """Write the table of those of the passages whose pids ``(n,)`` are given; return the files of the segment."""
        self.flush()
        with storage_errors(self._folder):
            records = np.fromfile(self._folder / f"{self.name}{RECORDS}", RECORD)
            table = Table.of_records(records[np.isin(records["pid"], pids)])
            content = table.records().tobytes()
            path = self._folder / f"{self.name}{TABLE}"
            path.write_bytes(content)
            sync(path)
        self.close()
        self.passages = len(table.pids)
        files = {end: FileMeta(self.tokens * self._dim, self._digests[end].hexdigest()) for end in self._ends}
        return {**files, TABLE: FileMeta(len(content), hashlib.sha256(content).hexdigest())}

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            with suppress(OSError):  # a full disk: what was not written is not wanted any more
                file.close()

    def discard(self) -> None:
        """Remove the files."""
        self.close()
        for end in (*self._files, TABLE):
            with suppress(OSError):
                (self._folder / f"{self.name}{end}").unlink()
