"""Lexical search over the pieces that a checkpoint's tokeniser cuts texts into: BM25, and its sum with MaxSim.

Pieces need no analyser and no word breaks, so that every language is treated alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

K1, B = 1.2, 0.75
# Candidates of each kind, and of each kind for a result: more find no more, and take longer (benchmarks/hybrid.py).
LISTED, LISTED_PER_RESULT = 20, 2

Floats: TypeAlias = NDArray[np.float64]
Terms: TypeAlias = (
    "tuple[NDArray[np.int32], NDArray[np.int32]]"  # distinct pieces of a query, and how often it has each
)


@dataclass(frozen=True, slots=True, eq=False)
class PieceCounts:
    """The pieces of `n` texts, concatenated.

    Attributes
    ----------
    ids : numpy.ndarray
        Shape ``(P,)``, int32: the distinct vocabulary ids of each text, growing within it.
    counts : numpy.ndarray
        Shape ``(P,)``, int32: how often the text has each.
    lengths : numpy.ndarray
        Shape ``(n,)``, int64: how many distinct ones each text has; sums to ``P``.
    """

    ids: NDArray[np.int32]
    counts: NDArray[np.int32]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> PieceCounts:
        """Count the vocabulary ids of each text.

        Examples
        --------
        >>> found = PieceCounts.of([[7, 3, 7], [], [3]])
        >>> found.ids.tolist(), found.counts.tolist(), found.lengths.tolist()
        ([3, 7, 3], [1, 2, 1], [2, 0, 1])
        """
        ids = np.fromiter((i for text in texts for i in text), np.int64)
        owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        keys, counts = np.unique(owners << 32 | ids, return_counts=True)
        lengths = np.bincount(keys >> 32, minlength=len(texts))
        return cls((keys & 0xFFFFFFFF).astype(np.int32), counts.astype(np.int32), lengths.astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence[PieceCounts]) -> PieceCounts:
        """Return the pieces of the texts of all parts."""
        columns = zip(*((each.ids, each.counts, each.lengths) for each in (NO_PIECES, *parts)), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Terms]:
        """Yield the distinct pieces of each text, and how often it has each."""
        ends = np.cumsum(self.lengths)[:-1]
        return zip(np.split(self.ids, ends), np.split(self.counts, ends), strict=False) if len(self) else iter(())

    @property
    def owners(self) -> NDArray[np.int64]:
        """Which text each of the `ids` belongs to: ``(P,)``."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def totals(self) -> NDArray[np.int64]:
        """How many pieces each text has, repeated ones included: ``(n,)``."""
        sums = np.bincount(self.owners, self.counts, len(self))
        return sums.astype(np.int64)

    def part(self, first: int, last: int) -> PieceCounts:
        """Return those of a range of texts."""
        start, end = int(self.lengths[:first].sum()), int(self.lengths[:last].sum())
        return PieceCounts(self.ids[start:end], self.counts[start:end], self.lengths[first:last])

    def select(self, texts: NDArray[np.bool_] | Sequence[int]) -> PieceCounts:
        """Return those of the texts at growing positions, or that a mask ``(n,)`` marks."""
        mask = np.zeros(len(self), np.bool_)
        mask[texts] = True
        kept = np.repeat(mask, self.lengths)
        return PieceCounts(self.ids[kept], self.counts[kept], self.lengths[mask])


NO_PIECES = PieceCounts(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))


class HybridHits(NamedTuple):
    """The results of a hybrid search, best first; ties go to the smaller pid. Padding as in `Hits`.

    Attributes
    ----------
    pids : numpy.ndarray
        Shape ``(Q, k)``, int64.
    scores : numpy.ndarray
        Shape ``(Q, k)``, float32, from 0 to 1: see `fuse`.
    maxsim, lexical : numpy.ndarray
        Shape ``(Q, k)``, float32: MaxSim and BM25 of the same passages.
    """

    pids: NDArray[np.int64]
    scores: NDArray[np.float32]
    maxsim: NDArray[np.float32]
    lexical: NDArray[np.float32]


class Fused(NamedTuple):
    """The best passages for one query, best first: pids ``(n,)``, and their scores of each kind, float32."""

    pids: NDArray[np.int64]
    scores: NDArray[np.float32]
    maxsim: NDArray[np.float32]
    lexical: NDArray[np.float32]


NOTHING = Fused(np.empty(0, np.int64), *(np.empty(0, np.float32) for _ in range(3)))


def listed(k: int) -> int:
    """Return how many candidates MaxSim and BM25 each name for the best `k`."""
    return max(LISTED, LISTED_PER_RESULT * k)


