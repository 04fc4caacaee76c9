"""From the rows of queries to hits, and from hits to their neighbours: what engines share of a search."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ..types import Hits

Scored: TypeAlias = list[tuple[int, float]]  # pids and scores, best first, ties by pid


def query_rows(queries: torch.Tensor) -> list[NDArray[np.float32]]:
    """Return the rows ``(q, dim)`` of each query ``(Q, q_len, dim)`` without padding; one row of zeros if all are."""
    # NumPy, since torch picks rows on all of its threads, which then spin on cores that the search needs.
    rows = [query[query.any(1)] for query in queries.detach().to("cpu", torch.float32).numpy()]
    return [each if len(each) else np.zeros((1, queries.shape[2]), np.float32) for each in rows]


def to_hits(found: Sequence[Scored], k: int) -> Hits:
    """Return the hits of several queries, at most `k` each, as padded arrays."""
    hits = Hits(np.full((len(found), k), -1, dtype=np.int64), np.full((len(found), k), -np.inf, dtype=np.float32))
    for i, scored in enumerate(found):
        hits.pids[i, : len(scored)] = [pid for pid, _ in scored]
        hits.scores[i, : len(scored)] = [score for _, score in scored]
    return hits


def join_hits(parts: Iterable[Hits], k: int) -> Hits:
    """Return the hits, `k` each, of all parts of the queries."""
    return Hits(*(np.concatenate(columns) for columns in zip(to_hits([], k), *parts, strict=True)))


def near(pids: Sequence[int], pid: int, n: int) -> Sequence[int]:
    """Return the pids from `n` before to `n` after one of `pids`, which are growing.

    Examples
    --------
    >>> near([2, 3, 5, 8, 9], 3, 2)
    [2, 3, 5, 8]
    """
    place = bisect_left(pids, pid)
    return pids[max(place - n, 0) : place + n + 1]
