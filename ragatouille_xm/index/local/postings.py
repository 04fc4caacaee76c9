"""Which passages of a part have which centroid: the inverted lists of the first stage, in one mapped file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import IndexDamagedError
from ..files import ASIDE, check_space, storage_errors, sync
from ..quantization.codebook import Probes
from ..quantization.scalar import Floats
from .vectors import Rows

HEADER = np.dtype([("magic", "S8"), ("centroids", "<i8"), ("passages", "<i8"), ("postings", "<i8")])
MAGIC = b"RXMPOST1"


class Postings(NamedTuple):
    """For each centroid, the passages that have it; for each passage, how many it has.

    Attributes
    ----------
    offsets : numpy.ndarray
        Shape ``(K + 1,)``, int64: where the list of each centroid begins, and where the last one ends.
    norms : numpy.ndarray
        Shape ``(n,)``, float32: what makes a passage's sparse vector one of unit length.
    rows : numpy.ndarray
        Shape ``(P,)``, int32: rows of the part's table.
    """

    offsets: Rows
    norms: NDArray[np.float32]
    rows: NDArray[np.int32]

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
        # torch's is three times as fast as numpy's, which makes other types of both first.
        sums = torch.bincount(torch.from_numpy(found), torch.from_numpy(each), minlength=len(self.norms))
        scores = sums.numpy().astype(np.float32, copy=False) * self.norms
        if admitted is not None:
            scores *= admitted
        rows = _largest(scores, limit)
        return rows, scores[rows]


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


def write_postings(path: Path, centroids: int, passages: int, blocks: Iterable[tuple[NDArray[np.int32], Rows]]) -> None:
    """Write the lists of a part, all of it on the disk.

    Parameters
    ----------
    path : Path
    centroids, passages : int
        How many there are.
    blocks : iterable
        The nearest centroid of each token ``(t,)`` and the lengths ``(n,)`` of the passages, a few rows of the table
        at a time. They are kept in a temporary file meanwhile.

    Raises
    ------
    StorageError
        If that is not possible.
    """
    aside = path.with_name(path.name + ASIDE)
    counts, sizes = np.zeros(centroids, np.int64), []
    with storage_errors(path), tempfile.TemporaryFile(dir=path.parent) as spool:
        chunks, first = [], 0
        for nearest, lengths in blocks:
            keys = _distinct(nearest, lengths)
            named = (keys // len(lengths)).astype(np.int32)
            rows = (keys % len(lengths)).astype(np.int32)
            sizes.append(np.bincount(rows, minlength=len(lengths)))
            counts += np.bincount(named, minlength=centroids)
            spool.write(named.tobytes() + (rows + np.int32(first)).tobytes())
            chunks.append(len(keys))
            first += len(lengths)
        spool.seek(0)
        norms = np.concatenate(sizes) ** -0.5 if sizes else np.empty(0)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        check_space(path.parent, 8 * len(offsets) + 4 * (len(norms) + int(offsets[-1])))  # the rest is written mapped
        header = np.array([(MAGIC, centroids, passages, offsets[-1])], HEADER)
        with aside.open("w+b") as file:
            file.write(header.tobytes() + offsets.tobytes() + norms.astype(np.float32).tobytes())
            at = file.tell()
            file.truncate(at + 4 * int(offsets[-1]))
        if offsets[-1]:
            out = np.memmap(aside, np.int32, "r+", at, (int(offsets[-1]),))
            cursor = offsets[:-1].copy()
            for n in chunks:
                named, rows = np.frombuffer(spool.read(8 * n), np.int32).reshape(2, n)
                here = np.bincount(named, minlength=centroids)  # they are in order
                out[np.arange(n) + np.repeat(cursor - np.cumsum(here) + here, here)] = rows
                cursor += here
            out.flush()
            del out
        sync(aside)
        aside.replace(path)
        sync(path.parent)


def _distinct(nearest: NDArray[np.int32], lengths: Rows) -> Rows:
    """Return the pairs of centroid and passage that occur, as ``centroid · n + passage``, growing."""
    keys = np.sort(nearest.astype(np.int64) * len(lengths) + np.repeat(np.arange(len(lengths)), lengths))
    return keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]


def read_postings(path: Path) -> Postings:
    """Map the file. Raise `IndexDamagedError` if it is missing or not whole."""
    try:
        with path.open("rb") as file:
            [(magic, centroids, passages, postings)] = np.fromfile(file, HEADER, 1).tolist()
        sections = [("<i8", centroids + 1), ("<f4", passages), ("<i4", postings)]
        sizes = [np.dtype(kind).itemsize * n for kind, n in sections]
        if magic != MAGIC or path.stat().st_size != HEADER.itemsize + sum(sizes):
            raise ValueError("it is not whole")
        at, found = HEADER.itemsize, []
        for (kind, n), size in zip(sections, sizes, strict=True):
            found.append(np.asarray(np.memmap(path, kind, "r", at, (n,))) if n else np.empty(0, kind))
            at += size
        offsets = found[0]
        if offsets[0] != 0 or offsets[-1] != postings or (np.diff(offsets) < 0).any():
            raise ValueError("its lists do not follow one another")
        return Postings(*found)
    except (OSError, ValueError) as error:
        raise IndexDamagedError(
            f"{str(path)!r} cannot be read: {error}. Index the documents again, or restore the file from a copy."
        ) from error
