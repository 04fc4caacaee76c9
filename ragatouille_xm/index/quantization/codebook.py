"""Centroids that stand for token vectors in the first stage of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ...config import EXACT_BELOW
from ...errors import IndexDamagedError
from ..files import write_file
from .faiss_kmeans import faiss_kmeans
from .kmeans import NEAREST_BLOCK, TOKENS_BLOCK, blocks, nearest, spherical_means
from .products import dot_products
from .query import Query
from .rotation import unrotate
from .scalar import Codes, quantize, quantize_shared

SMALLEST, LARGEST = 64, 65_536
TOKENS_PER_CENTROID = 16  # in the sample of a fit
TOKENS_PER_CELL = 64  # in the sample that cells are fitted to
IN_CELLS_FROM = 2_048  # centroids: below, comparing a token with every one of them is as fast
CELLS_OF_TOKEN = 2  # that are looked into for the nearest centroid
PROBES_OF_CELL = 4  # that a cell which is near to a row of a query is looked into for: it has more centroids
GROWTH = 2  # a codebook lasts until the index has this many times the token vectors it was fitted for

Probes: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float32]]  # centroids, growing, and their weights


def needs_codebook(passages: int, tokens: int, fitted_tokens: int | None) -> bool:
    """Return whether an index needs a codebook: its first, or a new one because it has outgrown the old one.

    Parameters
    ----------
    passages, tokens : int
        What the index has now.
    fitted_tokens : int or None
        Token vectors that it had when its codebook was fitted; None without a codebook.

    Examples
    --------
    >>> needs_codebook(1000, 90_000, None), needs_codebook(3000, 250_000, None), needs_codebook(3000, 250_000, 200_000)
    (False, True, False)
    """
    if passages <= EXACT_BELOW:
        return False
    return fitted_tokens is None or tokens >= GROWTH * fitted_tokens


class Cells(NamedTuple):
    """Groups of centroids that follow one another, and the centre of each.

    Attributes
    ----------
    centres : torch.Tensor
        Shape ``(C, dim)``, float32.
    ends : torch.Tensor
        Shape ``(C,)``, int64: the centroid after the last of each cell.
    """

    centres: torch.Tensor
    ends: torch.Tensor


class Codebook:
    """Unit vectors among which every token has a nearest one.

    A passage becomes the set of the centroids nearest to its tokens, a sparse vector of unit length. A query row gives
    each of its best centroids `c` the weight ``s_c - s_p``, where `s` are the similarities and `p` is the best centroid
    that it gives none; weights of several rows add up. The product of the two estimates how much better than "some
    token at similarity ``s_p``" the passage answers each row; without the unit length, long passages are overrated.

    Parameters
    ----------
    centroids : torch.Tensor
        Shape ``(K, dim)``, float32, rows of unit length.
    cells : Cells, optional
        Where to look for the centroids nearest to a vector; without, everywhere.

    Notes
    -----
    A first stage of centroids: Santhanam et al., "PLAID: An Efficient Engine for Late Interaction Retrieval", CIKM
    2022. Taking what a row has not probed for as similar as the best centroid that it has not: the missing similarity
    imputation of Lee et al., "Rethinking the Role of Token Retrieval in Multi-Vector Retrieval", NeurIPS 2023.
    A large codebook is a tree of two levels, √K cells with about √K centroids each: fitting, assigning and probing
    take a few hundred comparisons of a vector instead of K, in 8-bit integers. A token may get a centroid that is only
    nearly the nearest (`benchmarks/first_stage.py` has how often).

    Examples
    --------
    >>> codebook = Codebook(torch.eye(4))
    >>> codebook.assign(torch.tensor([[0.0, 0.9, 0.1, 0.0], [1.0, 0.0, 0.0, 0.0]])).tolist()
    [1, 0]
    >>> centroids, weights = codebook.query_weights(Query(np.array([[0.8, 0.5, 0.2, 0.0]], np.float32)), probes=2)
    >>> centroids.tolist(), [round(float(weight), 1) for weight in weights]
    ([0, 1], [0.6, 0.3])
    """

    def __init__(self, centroids: torch.Tensor, cells: Cells | None = None) -> None:
        self.cells = cells
        self._codes, self._scale = quantize_shared(centroids)
        if cells is not None:
            self._centres, _ = quantize_shared(cells.centres)
            ends = cells.ends.tolist()
            self._spans = list(zip([0, *ends], ends, strict=False))

    def __len__(self) -> int:
        return len(self._codes)

    @cached_property
    def centroids(self) -> torch.Tensor:
        """The centroids as they are stored: ``(K, dim)``, float32, of about unit length."""
        return unrotate(torch.from_numpy(self._codes).float() * self._scale)

    @staticmethod
    def size_for(tokens: int) -> int:
        """Return how many centroids suit an index of so many token vectors: 2^⌊log2(16·√tokens)⌋, within bounds.

        Examples
        --------
        >>> Codebook.size_for(0), Codebook.size_for(100_000), Codebook.size_for(10**9)
        (64, 4096, 65536)
        """
        size: int = 2 ** int(math.log2(16 * math.sqrt(max(tokens, 1))))
        return min(max(size, SMALLEST), LARGEST)

    @staticmethod
    def sample_for(size: int) -> int:
        """Return how many token vectors a fit of `size` centroids looks at."""
        return size * TOKENS_PER_CENTROID

    @classmethod
    def fit(
        cls, vectors: torch.Tensor, size: int, *, seed: int = 0, iterations: int = 4, use_faiss: bool = False
    ) -> Codebook:
        """Fit centroids to a sample by spherical k-means; many of them cell by cell, each with its share of the tokens.

        Parameters
        ----------
        vectors : torch.Tensor
            Shape ``(n, dim)``, floating, rows of unit length, at least one.
        size : int
            Number of centroids; fewer if there are fewer vectors.
        seed : int
            The same vectors and seed give the same codebook.
        iterations : int
        use_faiss : bool
            By faiss's k-means, of all centroids at once; on GPUs if it is a build for these.

        Raises
        ------
        MissingExtraError
            If faiss is wanted and not installed.
        """
        return cls.fit_codes(quantize_shared(vectors)[0], size, seed=seed, iterations=iterations, use_faiss=use_faiss)

    @classmethod
    def fit_codes(
        cls, codes: Codes, size: int, *, seed: int = 0, iterations: int = 4, use_faiss: bool = False
    ) -> Codebook:
        """Do so for a sample as codes ``(n, dim)`` that share one scale."""
        generator = torch.Generator().manual_seed(seed)
        size = min(size, len(codes))
        if use_faiss:
            return cls._in_order(unrotate(faiss_kmeans(codes, size, iterations, seed)), iterations, generator)
        if size < IN_CELLS_FROM:
            return cls(unrotate(spherical_means(codes, size, iterations, generator)))
        n_cells = math.isqrt(size)
        some = torch.randperm(len(codes), generator=generator)[: n_cells * TOKENS_PER_CELL].numpy()
        centres = unrotate(spherical_means(codes[some], n_cells, iterations, generator))
        order, counts = _grouped(codes, centres)
        shares = _shares(counts, size)
        groups = zip(np.split(order, np.cumsum(counts)[:-1]), shares.tolist(), strict=True)
        means = [unrotate(spherical_means(codes[group], n, iterations, generator)) for group, n in groups if n]
        kept = torch.from_numpy(shares > 0)
        return cls(torch.cat(means), Cells(centres[kept], torch.from_numpy(np.cumsum(shares))[kept]))

    @classmethod
    def _in_order(cls, centroids: torch.Tensor, iterations: int, generator: torch.Generator) -> Codebook:
        """Return the codebook of centroids, in cells if they are many."""
        if len(centroids) < IN_CELLS_FROM:
            return cls(centroids)
        codes, _ = quantize_shared(centroids)
        centres = unrotate(spherical_means(codes, math.isqrt(len(codes)), iterations, generator))
        order, counts = _grouped(codes, centres)
        kept = torch.from_numpy(counts > 0)
        return cls(centroids[torch.from_numpy(order)], Cells(centres[kept], torch.from_numpy(np.cumsum(counts))[kept]))

    def assign(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the nearest centroid of each row, or one nearly as near: ``(n, dim)`` → ``(n,)`` int64."""
        codes = quantize(vectors, torch.ones(len(vectors), dtype=torch.int64), residuals=False).codes
        return torch.from_numpy(self.assign_codes(codes).astype(np.int64))

    def assign_codes(self, codes: Codes) -> NDArray[np.int32]:
        """Do so for vectors as codes, whatever their scales: ``(n, dim)`` int8 → ``(n,)`` int32."""
        if self.cells is None:
            return nearest(codes, self._codes)
        found = [self._in_cells(block) for block in blocks(codes, TOKENS_BLOCK)]
        return np.concatenate(found) if found else np.empty(0, np.int32)

    def _in_cells(self, codes: Codes) -> NDArray[np.int32]:
        """Look for the nearest centroids in the nearest cells."""
        nearest, best = np.zeros(len(codes), np.int32), np.full(len(codes), np.iinfo(np.int32).min, np.int32)
        for cells in self._nearest_cells(codes, min(CELLS_OF_TOKEN, len(self._spans))):
            order = np.argsort(cells, kind="stable")  # cell by cell, so that each is one matrix product
            ends = np.cumsum(np.bincount(cells, minlength=len(self._spans))).tolist()
            ordered = codes[order]
            for (first, last), start, end in zip(self._spans, [0, *ends], ends, strict=False):
                if end > start:
                    found = dot_products(ordered[start:end], self._codes[first:last])
                    which = found.argmax(1)
                    value, tokens = found[np.arange(end - start), which], order[start:end]
                    better = value > best[tokens]
                    best[tokens[better]] = value[better]
                    nearest[tokens[better]] = which[better] + first
        return nearest

    def _nearest_cells(self, codes: Codes, n: int) -> NDArray[np.int64]:
        """Return the `n` cells whose centres are nearest to each token, nearest first: ``(n, tokens)``."""
        cells = np.empty((n, len(codes)), np.int64)
        for start in range(0, len(codes), NEAREST_BLOCK):
            similarities = dot_products(codes[start : start + NEAREST_BLOCK], self._centres)
            every = np.arange(len(similarities))
            for rank in range(n):
                nearest = similarities.argmax(1)
                similarities[every, nearest] = np.iinfo(np.int32).min
                cells[rank, start : start + NEAREST_BLOCK] = nearest
        return cells

    def query_weights(self, query: Query, probes: int) -> Probes:
        """Return the centroids that a query probes, growing, and their weights.

        Parameters
        ----------
        query : Query
        probes : int
            Centroids of each row.
        """
        near = self._near(query.codes, -(-probes // PROBES_OF_CELL))
        codes = self._codes if near is None else np.concatenate([self._codes[first:last] for first, last in near])
        similarities = np.ascontiguousarray(dot_products(codes, query.codes).T)
        last = len(codes) - 1 - min(probes, len(codes) - 1)  # the best that gets none is there once they are sorted
        above = np.maximum(similarities - np.partition(similarities, last, axis=1)[:, last, None], 0)
        scales = torch.from_numpy((query.scales * self._scale).astype(np.float32))
        # By torch, which keeps to this thread if it is told to: numpy's product takes threads of its own.
        weights = (scales @ torch.from_numpy(above.astype(np.float32))).numpy()
        chosen = np.flatnonzero(weights)
        named = chosen if near is None else np.concatenate([np.arange(*span) for span in near])[chosen]
        return named, weights[chosen]

    def _near(self, rows: Codes, n: int) -> list[tuple[int, int]] | None:
        """Return the cells that are among the `n` nearest to any row; None for all."""
        if self.cells is None or len(self._spans) <= n:
            return None
        similarities = dot_products(rows, self._centres)
        least = np.partition(similarities, -n, axis=1)[:, -n, None]
        return [self._spans[cell] for cell in np.flatnonzero((similarities >= least).any(0)).tolist()]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a file of it holds."""
        cells = {} if self.cells is None else {"centres": self.cells.centres, "ends": self.cells.ends}
        return {
            "codes": torch.from_numpy(self._codes),
            "scale": torch.tensor(self._scale, dtype=torch.float64),
            **cells,
        }

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Codebook:
        """Return the codebook that a file holds. Raise `KeyError` if it holds none."""
        cells = Cells(tensors["centres"], tensors["ends"]) if "centres" in tensors else None
        codes, scale = tensors["codes"], float(tensors["scale"])
        made = cls(unrotate(codes.float() * scale), cells)
        made._codes, made._scale = codes.numpy(), scale  # to the bit
        return made

    def save(self, path: Path) -> None:
        """Write it to a safetensors file, through to the disk. Raise `StorageError` if that is not possible."""
        write_file(path, save(self.tensors()))

    @classmethod
    def load(cls, path: Path) -> Codebook:
        """Read it. Raise `IndexDamagedError` if it is missing or cannot be read."""
        try:
            return cls.of(load_file(path))
        except (OSError, SafetensorError, KeyError) as error:
            raise IndexDamagedError(
                f"{str(path)!r} cannot be read: {error}. Index the documents again, or restore the file from a copy."
            ) from error


def _grouped(codes: Codes, centres: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order ``(n,)`` of vectors by the nearest of some centres, and how many ``(C,)`` each of these has."""
    cells = nearest(codes, quantize_shared(centres)[0])
    return np.argsort(cells, kind="stable"), np.bincount(cells, minlength=len(centres))


def _shares(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return how many of `size` centroids each cell gets: as its tokens are to all, and no more than it has tokens.

    Examples
    --------
    >>> _shares(np.array([50, 0, 30, 20, 1]), 10).tolist()
    [5, 0, 3, 2, 0]
    """
    ends = np.round(np.cumsum(counts) * (size / counts.sum())).astype(np.int64)
    return np.minimum(np.diff(ends, prepend=0), counts)
