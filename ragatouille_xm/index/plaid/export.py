"""Writes an index as a folder that colbert-ai and RAGatouille open."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from tqdm import tqdm

from ...errors import InputError
from ..base import PassageIndex
from ..files import check_space, storage_errors, sync_tree
from .codec import NBITS, ResidualCodec
from .writing import Writer

CHUNK = 25_000  # passages, as colbert-ai has it
SAMPLED_FOR_EACH = 16  # centroid: vectors
FEW = 10_000  # passages below which RAGatouille takes four bits


def export_plaid(
    index: PassageIndex,
    folder: str | Path,
    *,
    checkpoint: str,
    max_document_length: int,
    nbits: int | None = None,
    chunk: int = CHUNK,
    progress: bool = False,
) -> int:
    """Write an index in the format of colbert-ai and RAGatouille; return how many passages it has.

    Vectors are compressed, so searches over them differ a little. Passages are numbered anew from 0, in their order.
    The same passages and vectors give the same files. Memory is bounded: by a sample of the vectors, one chunk, and
    the passages of each centroid.

    Parameters
    ----------
    index : PassageIndex
        Is read twice.
    folder : str or Path
        Must not exist; it is there as a whole once this returns.
    checkpoint : str
        Hub id or folder of the checkpoint that filled the index.
    max_document_length : int
        Most tokens of a passage.
    nbits : int, optional
        Bits for each dimension of a residual: 1, 2, 4 or 8. By default 4 below 10,000 passages and 2 from there on.
    chunk : int
        Most passages of a file.
    progress : bool
        Draw a bar.

    Raises
    ------
    InputError
        If there is something at `folder`, the index is empty, or `nbits` does not suit it.
    StorageError
        If the folder cannot be written; nothing is left of it then.
    """
    target = Path(folder)
    if os.path.lexists(target):
        raise InputError(f"There is something at {str(target)!r} already. Give a folder that does not exist.")
    if not len(index):
        raise InputError("The index has no passages: there is nothing to export.")
    bits = _check_bits(nbits if nbits is not None else 4 if len(index) < FEW else 2, index.dim)
    with tqdm(total=2 * len(index), desc="exporting", unit="passage", disable=None if progress else True) as bar:
        sample, tokens = _sample(index, bar)
        codec, average = ResidualCodec.fit(sample, _partitions(tokens), bits)
        with _written_aside(target) as aside, closing(Writer(aside, codec, chunk)) as writer:
            check_space(aside, tokens * (codec.packed_dim + 8))
            for passages, vectors in index.scroll(with_vectors=True):
                if vectors is not None:
                    writer.add(passages, vectors)
                bar.update(len(passages))
            writer.finish(average, name=target.name, checkpoint=checkpoint, doc_maxlen=max_document_length)
    return writer.n_passages


def _check_bits(nbits: int, dim: int) -> int:
    possible = [n for n in NBITS if dim % (8 * n) == 0]
    if nbits not in possible:
        usable = ", ".join(map(str, possible)) or "none, for it wants a multiple of 8 dimensions"
        raise InputError(f"nbits={nbits!r} is not usable for vectors of {dim} dimensions. colbert-ai takes: {usable}.")
    return nbits


def _partitions(tokens: int) -> int:
    """Return how many centroids colbert-ai takes for so many token vectors."""
    return 1 << int(math.log2(16 * math.sqrt(max(tokens, 1))))


def _sample(index: PassageIndex, bar: tqdm[Any]) -> tuple[torch.Tensor, int]:
    """Return a sample ``(n, dim)`` of the token vectors in random order, and the number of all.

    Of every passage as long as there are few; otherwise of every second, fourth, … passage.
    """
    kept: list[torch.Tensor] = []
    step, seen, tokens = 1, 0, 0
    for passages, vectors in index.scroll(with_vectors=True):
        for block in vectors or ():
            if seen % step == 0:
                kept.append(block.to("cpu", torch.float16, copy=True))
            seen, tokens = seen + 1, tokens + len(block)
        while sum(map(len, kept)) > 2 * SAMPLED_FOR_EACH * _partitions(tokens):
            kept, step = kept[::2], 2 * step
        bar.update(len(passages))
    sample = torch.cat(kept)
    order = torch.randperm(len(sample), generator=torch.Generator().manual_seed(0))
    return sample[order[: SAMPLED_FOR_EACH * _partitions(tokens)]], tokens


@contextmanager
def _written_aside(target: Path) -> Iterator[Path]:
    """Yield a folder that gets to `target` as a whole, or not at all."""
    with storage_errors(target):
        aside = target.with_name(f"{target.name}-{uuid4().hex[:8]}.tmp")
        aside.mkdir(parents=True)
        try:
            yield aside
            sync_tree(aside)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
