from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.index.quantization.query import Query
from ragatouille_xm.index.quantization.rotation import rotate, unrotate
from ragatouille_xm.index.quantization.scalar import Quantized, dequantize, quantize, quantize_shared
from ragatouille_xm.scoring import maxsim


def some(n: int, dim: int, seed: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit vectors (T, dim) of `n` passages, the nearer to one another the smaller `spread` is, and lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (n,), generator=generator)
    vectors = torch.randn(int(lengths.sum()), dim, generator=generator) * spread + torch.ones(dim) * (1 - spread)
    return torch.nn.functional.normalize(vectors, dim=1), lengths


def firsts(lengths: torch.Tensor) -> np.ndarray:
    return (lengths.cumsum(0) - lengths).numpy()


shapes = {"dim": st.sampled_from([1, 3, 8, 128, 600]), "seed": st.integers(0, 999), "spread": st.floats(0.01, 1)}


@given(**shapes)
def test_sixteen_bits_are_nearer_than_float16(dim, seed, spread):
    vectors, lengths = some(5, dim, seed, spread)
    largest, numbers = float(rotate(vectors).abs().max()), dim**0.5
    back = dequantize(quantize(vectors, lengths, residuals=True), lengths.numpy())
    assert float((back - vectors).norm(dim=1).max()) <= numbers * largest / 127 / 254 / 2 + 1e-6
    eight = dequantize(quantize(vectors, lengths, residuals=False), lengths.numpy())
    assert float((eight - vectors).norm(dim=1).max()) <= numbers * largest / 127 / 2 + 1e-6


@pytest.mark.parametrize("dim", [1, 2, 96, 128, 768])
def test_turning_keeps_products_and_spreads_what_stands_out(dim):
    vectors, _ = some(50, dim, 0)
    vectors[:, 0] += 5
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    torch.testing.assert_close(rotate(vectors) @ rotate(vectors).T, vectors @ vectors.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(unrotate(rotate(vectors)), vectors, atol=1e-5, rtol=0)
    if dim > 50:
        assert rotate(vectors).abs().max() < 0.5 * vectors.abs().max()
        assert rotate(torch.ones(1, dim)).abs().max() < 5, "nor do vectors whose numbers are all alike"


@given(**shapes)
def test_scores_are_those_of_the_vectors(dim, seed, spread):
    vectors, lengths = some(400, dim, seed, spread)
    rows, _ = some(4, dim, seed + 1, spread)
    query, found = Query(rows.numpy()), quantize(vectors, lengths, residuals=True)
    exact = maxsim(rows[None], vectors, lengths)[0].numpy()
    score = query.scores(found, firsts(lengths))
    assert score == pytest.approx(exact, abs=1e-4 * len(rows))
    rough = query.approximate_scores(found.codes, firsts(lengths), found.scales)
    assert (np.abs(rough - score) <= query.error_bound(found.scales)).mean() > 0.99
    eight = query.scores(found._replace(residuals=None), firsts(lengths))
    back = dequantize(found._replace(residuals=None), lengths.numpy())
    assert eight == pytest.approx(maxsim(rows[None], back, lengths)[0].numpy(), abs=1e-4 * len(rows))
    assert (np.abs(eight - rough) <= query.error_bound(found.scales)).mean() > 0.9


def test_eight_bits_of_unit_vectors_are_unit_vectors():
    vectors, lengths = some(20, 64, 3)
    found = quantize(vectors, lengths, residuals=False)
    torch.testing.assert_close(dequantize(found, lengths.numpy()).norm(dim=1), torch.ones(len(vectors)))


def test_a_score_does_not_depend_on_what_stands_beside():
    """Equal passages have equal scores, to the bit, so that ties go by pid."""
    vectors, lengths = some(200, 128, 0)
    query, found = Query(some(6, 128, 1)[0].numpy()), quantize(vectors, lengths, residuals=True)
    scores = query.scores(found, firsts(lengths))
    for first in (0, 57, 199):
        tokens = slice(int(firsts(lengths)[first]), None)
        fine = found.residuals[tokens] if found.residuals is not None else None
        rest = Quantized(found.codes[tokens], fine, found.scales[first:])
        assert query.scores(rest, firsts(lengths[first:])).tolist() == scores[first:].tolist()


@pytest.mark.parametrize("residuals", [True, False])
def test_nor_does_it_if_the_passage_is_alone_and_the_rows_nearly_cancel_out(residuals):
    """Where the order in which rows are added shows."""
    vectors, lengths = some(200, 16, 0)
    rows = some(40, 16, 1)[0].numpy()[:32] * np.float32(10) ** np.arange(-6, 10, 0.5, np.float32)[:, None]
    query, found = Query(np.concatenate([rows, -rows])), quantize(vectors, lengths, residuals=residuals)
    together = (
        query.scores(found, firsts(lengths)),
        query.approximate_scores(found.codes, firsts(lengths), found.scales),
    )
    for one, length in enumerate(lengths.tolist()):
        tokens, start = slice(int(firsts(lengths)[one]), int(firsts(lengths)[one]) + length), np.zeros(1, np.int64)
        fine = found.residuals[tokens] if found.residuals is not None else None
        alone = Quantized(found.codes[tokens], fine, found.scales[one : one + 1])
        assert query.scores(alone, start) == together[0][one]
        assert query.approximate_scores(alone.codes, start, alone.scales) == together[1][one]


def test_a_brief_query_has_the_sum_of_rows_that_are_nearly_alike():
    one, other = np.eye(8, dtype=np.float32)[:2]
    near = np.float32([0.96, 0, 0.28, 0, 0, 0, 0, 0])
    found = Query(np.stack([one, other, near, one, 2 * other])).pooled
    expected = Query(np.stack([2 * one + near, 3 * other]))
    assert found.codes.tolist() == expected.codes.tolist()
    assert found.scales == pytest.approx(expected.scales)
    zeros = Query(np.zeros((4, 8), np.float32))
    assert zeros.pooled.codes.tolist() == [[0] * 8]


@pytest.mark.parametrize("length", [1, 5, 300])
def test_a_query_without_such_rows_is_brief_already(length):
    rows = torch.randn(length, 128, generator=torch.Generator().manual_seed(1))
    query = Query(rows.numpy())
    assert query.pooled is query


def test_zeros_are_no_trouble():
    found = quantize(torch.zeros(3, 8), torch.tensor([1, 2]), residuals=True)
    query = Query(np.zeros((2, 8), np.float32))
    assert query.scores(found, np.array([0, 1])).tolist() == [0, 0]
    assert len(quantize(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), residuals=True).codes) == 0
    assert quantize_shared(torch.zeros(0, 8))[0].shape == (0, 8)
