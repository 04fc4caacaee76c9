"""Maximal marginal relevance over token vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ragatouille_xm.scoring import maxsim


def similarities(passages: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the similarities of passages: the mean best cosine of the tokens of one in the other, in both directions.

    Parameters
    ----------
    passages : sequence of torch.Tensor
        The token vectors of each, shape ``(t_i, dim)``.

    Returns
    -------
    torch.Tensor
        Shape ``(n, n)``, float32, symmetric, at most 1, and 1 on the diagonal.

    Examples
    --------
    >>> similarities([torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0]])]).tolist()
    [[1.0, 0.75], [0.75, 1.0]]
    """
    if not passages:
        return torch.zeros(0, 0)
    tokens, lengths = torch.cat(list(passages)), torch.tensor([len(block) for block in passages])
    one_way = torch.cat([maxsim(block.float()[None], tokens, lengths) / len(block) for block in passages])
    return (one_way + one_way.T) / 2


def maximal_marginal_relevance(
    relevance: torch.Tensor, similarity: torch.Tensor, k: int, lambda_mult: float
) -> list[int]:
    """Return the positions of `k` candidates, each the best by relevance minus similarity to those chosen before.

    Parameters
    ----------
    relevance : torch.Tensor
        Shape ``(n,)``, 0 to 1.
    similarity : torch.Tensor
        Shape ``(n, n)``, as `similarities` returns it.
    k : int
    lambda_mult : float
        1 means relevance alone, 0 diversity alone.

    Notes
    -----
    Carbonell & Goldstein, "The Use of MMR, Diversity-Based Reranking", SIGIR 1998, section 2.

    Examples
    --------
    >>> twins = torch.tensor([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])
    >>> maximal_marginal_relevance(torch.tensor([0.9, 0.9, 0.5]), twins, 2, 0.5)
    [0, 2]
    """
    chosen: list[int] = []
    redundancy = torch.zeros(len(relevance))
    while len(chosen) < min(k, len(relevance)):
        value = lambda_mult * relevance - (1 - lambda_mult) * redundancy
        value[chosen] = -torch.inf
        best = int(value.argmax())
        chosen.append(best)
        redundancy = similarity[best] if len(chosen) == 1 else torch.maximum(redundancy, similarity[best])
    return chosen
