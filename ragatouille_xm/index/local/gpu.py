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
from ..hits import query_rows
from ..quantization.rotation import rotate
from ..quantization.scalar import inverse_norms
from .search import Snapshot, Wanted
from .segment import Part
from .vectors import Rows

logger = logging.getLogger(__name__)

TOKENS_LOADED_AT_ONCE = 2**18
QUERIES_AT_ONCE = 64


class ResidentPart:
    """The token vectors of one part, which never changes: float16, or as 8-bit integers if it stores them so.

    Parameters
    ----------
    part : Part
    device : torch.device

    Raises
    ------
    torch.OutOfMemoryError
        If the device has no room for them.
    """

    def __init__(self, part: Part, device: torch.device) -> None:
        tokens = part.tokens
        lengths = torch.from_numpy(tokens.table.lengths)
        self.pids = torch.from_numpy(tokens.table.pids)  # growing
        self._starts, self._lengths = (lengths.cumsum(0) - lengths).to(device), lengths.to(device)
        total, dtype = int(lengths.sum()), torch.float16 if tokens.fine else torch.int8
        self._vectors = torch.empty(total, tokens.dim, dtype=dtype, device=device)
        self._scales = None if tokens.fine else torch.empty(total, device=device)
        start = 0
        for rows in tokens.once(at_once=TOKENS_LOADED_AT_ONCE):
            if self._scales is None:
                found = tokens.vectors_of(rows).vectors
            else:
                codes = np.array(tokens.take(rows, fine=False).codes)
                found = torch.from_numpy(codes)
                self._scales[start : start + len(found)] = torch.from_numpy(inverse_norms(codes))
            self._vectors[start : start + len(found)] = found
            start += len(found)

    def scores(self, queries: torch.Tensor, rows: Rows | None) -> torch.Tensor:
        """Score the passages in these `rows`, or all: ``(Q, q, dim)`` → ``(Q, n)``, float32, on the device."""
        starts, lengths = self._starts, self._lengths
        if rows is not None:
            chosen = torch.from_numpy(rows).to(starts.device)
            starts, lengths = starts[chosen], lengths[chosen]
        if self._scales is not None:
            queries = rotate(queries.flatten(0, 1)).view(queries.shape).to(queries.device)
        return maxsim(queries, self._vectors, lengths, starts=starts, scales=self._scales)


def search_device(device: str | torch.device) -> torch.device:
    """Return the device of that name, which need not be there. Raise `InputError` if there is no such kind."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f'search_device={device!r} is not known. Give "cuda", "cuda:1" or "cpu".') from error


class Residents:
    """The parts of an index that are in the memory of a device. Thread-safe.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._parts: dict[str, ResidentPart] = {}
        self._lock = Lock()
        self._usable = True

    def search(
        self, snapshot: Snapshot, queries: torch.Tensor, k: int, wanted: Wanted | None, config: SearchConfig
    ) -> Hits | None:
        """Return the best `k` passages of a snapshot by MaxSim, or None where the device cannot hold it.

        All that are wanted are scored, or candidates of the first stage if ``config`` says how many or to be fast.
        """
        parts = self._of(snapshot)
        if parts is None:
            return None
        try:
            return self._search(parts, snapshot, queries.to(self.device, torch.float32), k, wanted, config)
        except torch.OutOfMemoryError as error:  # it holds the index, but not what a search needs beside it
            self._give_up(error)
            return None

    def _search(
        self,
        parts: dict[str, ResidentPart],
        snapshot: Snapshot,
        queries: torch.Tensor,
        k: int,
        wanted: Wanted | None,
        config: SearchConfig,
    ) -> Hits:
        if config.exact or not (config.fast or config.candidates):
            masks = [view.admitted(wanted) for view in snapshot.views]
            every = [
                (part, None if mask is None else np.flatnonzero(mask))
                for part, mask in zip(parts.values(), masks, strict=True)
            ]
            return _joined([_best(some, every, k) for some in queries.split(QUERIES_AT_ONCE)])
        candidates = snapshot.chosen(query_rows(queries), min(k, snapshot.passages), wanted, config)
        return _joined(
            [
                _best(query, [(parts[view.part.folder.name], rows) for view, rows in chosen], k)
                for query, chosen in zip(queries.split(1), candidates, strict=True)
            ]
        )

    def _of(self, snapshot: Snapshot) -> dict[str, ResidentPart] | None:
        """Return a snapshot's parts by name, after loading what is new and letting go of what is no longer in it."""
        with self._lock:
            if not self._usable:
                return None
            names = [view.part.folder.name for view in snapshot.views]
            self._parts = {name: part for name, part in self._parts.items() if name in names}
            try:
                for name, view in zip(names, snapshot.views, strict=True):
                    if name not in self._parts:
                        logger.info("loading %d passages onto %s", view.part.passages, self.device)
                        self._parts[name] = ResidentPart(view.part, self.device)
            except (torch.OutOfMemoryError, RuntimeError, AssertionError) as error:  # no room, or no such device
                self._give_up(error)
                return None
            return {name: self._parts[name] for name in names}

    def _give_up(self, error: Exception) -> None:
        logger.warning("%s cannot hold the index, which is searched on the CPU instead: %s", self.device, error)
        self._usable, self._parts = False, {}


def _best(queries: torch.Tensor, chosen: Sequence[tuple[ResidentPart, Rows | None]], k: int) -> Hits:
    """Return the best `k` of the rows that are chosen of each part; None stands for all."""
    scores = torch.cat([part.scores(queries, rows) for part, rows in chosen], 1)
    return top_k(scores, torch.cat([part.pids if rows is None else part.pids[rows] for part, rows in chosen]), k)


def _joined(hits: Sequence[Hits]) -> Hits:
    return Hits(np.concatenate([each.pids for each in hits]), np.concatenate([each.scores for each in hits]))
