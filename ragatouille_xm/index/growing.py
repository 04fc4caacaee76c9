"""A part on its way: it grows in the hands of the one who makes it, as several shards that become one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import torch

from ..errors import StorageError
from ..types import Passage, TokenVectors
from .codebook import Codebook
from .manifest import PART
from .part import Part, batches_of, point
from .points import payload_of
from .qdrant_filters import TERMS

POINTS_AT_ONCE = 512  # given to the engine, which holds them in float32
ENOUGH = 2500  # passages for a thread of a search
MOST_SEGMENTS = 8


def new_name() -> str:
    """Return the name of a part that never was: readers know parts by their names."""
    return f"{PART}{uuid4().hex[:12]}"


class GrowingPart:
    """Passages on their way into a part.

    The engine searches the segments of a shard at once, each on a thread, but makes one segment of what a shard was
    given, and while it searches no other thread of Python runs. So passages are spread over up to eight shards of
    about the same size, and `seal` makes one of the segments of all. Each is rewritten alone, which
    also takes an eighth of the room and the memory.

    Parameters
    ----------
    folder : Path
        Of the index.
    dim : int
        Width of a token vector.
    storage : str
        One of `ragatouille_xm.config.STORAGES`.
    shards : sequence of Part
        Those to go on with; by default an empty one.
    """

    def __init__(self, folder: Path, dim: int, storage: str, shards: Sequence[Part] = ()) -> None:
        self._folder = folder
        self._dim = dim
        self._storage = storage
        self.shards = list(shards)
        if not shards:
            self._grow()

    @property
    def passages(self) -> int:
        """Passages that are here."""
        return sum(shard.passages for shard in self.shards)

    def append(self, passages: Sequence[Passage], vectors: TokenVectors, codebook: Codebook | None) -> None:
        """Store passages, overwriting those of the same pid.

        Raises
        ------
        InputError
            If the engine cannot hold a text or the metadata; nothing was stored.
        StorageError
            If writing fails.
        """
        pids = [passage.pid for passage in passages]
        payloads = [payload_of(passage) for passage in passages]
        for shard in self.shards:  # the one that gets a pid now may be another
            if known := shard.holds(pids):
                shard.remove(sorted(known))
        tokens = vectors.vectors.detach().to("cpu", torch.float16)
        lengths = vectors.lengths.tolist()
        centroids: Sequence[torch.Tensor | None] = [None] * len(passages)
        if codebook is not None:
            centroids = codebook.assign(tokens).split(lengths)
        if any(TERMS in payload for payload in payloads):
            for shard in self.shards:
                shard.index_terms()
        points = map(point, pids, payloads, tokens.split(lengths), centroids)
        for some in batches_of(points, POINTS_AT_ONCE):
            self._smallest().put(some)
        for shard in self.shards:  # what all of them map is to stay below a limit
            shard.recycle(tokens.nbytes)

    def _smallest(self) -> Part:
        smallest = min(self.shards, key=lambda shard: shard.passages)
        if smallest.passages < ENOUGH or len(self.shards) == MOST_SEGMENTS:
            return smallest
        return self._grow()

    def _grow(self) -> Part:
        shard = Part.create(self._folder / new_name(), self._dim, self._storage)
        self.shards.append(shard)
        if any(other.has_terms for other in self.shards):
            shard.index_terms()
        return shard

    def remove(self, pids: Sequence[int]) -> None:
        """Forget passages."""
        for shard in self.shards:
            shard.remove(pids)

    def assign(self, pids: Sequence[int], vectors: TokenVectors, codebook: Codebook) -> None:
        """Give passages that are here, by their vectors, their centroids."""
        rows = dict(zip(pids, codebook.assign(vectors.vectors).split(vectors.lengths.tolist()), strict=True))
        for shard in self.shards:
            if here := shard.holds(pids):
                shard.assign({pid: rows[pid] for pid in here})

    def flush(self) -> None:
        """Write everything out: a process that dies later does not take it along."""
        for shard in self.shards:
            shard.flush()

    def seal(self) -> Part:
        """Return the part, all of it on the disk. It must not be changed afterwards."""
        if len(self.shards) > 1:
            self.shards = [Part.joined(self._folder / new_name(), self._dim, self._storage, self.shards)]
        else:
            self.shards[0].optimize()
        [part] = self.shards
        part.seal()
        return part

    def close(self) -> None:
        """Release files and memory."""
        for shard in self.shards:
            with suppress(StorageError):
                shard.close()
