"""Token vectors of an index in the memory of a device: exact MaxSim over all of them, at the device's speed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch

from ..corpus.filters import Condition
from ..errors import InputError
from ..scoring import maxsim_of_block, owners_of, top_k
from ..types import Hits
from .part import AT_ONCE, Part, batches_of
from .qdrant_filters import compile_filter
from .reading import Snapshot, joined

logger = logging.getLogger(__name__)

PASSAGES_AT_ONCE = 2048  # compared with the queries, on a GPU; on the CPU, as many as fit into its cache
QUERIES_AT_ONCE = 16
FILTERS_KEPT = 64  # of each part


class _Block(NamedTuple):
    vectors: torch.Tensor  # (T, dim) float16, on the device
    owners: torch.Tensor  # (T,) int64, on the device: the passage of each token, counted in the block
    passages: int


class ResidentPart:
    """The token vectors of one part, which never changes.

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
        self._part = part
        self._blocks: list[_Block] = []
        self._masks: OrderedDict[str, torch.Tensor] = OrderedDict()
        pids: list[int] = []
        at_once = AT_ONCE if device.type == "cpu" else PASSAGES_AT_ONCE
        for stored in batches_of(part.read(with_vectors=True), at_once):
            found = joined(stored)
            owners = owners_of(found.lengths.to(device), len(found.vectors))
            self._blocks.append(_Block(found.vectors.to(device), owners, len(stored)))
            pids += [each.passage.pid for each in stored]
        self.pids = torch.tensor(pids, dtype=torch.int64)  # growing

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        """Score all passages: ``(Q, q, dim)`` → ``(Q, n)``, float32, on the device."""
        blocks = [maxsim_of_block(queries, *block) for block in self._blocks]
        return torch.cat(blocks, 1) if blocks else queries.new_empty(len(queries), 0)

    def admitted(self, condition: Condition | None, deleted: Iterable[int]) -> torch.Tensor:
        """Return which passages ``(n,)`` a filter admits and are not deleted; what it admits is remembered."""
        mask = torch.ones(len(self.pids), dtype=torch.bool) if condition is None else self._mask(condition)
        if gone := list(deleted):
            mask = mask & ~torch.isin(self.pids, torch.tensor(gone))
        return mask

    def _mask(self, condition: Condition) -> torch.Tensor:
        name = repr(condition)  # conditions on 1 and on True are equal to Python, and are not the same
        mask = self._masks.get(name)
        if mask is None:
            mask = torch.isin(self.pids, torch.tensor(self._part.pids(compile_filter(condition)), dtype=torch.int64))
            self._masks[name] = mask
        while len(self._masks) > FILTERS_KEPT:
            self._masks.popitem(last=False)
        return mask


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

    def search(self, snapshot: Snapshot, queries: torch.Tensor, k: int, condition: Condition | None) -> Hits | None:
        """Return the best `k` passages of a snapshot by exact MaxSim, or None where the device cannot hold it."""
        parts = self._of(snapshot)
        if parts is None:
            return None
        keeps = [p.admitted(condition, view.deleted) for p, view in zip(parts, snapshot.views, strict=True)]
        pids = torch.cat([part.pids[keep] for part, keep in zip(parts, keeps, strict=True)])
        columns = [keep.nonzero().squeeze(1).to(self.device) for keep in keeps]
        hits = []
        for some in queries.to(self.device, torch.float32).split(QUERIES_AT_ONCE):
            scores = [part.scores(some)[:, these] for part, these in zip(parts, columns, strict=True)]
            hits.append(top_k(torch.cat(scores, 1), pids, k))
        return Hits(np.concatenate([each.pids for each in hits]), np.concatenate([each.scores for each in hits]))

    def _of(self, snapshot: Snapshot) -> list[ResidentPart] | None:
        """Return the parts of a snapshot, after loading what is new and letting go of what is no longer in it."""
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
                logger.warning("%s cannot hold the index, which is searched on the CPU instead: %s", self.device, error)
                self._usable = False
                self._parts = {}
                return None
            return [self._parts[name] for name in names]
