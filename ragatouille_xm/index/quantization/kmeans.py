"""Spherical k-means of token vectors as 8-bit codes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from .products import dot_products
from .scalar import Codes, round_to_codes

TOKENS_BLOCK = 2**16  # added up at once
NEAREST_BLOCK = 2**13  # compared at once


def spherical_means(codes: Codes, size: int, iterations: int, generator: torch.Generator) -> torch.Tensor:
    """Return `size` means ``(size, dim)`` of unit length, rotated as the codes ``(n, dim)`` are."""
    start = torch.randperm(len(codes), generator=generator)[:size].numpy()
    means = torch.nn.functional.normalize(torch.from_numpy(codes[start]).float())
    for _ in range(iterations):
        sums, held = torch.zeros_like(means), round_to_codes(means)[0]
        for block in blocks(codes, TOKENS_BLOCK):
            sums.index_add_(0, torch.from_numpy(nearest(block, held)), torch.from_numpy(block).float())
        norms = sums.norm(dim=1, keepdim=True)
        # One that is nobody's nearest stays where it is.
        means = torch.where(norms > 0, sums / norms.clamp_min(1e-12), means)
    return means


def nearest(codes: Codes, among: Codes) -> NDArray[np.int32]:
    """Return the nearest of `among`, which share one scale, to each row: ``(n, dim)`` → ``(n,)``."""
    found = [dot_products(block, among).argmax(1).astype(np.int32) for block in blocks(codes, NEAREST_BLOCK)]
    return np.concatenate(found) if found else np.empty(0, np.int32)


def blocks(codes: Codes, size: int) -> Iterator[Codes]:
    """Yield the rows, so many at a time."""
    for start in range(0, len(codes), size):
        yield codes[start : start + size]
