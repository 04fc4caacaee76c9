"""The token vectors of a part: flat files, mapped, which grow until the part is sealed."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ...types import TokenVectors
from ..files import ASIDE, storage_errors
from ..parallel import parallel_map
from ..quantization.query import Query
from ..quantization.scalar import Codes, Floats, Quantized, dequantize, quantize

CODES, FINE, PASSAGES = "codes.bin", "fine.bin", "passages.bin"
RECORD = np.dtype([("pid", "<i8"), ("start", "<i8"), ("length", "<i4"), ("scale", "<f4")])
TOKENS_AT_ONCE = 16384  # scored: codes and products stay in a core's cache

Rows: TypeAlias = NDArray[np.int64]


class Table(NamedTuple):
    """The passages of a part, by growing pid.

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
    def of(cls, records: NDArray[np.void]) -> Table:
        """Return the table of some records, of which the last one of a pid counts."""
        order = np.argsort(records["pid"], kind="stable")
        pids = records["pid"][order]
        order = order[np.append(pids[1:] != pids[:-1], True)[: len(pids)]]
        pids, starts, lengths = (records[name][order].astype(np.int64) for name in ("pid", "start", "length"))
        return cls(pids, starts, lengths, records["scale"][order])

    @property
    def end(self) -> int:
        """Behind the last token vector."""
        return int((self.starts + self.lengths).max(initial=0))

    def records(self) -> NDArray[np.void]:
        """Return the records that make it up."""
        found = np.empty(len(self.pids), RECORD)
        for name, column in zip(RECORD.names or (), self, strict=True):
            found[name] = column
        return found

    def rows_of(self, pids: Sequence[int] | Rows) -> Rows:
        """Return where those of the pids are that are here."""
        wanted = np.asarray(pids, np.int64)
        if not len(self.pids):
            return np.empty(0, np.int64)
        rows = np.minimum(np.searchsorted(self.pids, wanted), len(self.pids) - 1)
        return rows[self.pids[rows] == wanted]


