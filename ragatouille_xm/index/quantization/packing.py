"""Token vectors of 4 bits a number: steps from one of 256 bases, which are means of token vectors of the index.

A packed row is the number of its base, one byte, and half a byte for each number, the first of two in the low bits. It
unpacks to 8-bit codes by operations that a CPU does on many bytes at once. Tokens that are nearly the same in every
passage, such as its first and its last, have bases of their own, with small steps: most rows of a query are ``<mask>``,
and match these best.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ...files import open_regular
from .kmeans import nearest, spherical_means
from .rotation import VECTORS_BLOCK, rotate
from .scalar import LARGEST, Codes, Floats, round_to_codes

BASES = 256  # what a byte tells apart
SAMPLE = 2**15  # token vectors that bases are fitted to
ITERATIONS = 8
DEVIATIONS = 6  # of a number of a rotated vector: the largest code
BEST_STEP = 0.335  # standard deviations: 16 equal steps have the least error for a normal distribution (Max 1960)
HIGHEST = 15  # of 4 bits

Packed: TypeAlias = NDArray[np.uint8]


class Packing:
    """The bases of an index, and the step of each. The first one is the zero vector: it serves all that are like none.

    Parameters
    ----------
    bases : numpy.ndarray
        Shape ``(256, dim)``, int8: codes.
    steps : numpy.ndarray
        Shape ``(256,)``, int8, 1 or more: of codes.

    Examples
    --------
    >>> vectors = torch.nn.functional.normalize(torch.randn(2000, 96))
    >>> packing = Packing.fit(vectors)
    >>> packed = packing.pack(vectors)
    >>> packed.shape, packing.unpack(packed).shape
    ((2000, 49), (2000, 96))
    """

    def __init__(self, bases: Codes, steps: Codes) -> None:
        self.bases, self.steps = bases, steps
        self.scale = shared_scale(self.dim)
        step = steps.astype(np.int32)[:, None]
        self._lowest = (bases - HIGHEST * step // 2).clip(-LARGEST, LARGEST - HIGHEST * step)  # what 0 unpacks to
        self._steps = steps.astype(np.uint16)[:, None]
        self._directions, _ = round_to_codes(normalize(torch.from_numpy(bases).float()))
        self._table: Codes = np.zeros((BASES, 2 * packed_width(self.dim) - 2), np.int8)
        self._table[:, : self.dim] = self._lowest

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return int(self.bases.shape[1])

    @classmethod
    def fit(cls, vectors: torch.Tensor, *, seed: int = 0) -> Packing:
        """Fit bases to token vectors ``(n, dim)``, or to a sample of them, by k-means."""
        dim = vectors.shape[1]
        generator = torch.Generator().manual_seed(seed)
        some = vectors[torch.randperm(len(vectors), generator=generator)[:SAMPLE]]
        codes, _ = round_to_codes(rotate(some), shared_scale(dim))
        size = min(BASES - 1, len(codes))
        means, _ = round_to_codes(spherical_means(codes, size, ITERATIONS, generator))
        group = torch.from_numpy(nearest(codes, means).astype(np.int64))
        rows, counts = torch.from_numpy(codes).float(), torch.bincount(group, minlength=size)
        sums = torch.zeros(size, dim).index_add_(0, group, rows)
        bases = torch.zeros(BASES, dim)
        bases[1 : size + 1] = (sums / counts.clamp_min(1)[:, None]).round()
        errors = torch.zeros(size).index_add_(0, group, (rows - bases[1 + group]).square().mean(1))
        steps = torch.full((BASES,), float(rows.square().mean().sqrt()))
        steps[1 : size + 1] = torch.where(counts > 1, errors / counts.clamp_min(1), rows.square().mean()).sqrt()
        steps = (BEST_STEP * steps).round().clamp(1, 2 * LARGEST // HIGHEST)
        return cls(bases.to(torch.int8).numpy(), steps.to(torch.int8).numpy())

    def pack(self, vectors: torch.Tensor) -> Packed:
        """Return packed rows ``(n, 1 + ⌈dim / 2⌉)`` of token vectors ``(n, dim)``: by the nearest base, or the first.

        Each row depends on its vector alone.
        """
        packed = np.zeros((len(vectors), packed_width(self.dim)), np.uint8)
        for start in range(0, len(vectors), VECTORS_BLOCK):
            rows = rotate(vectors[start : start + VECTORS_BLOCK])
            near = nearest(round_to_codes(rows, self.scale)[0], self._directions)
            scaled = rows.div_(self.scale).numpy()
            numbers, error = self._count_steps(scaled, np.zeros_like(near))
            better, error_near = self._count_steps(scaled, near)
            is_near = error_near < error
            numbers[is_near] = better[is_near]
            block = packed[start : start + len(rows)]
            block[:, 0] = np.where(is_near, near, 0)
            block[:, 1:] = numbers[:, ::2]
            block[:, 1 : 1 + self.dim // 2] |= numbers[:, 1::2] << 4
        return packed

    def _count_steps(self, scaled: Floats, base: NDArray[np.int32]) -> tuple[Packed, Floats]:
        """Return the nearest steps ``(n, dim)`` of each base ``(n,)``, and the squared errors ``(n,)``."""
        above = scaled - self._lowest[base].astype(np.float32)
        step = self.steps[base].astype(np.float32)[:, None]
        numbers = np.rint(above / step).clip(0, HIGHEST)
        above -= numbers * step
        return numbers.astype(np.uint8), np.einsum("td,td->t", above, above)

    def unpack(self, packed: Packed) -> Codes:
        """Return the 8-bit codes ``(n, dim)`` of packed rows, which share `scale`."""
        codes = np.empty((len(packed), self._table.shape[1]), np.int8)
        for start in range(0, len(packed), VECTORS_BLOCK):
            rows, block = packed[start : start + VECTORS_BLOCK], codes[start : start + VECTORS_BLOCK]
            base = rows[:, 0]
            numbers = rows[:, 1:].astype(np.uint16)  # two of them, which become two bytes
            numbers |= numbers << 4
            numbers &= 0x0F0F
            numbers *= self._steps[base]
            np.take(self._table, base, axis=0, out=block, mode="clip")
            block += numbers.astype("<u2", copy=False).view(np.int8)
        return codes if codes.shape[1] == self.dim else np.ascontiguousarray(codes[:, : self.dim])

    def unpack_on(self, packed: torch.Tensor) -> torch.Tensor:
        """Return the same, int8, of packed rows on a device, computed there."""
        base = packed[:, 0].long()
        numbers = torch.stack([packed[:, 1:] & HIGHEST, packed[:, 1:] >> 4], dim=2).flatten(1)
        steps = torch.from_numpy(self.steps).to(packed.device)
        lowest = torch.from_numpy(self._table).to(packed.device)
        return (lowest[base] + numbers.to(torch.int8) * steps[base][:, None])[:, : self.dim]

    def content(self) -> bytes:
        """Return what a file of it holds."""
        return bytes(self.bases.tobytes() + self.steps.tobytes())

    @staticmethod
    def file_bytes(dim: int) -> int:
        """Return how long a file of such vectors is."""
        return BASES * (dim + 1)

    @classmethod
    def open(cls, path: Path, dim: int) -> Packing:
        """Read the file. Raise `OSError` or `ValueError` if it is missing, or no such file."""
        with open_regular(path) as file:
            content = np.frombuffer(bytearray(file.read()), np.int8)
        if len(content) != cls.file_bytes(dim):
            raise ValueError(f"{path.name} has {len(content)} bytes, which are no bases of {dim} numbers")
        bases, steps = content[: BASES * dim].reshape(BASES, dim), content[BASES * dim :]
        if steps.min() < 1 or bases[0].any():
            raise ValueError(f"{path.name} does not hold bases")
        return cls(bases, steps)


def packed_width(dim: int) -> int:
    """Return how many bytes a packed row takes."""
    return 1 + (dim + 1) // 2


def shared_scale(dim: int) -> float:
    """Return the scale of the codes of all packed vectors of this width."""
    return min(1.0, DEVIATIONS / math.sqrt(dim)) / LARGEST
