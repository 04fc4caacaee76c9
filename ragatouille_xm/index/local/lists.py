"""Inverted lists: for each key, the rows of a segment's table that have it, in one mapped file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...files import open_regular
from ..files import storage_errors
from .state import FileMeta
from .vectors import Rows

HEADER = np.dtype([("magic", "S8"), ("lists", "<i8"), ("passages", "<i8"), ("entries", "<i8")])
ENTRIES_BLOCK = 2**21  # sorted at once, when lists are merged
SPOOL_BYTES = 2**20  # of each temporary file that stay in memory

Ints: TypeAlias = NDArray[np.int32]
Columns: TypeAlias = "tuple[NDArray[Any], ...]"


class Layout(NamedTuple):
    """What a file of lists holds behind its header and the offsets of its lists.

    Attributes
    ----------
    magic : bytes
        Eight of them, with which the file begins.
    by_list, by_passage, by_entry : tuple of str
        Kinds of the numbers in columns that have one for each list, passage, or entry of a list. The rows are a column
        by entry before these.
    """

    magic: bytes
    by_list: tuple[str, ...]
    by_passage: tuple[str, ...]
    by_entry: tuple[str, ...]

    def kinds_by_entry(self, passages: int) -> tuple[str, ...]:
        """Return the kinds of the columns by entry: rows are uint16 in a segment of up to 65,536 passages."""
        return ("<u2" if passages <= 2**16 else "<i4", *self.by_entry)


def open_lists(path: Path, layout: Layout, passages: int) -> tuple[Rows, Columns]:
    """Map the lists of a segment of so many passages: return their offsets ``(K + 1,)``, and the columns.

    Raises
    ------
    OSError, ValueError
        If the file is missing, or does not hold such lists.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = file.read(HEADER.itemsize)
        if len(header) < HEADER.itemsize:
            raise ValueError("it has no header")
        magic, lists, there, entries = np.frombuffer(header, HEADER)[0].tolist()
        kinds = [("<i8", lists + 1)]
        for names, n in ((layout.by_list, lists), (layout.by_passage, there), (layout.kinds_by_entry(there), entries)):
            kinds += [(name, n) for name in names]
        sizes = [np.dtype(kind).itemsize * n for kind, n in kinds]
        if magic != layout.magic or min(lists, entries) < 0 or size != HEADER.itemsize + sum(sizes):
            raise ValueError("it is not whole")
        if there != passages:
            raise ValueError(f"it has {there} passages instead of {passages}")
        place, found = HEADER.itemsize, []
        for (kind, n), length in zip(kinds, sizes, strict=True):
            found.append(np.asarray(np.memmap(file, kind, "r", place, (n,))) if n else np.empty(0, kind))
            place += length
    offsets = found[0]
    if offsets[0] != 0 or offsets[-1] != entries or (np.diff(offsets) < 0).any():
        raise ValueError("its lists do not follow one another")
    return offsets, tuple(found[1:])


def check_rows(rows: Ints, passages: int) -> None:
    """Raise `ValueError` for rows that the segment does not have. It reads all of them."""
    if len(rows) and (rows.min() < 0 or rows.max() >= passages):
        raise ValueError("it names passages that the segment does not have")


def write_lists(path: Path, layout: Layout, counts: Rows, fixed: Columns, entries: Iterable[Columns]) -> FileMeta:
    """Write lists, through to the disk.

    Parameters
    ----------
    path : Path
    layout : Layout
    counts : numpy.ndarray
        Shape ``(K,)``: the length of each list.
    fixed : tuple of numpy.ndarray
        The columns by list and by passage.
    entries : iterable of tuple of numpy.ndarray
        The columns by entry, in the order of the lists, some entries at a time.
    """
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype("<i8")
    total = int(offsets[-1])
    kinds, kinds_by_entry = layout.by_list + layout.by_passage, layout.kinds_by_entry(len(fixed[-1]))
    header = np.array([(layout.magic, len(counts), len(fixed[-1]), total)], HEADER)
    with storage_errors(path), path.open("wb") as file:
        for column in (header, offsets, *(each.astype(kind) for each, kind in zip(fixed, kinds, strict=True))):
            file.write(column.tobytes())
        sizes = [np.dtype(kind).itemsize for kind in kinds_by_entry]
        starts = file.tell() + total * (np.cumsum(sizes) - sizes)
        done = 0
        for columns in entries:
            for column, kind, size, start in zip(columns, kinds_by_entry, sizes, starts.tolist(), strict=True):
                file.seek(start + done * size)
                file.write(column.astype(kind).tobytes())
            done += len(columns[0])
        file.flush()
        os.fsync(file.fileno())
    with storage_errors(path):
        return FileMeta.of(path)


class Source(NamedTuple):
    """Lists that are to be merged.

    Attributes
    ----------
    offsets : numpy.ndarray
        Shape ``(K + 1,)``.
    entries : tuple of numpy.ndarray
        The columns by entry.
    new_rows : numpy.ndarray
        Shape ``(n,)``, int32: the new row of each row; -1 for one that goes.
    """

    offsets: Rows
    entries: Columns
    new_rows: Ints

    def moved(self, first: int, last: int) -> Columns:
        """Return the entries of a range of lists that stay: which list, the new row, the other columns."""
        offsets = self.offsets[first : last + 1]
        span = slice(int(offsets[0]), int(offsets[-1]))
        rows = self.new_rows[self.entries[0][span]]
        lists = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(offsets))
        stays = rows >= 0
        return (lists[stays], rows[stays], *(column[span][stays] for column in self.entries[1:]))


def merged(sources: Sequence[Source], counts: Rows) -> Iterator[Columns]:
    """Yield the entries of lists of these lengths ``(K,)``, in order."""
    for first, last in blocks(np.concatenate([[0], np.cumsum(counts)])):
        lists, *entries = (
            np.concatenate(column) for column in zip(*(source.moved(first, last) for source in sources), strict=True)
        )
        order = np.lexsort((entries[0], lists))
        yield tuple(column[order] for column in entries)


def blocks(offsets: Rows, size: int = ENTRIES_BLOCK) -> Iterator[tuple[int, int]]:
    """Yield ranges of lists that have about so many entries."""
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
        last = min(max(last, first + 1), len(offsets) - 1)
        yield first, last
        first = last


class Spool:
    """Entries on their way into lists: written by passage, read by list. In memory while they are few.

    Parameters
    ----------
    folder : Path
        Of the temporary files.
    bounds : numpy.ndarray
        Growing: each file has the lists from one of them up to the next.
    columns : int
        How many numbers there are of an entry, the list and the row among them.
    """

    FILES = 16

    def __init__(self, folder: Path, bounds: Rows, columns: int) -> None:
        self._bounds, self._columns = bounds, columns
        self._files = [
            tempfile.SpooledTemporaryFile(SPOOL_BYTES, "w+b", dir=str(folder))  # noqa: SIM115 - until `__exit__`
            for _ in bounds[1:]
        ]

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def write(self, lists: Ints, *entries: Ints) -> None:
        """Keep entries of growing lists."""
        ends = np.searchsorted(lists, self._bounds)
        for file, first, last in zip(self._files, ends, ends[1:], strict=False):
            if last > first:
                file.write(np.stack([lists[first:last], *(each[first:last] for each in entries)], 1).tobytes())

    def entries(self) -> Iterator[Columns]:
        """Yield the entries by growing list, then row, without the lists."""
        for file in self._files:
            file.seek(0)
            lists, *entries = np.frombuffer(file.read(), np.int32).reshape(-1, self._columns).T
            order = np.lexsort((entries[0], lists))
            yield tuple(column[order] for column in entries)
