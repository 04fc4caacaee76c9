"""A fixed rotation that spreads a vector's numbers evenly over its dimensions, before they are rounded.

It changes no inner product. Encoders have dimensions with numbers several times as large as those of others, on which a
common scale for all would be wasted.

Rotating before rounding: Zandieh et al., "TurboQuant: Online Vector Quantization with Near-optimal Distortion Rate",
2025, arXiv:2504.19874.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

VECTOR_BITS, ROTATION_BITS = 24, 20  # fractional bits of the two factors of a product that is exact in float64
VECTORS_BLOCK = 1024  # vectors that stay in a core's cache from one step to the next


@cache
def rotation(dim: int) -> torch.Tensor:
    """Return a rotation ``(dim, dim)``, float32: random signs, then a cosine transform, rounded to 20 bits.

    Examples
    --------
    >>> bool(torch.allclose(rotation(6) @ rotation(6).T, torch.eye(6), atol=1e-6))
    True
    """
    column, row = np.arange(dim), np.arange(dim)[:, None]
    signs = 1 - 2 * np.random.RandomState(0).randint(0, 2, dim)  # the same numbers in every version of NumPy
    cosines = np.cos(np.pi / dim * (column + 0.5) * row) * np.where(row == 0, 1 / dim, 2 / dim) ** 0.5
    return torch.from_numpy((np.rint(cosines * signs * 2**ROTATION_BITS) / 2**ROTATION_BITS).astype(np.float32))


@cache
def _exact_rotation(dim: int) -> torch.Tensor:
    """Return the factor ``(dim, dim)``, float64, for vectors of whole numbers with `VECTOR_BITS` fractional bits."""
    factor: torch.Tensor = rotation(dim).T.double() / 2**VECTOR_BITS
    return factor


def rotate(vectors: torch.Tensor) -> torch.Tensor:
    """Rotate vectors ``(n, dim)``; the result is float32, on the CPU.

    Each vector gives the same bits whatever is rotated beside it and on every machine: its numbers are rounded to 24
    fractional bits, and sums in double precision are exact from there on.

    Examples
    --------
    >>> vectors = torch.nn.functional.normalize(torch.randn(50, 96), dim=1)
    >>> torch.equal(rotate(vectors)[7:8], rotate(vectors[7:8]))
    True
    """
    factor = _exact_rotation(vectors.shape[1])
    rows = torch.empty(vectors.shape)
    for block, rotated in zip(vectors.detach().cpu().split(VECTORS_BLOCK), rows.split(VECTORS_BLOCK), strict=True):
        rotated.copy_(block.double().mul_(2**VECTOR_BITS).round_() @ factor)
    return rows


def unrotate(vectors: torch.Tensor) -> torch.Tensor:
    """Undo `rotate` for vectors ``(n, dim)``, float32."""
    return vectors @ rotation(vectors.shape[1])
