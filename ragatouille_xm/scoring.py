"""MaxSim, and the best of many scores. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from .types import Hits

QUERIES_AT_ONCE = 16
TOKENS_AT_ONCE = {"cpu": 8192}  # on the CPU, a block's similarities stay in the cache
TOKENS_AT_ONCE_ELSEWHERE = 262_144


def maxsim(
    queries: torch.Tensor, vectors: torch.Tensor, lengths: torch.Tensor, *, block: int | None = None
) -> torch.Tensor:
    r"""Score every passage for every query by late interaction.

    The score is :math:`\sum_i \max_j q_i \cdot d_j` over the query's rows `i` and the passage's rows `j`.

    Parameters
    ----------
    queries : torch.Tensor
        Shape ``(Q, q, dim)``, floating. A row of zeros adds nothing.
    vectors : torch.Tensor
        Shape ``(T, dim)``, floating: the token vectors of `n` passages, one after the other.
    lengths : torch.Tensor
        Shape ``(n,)``, int64, on the CPU: tokens of each passage, at least 1; sums to ``T``.
    block : int, optional
        Tokens of passages compared at a time. At most ``16 · q · block`` similarities are held at once.

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
    The maximum does not depend on the order of its operands, so the result is deterministic.

    Examples
    --------
    >>> queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> maxsim(queries, vectors, torch.tensor([2, 1]))
    tensor([[1.8000, 1.0000]])
    """
    device = vectors.device
    queries = queries.to(device, torch.float32)
    scores = torch.empty(len(queries), len(lengths), device=device)
    block = block or TOKENS_AT_ONCE.get(device.type, TOKENS_AT_ONCE_ELSEWHERE)
    for passages, tokens in _blocks(lengths, block):
        sizes = lengths[passages]
        owners = owners_of(sizes.to(device), tokens.stop - tokens.start)
        scores[:, passages] = maxsim_of_block(queries, vectors[tokens], owners, len(sizes))
    return scores


def owners_of(lengths: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return the passage of each of `tokens` token vectors, by the passages' `lengths`: ``(n,)`` → ``(T,)`` int64."""
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths, output_size=tokens)


def maxsim_of_block(
    queries: torch.Tensor, vectors: torch.Tensor, owners: torch.Tensor, count: int, scales: torch.Tensor | None = None
) -> torch.Tensor:
    """Score `count` passages at once, as `maxsim` does; all tensors are on one device.

    Parameters
    ----------
    queries : torch.Tensor
        Shape ``(Q, q, dim)``, float32.
    vectors : torch.Tensor
        Shape ``(T, dim)``, floating.
    owners : torch.Tensor
        Shape ``(T,)``, int64: the passage of each token vector.
    count : int
        Passages.
    scales : torch.Tensor, optional
        Shape ``(T,)``: of each token vector, which may be of integers.

    Returns
    -------
    torch.Tensor
        Shape ``(Q, count)``, float32.
    """
    part, rows = vectors.float(), queries.shape[1]
    if scales is not None:
        part = part * scales[:, None]
    best = [
        _best_of_passage(part @ some.flatten(0, 1).T, owners, count).view(count, len(some), rows).sum(2)
        for some in queries.split(QUERIES_AT_ONCE)
    ]
    return torch.cat(best, 1).T


def _blocks(lengths: torch.Tensor, block: int) -> Iterator[tuple[slice, slice]]:
    """Yield the passages and their tokens in runs of at most `block` tokens, or of one passage."""
    ends = torch.cumsum(lengths, 0)
    first, start = 0, 0
    while first < len(lengths):
        last = max(first + 1, int(torch.searchsorted(ends, start + block, right=True)))
        end = int(ends[last - 1])
        yield slice(first, last), slice(start, end)
        first, start = last, end


def _best_of_passage(similarities: torch.Tensor, owners: torch.Tensor, count: int) -> torch.Tensor:
    """Return the maximum of the rows of each owner: ``(tokens, columns)`` → ``(count, columns)``."""
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
        At least 1. Where `n` is smaller, the hits are padded with pid -1 and score -inf.

    Examples
    --------
    >>> top_k(torch.tensor([[0.5, 0.9, 0.9]]), torch.tensor([1, 8, 4]), 2).pids.tolist()
    [[4, 8]]
    """
    count, n = scores.shape
    hits = Hits(np.full((count, k), -1, dtype=np.int64), np.full((count, k), -np.inf, dtype=np.float32))
    if n == 0:
        return hits
    # torch.topk breaks ties as it likes, so it only gives the score that must be reached.
    reached = scores >= scores.topk(min(k, n)).values[:, -1:]
    pids = pids.to(scores.device)
    for i in range(count):
        found = reached[i].nonzero().squeeze(1)
        best, ids = scores[i, found].float().cpu().numpy(), pids[found].cpu().numpy()
        order = np.lexsort((ids, -best))[:k]
        hits.pids[i, : len(order)], hits.scores[i, : len(order)] = ids[order], best[order]
    return hits