class TokenStore:
    """Token vectors of passages, as whole numbers (`ragatouille_xm.index.quantization.scalar`).

    One thread may append; once that has ended, any number may read.

    Parameters
    ----------
    folder : Path
        Where the files are, or will be.
    dim : int
        Width of a token vector.
    fine : bool
        Whether they have 16 bits for each number, or 8.

    Examples
    --------
    >>> import tempfile
    >>> store = TokenStore(Path(tempfile.mkdtemp()), 2, fine=True)
    >>> store.append([4, 5], TokenVectors(torch.eye(3, 2), torch.tensor([1, 2])))
    >>> store.table.pids.tolist(), store.vectors_of(np.array([0])).vectors.round(decimals=4).abs().tolist()
    ([4, 5], [[1.0, 0.0]])
    >>> store.score(Query(np.array([[0.0, 1.0]], np.float32)), np.array([0, 1])).round(3).tolist()
    [0.0, 1.0]
    """

    def __init__(self, folder: Path, dim: int, *, fine: bool) -> None:
        self._folder = folder
        self.dim = dim
        self._names = [CODES, FINE] if fine else [CODES]
        self._files: list[BinaryIO] = []
        self._maps: dict[str, Codes] = {}
        self._memory: dict[str, mmap.mmap] = {}  # of the maps
        self._table: Table | None = None
        self._removed: set[int] = set()

    @property
    def fine(self) -> bool:
        """Whether there are 16 bits for each number."""
        return FINE in self._names

    # ---- writing

    def append(self, pids: Sequence[int], vectors: TokenVectors) -> None:
        """Store the vectors of passages; they take the place of earlier ones of the same pid.

        Raises
        ------
        StorageError
            If the files cannot be written.
        """
        self.write(
            pids,
            vectors.lengths.numpy(),
            quantize(vectors.vectors.detach().cpu(), vectors.lengths, residuals=self.fine),
        )

    def write(self, pids: Sequence[int], lengths: Rows, some: Quantized) -> None:
        """Store vectors that are whole numbers already, as `take` returns them; otherwise as `append`."""
        with storage_errors(self._folder):
            *planes, records = self._open()
            records_of = np.empty(len(pids), RECORD)
            first = planes[0].seek(0, os.SEEK_END) // self.dim
            columns = (pids, first + np.cumsum(lengths) - lengths, lengths, some.scales)
            for name, column in zip(RECORD.names or (), columns, strict=True):
                records_of[name] = column
            for file, content in zip(planes, some, strict=False):
                file.write(np.ascontiguousarray(content).data)
            records.write(records_of.tobytes())
            for file in self._files:  # a process that dies later does not take it along
                file.flush()
        self._removed.difference_update(pids)
        self._forget()

    def _open(self) -> list[BinaryIO]:
        if not self._files:
            for name in (*self._names, PASSAGES):
                self._files.append(open(self._folder / name, "ab"))  # noqa: SIM115 - until `seal` or `close`
        return self._files

    def remove(self, pids: Iterable[int]) -> None:
        """Forget passages."""
        self._removed.update(pids)
        self._table = None

    def recover(self, pids: Sequence[int]) -> bool:
        """Go on with files that another process has left: keep `pids` alone; return whether all of them are there."""
        tokens = min(self._size(name) // self.dim for name in self._names)
        records = self._records()
        records = records[records["start"] + records["length"] <= tokens]
        with storage_errors(self._folder):
            for name in self._names:
                os.truncate(self._folder / name, tokens * self.dim)
            os.truncate(self._folder / PASSAGES, len(records) * RECORD.itemsize)
        known = set(records["pid"].tolist())
        self._removed = known.difference(pids)
        self._forget()
        return known.issuperset(pids)

    def seal(self) -> None:
        """Keep a list of what counts. Nothing may be appended afterwards."""
        path = self._folder / PASSAGES
        aside = path.with_name(path.name + ASIDE)
        with storage_errors(self._folder):
            self._open()
            self.close()
            self._forget()  # which lets go of the maps
            table = self.table
            for name in self._names:
                os.truncate(self._folder / name, self.dim * table.end)
            aside.write_bytes(table.records().tobytes())
            os.replace(aside, path)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            with suppress(OSError):  # a full disk: what was not written is not wanted any more
                file.close()
        self._files = []

    # ---- reading

    def _forget(self) -> None:
        self._table, self._maps, self._memory = None, {}, {}

    def _size(self, name: str) -> int:
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def _records(self) -> NDArray[np.void]:
        if not self._size(PASSAGES):
            return np.empty(0, RECORD)
        content = (self._folder / PASSAGES).read_bytes()
        return np.frombuffer(content[: len(content) // RECORD.itemsize * RECORD.itemsize], RECORD)

    @property
    def table(self) -> Table:
        """The passages that are here."""
        if self._table is None:
            records = self._records()
            if self._removed:
                records = records[~np.isin(records["pid"], list(self._removed))]
            self._table = Table.of(records)
        return self._table

    def map(self) -> None:
        """Have everything in reach: a file that is removed later stays readable.

        Raises
        ------
        OSError
            If the files do not hold the vectors that they should.
        """
        for name in self._names:
            if self._size(name) != self.table.end * self.dim:
                raise OSError(f"{name} has no token vectors of width {self.dim} for {len(self.table.pids)} passages")
            self._mapped(name)

    def _mapped(self, name: str) -> Codes:
        if name not in self._maps:
            tokens = self._size(name) // self.dim
            shape = (tokens, self.dim)
            if tokens:
                with (self._folder / name).open("rb") as file:
                    # Copy on write: torch warns of memory that must not be written to.
                    self._memory[name] = mmap.mmap(file.fileno(), tokens * self.dim, access=mmap.ACCESS_COPY)
                self._maps[name] = np.frombuffer(self._memory[name], np.int8).reshape(shape)
            else:
                self._maps[name] = np.empty(shape, np.int8)
        return self._maps[name]

    def take(self, rows: Rows, *, fine: bool) -> Quantized:
        """Return the token vectors of the passages in these rows of the table, one after the other."""
        table = self.table
        starts, lengths = table.starts[rows], table.lengths[rows]
        names = self._names if fine else self._names[:1]
        if (starts[1:] == starts[:-1] + lengths[:-1]).all():  # they lie that way: no copy
            span = slice(int(starts[0]), int(starts[-1] + lengths[-1])) if len(rows) else slice(0)
            planes = [self._mapped(name)[span] for name in names]
        else:
            there = np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
            planes = [np.take(self._mapped(name), there, axis=0) for name in names]  # in half the time of an index
        return Quantized(planes[0], planes[1] if len(planes) > 1 else None, table.scales[rows])

    def blocks(self, rows: Rows, at_once: int = TOKENS_AT_ONCE) -> list[Rows]:
        """Return the rows in runs of so many tokens, or little more."""
        if not len(rows):
            return []
        number = self._firsts(rows) // at_once
        runs: list[Rows] = np.split(rows, np.flatnonzero(number[1:] != number[:-1]) + 1)
        return runs

    def approximate_scores(self, query: Query, rows: Rows) -> Floats:
        """Score the passages in these rows by their codes alone: ``(n,)`` float32."""

        def of(some: Rows) -> Floats:
            found = self.take(some, fine=False)
            return query.approximate_scores(found.codes, self._firsts(some), found.scales)

        return _joined(parallel_map(of, self.blocks(rows)))

    def score(self, query: Query, rows: Rows) -> Floats:
        """Score the passages in these rows by all that is stored of them: ``(n,)`` float32."""

        def of(some: Rows) -> Floats:
            return query.scores(self.take(some, fine=True), self._firsts(some))

        return _joined(parallel_map(of, self.blocks(rows)))

    def _firsts(self, rows: Rows) -> Rows:
        lengths = self.table.lengths[rows]
        return np.cumsum(lengths) - lengths

    def vectors_of(self, rows: Rows) -> TokenVectors:
        """Return the vectors, float32, of the passages in these rows."""
        lengths = self.table.lengths[rows]
        return TokenVectors(dequantize(self.take(rows, fine=True), lengths), torch.from_numpy(lengths))

    def once(self, rows: Rows | None = None, at_once: int = TOKENS_AT_ONCE) -> Iterator[Rows]:
        """Yield the rows of all passages, or those given, so many tokens at a time, to be read once.

        The system takes back the memory that each run was mapped to: a pass over everything holds little of it.
        """
        for some in self.blocks(np.arange(len(self.table.pids)) if rows is None else rows, at_once):
            yield some
            starts = self.table.starts[some]
            first = int(starts.min()) * self.dim // mmap.PAGESIZE * mmap.PAGESIZE
            end = int((starts + self.table.lengths[some]).max()) * self.dim
            for memory in self._memory.values():
                if hasattr(memory, "madvise"):  # not on Windows
                    memory.madvise(mmap.MADV_DONTNEED, first, end - first)


def _joined(scores: Sequence[Floats]) -> Floats:
    return np.concatenate(scores) if scores else np.empty(0, np.float32)