def term_weights(counts: NDArray[np.int32], frequencies: NDArray[np.int64], passages: int) -> Floats:
    """Return what each piece of a query can add to a score at the most: its count, times Lucene's idf.

    Parameters
    ----------
    counts : numpy.ndarray
        How often the query has each piece.
    frequencies : numpy.ndarray
        How many passages have it.
    passages : int
        How many there are.
    """
    return counts * np.log1p((passages - frequencies + 0.5) / (frequencies + 0.5))


def saturations(counts: NDArray[np.int32], lengths: NDArray[np.int64], mean: float) -> Floats:
    """Return which part of that a passage of a length gets that has the piece so many times.

    Notes
    -----
    Robertson et al., "Okapi at TREC-3", 1994, in the form that Lucene has: without a factor of ``k1 + 1``, and with an
    idf that is never negative.
    """
    return counts / (counts + (K1 * (1 - B) + K1 * B / max(mean, 1e-9) * lengths))


def fuse(pids: NDArray[np.int64], maxsim: NDArray[np.float32], lexical: Floats, weight: float, k: int) -> Fused:
    """Return the best `k` of some candidates by the weighted sum of both scores, each scaled to 0 to 1 among them.

    Examples
    --------
    >>> found = fuse(np.array([4, 5, 6]), np.float32([20, 10, 15]), np.array([0, 8, 8.0]), 0.25, 2)
    >>> found.pids.tolist(), found.scores.tolist()
    ([4, 6], [0.75, 0.625])
    """
    scores = (1 - weight) * scaled(maxsim) + weight * scaled(lexical)
    scores = scores.astype(np.float32)
    best = np.lexsort((pids, -scores))[:k]
    return Fused(pids[best], scores[best], maxsim[best], lexical[best].astype(np.float32))


def scaled(scores: NDArray[np.floating]) -> Floats:
    """Return scores as parts of the way from the lowest to the highest; where these are equal, 1, or 0 if they are 0.

    Examples
    --------
    >>> scaled(np.array([1.0, 3.0, 2.0])).tolist(), scaled(np.array([5.0])).tolist(), scaled(np.zeros(2)).tolist()
    ([0.0, 1.0, 0.5], [1.0], [0.0, 0.0])
    """
    wide: Floats = scores.astype(np.float64)
    low, high = (wide.min(), wide.max()) if len(wide) else (0.0, 0.0)
    if low == high:
        return np.full(len(wide), float(high != 0))
    result: Floats = (wide - low) / (high - low)
    return result


def to_hybrid_hits(found: Sequence[Fused], k: int) -> HybridHits:
    """Return the hits of several queries, at most `k` each, as padded arrays."""
    pids = np.full((len(found), k), -1, np.int64)
    hits = HybridHits(pids, *(np.full(pids.shape, -np.inf, np.float32) for _ in range(3)))
    for row, each in enumerate(found):
        for column, values in zip(hits, each, strict=True):
            column[row, : len(values)] = values
    return hits


def scan(parts: Sequence[tuple[PieceCounts, NDArray[np.bool_]]], terms: Terms) -> list[Floats]:
    """Return the BM25 scores of passages by going through all of their pieces.

    Parameters
    ----------
    parts : sequence of (PieceCounts, numpy.ndarray)
        The pieces of some passages, and which of these count, ``(n,)`` bool.
    terms : tuple
        The distinct pieces of a query, growing, and how often it has each.

    Returns
    -------
    list of numpy.ndarray
        For each part, the scores ``(n,)``.
    """
    ids, counts = terms
    passages = sum(int(live.sum()) for _, live in parts)
    mean = sum(int(pieces.totals[live].sum()) for pieces, live in parts) / max(passages, 1)
    places = [np.minimum(np.searchsorted(ids, pieces.ids), len(ids) - 1) for pieces, _ in parts if len(ids)]
    if not places:
        return [np.zeros(len(live)) for _, live in parts]
    shared = [ids[place] == pieces.ids for place, (pieces, _) in zip(places, parts, strict=True)]
    frequencies = np.zeros(len(ids), np.int64)
    for place, same, (pieces, live) in zip(places, shared, parts, strict=True):
        frequencies += np.bincount(place[same & live[pieces.owners]], minlength=len(ids))
    weights = term_weights(counts, frequencies, passages)
    found = []
    for place, same, (pieces, _) in zip(places, shared, parts, strict=True):
        owners = pieces.owners[same]
        parts_of = weights[place[same]] * saturations(pieces.counts[same], pieces.totals[owners], mean)
        found.append(np.bincount(owners, parts_of, len(pieces)))
    return found
