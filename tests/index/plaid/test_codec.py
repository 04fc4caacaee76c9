"""The residual codec: what it keeps of a vector, and how it packs it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.index.plaid.codec import ResidualCodec

from .folders import unit


@given(st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**32 - 1))
def test_decoding_is_the_centroid_and_the_weights_of_the_buckets_by_definition(nbits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    dim, n = 16, 5
    buckets = random.integers(0, 1 << nbits, (n, dim))
    codes = random.integers(0, 3, n)
    # Written by hand: the lowest bit of a bucket comes first, and the first bit is a byte's highest.
    rows = [[(int(b) >> bit) & 1 for b in row for bit in range(nbits)] for row in buckets]
    packed = np.array([[int("".join(map(str, row[i : i + 8])), 2) for i in range(0, len(row), 8)] for row in rows])
    centroids, weights = unit(3, dim, seed=seed % 1000), torch.arange(1 << nbits) / (1 << nbits) - 0.5
    codec = ResidualCodec(centroids, (weights[1:] + weights[:-1]) / 2, weights)
    got = codec.decode(torch.from_numpy(codes), torch.from_numpy(packed.astype(np.uint8)))
    wanted = centroids.numpy()[codes] + weights.numpy()[buckets]
    np.testing.assert_allclose(got, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(("nbits", "least"), [(1, 0.78), (2, 0.92), (4, 0.99), (8, 0.9995)])
def test_more_bits_keep_more(nbits: int, least: float) -> None:
    vectors = unit(2000, 64)
    codec, average = ResidualCodec.fit(vectors, 128, nbits)
    codes, residuals = codec.encode(vectors)
    assert (codes.dtype, residuals.dtype, tuple(residuals.shape)) == (torch.int32, torch.uint8, (2000, 8 * nbits))
    again = codec.decode(codes, residuals)
    assert all(map(torch.equal, codec.encode(vectors.half()), (codes, residuals)))  # colbert-ai sees float16
    assert torch.allclose(again.norm(dim=1), torch.ones(2000), atol=1e-5)
    assert float((again * vectors).sum(1).mean()) > least
    assert 0 < average < 0.2
    assert torch.equal(codec.centroids, codec.centroids.half().float())


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_few_vectors(n: int) -> None:
    vectors = unit(n, 8)
    codec, _ = ResidualCodec.fit(vectors, 64, 1)
    decoded = codec.decode(*codec.encode(vectors))
    assert decoded.isfinite().all()
    assert len(codec.centroids) <= max(n - 1, 1)


@pytest.mark.parametrize(
    ("centroids", "cutoffs", "weights"),
    [((4, 8), 1, 3), ((4, 8), 2, 2), ((4, 8), 7, 8), ((4, 8), 0, 1), ((0, 8), 1, 2), ((4, 6), 1, 2), ((8,), 1, 2)],
)
def test_tensors_that_do_not_belong_together(centroids: tuple[int, ...], cutoffs: int, weights: int) -> None:
    with pytest.raises(ValueError):
        ResidualCodec(torch.zeros(centroids), torch.zeros(cutoffs), torch.zeros(weights))
