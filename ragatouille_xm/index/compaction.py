"""Rewriting parts of an index: when, and how."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from ..types import TokenVectors
from .codebook import Codebook
from .growing import GrowingPart
from .manifest import Manifest, PartEntry
from .part import AT_ONCE, Part, batches_of
from .reading import EXACT_BELOW, Snapshot, View, joined

logger = logging.getLogger(__name__)

GROWTH = 2  # a codebook lasts until there are so many times the tokens it was fitted for
MOST_DELETED = 0.2  # of a part
LARGE = 2000  # passages: a larger part is read through a handle of its own, which can let go of memory


def needs_codebook(manifest: Manifest) -> bool:
    """Return whether the index has outgrown its codebook, or exact search without one."""
    if manifest.passages <= EXACT_BELOW:
        return False
    return manifest.codebook is None or manifest.tokens >= GROWTH * manifest.codebook.tokens


def changed(manifest: Manifest) -> bool:
    """Return whether the index has more parts or fewer passages than after a build, or others than its codebook."""
    fitted = abs(manifest.growth - 1) < 0.01
    return len(manifest.parts) > 1 or any(part.deleted for part in manifest.parts) or not fitted


def outgrown(parts: Sequence[PartEntry]) -> list[PartEntry]:
    """Return the parts to rewrite as one, largest first.

    A part that is smaller than all smaller ones together joins these: so `n` passages are in at most log2(n) + 2 parts,
    and one is rewritten at most log2(n) times. Parts with many deleted passages join too.

    Examples
    --------
    >>> sizes = [900, 300, 300, 300]
    >>> [part.passages for part in outgrown([PartEntry(f"part-{n}", n, n) for n in sizes])]
    [300, 300, 300]
    """
    ordered = sorted(parts, key=lambda part: -part.alive)
    first = len(ordered)
    smaller = 0
    for i in reversed(range(len(ordered))):
        if ordered[i].alive < smaller:
            first = i
        smaller += ordered[i].alive
    worn = [part for part in ordered[:first] if len(part.deleted) > MOST_DELETED * part.passages]
    return worn + ordered[first:]


class Source(Protocol):
    """Where token vectors can be had."""

    def pids(self) -> list[int]:
        """Return the pids of the passages that are there, growing."""

    def vectors_of(self, pids: Sequence[int]) -> Iterator[TokenVectors]:
        """Yield the vectors of some of them, a few passages at a time."""


def fit_codebook(sources: Sequence[Source], tokens: int, *, seed: int = 0) -> Codebook:
    """Fit a codebook to a sample of token vectors, which are about `tokens` in all."""
    size = Codebook.size_for(tokens)
    sample = _sample(sources, Codebook.sample_for(size) / max(tokens, 1), seed)[: Codebook.sample_for(size)]
    logger.info("fitting %d centroids to %d of %d token vectors", size, len(sample), tokens)
    return Codebook.fit(sample, size, seed=seed)


def _sample(sources: Sequence[Source], fraction: float, seed: int) -> torch.Tensor:
    """Return the token vectors ``(n, dim)`` of a random part of the passages."""
    chosen = np.random.default_rng(seed)
    blocks = []
    for source in sources:
        pids = source.pids()
        some = chosen.permutation(pids)[: int(np.ceil(fraction * len(pids)))].tolist()
        blocks += [found.vectors for found in source.vectors_of(some)]
    return torch.cat(blocks)


def copy_alive(view: View, target: GrowingPart, codebook: Codebook | None) -> int:
    """Append what is alive of a part to another one; return how many token vectors that were."""
    tokens = 0
    large = view.part.passages > LARGE
    source = Part.load(view.part.folder, view.part.passages) if large else view.part
    stream = source.read(view.where(), with_vectors=True)
    for batch in batches_of(stream, AT_ONCE):
        vectors = joined(batch)
        target.append([stored.passage for stored in batch], vectors, codebook)
        tokens += len(vectors.vectors)
        if large:
            source.recycle(vectors.vectors.nbytes)
    if large:
        source.close()
    return tokens


def without(manifest: Manifest, snapshot: Snapshot, gone: Callable[[View], set[int]]) -> list[tuple[PartEntry, View]]:
    """Return the parts after the pids that `gone` names in each are deleted; those that become empty are left out."""
    pairs = []
    for entry, view in zip(manifest.parts, snapshot.views, strict=True):
        if pids := gone(view):
            deleted = view.deleted | pids
            entry, view = replace(entry, deleted=tuple(sorted(deleted))), View(view.part, deleted)
        if entry.alive:
            pairs.append((entry, view))
    return pairs
