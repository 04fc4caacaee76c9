"""Which passages of a segment have which centroid: the inverted lists of the first stage, in one mapped file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ...files import open_regular
from ..files import storage_errors
from ..quantization.codebook import Probes
from ..quantization.scalar import Floats
from .state import FileMeta
from .vectors import Rows

HEADER = np.dtype([("magic", "S8"), ("centroids", "<i8"), ("passages", "<i8"), ("postings", "<i8")])
MAGIC = b"RXMPOST1"
POSTINGS_BLOCK = 2**21  # sorted at once, when lists are merged
SPOOL_BYTES = 2**20  # of each temporary file that stay in memory

Pairs: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32]]  # centroids and rows


class Postings(NamedTuple):
    """For each centroid, the passages that have it; for each passage, how many it has.

    Attributes
    ----------
    offsets : numpy.ndarray
        Shape ``(K + 1,)``, int64: where the list of each centroid begins, and where the last one ends.
    norms : numpy.ndarray
        Shape ``(n,)``, float32: what makes a passage's sparse vector one of unit length.
    rows : numpy.ndarray
        Shape ``(P,)``: rows of the segment's table, uint16 if it has at most 65,536 of them, else int32.
    """

    offsets: Rows
    norms: NDArray[np.float32]
    rows: NDArray[np.uint16] | NDArray[np.int32]

    @classmethod
    def open(cls, path: Path, passages: int) -> Postings:
        """Map the lists of a segment of so many passages.

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
            magic, centroids, there, postings = np.frombuffer(header, HEADER)[0].tolist()
            sections = [("<i8", centroids + 1), ("<f4", there), (row_type(there), postings)]
            sizes = [np.dtype(kind).itemsize * n for kind, n in sections]
            if magic != MAGIC or min(centroids, postings) < 0 or size != HEADER.itemsize + sum(sizes):
                raise ValueError("it is not whole")
            if there != passages:
                raise ValueError(f"it has {there} passages instead of {passages}")
            place, found = HEADER.itemsize, []
            for (kind, n), length in zip(sections, sizes, strict=True):
                found.append(np.asarray(np.memmap(file, kind, "r", place, (n,))) if n else np.empty(0, kind))
                place += length
        offsets, norms, rows = found
        if offsets[0] != 0 or offsets[-1] != postings or (np.diff(offsets) < 0).any():
            raise ValueError("its lists do not follow one another")
        return cls(offsets, norms, rows)

    def check(self) -> None:
        """Raise `ValueError` for rows that the segment does not have. It reads all of them."""
        if len(self.rows) and (self.rows.min() < 0 or self.rows.max() >= len(self.norms)):
            raise ValueError("it names passages that the segment does not have")

    def candidates(self, probes: Probes, limit: int, admitted: NDArray[np.bool_] | None) -> tuple[Rows, Floats]:
        """Return the rows of up to `limit` passages that have the most of what is looked for, and their scores.

        Parameters
        ----------
        probes : tuple
            Centroids and their weights.
        limit : int
        admitted : numpy.ndarray or None
            Shape ``(n,)``, bool: which passages count.

        Examples
        --------
        >>> postings = Postings(np.array([0, 2, 3]), np.ones(2, np.float32), np.array([0, 1, 1], np.int32))
        >>> rows, scores = postings.candidates((np.array([0, 1]), np.array([1.0, 0.5], np.float32)), 1, None)
        >>> rows.tolist(), scores.tolist()
        ([1], [1.5])
        """
        centroids, weights = probes
        starts, ends = self.offsets[centroids], self.offsets[centroids + 1]
        lists = [self.rows[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        if not lists:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        found, each = np.concatenate(lists), np.repeat(weights, ends - starts)
        if len(found) and (found.min() < 0 or found.max() >= len(self.norms)):
            raise ValueError("its lists name passages that the segment does not have")
        found = found.astype(np.int32, copy=False)
        # torch's is three times as fast as NumPy's, which converts both arrays first.
        sums = torch.bincount(torch.from_numpy(found), torch.from_numpy(each), minlength=len(self.norms))
        scores = sums.numpy().astype(np.float32, copy=False) * self.norms
        if admitted is not None:
            scores *= admitted
        rows = _largest(scores, limit)
        return rows, scores[rows]

    def blocks(self, size: int = POSTINGS_BLOCK) -> Iterator[tuple[int, int]]:
        """Yield ranges of centroids that have about so many postings."""
        first = 0
        while first < len(self.offsets) - 1:
            last = int(np.searchsorted(self.offsets, self.offsets[first] + size, side="right")) - 1
            last = min(max(last, first + 1), len(self.offsets) - 1)
            yield first, last
            first = last


def row_type(passages: int) -> str:
    """Return how the rows of a segment of so many passages are stored."""
    return "<u2" if passages <= 2**16 else "<i4"


def _largest(scores: Floats, limit: int) -> Rows:
    """Return where the `limit` largest are, or all above 0, growing; none is below."""
    positive = int(np.count_nonzero(scores))
    if positive <= limit:
        return np.flatnonzero(scores)
    if 2 * positive < len(scores):  # a partition of many equals takes long
        rows = np.flatnonzero(scores)
        return rows[_largest(scores[rows], limit)]
    least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    rows = np.flatnonzero(scores >= least)
    if len(rows) > limit:  # equals
        least_rows = np.flatnonzero(scores == least)
        rows = np.setdiff1d(rows, least_rows[len(least_rows) - (len(rows) - limit) :])
    return rows


# ---- writing


def write_postings(path: Path, centroids: int, blocks: Iterable[tuple[NDArray[np.int32], Rows]]) -> FileMeta:
    """Write the lists of a segment, through to the disk.

    Parameters
    ----------
    path : Path
    centroids : int
        How many there are.
    blocks : iterable
        The nearest centroid of each token ``(t,)`` and the lengths ``(n,)`` of the passages, a few rows of the table
        at a time. Meanwhile their pairs are in temporary files, one for each range of centroids.

    Raises
    ------
    StorageError
        If that is not possible.
    """
    counts, sizes, first = np.zeros(centroids, np.int64), [], 0
    with storage_errors(path), _Spool(path.parent, centroids) as spool:
        for nearest, lengths in blocks:
            keys = _distinct(nearest, lengths)
            named, rows = (keys // len(lengths)).astype(np.int32), (keys % len(lengths)).astype(np.int32)
            sizes.append(np.bincount(rows, minlength=len(lengths)))
            counts += np.bincount(named, minlength=centroids)
            spool.write(named, rows + np.int32(first))
            first += len(lengths)
        return _write(path, counts, np.concatenate(sizes) if sizes else np.empty(0), spool.sorted_pairs())


def merge_postings(path: Path, passages: int, sources: Sequence[tuple[Postings, NDArray[np.int32]]]) -> FileMeta:
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
    centroids = len(sources[0][0].offsets) - 1
    counts, sizes = np.zeros(centroids, np.int64), np.zeros(passages, np.int64)
    for postings, new_rows in sources:
        for first, last in postings.blocks():
            named, rows = _moved(postings, new_rows, first, last)
            counts += np.bincount(named, minlength=centroids)
            sizes += np.bincount(rows, minlength=passages)

    def sorted_pairs() -> Iterator[Pairs]:
        for first, last in Postings(np.concatenate([[0], np.cumsum(counts)]), np.empty(0), np.empty(0)).blocks():
            found = [_moved(postings, new_rows, first, last) for postings, new_rows in sources]
            named, rows = (np.concatenate(columns) for columns in zip(*found, strict=True))
            order = np.lexsort((rows, named))
            yield named[order], rows[order]

    with storage_errors(path):
        return _write(path, counts, sizes, sorted_pairs())


def _moved(postings: Postings, new_rows: NDArray[np.int32], first: int, last: int) -> Pairs:
    """Return the pairs of a range of centroids that stay, with their new rows."""
    offsets = postings.offsets[first : last + 1]
    rows = new_rows[postings.rows[offsets[0] : offsets[-1]]]
    named = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(offsets))
    stays = rows >= 0
    return named[stays], rows[stays]


def _write(path: Path, counts: Rows, sizes: Rows, pairs: Iterable[Pairs]) -> FileMeta:
    """Write lists of these lengths ``(K,)``, of passages with so many centroids ``(n,)``, from pairs in order."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    header = np.array([(MAGIC, len(counts), len(sizes), offsets[-1])], HEADER)
    norms = np.maximum(sizes, 1).astype(np.float64) ** -0.5
    digest, written = hashlib.sha256(), 0
    with path.open("wb") as file:

        def write(content: bytes) -> None:
            nonlocal written
            file.write(content)
            digest.update(content)
            written += len(content)

        write(header.tobytes() + offsets.astype("<i8").tobytes() + norms.astype("<f4").tobytes())
        for _, rows in pairs:
            write(rows.astype(row_type(len(sizes))).tobytes())
        file.flush()
        os.fsync(file.fileno())
    return FileMeta(written, digest.hexdigest())


def _distinct(nearest: NDArray[np.int32], lengths: Rows) -> NDArray[np.int64]:
    """Return ``centroid · n + passage`` for the distinct centroids of each of `n` passages, growing."""
    keys = nearest.astype(np.int64) * len(lengths) + np.repeat(np.arange(len(lengths)), lengths)
    keys.sort()
    return keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys


class _Spool:
    """Pairs on their way into lists: written by passage, read by centroid. In memory while they are few."""

    RANGES = 16

    def __init__(self, folder: Path, centroids: int) -> None:
        self._bounds = np.linspace(0, centroids, self.RANGES + 1).astype(np.int64)
        self._files = [
            tempfile.SpooledTemporaryFile(SPOOL_BYTES, "w+b", dir=str(folder))  # noqa: SIM115 - until `__exit__`
            for _ in range(self.RANGES)
        ]

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def write(self, centroids: NDArray[np.int32], rows: NDArray[np.int32]) -> None:
        """Keep pairs of growing centroids."""
        ends = np.searchsorted(centroids, self._bounds)
        for file, first, last in zip(self._files, ends, ends[1:], strict=False):
            if last > first:
                file.write(np.stack([centroids[first:last], rows[first:last]], 1).tobytes())

    def sorted_pairs(self) -> Iterator[Pairs]:
        """Yield the pairs by growing centroid, then row."""
        for file in self._files:
            file.seek(0)
            pairs = np.frombuffer(file.read(), np.int32).reshape(-1, 2)
            order = np.argsort(pairs[:, 0], kind="stable")
            yield pairs[order, 0], pairs[order, 1]
