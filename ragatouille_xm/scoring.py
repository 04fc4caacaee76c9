"""MaxSim, and top-k selection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from torch.nn.functional import normalize

from .types import Hits

logger = logging.getLogger(__name__)

QUERY_BLOCK = 16
TOKEN_BLOCK = {"cpu": 8192}  # on the CPU, so that a block's similarities fit into the cache
DEFAULT_TOKEN_BLOCK = 262_144


def maxsim(
    queries: torch.Tensor,
    vectors: torch.Tensor,
    lengths: torch.Tensor,
    *,
    starts: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
    block: int | None = None,
) -> torch.Tensor:
    r"""Score every passage for every query by late interaction.

    The score is :math:`\sum_i \max_j q_i \cdot d_j` over the query's rows `i` and the passage's rows `j`.

    Parameters
    ----------
    queries : torch.Tensor
        Shape ``(Q, q, dim)``, floating. A row of zeros adds nothing.
    vectors : torch.Tensor
        Shape ``(T, dim)``: the concatenated token vectors of passages.
    lengths : torch.Tensor
        Shape ``(n,)``, int64: tokens of each passage, at least 1.
    starts : torch.Tensor, optional
        Shape ``(n,)``, int64: the first token vector of each passage, increasing; by default passages are adjacent.
    scales : torch.Tensor, optional
        Shape ``(T,)``, float32: a factor for each token vector, which may hold integers.
    block : int, optional
        Passage tokens compared at a time. At most ``16 · q · block`` similarities are held at once.

    Returns
    -------
    torch.Tensor
        Shape ``(Q, n)``, float32, on the device of `vectors`. Half-precision vectors are summed in float32.

    Notes
    -----
    Khattab & Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
    SIGIR 2020, section 3.

    The maximum over each passage's rows is a `scatter_reduce`. Measured on one CPU thread (1,000 to 20,000 passages of
    100 tokens on average, 32 query rows, dim 128) it takes 15 µs a passage, where the matrix product alone takes 14;
    padding the similarities to a rectangle takes 18, `segment_reduce` 21. With two threads, at 20,000 passages, it was
    the fastest too: 8 to 12, 13 and 17 to 20.
    A maximum does not depend on the order of its operands, so the result is deterministic.
    On a GPU, float16 or int8 vectors are scored by a fused kernel if that works and is faster: see
    `ragatouille_xm.scoring_triton`. It rounds queries to float16.

    Examples
    --------
    >>> queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> maxsim(queries, vectors, torch.tensor([2, 1]))
    tensor([[1.8000, 1.0000]])
    """
    device = vectors.device
    queries = queries.to(device, torch.float32)
    starts = lengths.cumsum(0) - lengths if starts is None else starts
    if (kernel := fused_on(device, vectors.dtype, vectors.shape[1])) is not None:
        return kernel(queries, vectors, starts.to(device), lengths.to(device), scales)
    return _unfused(queries, vectors, starts, lengths, scales, block)


Kernel: TypeAlias = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, "torch.Tensor | None"], torch.Tensor
]


@cache
def fused_on(device: torch.device, dtype: torch.dtype, dim: int) -> Kernel | None:
    """Return the fused kernel if, on that device, its scores for such vectors are correct and it is faster."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.int8):
        return None
    try:
        from .scoring_triton import maxsim as kernel

        lengths = torch.arange(1, 160, device=device).repeat(64)
        starts = lengths.cumsum(0) - lengths
        vectors = normalize(torch.randn(int(lengths.sum()), dim, device=device), dim=1)
        queries = vectors[: 4 * 32].view(4, 32, dim)  # as many rows as one program of the kernel compares
        scales = None if dtype == torch.float16 else vectors.abs().amax(1) / 127
        stored = vectors.to(dtype) if scales is None else (vectors / scales[:, None]).round().to(dtype)
        given = queries, stored, starts, lengths, scales
        if not torch.allclose(kernel(*given), _unfused(*given), atol=1e-2):
            raise RuntimeError("its scores are wrong")

        def run(score: Kernel) -> None:
            score(*given)
            torch.cuda.synchronize(device)

        return kernel if seconds(lambda: run(kernel)) < seconds(lambda: run(_unfused)) else None
    except Exception as error:  # a compiler or a driver may raise anything
        logger.warning(
            "the fused kernel does not work on %s for %s vectors of %d dimensions; they are scored without it: %s",
            device, dtype, dim, error,
        )  # fmt: skip
        return None


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds a call takes, the best of three."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _unfused(
    queries: torch.Tensor,
    vectors: torch.Tensor,
    starts: torch.Tensor,
    lengths: torch.Tensor,
    scales: torch.Tensor | None,
    block: int | None = None,
) -> torch.Tensor:
    device = vectors.device
    starts, lengths = starts.cpu(), lengths.cpu()
    scores = torch.empty(len(queries), len(lengths), device=device)
    block = block or TOKEN_BLOCK.get(device.type, DEFAULT_TOKEN_BLOCK)
    for passages in _blocks(lengths, block):
        sizes, count = lengths[passages], passages.stop - passages.start
        owners = torch.repeat_interleave(torch.arange(count), sizes)
        tokens = _tokens(starts[passages], sizes, owners, device)
        part = vectors[tokens].float()
        if scales is not None:
            part = part * scales[tokens][:, None]
        owners = owners.to(device)
        for first in range(0, len(queries), QUERY_BLOCK):
            block_queries = queries[first : first + QUERY_BLOCK]
            best = _best_of_passage(part @ block_queries.flatten(0, 1).T, owners, count)
            scores[first : first + QUERY_BLOCK, passages] = best.view(count, len(block_queries), -1).sum(2).T
    return scores


