"""Which passages of a segment have which piece of the tokeniser's: the inverted lists of lexical search."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...files import open_regular
from ..files import storage_errors
from ..lexical import PieceCounts
from .folder import LEXICAL, PIECES
from .lists import Columns, Ints, Layout, Source, Spool, blocks, check_rows, merged, open_lists, write_lists
from .state import FileMeta
from .vectors import Rows

LAYOUT = Layout(b"RXMLEXI1", by_list=("<i4",), by_passage=("<i4",), by_entry=("<u2",))
ENTRY = np.dtype([("pid", "<i8"), ("piece", "<i4"), ("count", "<i4")])
ENTRIES_BLOCK = 2**20  # read at once
MOST = 2**16 - 1  # of a piece in a passage: more count as so many


class PieceLists(NamedTuple):
    """For each piece, the passages that have it, and how often.

    Attributes
    ----------
    offsets : numpy.ndarray
        Shape ``(K + 1,)``, int64: where the list of each piece begins, and where the last one ends.
    pieces : numpy.ndarray
        Shape ``(K,)``, int32: vocabulary ids, growing.
    lengths : numpy.ndarray
        Shape ``(n,)``, int32: how many pieces each passage has, repeated ones included.
    rows : numpy.ndarray
        Shape ``(P,)``: rows of the segment's table, growing within a list; uint16 or int32, as of postings.
    counts : numpy.ndarray
        Shape ``(P,)``, uint16: how often that passage has the piece.

    Examples
    --------
    >>> lists = PieceLists.of(PieceCounts.of([[7, 3, 7], [3]]))
    >>> [lists.rows[part].tolist() for part in lists.find(np.array([3, 4, 7]))]
    [[0, 1], [], [0]]
    """

    offsets: Rows
    pieces: Ints
    lengths: Ints
    rows: NDArray[np.uint16] | Ints
    counts: NDArray[np.uint16]

    @classmethod
    def open(cls, path: Path, passages: int) -> PieceLists:
        """Map the lists of a segment of so many passages.

        Raises
        ------
        OSError, ValueError
            If the file is missing, or does not hold such lists.
        """
        offsets, columns = open_lists(path, LAYOUT, passages)
        lists = cls(offsets, *columns)
        if (np.diff(lists.pieces) <= 0).any() or (np.diff(offsets) <= 0).any():
            raise ValueError("its pieces do not grow, or a list is empty")
        return lists

    @classmethod
    def of(cls, pieces: PieceCounts) -> PieceLists:
        """Return the lists of passages in memory, in this order."""
        order = np.argsort(pieces.ids, kind="stable")
        found, sizes = np.unique(pieces.ids, return_counts=True)
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]),
            found,
            pieces.totals.astype(np.int32),
            pieces.owners[order].astype(np.int32),
            np.minimum(pieces.counts[order], MOST).astype(np.uint16),
        )

    def check(self) -> None:
        """Raise `ValueError` for rows that the segment does not have, or twice in a list. It reads all of them."""
        check_rows(self.rows, len(self.lengths))
        grows = self.rows[1:] > self.rows[:-1]
        grows[self.offsets[1:-1] - 1] = True  # where one list ends and the next begins
        if not grows.all():
            raise ValueError("its lists name a passage twice")

    def find(self, pieces: NDArray[np.integer]) -> list[slice]:
        """Return where the list of each of the pieces is."""
        if not len(self.pieces):
            return [slice(0, 0)] * len(pieces)
        places = np.minimum(np.searchsorted(self.pieces, pieces), len(self.pieces) - 1)
        known = self.pieces[places] == pieces
        ends = np.where(known, self.offsets[places + 1], 0).tolist()
        return [slice(*pair) for pair in zip(np.where(known, self.offsets[places], 0).tolist(), ends, strict=True)]


class PieceWriter:
    """Keeps the pieces of the passages of a segment that no commit names yet, until they become lists.

    The file has an entry for each passage, with how many pieces it has and -1 in the place of one, and behind it an
    entry for each of them.

    Parameters
    ----------
    folder : Path
    name : str
        Of the segment.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._path = folder / f"{name}{PIECES}"
        with storage_errors(folder):
            self._file = self._path.open("ab")

    def append(self, pids: Sequence[int] | Rows, pieces: PieceCounts) -> None:
        """Write the pieces of passages."""
        entries = np.empty(len(pieces) + len(pieces.ids), ENTRY)
        lengths = pieces.lengths
        heads = np.cumsum(lengths) - lengths + np.arange(len(pieces))
        inner = np.ones(len(entries), np.bool_)
        inner[heads] = False
        entries["pid"] = np.repeat(np.asarray(pids, np.int64), lengths + 1)
        for name, head, values in (("piece", -1, pieces.ids), ("count", pieces.totals, pieces.counts)):
            entries[name][heads] = head
            entries[name][inner] = values
        with storage_errors(self._folder):
            self._file.write(entries.tobytes())

    def flush(self) -> None:
        """Write everything through to the disk."""
        with storage_errors(self._folder):
            self._file.flush()
            os.fsync(self._file.fileno())

    def recover(self, passages: int) -> None:
        """Go on with the file of another process, which held so many passages when it committed last.

        Raises
        ------
        ValueError
            If there are fewer in it.
        """
        with storage_errors(self._folder):
            self._file.truncate(committed_bytes(self._path, passages))

    def finish(self, pids: Rows) -> FileMeta:
        """Write the lists of those of the passages whose pids ``(n,)`` are given, in that order; return their file."""
        self.flush()
        self._file.close()
        path = self._folder / f"{self._name}{LEXICAL}"
        entries = _read(self._path)
        lengths, found = np.zeros(len(pids), np.int32), [np.empty(0, np.int32)]
        for rows, pieces, counts in _blocks(entries, pids):
            heads = pieces < 0
            lengths[rows[heads]] = counts[heads]
            found.append(_distinct(pieces[~heads]))
        distinct = _distinct(np.concatenate(found))
        sizes = np.zeros(len(distinct), np.int64)
        for _, pieces, _ in _blocks(entries, pids):
            sizes += np.bincount(np.searchsorted(distinct, pieces[pieces >= 0]), minlength=len(distinct))
        # Frequent pieces have small ids: files of about as many entries each.
        share = np.linspace(0, sizes.sum(), Spool.FILES + 1)[1:-1]
        bounds = np.concatenate([[0], np.searchsorted(np.cumsum(sizes), share), [len(distinct)]])
        with storage_errors(path), Spool(path.parent, bounds, columns=3) as spool:
            for rows, pieces, counts in _blocks(entries, pids):
                inner = np.flatnonzero(pieces >= 0)
                lists = np.searchsorted(distinct, pieces[inner]).astype(np.int32)
                order = np.argsort(lists, kind="stable")
                spool.write(lists[order], rows[inner][order], np.minimum(counts[inner][order], MOST))
            return write_lists(path, LAYOUT, sizes, (distinct, lengths), spool.entries())

    def discard(self) -> None:
        """Remove the files."""
        with suppress(OSError):  # a full disk: what was not written is not wanted any more
            self._file.close()
        for end in (PIECES, LEXICAL):
            with suppress(OSError):
                (self._folder / f"{self._name}{end}").unlink()


