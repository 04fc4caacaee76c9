"""Token vectors as whole numbers, and MaxSim over these: pure functions.

A vector is turned first, which changes no product of two: encoders have dimensions with numbers several times as large
as those of others, and turning spreads these over all. A number is then ``scale · (code + fine / 254)``. Codes are
8-bit integers, which a CPU multiplies several times as fast as floats; together with `fine` they are 16-bit fixed-point
numbers, closer to the vector than float16 is. Products of integers have no rounding, so a score does not depend on
what is scored beside it.

Turning before rounding: Zandieh et al., "TurboQuant: Online Vector Quantization with Near-optimal Distortion Rate",
2025, arXiv:2504.19874.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ...scoring import seconds

LARGEST = 127  # a code
ALIKE = 0.9  # cosine of rows of a query that are nearly one
SURE = 3 / 12**0.5  # three standard deviations of a rounding error, in steps
STEPS = 254  # of `fine` between two codes: ± 127
VECTOR_BITS, TURNING_BITS = 24, 20  # behind the point, of numbers that are multiplied without any rounding
AT_ONCE = 1024  # vectors that stay in a core's cache from one step to the next

Codes: TypeAlias = NDArray[np.int8]
Floats: TypeAlias = NDArray[np.float32]


class Quantised(NamedTuple):
    """Token vectors of `n` passages, one after the other, or rows of a query.

    Attributes
    ----------
    codes : numpy.ndarray
        Shape ``(T, dim)``, int8.
    fine : numpy.ndarray or None
        Shape ``(T, dim)``, int8: 254ths between two codes. None in 8-bit storage.
    scales : numpy.ndarray
        Shape ``(n,)``, float32: of each passage, or of each row of a query.
    """

    codes: Codes
    fine: Codes | None
    scales: Floats


@cache
def turning(dim: int) -> torch.Tensor:
    """Return a rotation ``(dim, dim)``, float32: random signs, then a cosine transform, rounded to 20 bits.

    Examples
    --------
    >>> bool(torch.allclose(turning(6) @ turning(6).T, torch.eye(6), atol=1e-6))
    True
    """
    column, row = np.arange(dim), np.arange(dim)[:, None]
    signs = 1 - 2 * np.random.RandomState(0).randint(0, 2, dim)  # whose numbers stay the same in all versions
    cosines = np.cos(np.pi / dim * (column + 0.5) * row) * np.where(row == 0, 1 / dim, 2 / dim) ** 0.5
    return torch.from_numpy((np.rint(cosines * signs * 2**TURNING_BITS) / 2**TURNING_BITS).astype(np.float32))


@cache
def _turning_exactly(dim: int) -> torch.Tensor:
    """Return what multiplies vectors whose numbers are whole, of `VECTOR_BITS` bits: ``(dim, dim)``, float64."""
    exactly: torch.Tensor = turning(dim).T.double() / 2**VECTOR_BITS
    return exactly


def turned(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors ``(n, dim)`` in the basis of codes, float32, on the CPU.

    Each comes out the same, to the bit, whatever is turned beside it and by which machine: their numbers are rounded to
    24 bits behind the point, and then no sum in double precision is.

    Examples
    --------
    >>> vectors = torch.nn.functional.normalize(torch.randn(50, 96), dim=1)
    >>> torch.equal(turned(vectors)[7:8], turned(vectors[7:8]))
    True
    """
    by = _turning_exactly(vectors.shape[1])
    rows = torch.empty(vectors.shape)
    for block, found in zip(vectors.detach().cpu().split(AT_ONCE), rows.split(AT_ONCE), strict=True):
        found.copy_(block.double().mul_(2**VECTOR_BITS).round_() @ by)
    return rows


