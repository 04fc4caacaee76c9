"""Token vectors as whole numbers: each number of a rotated vector is ``scale · (code + residual / 254)``.

Codes are 8-bit integers, which a CPU multiplies several times as fast as floats (`products.py`). Together with the
residuals they are 16-bit fixed-point numbers, closer to the vector than float16. Products of integers have no rounding
error, so a score does not depend on what is scored beside it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from .rotation import VECTORS_BLOCK, rotate, unrotate

LARGEST = 127  # code or residual
STEPS = 254  # residuals between two codes: ± 127

Codes: TypeAlias = NDArray[np.int8]
Floats: TypeAlias = NDArray[np.float32]


class Quantized(NamedTuple):
    """Token vectors of `n` passages, one after the other, or rows of a query.

    Attributes
    ----------
    codes : numpy.ndarray
        Shape ``(T, dim)``, int8.
    residuals : numpy.ndarray or None
        Shape ``(T, dim)``, int8: 254ths between two codes. None in 8-bit storage.
    scales : numpy.ndarray
        Shape ``(n,)``, float32: of each passage, or of each row of a query.
    """

    codes: Codes
    residuals: Codes | None
    scales: Floats


def quantize(vectors: torch.Tensor, lengths: torch.Tensor, *, residuals: bool) -> Quantized:
    """Round token vectors to whole numbers.

    Parameters
    ----------
    vectors : torch.Tensor
        Shape ``(T, dim)``, floating, on the CPU.
    lengths : torch.Tensor
        Shape ``(n,)``, int64: tokens of each passage, each of which gets a scale of its own.
    residuals : bool
        16 bits for each number instead of 8.

    Examples
    --------
    >>> found = quantize(unrotate(torch.tensor([[0.8, -0.6], [0.0, 1.0]])), torch.tensor([1, 1]), residuals=True)
    >>> found.codes.tolist(), [round(float(scale) * 127, 3) for scale in found.scales]
    ([[127, -95], [0, 127]], [0.8, 1.0])
    """
    rows = rotate(vectors)
    if not len(rows):
        nothing = np.empty(rows.shape, np.int8)
        return Quantized(nothing, nothing if residuals else None, np.empty(0, np.float32))
    peaks = torch.cat([block.abs().amax(1) for block in rows.split(VECTORS_BLOCK)])
    largest = torch.segment_reduce(peaks, "max", lengths=lengths)
    scales = (largest / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    codes = torch.empty(rows.shape, dtype=torch.int8)
    rest = torch.empty_like(codes) if residuals else None
    scale_of_row = scales.repeat_interleave(lengths)[:, None]
    for start in range(0, len(rows), VECTORS_BLOCK):
        block = slice(start, start + VECTORS_BLOCK)
        scaled = rows[block].div_(scale_of_row[block])
        nearest = scaled.round().clamp_(-LARGEST, LARGEST)
        codes[block] = nearest
        if rest is not None:
            rest[block] = scaled.sub_(nearest).mul_(STEPS).round_().clamp_(-LARGEST, LARGEST)
    return Quantized(codes.numpy(), None if rest is None else rest.numpy(), scales.numpy())


def dequantize(quantized: Quantized, lengths: NDArray[np.int64]) -> torch.Tensor:
    """Return the token vectors ``(T, dim)``, float32, of passages of these `lengths` ``(n,)``.

    Without residuals they are scaled to unit length.

    Examples
    --------
    >>> vectors, lengths = torch.nn.functional.normalize(torch.randn(50, 128)), torch.tensor([20, 30])
    >>> bool((dequantize(quantize(vectors, lengths, residuals=True), lengths.numpy()) - vectors).abs().max() < 2e-5)
    True
    """
    rows = torch.from_numpy(quantized.codes).float()
    if quantized.residuals is None:
        return unrotate(normalize(rows))
    rows += torch.from_numpy(quantized.residuals).float().div_(STEPS)
    return unrotate(rows.mul_(torch.from_numpy(np.repeat(quantized.scales, lengths))[:, None]))


def quantize_shared(vectors: torch.Tensor, scale: float | None = None) -> tuple[Codes, float]:
    """Return codes ``(n, dim)`` of vectors that share one scale, and that scale, by default the smallest that suits.

    Examples
    --------
    >>> codes, scale = quantize_shared(unrotate(torch.tensor([[0.8, -0.6], [0.0, 1.0]])))
    >>> codes.tolist(), round(scale * 127, 3)
    ([[102, -76], [0, 127]], 1.0)
    """
    return round_to_codes(rotate(vectors), scale)


def round_to_codes(rows: torch.Tensor, scale: float | None = None) -> tuple[Codes, float]:
    """Return the codes ``(n, dim)`` of vectors that are rotated already, and their common scale."""
    if scale is None:
        largest = float(rows.abs().max()) if len(rows) else 1.0
        scale = max(largest / LARGEST, float(torch.finfo(torch.float32).tiny))
    return (rows / scale).round_().clamp_(-LARGEST, LARGEST).to(torch.int8).numpy(), scale


def inverse_norms(codes: Codes) -> NDArray[np.float64]:
    """Return one over the length of each vector of codes: ``(T, dim)`` → ``(T,)``.

    It gives vectors of 8 bits their unit length back. Similar rows of a query share their best vector, so an error in
    its length adds up over them: without this, scores of 8-bit vectors are four times as far off.
    """
    whole = codes.astype(np.int32)
    return np.asarray(np.maximum(np.einsum("td,td->t", whole, whole), 1), np.float64) ** -0.5


def inverse_norms_on(codes: torch.Tensor) -> torch.Tensor:
    """Return the same, float32, of codes on a device. Sums of squares below 2²⁴ are exact in floats."""
    return codes.float().square().sum(1).clamp_min(1).rsqrt()