def committed_bytes(path: Path, passages: int) -> int:
    """Return how much of a file of pieces so many passages take.

    Raises
    ------
    OSError, ValueError
        If it is missing, or there are fewer in it.
    """
    entries = _read(path)
    heads = np.flatnonzero(entries["piece"] < 0)
    if len(heads) < passages:
        raise ValueError(f"{path.name} is shorter than when it was committed")
    end = heads[passages] if passages < len(heads) else len(entries)
    size: int = int(end) * ENTRY.itemsize
    return size


def merge_lists(path: Path, passages: int, sources: Sequence[tuple[PieceLists, Ints]]) -> FileMeta:
    """Write the lists of a segment of so many passages from those of the segments that it replaces.

    Parameters
    ----------
    path : Path
    passages : int
    sources : sequence
        The lists of a segment, and the new row of each of its rows ``(n,)``; -1 for a row that goes.

    Raises
    ------
    StorageError
        If that is not possible.
    """
    pieces = _distinct(np.concatenate([lists.pieces for lists, _ in sources]))
    sizes, lengths = np.zeros(len(pieces), np.int64), np.zeros(passages, np.int32)
    moving = []
    for lists, new_rows in sources:
        offsets = lists.offsets[np.searchsorted(lists.pieces, np.append(pieces, 2**31))]  # over the pieces of all
        moving.append(Source(offsets, (lists.rows, lists.counts), new_rows))
        stays = new_rows >= 0
        lengths[new_rows[stays]] = lists.lengths[stays]
        for first, last in blocks(offsets):
            sizes += np.bincount(moving[-1].moved(first, last)[0], minlength=len(pieces))
    left = sizes > 0  # deleted passages may have been the only ones
    return write_lists(path, LAYOUT, sizes[left], (pieces[left], lengths), merged(moving, sizes))


def _distinct(pieces: Ints) -> Ints:
    """Return the distinct ones, growing. NumPy's `unique` imports what takes a small addition's time."""
    ordered = np.sort(pieces)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def _read(path: Path) -> NDArray[np.void]:
    with open_regular(path) as file:
        n = os.fstat(file.fileno()).st_size // ENTRY.itemsize
        return np.memmap(file, ENTRY, "r", shape=(n,)) if n else np.empty(0, ENTRY)


def _blocks(entries: NDArray[np.void], pids: Rows) -> Iterator[Columns]:
    """Yield the rows, pieces and counts of those entries whose pids are among the growing `pids`, some at a time."""
    for start in range(0, len(entries), ENTRIES_BLOCK):
        block = entries[start : start + ENTRIES_BLOCK]
        rows = np.minimum(np.searchsorted(pids, block["pid"]), len(pids) - 1)
        kept = pids[rows] == block["pid"] if len(pids) else np.zeros(len(block), np.bool_)
        yield rows[kept].astype(np.int32), np.asarray(block["piece"][kept]), np.asarray(block["count"][kept])