def _blocks(lengths: torch.Tensor, block: int) -> Iterator[slice]:
    """Yield runs of passages of at most `block` tokens, or of a single passage."""
    ends = torch.cumsum(lengths, 0)
    first, start = 0, 0
    while first < len(lengths):
        last = max(first + 1, int(torch.searchsorted(ends, start + block, right=True)))
        yield slice(first, last)
        first, start = last, int(ends[last - 1])


def _tokens(
    starts: torch.Tensor, lengths: torch.Tensor, owners: torch.Tensor, device: torch.device
) -> slice | torch.Tensor:
    """Return the rows of passages' token vectors: a slice, which copies nothing, if they are adjacent."""
    first, end = int(starts[0]), int(starts[-1] + lengths[-1])
    if end - first == len(owners):
        return slice(first, end)
    return (torch.arange(len(owners)) + (starts - lengths.cumsum(0) + lengths)[owners]).to(device)


def _best_of_passage(similarities: torch.Tensor, owners: torch.Tensor, count: int) -> torch.Tensor:
    """Return the maximum over the rows of each owner: ``(tokens, columns)`` → ``(count, columns)``."""
    best = similarities.new_full((count, similarities.shape[1]), -torch.inf)
    return best.scatter_reduce_(0, owners[:, None].expand_as(similarities), similarities, "amax")


def top_k(scores: torch.Tensor, pids: torch.Tensor, k: int) -> Hits:
    """Return the `k` best passages of each query, best first, ties by the smaller pid.

    Parameters
    ----------
    scores : torch.Tensor
        Shape ``(Q, n)``, float32.
    pids : torch.Tensor
        Shape ``(n,)``, int64, distinct, in any order.
    k : int
        At least 1. If `n` is smaller, the hits are padded with pid -1 and score -inf.

    Examples
    --------
    >>> top_k(torch.tensor([[0.5, 0.9, 0.9]]), torch.tensor([1, 8, 4]), 2).pids.tolist()
    [[4, 8]]
    """
    count, n = scores.shape
    hits = Hits(np.full((count, k), -1, dtype=np.int64), np.full((count, k), -np.inf, dtype=np.float32))
    if n == 0:
        return hits
    # torch.topk breaks ties arbitrarily, so it only gives the threshold.
    reached = scores >= scores.topk(min(k, n)).values[:, -1:]
    pids = pids.to(scores.device)
    for i in range(count):
        found = reached[i].nonzero().squeeze(1)
        best, ids = scores[i, found].float().cpu().numpy(), pids[found].cpu().numpy()
        order = np.lexsort((ids, -best))[:k]
        hits.pids[i, : len(order)], hits.scores[i, : len(order)] = ids[order], best[order]
    return hits
