"""Losses of late-interaction training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

QUERY_BLOCK = 8  # bounds the similarities held at a time; a gradient needs only their maxima


def late_interaction_scores(queries: Tensor, passages: Tensor, scored: Tensor) -> Tensor:
    r"""Score every passage for every query: :math:`\sum_i \max_j q_i \cdot d_j`, with gradients.

    Parameters
    ----------
    queries : torch.Tensor
        Shape ``(b, q, dim)``. A row of zeros adds nothing.
    passages : torch.Tensor
        Shape ``(n, L, dim)``.
    scored : torch.Tensor
        Shape ``(n, L)``, bool: which rows of `passages` count; at least one per passage.

    Returns
    -------
    torch.Tensor
        Shape ``(b, n)``.

    Notes
    -----
    Khattab & Zaharia 2020 (SIGIR), section 3.3. `ragatouille_xm.scoring.maxsim` is the equivalent for search: it takes
    passages without padding and computes no gradient.

    Examples
    --------
    >>> queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> passages = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [1.0, 0.0]]])
    >>> late_interaction_scores(queries, passages, torch.tensor([[True, True], [True, False]]))
    tensor([[1.8000, 1.0000]])
    """
    excluded = ~scored[None, None]
    blocks = []
    for block in queries.split(QUERY_BLOCK):
        similarities = torch.einsum("bqd,nld->bqnl", block, passages)
        blocks.append(similarities.masked_fill(excluded, -torch.inf).max(-1).values.sum(1))
    return torch.cat(blocks)


def own_scores(scores: Tensor) -> Tensor:
    """Return the scores of each query's own passages.

    Parameters
    ----------
    scores : torch.Tensor
        Shape ``(b, b · n)``: the passages of the first query, then those of the second, …

    Returns
    -------
    torch.Tensor
        Shape ``(b, n)``.

    Examples
    --------
    >>> own_scores(torch.arange(8.0).reshape(2, 4))
    tensor([[0., 1.],
            [6., 7.]])
    """
    b = len(scores)
    return scores.reshape(b, b, -1)[torch.arange(b), torch.arange(b)]


def pairwise_softmax_loss(scores: Tensor) -> Tensor:
    r"""Softmax cross-entropy of each query's positive against its own negatives.

    :math:`-\log \frac{e^{s^+}}{e^{s^+} + \sum e^{s^-}}`, averaged over the queries.

    Parameters
    ----------
    scores : torch.Tensor
        Shape ``(b, n)``; the first column is the positive's.

    Returns
    -------
    torch.Tensor
        Shape ``()``.

    Notes
    -----
    Louis et al. 2024 (arXiv 2402.15059), section 3.2; Khattab & Zaharia 2020, section 3.3.

    Examples
    --------
    >>> round(pairwise_softmax_loss(torch.tensor([[2.0, 0.0]])).item(), 4)
    0.1269
    """
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64, device=scores.device))


def in_batch_softmax_loss(scores: Tensor, relevant: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy of each query's positive against all passages of the other queries.

    A query's own negatives are excluded, since `pairwise_softmax_loss` covers them; all positives and negatives of the
    other queries count. This equals colbert-ai's ``compute_ib_loss``.

    Parameters
    ----------
    scores : torch.Tensor
        Shape ``(b, b · n)``: the passages of the first query (its positive first), then those of the second, …
    relevant : torch.Tensor, optional
        Shape ``(b, b · n)``, bool: passages known to answer a query although they belong to another one (or to a
        duplicate of it). They are excluded too, unlike in colbert-ai.

    Returns
    -------
    torch.Tensor
        Shape ``()``.

    Notes
    -----
    Santhanam et al. 2022 (ColBERTv2, NAACL), section 3.2; Louis et al. 2024 (arXiv 2402.15059), section 3.2.

    Examples
    --------
    >>> round(in_batch_softmax_loss(torch.tensor([[2.0, 9.0, 0.0, 0.0], [0.0, 0.0, 2.0, 9.0]])).item(), 4)
    0.2395
    """
    b = len(scores)
    n = scores.shape[1] // b
    column = torch.arange(b * n, device=scores.device)
    row = torch.arange(b, device=scores.device)
    own = column[None] // n == row[:, None]
    excluded = own & (column[None] % n != 0)
    if relevant is not None:
        excluded |= relevant & ~own
    return F.cross_entropy(scores.masked_fill(excluded, -torch.inf), row * n)


def distillation_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of the model's distribution over a query's passages from the teacher's.

    :math:`\sum_j p_j (\log p_j - \log q_j)` with :math:`p` the softmax of `teacher` and :math:`q` that of `scores`,
    averaged over the queries.

    Parameters
    ----------
    scores, teacher : torch.Tensor
        Shape ``(b, n)``.

    Returns
    -------
    torch.Tensor
        Shape ``()``; 0 if the two distributions are equal.

    Notes
    -----
    Santhanam et al. 2022 (ColBERTv2, NAACL), section 3.2.

    Examples
    --------
    >>> distillation_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[11.0, 12.0]])).item()
    0.0
    """
    return F.kl_div(scores.log_softmax(-1), teacher.log_softmax(-1), reduction="batchmean", log_target=True)
