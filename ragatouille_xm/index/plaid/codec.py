"""Token vectors as a centroid and a residual of a few bits a dimension."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..quantization.codebook import Codebook

NBITS = (1, 2, 4, 8)
MOST_HELD_OUT = 2**23  # numbers that the buckets are fitted to: torch takes quantiles of at most twice as many


class ResidualCodec:
    """Encodes unit vectors as colbert-ai does.

    A vector becomes the number of its nearest centroid and, for each dimension, the number of the bucket that what is
    left falls into. Decoded, it is the centroid plus the weights of the buckets, brought to unit length.

    Parameters
    ----------
    centroids : torch.Tensor
        Shape ``(P, dim)``, floating.
    cutoffs : torch.Tensor
        Shape ``(2^nbits - 1,)``, floating, growing: the borders between buckets.
    weights : torch.Tensor
        Shape ``(2^nbits,)``, floating: what each bucket stands for.

    Raises
    ------
    ValueError
        If the shapes do not belong together.

    Notes
    -----
    Santhanam et al., "ColBERTv2: Effective and Efficient Retrieval via Lightweight Late Interaction", NAACL 2022,
    section 3.3.

    Examples
    --------
    >>> codec = ResidualCodec(torch.eye(8), torch.tensor([0.0]), torch.tensor([-0.1, 0.1]))
    >>> codes, residuals = codec.encode(torch.eye(8)[2:3])
    >>> codes.tolist(), residuals.tolist()
    ([2], [[0]])
    >>> codec.decode(codes, residuals).shape
    torch.Size([1, 8])
    """

    def __init__(self, centroids: torch.Tensor, cutoffs: torch.Tensor, weights: torch.Tensor) -> None:
        nbits = len(weights).bit_length() - 1
        if centroids.ndim != 2 or not len(centroids) or weights.ndim != 1 or nbits not in NBITS:
            raise ValueError(f"centroids {tuple(centroids.shape)}, bucket weights {tuple(weights.shape)}")
        if len(weights) != 1 << nbits or cutoffs.shape != (len(weights) - 1,):
            raise ValueError(f"{tuple(cutoffs.shape)} bucket cutoffs, {tuple(weights.shape)} weights")
        if centroids.shape[1] * nbits % 8:
            raise ValueError(f"{centroids.shape[1]} dimensions of {nbits} bits do not fill bytes")
        self.nbits = nbits
        self.centroids = centroids.float()
        self._codebook = Codebook(self.centroids)
        self.cutoffs = cutoffs.float().contiguous()
        self.weights = weights.float().contiguous()
        self._unpacked = self.weights[torch.from_numpy(_buckets_of_bytes(nbits))]  # (256, 8 / nbits)

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.centroids.shape[1]

    @property
    def packed_dim(self) -> int:
        """Bytes of a residual."""
        return self.dim * self.nbits // 8

    @classmethod
    def fit(cls, sample: torch.Tensor, partitions: int, nbits: int) -> tuple[ResidualCodec, float]:
        """Fit centroids to a sample, and buckets to the quantiles of what they leave of vectors held out from it.

        Parameters
        ----------
        sample : torch.Tensor
            Shape ``(n, dim)``, unit rows in random order, at least one.
        partitions : int
            Number of centroids; fewer if there are fewer vectors.
        nbits : int

        Returns
        -------
        codec : ResidualCodec
            With centroids that float16 holds, as the files do.
        average : float
            Mean absolute residual.
        """
        n_held_out = min(max(len(sample) // 20, 1), MOST_HELD_OUT // sample.shape[1])
        fitted = sample[n_held_out:] if len(sample) > 1 else sample
        codebook = Codebook.fit(fitted, partitions)
        centroids = codebook.centroids.half().float()
        held_out = sample[:n_held_out].float()
        left = held_out - centroids[Codebook(centroids).assign(held_out)]
        steps = torch.arange(1 << nbits) / (1 << nbits)
        return cls(centroids, left.quantile(steps[1:]), left.quantile(steps + 0.5 / (1 << nbits))), float(
            left.abs().mean()
        )

    def encode(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes ``(n,)`` int32 and the packed residuals ``(n, packed_dim)`` uint8 of unit vectors."""
        vectors = vectors.half().float()  # as colbert-ai sees them
        codes = self._codebook.assign(vectors)
        buckets = torch.bucketize(vectors - self.centroids[codes], self.cutoffs).numpy().astype(np.uint8)
        bits = (buckets[:, :, None] >> np.arange(self.nbits, dtype=np.uint8)) & 1
        return codes.int(), torch.from_numpy(np.packbits(bits.reshape(len(vectors), -1), axis=1))

    def decode(self, codes: torch.Tensor, residuals: torch.Tensor) -> torch.Tensor:
        """Return the unit vectors ``(n, dim)`` float32 of codes and packed residuals."""
        left = self._unpacked[residuals.long()].reshape(len(codes), self.dim)
        return F.normalize(self.centroids[codes.long()] + left, dim=1)


def _buckets_of_bytes(nbits: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return the buckets that each byte holds, ``(256, 8 / nbits)``: the first in its highest bits, each mirrored."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(256, 8 // nbits, nbits)
    return (bits.astype(np.int64) << np.arange(nbits)).sum(2)