def turned_back(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors ``(n, dim)`` in the basis of codes as they were."""
    return vectors @ turning(vectors.shape[1])


def quantise(vectors: torch.Tensor, lengths: torch.Tensor, *, fine: bool) -> Quantised:
    """Return token vectors as whole numbers.

    Parameters
    ----------
    vectors : torch.Tensor
        Shape ``(T, dim)``, floating, on the CPU.
    lengths : torch.Tensor
        Shape ``(n,)``, int64: tokens of each passage, each of which gets a scale of its own.
    fine : bool
        16 bits for each number instead of 8.

    Examples
    --------
    >>> found = quantise(turned_back(torch.tensor([[0.8, -0.6], [0.0, 1.0]])), torch.tensor([1, 1]), fine=True)
    >>> found.codes.tolist(), [round(float(scale) * 127, 3) for scale in found.scales]
    ([[127, -95], [0, 127]], [0.8, 1.0])
    """
    rows = turned(vectors)
    if not len(rows):
        nothing = np.empty(rows.shape, np.int8)
        return Quantised(nothing, nothing if fine else None, np.empty(0, np.float32))
    peaks = torch.cat([block.abs().amax(1) for block in rows.split(AT_ONCE)])
    largest = torch.segment_reduce(peaks, "max", lengths=lengths)
    scales = (largest / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    codes = torch.empty(rows.shape, dtype=torch.int8)
    rest = torch.empty_like(codes) if fine else None
    each = scales.repeat_interleave(lengths)[:, None]
    for start in range(0, len(rows), AT_ONCE):
        block = slice(start, start + AT_ONCE)
        scaled = rows[block].div_(each[block])
        nearest = scaled.round().clamp_(-LARGEST, LARGEST)
        codes[block] = nearest
        if rest is not None:
            rest[block] = scaled.sub_(nearest).mul_(STEPS).round_().clamp_(-LARGEST, LARGEST)
    return Quantised(codes.numpy(), None if rest is None else rest.numpy(), scales.numpy())


def dequantised(some: Quantised, lengths: NDArray[np.int64]) -> torch.Tensor:
    """Return the token vectors ``(T, dim)``, float32, of passages of these `lengths` ``(n,)``: unit vectors of 8 bits.

    Examples
    --------
    >>> vectors, lengths = torch.nn.functional.normalize(torch.randn(50, 128)), torch.tensor([20, 30])
    >>> bool((dequantised(quantise(vectors, lengths, fine=True), lengths.numpy()) - vectors).abs().max() < 2e-5)
    True
    """
    rows = torch.from_numpy(some.codes).float()
    if some.fine is None:
        return turned_back(normalize(rows))
    rows += torch.from_numpy(some.fine).float().div_(STEPS)
    return turned_back(rows.mul_(torch.from_numpy(np.repeat(some.scales, lengths))[:, None]))


def alike(vectors: torch.Tensor, scale: float | None = None) -> tuple[Codes, float]:
    """Return vectors ``(n, dim)`` as codes ``(n, dim)`` that share one scale, and that scale; a given one is enough.

    Examples
    --------
    >>> codes, scale = alike(turned_back(torch.tensor([[0.8, -0.6], [0.0, 1.0]])))
    >>> codes.tolist(), round(scale * 127, 3)
    ([[102, -76], [0, 127]], 1.0)
    """
    return rounded(turned(vectors), scale)


def rounded(rows: torch.Tensor, scale: float | None = None) -> tuple[Codes, float]:
    """Return vectors in the basis of codes as such, and their common scale."""
    if scale is None:
        largest = float(rows.abs().max()) if len(rows) else 1.0
        scale = max(largest / LARGEST, float(torch.finfo(torch.float32).tiny))
    return (rows / scale).round_().clamp_(-LARGEST, LARGEST).to(torch.int8).numpy(), scale


class Query:
    """The rows of a query as whole numbers.

    Parameters
    ----------
    rows : numpy.ndarray
        Shape ``(q, dim)``, float32.
    """

    def __init__(self, rows: Floats) -> None:
        self._rows = rows
        rows = turned(torch.from_numpy(rows)).numpy()
        scales = np.maximum(np.abs(rows).max(1, keepdims=True) / LARGEST, np.finfo(np.float32).tiny)
        scaled = rows / scales
        codes = np.rint(scaled)
        self.codes: Codes = codes.astype(np.int8)  # (q, dim)
        self.both: Codes = np.concatenate([codes, np.rint((scaled - codes) * STEPS)]).astype(np.int8)  # (2q, dim)
        self.scales = scales.astype(np.float64)  # (q, 1)
        self._norm = float(np.linalg.norm(rows, axis=1).sum())
        self._error = SURE * float(np.linalg.norm(scales))

    @cached_property
    def brief(self) -> Query:
        """The same with rows that are nearly alike as one, their sum; the query itself if few are.

        The rows of masks with which ColBERT fills a query up are nearly alike, and have the same best vectors: scores
        of the brief query are lower by little and in nearly the same order, for a fraction of the work.
        """
        unit = normalize(torch.from_numpy(self._rows))
        first = (unit @ unit.T >= ALIKE).numpy().argmax(1)  # that is near to each
        leaders, group = np.unique(first, return_inverse=True)
        if 2 * len(leaders) > len(first):
            return self
        sums = np.zeros((len(leaders), unit.shape[1]), np.float32)
        np.add.at(sums, group, self._rows)
        return Query(sums)

    def doubt(self, scales: Floats) -> Floats:
        """Return how far a rough score may be from the score: ``(n,)``, for passages of these `scales`.

        Rounding errors of different numbers count as independent, those of a passage's vectors as the same for all
        rows, which is the worst of cases.
        """
        return (scales * np.float32(SURE * self._norm) + np.float32(self._error)).astype(np.float32)

    def rough(self, codes: Codes, starts: NDArray[np.int64], scales: Floats) -> Floats:
        """Score passages by their codes alone, to within 0.01 or so of a row.

        Parameters
        ----------
        codes : numpy.ndarray
            Shape ``(T, dim)``, int8.
        starts : numpy.ndarray
            Shape ``(n,)``, int64: the first row of each passage.
        scales : numpy.ndarray
            Shape ``(n,)``, float32.

        Returns
        -------
        numpy.ndarray
            Shape ``(n,)``, float32.
        """
        best = np.maximum.reduceat(products(self.codes, codes), starts, axis=1)
        return _summed(best * self.scales, scales)

    def score(self, some: Quantised, starts: NDArray[np.int64]) -> Floats:
        """Score passages by all that is stored of them: ``(n,)`` float32. `starts` as for `rough`."""
        similarities, low = np.split(products(self.both, some.codes), 2)
        if LARGEST**2 * STEPS * some.codes.shape[1] >= 2**31:
            similarities = similarities.astype(np.int64)
        similarities *= STEPS
        similarities += low
        if some.fine is None:
            best = np.maximum.reduceat(similarities * lengths_of(some.codes), starts, axis=1)
            return _summed(best * (self.scales / STEPS), np.ones_like(some.scales))
        high, low = np.split(products(self.both, some.fine), 2)
        similarities += high
        similarities += low // STEPS
        best = np.maximum.reduceat(similarities, starts, axis=1)
        return _summed(best * (self.scales / STEPS), some.scales)


def lengths_of(codes: Codes) -> NDArray[np.float64]:
    """Return what makes vectors as 8-bit codes ones of unit length, as they were: ``(T, dim)`` → ``(T,)``.

    Rows of a query that are alike have the same best vector, so that an error of its length adds up over them: without
    this, scores of 8-bit vectors are four times as far off.
    """
    whole = codes.astype(np.int32)
    return np.asarray(np.maximum(np.einsum("td,td->t", whole, whole), 1), np.float64) ** -0.5


def _summed(best: NDArray[np.float64], scales: Floats) -> Floats:
    """Return ``(n,)`` sums over the rows ``(q, n)``, row after row: in the same order wherever a passage stands."""
    return (np.add.reduce(best, axis=0) * scales).astype(np.float32)


def products(left: Codes, right: Codes) -> NDArray[np.int32]:
    """Return the inner products of all rows: ``(a, dim)``, ``(b, dim)`` → ``(a, b)`` int32."""
    way = _fastest() if left.shape[1] > 1 else _of_floats  # of one column, torch's product of integers is wrong
    return way(torch.from_numpy(left), torch.from_numpy(right)).numpy()


def _of_integers(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch._int_mm(left, right.T)


def _of_floats(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    # Sums below 2^24 are exact in float32: to dimension 1,040.
    dtype = torch.float32 if left.shape[1] * LARGEST**2 < 2**24 else torch.float64
    return (left.to(dtype) @ right.to(dtype).T).to(torch.int32)


@cache
def _fastest() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the faster way on this machine; both give the same. Without instructions for it, integers are slow."""
    left, right = (torch.arange(n * 128).remainder(255).sub(LARGEST).to(torch.int8).view(n, 128) for n in (32, 2048))
    expected = _of_floats(left, right)
    try:
        if not torch.equal(_of_integers(left, right), expected):
            return _of_floats
    except (AttributeError, RuntimeError):  # not in torch's stable interface
        return _of_floats
    return min((_of_integers, _of_floats), key=lambda way: seconds(lambda: way(left, right)))
