"""The whole index at one commit, as it is searched."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...corpus.filters import Condition
from ..files import checksum
from ..quantization.codebook import Codebook
from ..quantization.packing import Packing
from .bm25 import LexicalSnapshot
from .buffer import Buffer, load_buffer
from .database import damaged
from .filters import Mask, Pids, admitted, admitted_among
from .segment import Segment, SegmentView
from .state import State

FEW = 1 / 16  # of the passages: looked at one by one


@dataclass(frozen=True)
class Snapshot:
    """The index at one commit. Nobody changes what it refers to.

    Attributes
    ----------
    state : State
    views : tuple of SegmentView
        Of all segments, the buffer last.
    codebook : Codebook or None
    buffer : Buffer or None
    """

    state: State
    views: tuple[SegmentView, ...]
    codebook: Codebook | None
    buffer: Buffer | None

    @classmethod
    def load(cls, folder: Path, connection: sqlite3.Connection, state: State, old: Snapshot | None) -> Snapshot:
        """Open what a state names; what an older snapshot has open already is taken from there.

        Raises
        ------
        IndexDamagedError
            If a file is missing, or is not the one that was written.
        """
        same = old is not None and old.state.codebook == state.codebook
        codebook = old.codebook if old and same else load_codebook(folder, state)
        known = {view.segment.name: view.segment for view in old.views} if old else {}
        views = []
        for meta in state.segments:
            segment = known.get(meta.name)
            if segment is None:
                segment = Segment.open(folder, meta, state)
            elif not same:
                segment = segment.with_postings(folder, meta, state)
            views.append(SegmentView(segment, meta.live_mask()))
        buffer = load_buffer(connection, state, old.buffer if old else None) if state.buffered else None
        if buffer is not None:
            views.append(SegmentView(buffer.segment))
        return cls(state, tuple(views), codebook, buffer)

    @cached_property
    def lexical(self) -> LexicalSnapshot:
        """BM25 over its live passages, in an index with lexical search."""
        return LexicalSnapshot(self.views, self.passages)

    @property
    def passages(self) -> int:
        """How many passages are live."""
        return self.state.passages

    @property
    def packing(self) -> Packing | None:
        """The packing of the index: all segments have the one of the first."""
        return next((view.segment.vectors.packing for view in self.views if view.segment.vectors.packing), None)

    def pids(self, masks: Sequence[Mask | None] | None = None) -> Pids:
        """Return the live pids that the masks of a filter admit, growing."""
        masks = masks or [None] * len(self.views)
        found = [view.segment.table.pids[view.rows(mask)] for view, mask in zip(self.views, masks, strict=True)]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def was_met(self, condition: Condition) -> bool:
        """Return whether a filter was used before; from now on, it was."""
        key, met = repr(condition), True
        for view in self.views:
            if key not in view.segment.masks and view.segment.postings is not None:
                met = False
                view.segment.masks.remember(key, self.state.meta.generation, None)
        return met

    def masks(self, connection: sqlite3.Connection, condition: Condition | None) -> list[Mask | None]:
        """Return which passages of each segment a filter admits, live or not. It is remembered."""
        if condition is None:
            return [None] * len(self.views)
        generation = self.state.meta.generation
        key = repr(condition)  # conditions on 1 and on True are equal to Python, and not the same
        found = [view.segment.masks.get(key, generation) for view in self.views]
        unknown = [i for i, mask in enumerate(found) if mask is None]
        if unknown:
            tables = [self.views[i].segment.table.pids for i in unknown]
            pids, places = tables[0], slice(None)
            if len(tables) > 1:  # a pid that was overwritten is in two
                pids, places = np.unique(np.concatenate(tables), return_inverse=True)
            few = len(pids) <= FEW * self.passages  # a small segment beside large ones whose masks are remembered
            mask = (admitted_among if few else admitted)(connection, condition, pids)[places]
            ends = np.cumsum([len(table) for table in tables])
            for i, part in zip(unknown, np.split(mask, ends[:-1]), strict=True):
                found[i] = part
                self.views[i].segment.masks.remember(key, generation, part)
        return found


def load_codebook(folder: Path, state: State) -> Codebook | None:
    """Return the codebook of a state. Raise `IndexDamagedError` if it is not the one that was written."""
    meta = state.codebook
    if meta is None:
        return None
    path = folder / meta.name
    try:
        if checksum(path) != meta.file.sha256:
            raise ValueError("it has another checksum than when it was written")
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    codebook = Codebook.load(path)
    if codebook.centroids.ndim != 2 or codebook.centroids.shape[1] != state.meta.dim:
        raise damaged(path, "its centroids have another width than the index")
    return codebook
