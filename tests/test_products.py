"""Inner products, by whichever library."""

from __future__ import annotations

import pytest
import torch

from ragatouille_xm import products
from ragatouille_xm.products import inner_products


@pytest.mark.parametrize("shape", [(1, 1, 1), (32, 128, 4000), (700, 33, 65), (0, 8, 4), (4, 8, 0)])
@pytest.mark.parametrize("onednn", [True, False])
def test_they_are_those_of_a_matrix_product(shape, onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(products, "_has_onednn", lambda: False)
    n, dim, m = shape
    generator = torch.Generator().manual_seed(0)
    rows, others = torch.randn(n, dim, generator=generator), torch.randn(m, dim, generator=generator)
    found = inner_products(rows, others)
    assert found.shape == (n, m)
    torch.testing.assert_close(found.double(), rows.double() @ others.double().T, atol=1e-4, rtol=1e-4)


def test_rows_that_lie_apart_in_memory():
    rows, others = torch.arange(24.0).view(4, 6)[:, ::2], torch.arange(15.0).view(3, 5).T
    torch.testing.assert_close(inner_products(rows, others), rows @ others.T)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_stay_what_they_are(dtype):
    assert inner_products(torch.eye(3, dtype=dtype), torch.eye(3, dtype=dtype)).dtype == dtype


def test_gradients_flow():
    rows, others = torch.eye(3, requires_grad=True), torch.full((2, 3), 2.0)
    inner_products(rows, others).sum().backward()
    assert rows.grad is not None
    assert torch.equal(rows.grad, torch.full((3, 3), 4.0))


@pytest.mark.parametrize("broken", [RuntimeError, AttributeError, "wrong"])
def test_an_operator_that_fails_its_trial_is_not_used(broken, monkeypatch):
    def operator(rows, others):
        if broken == "wrong":
            return torch.zeros(len(rows), len(others))
        raise broken("no such operator")

    monkeypatch.setattr(products, "_by_onednn", operator)
    products._has_onednn.cache_clear()
    try:
        assert torch.equal(inner_products(torch.eye(2), torch.eye(2)), torch.eye(2))
    finally:
        products._has_onednn.cache_clear()
