"""Token vectors of an index in the memory of a device: MaxSim over all of them at the device's speed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch

from ...config import SearchConfig
from ...errors import InputError
from ...scoring import maxsim, top_k
from ...types import Hits
from ..hits import join_hits, query_rows
from ..quantization.rotation import rotate
from ..quantization.scalar import inverse_norms_on
from .search import Search
from .segment import Segment
from .snapshot import Snapshot
from .vectors import Rows, Vectors

logger = logging.getLogger(__name__)

TOKENS_BLOCK = 2**18  # loaded at once
QUERIES_BATCH = 64


class GpuSegment:
    """The token vectors of one segment on a device: float16, or 8-bit integers if it stores no more.

    Parameters
    ----------
    segment : Segment
    device : torch.device

    Raises
    ------
    torch.OutOfMemoryError
        If the device has no room for them.
    """

    def __init__(self, segment: Segment, device: torch.device) -> None:
        vectors = segment.vectors
        lengths = torch.from_numpy(vectors.table.lengths)
        self.pids = torch.from_numpy(vectors.table.pids)  # growing
        self._starts, self._lengths = (lengths.cumsum(0) - lengths).to(device), lengths.to(device)
        total, dtype = int(lengths.sum()), torch.float16 if vectors.has_residuals else torch.int8
        self._vectors = torch.empty(total, vectors.dim, dtype=dtype, device=device)
        self._scales = None if vectors.has_residuals else torch.empty(total, device=device)
        start = 0
        for rows in vectors.read_once(tokens=TOKENS_BLOCK):
            if self._scales is None:
                block = vectors.vectors_of(rows).vectors
            else:
                block = _codes(vectors, rows, device)
                self._scales[start : start + len(block)] = inverse_norms_on(block)
            self._vectors[start : start + len(block)] = block
            start += len(block)

    def scores(self, queries: torch.Tensor, rows: Rows | None) -> torch.Tensor:
        """Score the passages in these `rows`, or all: ``(Q, q, dim)`` → ``(Q, n)``, float32, on the device."""
        starts, lengths = self._starts, self._lengths
        if rows is not None:
            chosen = torch.from_numpy(rows).to(starts.device)
            starts, lengths = starts[chosen], lengths[chosen]
        if self._scales is not None:
            queries = rotate(queries.flatten(0, 1)).view(queries.shape).to(queries.device)
        return maxsim(queries, self._vectors, lengths, starts=starts, scales=self._scales)


def _codes(vectors: Vectors, rows: Rows, device: torch.device) -> torch.Tensor:
    """Return the codes of passages on a device, int8. Packed rows are unpacked there: half as much is sent."""
    stored = torch.from_numpy(vectors.stored(rows, 1)[0]).to(device)
    return stored if vectors.packing is None else vectors.packing.unpack_on(stored)


def search_device(device: str | torch.device) -> torch.device:
    """Return the device of that name, which need not be there. Raise `InputError` if there is no such kind."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f'search_device={device!r} is not known. Give "cuda", "cuda:1" or "cpu".') from error


class GpuCache:
    """The segments of an index that are in the memory of a device. Thread-safe.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._segments: dict[str, GpuSegment] = {}
        self._lock = Lock()
        self._usable = True

    def search(
        self, search: Search, snapshot: Snapshot, queries: torch.Tensor, k: int, config: SearchConfig
    ) -> Hits | None:
        """Return the best `k` passages of a snapshot by MaxSim, or None where the device cannot hold it.

        All that the filter admits are scored, or candidates of the first stage if ``config`` says how many or to be
        fast.
        """
        segments = self._segments_of(snapshot)
        if segments is None:
            return None
        try:
            there = queries.to(self.device, torch.float32)
            if config.exact or not (config.fast or config.candidates):
                rows = [None if mask is None else np.flatnonzero(mask) for mask in search.admitted()]
                chosen = list(zip(segments.values(), rows, strict=True))
                return join_hits((_best(batch, chosen, k) for batch in there.split(QUERIES_BATCH)), k)
            pairs = zip(there.split(1), search.chosen(query_rows(queries)), strict=True)
            return join_hits(
                (
                    _best(query, [(segments[view.segment.name], rows) for view, rows in chosen], k)
                    for query, chosen in pairs
                ),
                k,
            )
        except torch.OutOfMemoryError as error:  # it holds the index, but not what a search needs beside it
            self._give_up(error)
            return None

    def _segments_of(self, snapshot: Snapshot) -> dict[str, GpuSegment] | None:
        """Return a snapshot's segments by name; load new ones, and let go of those that it does not have."""
        with self._lock:
            if not self._usable:
                return None
            names = [view.segment.name for view in snapshot.views]
            self._segments = {name: segment for name, segment in self._segments.items() if name in names}
            try:
                for name, view in zip(names, snapshot.views, strict=True):
                    if name not in self._segments:
                        logger.info("loading %d passages onto %s", len(view.segment.vectors), self.device)
                        self._segments[name] = GpuSegment(view.segment, self.device)
            except (torch.OutOfMemoryError, RuntimeError, AssertionError) as error:  # no room, or no such device
                self._give_up(error)
                return None
            return {name: self._segments[name] for name in names}

    def _give_up(self, error: Exception) -> None:
        logger.warning("%s cannot hold the index, which is searched on the CPU instead: %s", self.device, error)
        self._usable, self._segments = False, {}


def _best(queries: torch.Tensor, chosen: Sequence[tuple[GpuSegment, Rows | None]], k: int) -> Hits:
    """Return the best `k` of the rows that are chosen of each segment; None stands for all."""
    scores = torch.cat([segment.scores(queries, rows) for segment, rows in chosen], 1)
    pids = [segment.pids if rows is None else segment.pids[rows] for segment, rows in chosen]
    return top_k(scores, torch.cat(pids), k)
