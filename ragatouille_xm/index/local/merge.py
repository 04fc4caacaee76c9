"""What becomes due as an index grows and shrinks: codebooks, inverted lists, and parts put together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...config import EXACT_BELOW
from ..quantization.codebook import Codebook
from ..quantization.faiss_kmeans import uses_faiss
from ..quantization.scalar import quantize_shared
from .inventory import checksum
from .manifest import CODEBOOK, SUFFIX, CodebookEntry, Manifest, PartEntry
from .postings import read_postings, write_postings
from .search import Snapshot, View
from .segment import AT_ONCE, Part, batches_of
from .vectors import Rows, TokenStore

logger = logging.getLogger(__name__)

GROWTH = 2  # a codebook lasts until there are so many times the tokens it was fitted for
MOST_DELETED = 0.2  # of a part
TOKENS_AT_ONCE = 2**18


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


def fit_codebook(views: Sequence[View], manifest: Manifest, *, seed: int = 0) -> Codebook:
    """Fit a codebook to a sample of the token vectors of an index."""
    tokens = manifest.tokens
    size = Codebook.size_for(tokens)
    wanted = Codebook.sample_for(size)
    chosen = np.random.default_rng(seed)
    largest = max(float(view.part.tokens.table.scales.max()) for view in views)
    blocks = []
    for view in views:
        rows, store = view.rows(), view.part.tokens
        some = np.sort(chosen.permutation(rows)[: int(np.ceil(wanted / max(tokens, 1) * len(rows)))])
        blocks += [quantize_shared(store.vectors_of(block).vectors, largest)[0] for block in store.once(some)]
    sample = np.concatenate(blocks)[:wanted]
    logger.info("fitting %d centroids to %d of %d token vectors", size, len(sample), tokens)
    return Codebook.fit_codes(sample, size, seed=seed, use_faiss=uses_faiss(manifest.settings))


def saved(codebook: Codebook, folder: Path, tokens: int) -> CodebookEntry:
    """Write a codebook under the name of a version that no file in `folder` has; `tokens` are those of the index."""
    versions = [path.stem.removeprefix(CODEBOOK) for path in folder.glob(f"{CODEBOOK}*{SUFFIX}")]
    version = max((int(version) for version in versions if version.isdigit()), default=0) + 1
    path = folder / CodebookEntry(version, tokens).file
    codebook.save(path)
    return CodebookEntry(version, tokens, checksum(path))


def posted(
    pair: tuple[PartEntry, View], folder: Path, codebook: Codebook | None, entry: CodebookEntry | None
) -> tuple[PartEntry, View]:
    """Return a part with inverted lists, which are written; without a codebook, as it is."""
    part, view = pair
    if codebook is None or entry is None:
        return pair
    path = folder / part.postings_file(entry)
    tokens = view.part.tokens
    write_postings(path, len(codebook), len(tokens.table.pids), _assigned(tokens, codebook))
    return replace(part, postings=checksum(path)), replace(view, postings=read_postings(path))


def _assigned(tokens: TokenStore, codebook: Codebook) -> Iterator[tuple[NDArray[np.int32], Rows]]:
    for rows in tokens.once(at_once=TOKENS_AT_ONCE):
        yield codebook.assign_codes(tokens.take(rows, fine=False).codes), tokens.table.lengths[rows]


def copy_alive(view: View, target: Part) -> None:
    """Append what is alive of a part to another one, bit by bit."""
    for batch in batches_of(view.part.read(view.where()), AT_ONCE):
        target.copy(batch, view.part)


def without(manifest: Manifest, snapshot: Snapshot, gone: Callable[[View], set[int]]) -> list[tuple[PartEntry, View]]:
    """Return the parts after the pids that `gone` names in each are deleted; those that become empty are left out."""
    pairs = []
    for entry, view in zip(manifest.parts, snapshot.views, strict=True):
        if pids := gone(view):
            deleted = view.deleted | pids
            entry, view = replace(entry, deleted=tuple(sorted(deleted))), View(view.part, deleted, view.postings)
        if entry.alive:
            pairs.append((entry, view))
    return pairs
