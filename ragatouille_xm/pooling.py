"""Fewer token vectors: those of a passage merged by Ward's method.

This is the pooling of Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal
Performance Impact via Token Pooling" (arXiv 2409.14683). `docs/decisions/018-pooling.md` has the choices and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import InputError
from .types import TokenVectors

LEAST_ROWS = 16  # that a passage has left, of those that may be merged: fewer lose much and save little
CANCELLED = 1e-6  # a sum of unit vectors below this has no direction


def check_pooling(pooling: object) -> None:
    """Raise `InputError` unless `pooling` is a whole number of at least 1."""
    if isinstance(pooling, bool) or not isinstance(pooling, int) or pooling < 1:
        raise InputError(
            f"pooling={pooling!r} is not usable: give a whole number, 1 to keep every token vector of a passage, 2 to "
            "keep half as many."
        )


def pool_tokens(vectors: TokenVectors, kept: Sequence[bool], pooling: int) -> TokenVectors:
    """Merge similar token vectors of each passage.

    The rows of a passage that are not `kept`, n of them, become n / `pooling`, rounded up, but no fewer than 16: a
    passage that is so short stays as it is. A merged row is the mean of its members, scaled to unit length, and stands
    in the place of the first. Each passage is pooled by itself.

    Parameters
    ----------
    vectors : TokenVectors
    kept : sequence of bool
        Which of the T rows stay as they are.
    pooling : int
        At least 1.

    Returns
    -------
    TokenVectors
        float32, on the CPU, without ids, since a merged row stands for several tokens.

    Examples
    --------
    >>> vectors = TokenVectors(torch.nn.functional.normalize(torch.randn(60, 8)), torch.tensor([42, 18]))
    >>> pool_tokens(vectors, [True, True, *[False] * 58], 2).lengths
    tensor([22, 16])
    """
    rows = vectors.vectors.detach().float().cpu()
    free = ~np.asarray(kept, dtype=bool)
    group = np.arange(len(rows))  # of each row, the first row that it is merged with
    ends = vectors.lengths.cumsum(0).tolist()
    for start, end in pairwise([0, *ends]):
        poolable = start + np.flatnonzero(free[start:end])
        clusters = max(ceil(len(poolable) / pooling), LEAST_ROWS)
        group[poolable] = poolable[ward(rows.numpy()[poolable], clusters)]
    firsts, place, count = np.unique(group, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(firsts), vectors.dim).index_add_(0, torch.from_numpy(place), rows)
    norms = sums.norm(dim=1, keepdim=True)
    merged = torch.from_numpy(count > 1)[:, None] & (norms > CANCELLED)
    pooled = torch.where(merged, sums / norms, rows[firsts])
    return TokenVectors(pooled, torch.from_numpy(np.bincount(np.searchsorted(ends, firsts, side="right"))))


def ward(rows: NDArray[np.float32], clusters: int) -> NDArray[np.int64]:
    """Cluster unit vectors by Ward's method.

    The two clusters whose merger adds least to the sum of squared distances from the means are merged, again and again.

    Parameters
    ----------
    rows : numpy.ndarray
        Shape ``(n, dim)``, each of unit length.
    clusters : int
        How many to stop at; as many as there are rows, if these are fewer.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``: the first row of each row's cluster.

    Examples
    --------
    >>> ward(np.array([[1, 0], [0, 1], [0.8, 0.6]], dtype=np.float32), 2).tolist()
    [0, 1, 0]
    """
    n = len(rows)
    cost = 1 - rows @ rows.T  # of merging two single rows
    np.fill_diagonal(cost, np.inf)
    size = np.ones(n, dtype=np.float32)
    cluster = np.arange(n)
    for _ in range(n - clusters):
        i, j = sorted(divmod(int(cost.argmin()), n))
        both = size[i] + size[j]
        # Lance and Williams: the costs of merging the new cluster, from those of its two halves
        merged = ((size + size[i]) * cost[i] + (size + size[j]) * cost[j] - size * cost[i, j]) / (size + both)
        merged[i] = np.inf
        cost[i] = cost[:, i] = merged
        cost[j] = cost[:, j] = np.inf
        size[i] = both
        cluster[cluster == j] = i
    return cluster
