"""A write transaction on the index in a folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import PassageIndexError
from ...types import Passage, TokenVectors
from ..lexical import PieceCounts
from ..quantization.packing import Packing
from ..quantization.scalar import quantize
from ..validation import PidSequence, check_add, check_pieces
from .buffer import BUFFER_TOKENS, insert_buffered, read_buffered
from .folder import new_segment_name
from .passages import delete_passages, insert_passages, known_pids, pids_of
from .segment_writer import SegmentWriter
from .snapshot import Snapshot
from .state import SegmentMeta, State, write_state

TOKENS_BLOCK = 2**14  # quantized at once


class LocalWriter:
    """Stores passages in the database, and their vectors in the buffer or in a new segment, until `commit`.

    Implements `ragatouille_xm.index.base.IndexWriter`.

    Parameters
    ----------
    folder : Path
    connection : sqlite3.Connection
        In a write transaction.
    snapshot : Snapshot
        What is written to. It stays so meanwhile.
    replace : bool
        All other passages of the documents that are added are removed.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, snapshot: Snapshot, *, replace: bool) -> None:
        self._folder = folder
        self._connection = connection
        self._replace = replace
        self._field_ids: dict[str, int] = {}
        self._growing: SegmentWriter | None = None
        self._failed = False
        self._begin(snapshot)

    def _begin(self, snapshot: Snapshot) -> None:
        """Go on from a state that is written."""
        self._snapshot = snapshot
        self._before = snapshot.state
        self._pids = PidSequence(snapshot.state.meta.next_pid)
        self._live: dict[str, NDArray[np.bool_]] = {}  # of the segments that lose passages
        self._buffered, self._buffered_tokens = snapshot.state.buffered, snapshot.state.buffered_tokens
        self._changed = False

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        return self._pids.reserve(n)

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, pieces: PieceCounts | None = None) -> None:
        """Store passages, overwriting those of the same pid.

        Raises
        ------
        InputError
            If they cannot be stored.
        StorageError
            If writing fails.
        """
        check_add(passages, vectors, self._before.meta.dim)
        check_pieces(pieces, len(passages), expected=self._before.meta.lexical)
        self._check_whole()
        if not passages:
            return
        self._pids.advance(passages)
        self._failed = True  # until all of it is stored
        pids = [passage.pid for passage in passages]
        if min(pids) < self._before.meta.next_pid:
            self._remove(known_pids(self._connection, pids))
        if self._replace:
            self._remove(pids_of(self._connection, [passage.document_id for passage in passages]))
        insert_passages(self._connection, passages, self._field_ids)
        if self._growing is None and self._buffered_tokens + len(vectors.vectors) > BUFFER_TOKENS:
            self._growing = self._new_segment(vectors)
        for first, last, block in _blocks(vectors):
            self._store(pids[first:last], block, None if pieces is None else pieces.part(first, last))
        self._changed, self._failed = True, False

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many were removed. Unknown ids are ignored."""
        self._check_whole()
        pids = pids_of(self._connection, document_ids)
        self._failed = True
        self._remove(pids)
        self._failed = False
        return len(pids)

    def _store(self, pids: Sequence[int], vectors: TokenVectors, pieces: PieceCounts | None) -> None:
        if self._growing is not None:
            self._growing.add(pids, vectors, pieces)
            return
        quantized = quantize(vectors.vectors, vectors.lengths, residuals=self._before.storage.has_residuals)
        insert_buffered(self._connection, pids, vectors.lengths.numpy(), quantized, pieces)
        self._buffered += len(pids)
        self._buffered_tokens += len(vectors.vectors)

    def _new_segment(self, coming: TokenVectors) -> SegmentWriter:
        """Begin a segment with what is in the buffer, for what is coming."""
        storage, packing = self._before.storage, self._snapshot.packing
        buffered, pieces = read_buffered(self._connection, self._before.meta)
        there = np.arange(len(buffered))
        if storage.is_packed and packing is None:
            sample = coming.vectors.detach().float().cpu()
            packing = Packing.fit(torch.cat([buffered.vectors_of(there).vectors, sample]))
        growing = SegmentWriter(self._folder, new_segment_name(), self._before, packing)
        if len(buffered) and packing is not None:
            growing.add(buffered.table.pids, buffered.vectors_of(there), pieces)
        elif len(buffered):
            growing.copy(buffered, pieces)
        self._connection.execute("DELETE FROM buffer")
        self._buffered = self._buffered_tokens = 0
        return growing

    def _remove(self, pids: Sequence[int]) -> None:
        if not pids:
            return
        self._changed = True
        delete_passages(self._connection, pids)
        [(self._buffered, self._buffered_tokens)] = self._connection.execute(
            "SELECT count(*), coalesce(sum(tokens), 0) FROM buffer"
        )
        for view in self._snapshot.views:
            rows = view.segment.table.rows_of(pids)
            if len(rows):
                live = self._live.get(view.segment.name)
                if live is None:
                    live = np.ones(len(view.segment.table.pids), np.bool_) if view.live is None else view.live.copy()
                    self._live[view.segment.name] = live
                live[rows] = False

    def commit(self) -> None:
        """Finish the segment that was begun, and write what is to be committed, before the transaction ends."""
        self._check_whole()
        grown = self._finish_segment()
        after = self._state([grown] if grown else [])
        if after != self._before:
            write_state(self._connection, after, self._before)

    def _check_whole(self) -> None:
        if self._failed:
            raise PassageIndexError("A change of this transaction has failed: nothing of it can be committed.")

    def _state(self, new_segments: Sequence[SegmentMeta]) -> State:
        """Return the state to write."""
        after = replace(self._before, meta=replace(self._before.meta, next_pid=self._pids.next_pid))
        if not self._changed:
            return after
        segments = [
            segment.with_live(self._live[segment.name]) if segment.name in self._live else segment
            for segment in self._before.segments
        ]
        return after.committed(
            segments=(*(segment for segment in segments if segment.live), *new_segments),
            buffered=self._buffered,
            buffered_tokens=self._buffered_tokens,
        )

    def _finish_segment(self) -> SegmentMeta | None:
        growing, self._growing = self._growing, None
        if growing is None:
            return None
        found = self._connection.execute("SELECT pid FROM passage WHERE pid >= ?", (growing.vectors.lowest_pid,))
        stored = np.fromiter((pid for (pid,) in found), np.int64)
        return growing.finish(stored, self._snapshot)

    def discard(self) -> None:
        """Remove the files that were begun."""
        if self._growing is not None:
            self._growing.discard()


def _blocks(vectors: TokenVectors) -> Iterator[tuple[int, int, TokenVectors]]:
    """Yield runs of passages with about `TOKENS_BLOCK` token vectors: from, to, and their vectors."""
    ends = vectors.lengths.cumsum(0)
    first = start = 0
    while first < len(vectors):
        last = max(int(torch.searchsorted(ends, start + TOKENS_BLOCK, right=True)), first + 1)
        end = int(ends[last - 1])
        yield first, last, TokenVectors(vectors.vectors[start:end].detach().cpu(), vectors.lengths[first:last])
        first, start = last, end
