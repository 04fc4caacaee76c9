"""What one call adds to an index in several steps: nobody sees any of it before the end, where all of it counts.

All passages of a document come in one step, and pids grow from step to step, as `reserve` gives them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from ...errors import InputError
from ...types import Passage, TokenVectors
from ..base import PassageIndex
from ..validation import check_add
from .loading import Loaded
from .segment import Part


class Steps(ABC):
    """What all additions have in common. One thread at a time.

    Parameters
    ----------
    dim : int
        Width of a token vector.
    next_pid : int
        The first pid that was never handed out.
    """

    def __init__(self, dim: int, next_pid: int) -> None:
        self._dim = dim
        self._last = -1
        self.next_pid = next_pid

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before."""
        first, self.next_pid = self.next_pid, self.next_pid + checked_number(n)
        return first

    def add(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        """Store passages, overwriting those of the same pid. Raise `InputError` if they cannot be stored."""
        check_add(passages, vectors, self._dim)
        if passages:
            self.store(passages, vectors)

    def store(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        """Do so with what `check_add` has let pass; there is at least one."""
        pids = [passage.pid for passage in passages]
        if min(pids) <= self._last:
            raise InputError(f"The pid {min(pids)} comes after {self._last} in one addition: take pids from reserve().")
        self._last = max(pids)
        self.next_pid = max(self.next_pid, self._last + 1)
        self._keep(passages, vectors)

    @abstractmethod
    def _keep(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        """Store passages where nobody sees them yet."""


class PartAddition(Steps):
    """An addition to an index in a folder: a part of its own.

    Parameters
    ----------
    part : Part
        An empty one.
    now : Loaded
        What is added to. It stays so meanwhile.
    replace : bool
        All other passages of the same documents go.
    """

    def __init__(self, part: Part, now: Loaded, replace: bool) -> None:
        super().__init__(now.manifest.dim, now.manifest.next_pid)
        self._part = part
        self._now = now
        self._replace = replace
        self.gone: list[set[int]] = [set() for _ in now.snapshot.views]  # pids that it takes out of each view

    def _keep(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        self._part.append(passages, vectors)
        older = [passage.pid for passage in passages if passage.pid < self._now.manifest.next_pid]
        documents = list({passage.document_id for passage in passages}) if self._replace else []
        for view, gone in zip(self._now.snapshot.views, self.gone, strict=True):
            if older:
                gone |= view.holds(older)
            if documents:
                gone |= {pid for pid, _ in view.of_documents(documents)}


class Collected(Steps):
    """An addition that keeps everything in memory until its end."""

    def __init__(self, dim: int, next_pid: int) -> None:
        super().__init__(dim, next_pid)
        self.passages: list[Passage] = []
        self._vectors: list[TokenVectors] = []

    def _keep(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        self.passages += passages
        self._vectors.append(vectors)

    def vectors(self) -> TokenVectors:
        """Return the token vectors of all that was added."""
        vectors = torch.cat([each.vectors for each in self._vectors])
        return TokenVectors(vectors, torch.cat([each.lengths for each in self._vectors]))


class Successive:
    """An addition whose steps count one by one: to a build, which nobody sees before its end."""

    def __init__(self, index: PassageIndex, replace: bool) -> None:
        self._index = index
        self._replace = replace

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before."""
        return self._index.reserve(n)

    def add(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        """Store passages, overwriting those of the same pid."""
        self._index.add(passages, vectors, replace=self._replace)


def checked_number(n: int) -> int:
    """Return how many pids are asked for. Raise `InputError` for fewer than none."""
    if n < 0:
        raise InputError(f"reserve() takes a number of 0 or more, not {n}.")
    return n
