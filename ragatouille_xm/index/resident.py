"""Token vectors of an index in the memory of a device: exact MaxSim over all of them, at the device's speed."""

from __future__ import annotations

import logging
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch

from ..errors import InputError
from ..scoring import maxsim_of_block, owners_of, top_k
from ..types import Hits
from .part import Part
from .quantised import lengths_of, turned
from .reading import Snapshot, Wanted
from .tokens import TOKENS_AT_ONCE

logger = logging.getLogger(__name__)

TOKENS_AT_ONCE_ON_GPU = 2**18
QUERIES_AT_ONCE = 16


class _Block(NamedTuple):
    vectors: torch.Tensor  # (T, dim) float16, or int8 with scales
    owners: torch.Tensor  # (T,) int64: the passage of each token, counted in the block
    passages: int
    scales: torch.Tensor | None  # (T,) float32


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
        self.pids = torch.from_numpy(part.tokens.table.pids)  # growing
        tokens = part.tokens
        self._fine = tokens.fine
        self._blocks: list[_Block] = []
        for rows in tokens.every_block(TOKENS_AT_ONCE if device.type == "cpu" else TOKENS_AT_ONCE_ON_GPU):
            lengths, scales = torch.from_numpy(tokens.table.lengths[rows]), None
            if tokens.fine:
                vectors = tokens.vectors_of(rows).vectors.half().to(device)
            else:
                found = tokens.take(rows, fine=False)
                vectors = torch.from_numpy(np.array(found.codes)).to(device)
                scales = torch.from_numpy(lengths_of(found.codes).astype(np.float32)).to(device)
            self._blocks.append(_Block(vectors, owners_of(lengths.to(device), len(vectors)), len(rows), scales))

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        """Score all passages: ``(Q, q, dim)`` → ``(Q, n)``, float32, on the device."""
        if not self._fine:
            queries = turned(queries.flatten(0, 1)).view(queries.shape)
        found = [maxsim_of_block(queries, *block) for block in self._blocks]
        return torch.cat(found, 1) if found else queries.new_empty(len(queries), 0)


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

    def search(self, snapshot: Snapshot, queries: torch.Tensor, k: int, wanted: Wanted | None) -> Hits | None:
        """Return the best `k` passages of a snapshot by exact MaxSim, or None where the device cannot hold it."""
        parts = self._of(snapshot)
        if parts is None:
            return None
        chosen = [torch.from_numpy(view.rows(wanted)) for view in snapshot.views]
        pids = torch.cat([part.pids[rows] for part, rows in zip(parts, chosen, strict=True)])
        columns = [rows.to(self.device) for rows in chosen]
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
