"""Passages and their vectors in memory, in a few chunks that never change: scored, read, and merged as they grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ...corpus.filters import Condition, matches
from ...corpus.metadata import with_own_metadata
from ...scoring import maxsim
from ...types import Passage, TokenVectors
from ..lexical import PieceCounts


@dataclass(frozen=True, slots=True)
class Chunk:
    """Passages that were stored together. Never changed, so that a search may read it while others write.

    Attributes
    ----------
    passages : tuple of Passage
    pids : torch.Tensor
        Shape ``(n,)``, int64, on the CPU.
    vectors : torch.Tensor
        Shape ``(T, dim)``.
    lengths : torch.Tensor
        Shape ``(n,)``, int64, on the CPU.
    live : torch.Tensor
        Shape ``(n,)``, bool, on the CPU: False where a passage was deleted or overwritten.
    pieces : PieceCounts or None
    """

    passages: tuple[Passage, ...]
    pids: torch.Tensor
    vectors: torch.Tensor
    lengths: torch.Tensor
    live: torch.Tensor
    pieces: PieceCounts | None

    @classmethod
    def of(
        cls,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Chunk:
        """Return a chunk of copies, with the vectors on a device."""
        return cls(
            tuple(with_own_metadata(passage) for passage in passages),
            torch.tensor([passage.pid for passage in passages]),
            vectors.vectors.detach().to(device, dtype, copy=True),
            vectors.lengths.to("cpu", torch.int64, copy=True),
            torch.ones(len(passages), dtype=torch.bool),
            pieces,
        )

    def without(self, pids: torch.Tensor) -> Chunk:
        """Return the chunk with these passages deleted."""
        deleted = torch.isin(self.pids, pids) & self.live
        return replace(self, live=self.live & ~deleted) if deleted.any() else self

    def select(self, mask: torch.Tensor) -> Chunk:
        """Return a chunk of only those passages that `mask` (n,) bool marks."""
        if mask.all():
            return self
        rows = torch.repeat_interleave(mask, self.lengths).to(self.vectors.device)
        passages = tuple(self.passages[i] for i in mask.nonzero().squeeze(1).tolist())
        pieces = None if self.pieces is None else self.pieces.select(mask.numpy())
        return Chunk(passages, self.pids[mask], self.vectors[rows], self.lengths[mask], self.live[mask], pieces)

    def admitted(self, filter: Condition | None) -> torch.Tensor:
        """Return which live passages `filter` admits: (n,) bool."""
        if filter is None:
            return self.live
        pairs = zip(self.passages, self.live.tolist(), strict=True)
        return torch.tensor([live and matches(filter, passage) for passage, live in pairs], dtype=torch.bool)

    def scores(self, queries: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the scores (Q, selected) of the passages that `mask` marks, or of all, deleted ones included."""
        if mask is not None and 2 * int(mask.sum()) < len(mask):  # copying a few is cheaper than scoring many
            return self.select(mask).scores(queries)
        found = maxsim(queries, self.vectors, self.lengths)
        return found if mask is None else found[:, mask.to(self.vectors.device)]


def compacted(chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
    """Return one chunk of all live passages, if there are any."""
    return _joined(tuple(chunk.select(chunk.live) for chunk in chunks if chunk.live.any()))


def merged(chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
    """Merge the last chunks until each is more than twice as large as the next.

    So T token vectors are in at most log2(T) chunks, and each is copied at most that often.
    """
    first = len(chunks) - 1
    tokens = len(chunks[first].vectors)
    while first > 0 and len(chunks[first - 1].vectors) <= 2 * tokens:
        first -= 1
        tokens += len(chunks[first].vectors)
    return chunks[:first] + _joined(chunks[first:])


def _joined(chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
    """Return one chunk of all of them, if there are any."""
    if len(chunks) < 2:
        return chunks
    passages = tuple(passage for chunk in chunks for passage in chunk.passages)
    columns = zip(*((chunk.pids, chunk.vectors, chunk.lengths, chunk.live) for chunk in chunks), strict=True)
    kept = [chunk.pieces for chunk in chunks if chunk.pieces is not None]
    pieces = PieceCounts.joined(kept) if kept else None
    pids, vectors, lengths, live = (torch.cat(column) for column in columns)
    return (Chunk(passages, pids, vectors, lengths, live, pieces),)


def scroll(
    chunks: tuple[Chunk, ...], filter: Condition | None, with_vectors: bool, batch_size: int
) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
    """Yield everything that `filter` admits, in batches, by growing pid."""
    blocks = [torch.split(chunk.vectors, chunk.lengths.tolist()) for chunk in chunks]
    found = sorted(
        (int(chunk.pids[i]), c, int(i))
        for c, chunk in enumerate(chunks)
        for i in chunk.admitted(filter).nonzero().squeeze(1)
    )
    for start in range(0, len(found), batch_size):
        batch = found[start : start + batch_size]
        passages = [with_own_metadata(chunks[c].passages[i]) for _, c, i in batch]
        if not with_vectors:
            yield passages, None
            continue
        vectors = [blocks[c][i] for _, c, i in batch]
        yield passages, TokenVectors(torch.cat(vectors), torch.tensor([len(v) for v in vectors]))
