"""Inner products of vectors in float32, at the rate of the machine."""

from __future__ import annotations

from functools import cache

import torch


def inner_products(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return ``rows @ others.T``: ``(n, dim), (m, dim)`` → ``(n, m)``.

    For float32 on a CPU, torch takes MKL, which does not use AVX-512 on CPUs of other makers than its own; oneDNN,
    which torch carries too, does. On an AMD EPYC (Zen 5) it took half the time at the shapes of this package, and gave
    the same numbers.

    Examples
    --------
    >>> inner_products(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[11.,  2.]])
    """
    plain = all(each.device.type == "cpu" and each.dtype == torch.float32 for each in (rows, others))
    if plain and len(rows) and len(others) and not (rows.requires_grad or others.requires_grad) and _has_onednn():
        return _by_onednn(rows, others)
    return rows @ others.T


def _by_onednn(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, others, None, "none", [], "")
    return product


@cache
def _has_onednn() -> bool:
    """Tell by a trial: the operator is not part of torch's stable interface."""
    rows, others = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        return torch.equal(_by_onednn(rows, others), rows @ others.T)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
