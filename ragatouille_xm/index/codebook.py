"""Centroids that turn token vectors into sparse vectors: the first stage of a search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..errors import IndexDamagedError
from .durable import write_durably

SMALLEST, LARGEST = 64, 65_536
TOKENS_PER_CENTROID = 16  # in the sample of a fit
SIMILARITIES_AT_ONCE = 2**24  # floats: 64 MiB
IN_CELLS_FROM = 2_048  # centroids: below, comparing a token with every one of them is as fast
CELLS_OF_TOKEN, CELLS_OF_QUERY_ROW = 4, 8  # that are looked into
TOKENS_AT_ONCE = 2**15  # among cells

Probes = tuple[list[int], list[float]]  # centroids, growing, and their weights


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

    Notes
    -----
    A first stage of centroids: Santhanam et al., "PLAID: An Efficient Engine for Late Interaction Retrieval", CIKM
    2022. Taking what a row has not probed for as similar as the best centroid that it has not: the missing similarity
    imputation of Lee et al., "Rethinking the Role of Token Retrieval in Multi-Vector Retrieval", NeurIPS 2023.
    A large codebook is searched in two levels: 7 % of the tokens get another centroid than the nearest, which costs
    0.003 of similarity on average over all of them (`benchmarks/first_stage.py`). A query is compared with the
    centroids of the cells that are nearest to any of its rows (`benchmarks/codebooks.py`).

    Examples
    --------
    >>> codebook = Codebook(torch.eye(4))
    >>> codebook.assign(torch.tensor([[0.0, 0.9, 0.1, 0.0], [1.0, 0.0, 0.0, 0.0]])).tolist()
    [1, 0]
    >>> codebook.query_weights(torch.tensor([[0.5, 0.25, 0.125, 0.0]]), probes=2)
    ([0, 1], [0.375, 0.125])
    """

    def __init__(self, centroids: torch.Tensor) -> None:
        self.centroids = centroids.float().contiguous()

    def __len__(self) -> int:
        return len(self.centroids)

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
    def fit(cls, vectors: torch.Tensor, size: int, *, seed: int = 0, iterations: int = 4) -> Codebook:
        """Fit centroids to a sample by spherical k-means.

        Parameters
        ----------
        vectors : torch.Tensor
            Shape ``(n, dim)``, floating, rows of unit length, at least one.
        size : int
            Number of centroids; fewer if there are fewer vectors.
        seed : int
            The same vectors and seed give the same codebook.
        iterations : int
        """
        generator = torch.Generator().manual_seed(seed)
        start = torch.randperm(len(vectors), generator=generator)[:size]
        codebook = cls(vectors[start])
        for _ in range(iterations):
            sums = torch.zeros_like(codebook.centroids)
            for block in codebook._blocks(vectors):
                sums.index_add_(0, codebook._nearest(block), block)
            norms = sums.norm(dim=1, keepdim=True)
            # A centroid that is nobody's nearest stays where it is.
            codebook = cls(torch.where(norms > 0, sums / norms.clamp_min(1e-12), codebook.centroids))
        return codebook

    def assign(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the nearest centroid of each row, or one nearly as near: ``(n, dim)`` → ``(n,)`` int64."""
        return torch.cat([self._nearest(block) for block in self._blocks(vectors)])

    def _blocks(self, vectors: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the rows in float32, as many at a time as may be compared at once."""
        at_once = TOKENS_AT_ONCE if self._cells else max(SIMILARITIES_AT_ONCE // len(self), 1)
        for block in vectors.split(at_once):
            yield block.float()

    def _nearest(self, block: torch.Tensor) -> torch.Tensor:
        return self._cells.nearest(block) if self._cells else (block @ self.centroids.T).argmax(1)

    @cached_property
    def _cells(self) -> _Cells | None:
        return _Cells(self.centroids) if len(self) >= IN_CELLS_FROM else None

    def query_weights(self, query: torch.Tensor, probes: int) -> Probes:
        """Return the centroids that a query probes, growing, and their weights.

        Parameters
        ----------
        query : torch.Tensor
            Shape ``(q, dim)``, float32.
        probes : int
            Centroids of each row.
        """
        cells = self._cells
        ids, centroids = (None, self.centroids) if cells is None else cells.near(query)
        best = (query @ centroids.T).topk(min(probes, len(centroids) - 1) + 1)
        weights = torch.zeros(len(centroids))
        weights.index_add_(0, best.indices.flatten(), (best.values - best.values[:, -1:]).flatten())
        chosen = weights.nonzero().squeeze(1)
        if ids is None:
            return chosen.tolist(), weights[chosen].tolist()
        named, order = ids[chosen].sort()
        return named.tolist(), weights[chosen][order].tolist()

    def save(self, path: Path) -> None:
        """Write the centroids to a safetensors file in one step. Raise `StorageError` if that is not possible."""
        write_durably(path, save({"centroids": self.centroids}))

    @classmethod
    def load(cls, path: Path) -> Codebook:
        """Read the centroids. Raise `IndexDamagedError` if they are missing or cannot be read."""
        try:
            return cls(load_file(path)["centroids"])
        except (OSError, SafetensorError, KeyError) as error:
            raise IndexDamagedError(
                f"{str(path)!r} cannot be read: {error}. Index the documents again, or restore the file from a copy."
            ) from error


class _Cells:
    """Centroids in √K cells of similar ones: a vector is compared with those of the nearest few cells alone.

    Parameters
    ----------
    centroids : torch.Tensor
        Shape ``(K, dim)``, float32.
    """

    def __init__(self, centroids: torch.Tensor) -> None:
        self._centres = Codebook.fit(centroids, math.isqrt(len(centroids)))
        cells = self._centres.assign(centroids)
        self._order = cells.argsort(stable=True)
        self._sorted = centroids[self._order]  # cell by cell
        self._ends = cells.bincount(minlength=len(self._centres)).cumsum(0).tolist()

    def near(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the centroids of the cells that are among the nearest to any row: positions ``(m,)``, vectors."""
        cells = self._nearest_cells(rows, CELLS_OF_QUERY_ROW).unique().tolist()
        found = torch.cat([torch.arange(self._ends[cell - 1] if cell else 0, self._ends[cell]) for cell in cells])
        return self._order[found], self._sorted[found]

    def _nearest_cells(self, rows: torch.Tensor, n: int) -> torch.Tensor:
        return (rows @ self._centres.centroids.T).topk(n).indices

    def nearest(self, block: torch.Tensor) -> torch.Tensor:
        """Return the nearest centroid of each row in the nearest cells: ``(n, dim)`` → ``(n,)`` int64."""
        cells = self._nearest_cells(block, CELLS_OF_TOKEN).flatten()  # row by row
        order = cells.argsort(stable=True)  # cell by cell, so that each is one matrix product
        similarities = torch.full((len(cells),), -torch.inf)
        found = torch.zeros_like(cells)
        start = 0
        for pairs, end in zip(order.split(cells.bincount(minlength=len(self._ends)).tolist()), self._ends, strict=True):
            if len(pairs) and end > start:
                best = (block[pairs // CELLS_OF_TOKEN] @ self._sorted[start:end].T).max(1)
                similarities[pairs], found[pairs] = best.values, best.indices + start
            start = end
        chosen = similarities.view(-1, CELLS_OF_TOKEN).argmax(1, keepdim=True)
        return self._order[found.view(-1, CELLS_OF_TOKEN).gather(1, chosen).squeeze(1)]
