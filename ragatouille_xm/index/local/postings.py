"""Which passages of a segment have which centroid: the inverted lists of the first stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..files import storage_errors
from ..quantization.codebook import Probes
from ..quantization.scalar import Floats
from .lists import Layout, Source, Spool, blocks, check_rows, merged, open_lists, write_lists
from .state import FileMeta
from .vectors import Rows

LAYOUT = Layout(b"RXMPOST1", by_list=(), by_passage=("<f4",), by_entry=())


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
        offsets, (norms, rows) = open_lists(path, LAYOUT, passages)
        return cls(offsets, norms, rows)

    def check(self) -> None:
        """Raise `ValueError` for rows that the segment does not have. It reads all of them."""
        check_rows(self.rows, len(self.norms))

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
        rows = largest(scores, limit)
        return rows, scores[rows]


def largest(scores: Floats, limit: int) -> Rows:
    """Return where the `limit` largest are, or all above 0, growing; none is below."""
    positive = int(np.count_nonzero(scores))
    if positive <= limit:
        return np.flatnonzero(scores)
    if 2 * positive < len(scores):  # a partition of many equals takes long
        rows = np.flatnonzero(scores)
        return rows[largest(scores[rows], limit)]
    least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    rows = np.flatnonzero(scores >= least)
    if len(rows) > limit:  # equals
        least_rows = np.flatnonzero(scores == least)
        rows = np.setdiff1d(rows, least_rows[len(least_rows) - (len(rows) - limit) :])
    return rows


# ---- writing


def write_postings(path: Path, centroids: int, tokens: Iterable[tuple[NDArray[np.int32], Rows]]) -> FileMeta:
    """Write the lists of a segment, through to the disk.

    Parameters
    ----------
    path : Path
    centroids : int
        How many there are.
    tokens : iterable
        The nearest centroid of each token ``(t,)`` and the lengths ``(n,)`` of the passages, a few rows of the table
        at a time. Meanwhile their pairs are in temporary files, one for each range of centroids.

    Raises
    ------
    StorageError
        If that is not possible.
    """
    counts, sizes, first = np.zeros(centroids, np.int64), [], 0
    bounds = np.linspace(0, centroids, Spool.FILES + 1).astype(np.int64)
    with storage_errors(path), Spool(path.parent, bounds, columns=2) as spool:
        for nearest, lengths in tokens:
            keys = _distinct(nearest, lengths)
            named, rows = (keys // len(lengths)).astype(np.int32), (keys % len(lengths)).astype(np.int32)
            sizes.append(np.bincount(rows, minlength=len(lengths)))
            counts += np.bincount(named, minlength=centroids)
            spool.write(named, rows + np.int32(first))
            first += len(lengths)
        norms = _norms(np.concatenate(sizes) if sizes else np.empty(0))
        return write_lists(path, LAYOUT, counts, (norms,), spool.entries())


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
    lists = [Source(postings.offsets, (postings.rows,), new_rows) for postings, new_rows in sources]
    for source in lists:
        for first, last in blocks(source.offsets):
            named, rows = source.moved(first, last)
            counts += np.bincount(named, minlength=centroids)
            sizes += np.bincount(rows, minlength=passages)
    return write_lists(path, LAYOUT, counts, (_norms(sizes),), merged(lists, counts))


def _norms(sizes: Rows) -> Floats:
    """Return what makes the sparse vectors of passages with so many centroids ``(n,)`` ones of unit length."""
    return (np.maximum(sizes, 1).astype(np.float64) ** -0.5).astype(np.float32)


def _distinct(nearest: NDArray[np.int32], lengths: Rows) -> NDArray[np.int64]:
    """Return ``centroid · n + passage`` for the distinct centroids of each of `n` passages, growing."""
    keys = nearest.astype(np.int64) * len(lengths) + np.repeat(np.arange(len(lengths)), lengths)
    keys.sort()
    return keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
