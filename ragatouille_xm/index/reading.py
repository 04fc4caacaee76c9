"""What an index of several parts answers to reading."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from operator import itemgetter
from typing import Any

import numpy as np
import qdrant_edge as edge
import torch
from numpy.typing import NDArray

from ..config import SearchConfig
from ..corpus.filters import Condition
from ..errors import InputError
from ..types import Hits, Passage, TokenVectors
from .checks import check_search
from .codebook import Codebook, Probes
from .part import AT_ONCE, Part, Stored, batches_of
from .qdrant_filters import compile_filter

EXACT_BELOW = 2000  # passages: up to so many, no first stage
SLACK = 16  # hits asked for beyond k, to see whether the k-th has equals

Scored = list[tuple[int, float]]


@dataclass(frozen=True, eq=False)
class View:
    """One part without its deleted passages."""

    part: Part
    deleted: frozenset[int] = frozenset()

    @property
    def passages(self) -> int:
        """Passages that count."""
        return self.part.passages - len(self.deleted)

    @cached_property
    def _hidden(self) -> list[Any]:
        return [edge.HasIdCondition(set(self.deleted))] if self.deleted else []

    def where(self, condition: edge.Filter | None = None) -> edge.Filter | None:
        """Return the filter that admits what `condition` does and is not deleted."""
        if condition is None and not self._hidden:
            return None
        return edge.Filter(must=[condition] if condition else None, must_not=self._hidden or None)

    def of_documents(self, document_ids: Sequence[str]) -> list[tuple[int, str]]:
        """Return the pid and the document id of all passages of the documents."""
        return [pair for pair in self.part.of_documents(document_ids) if pair[0] not in self.deleted]

    def holds(self, pids: Sequence[int]) -> set[int]:
        """Return those of `pids` that are here."""
        return self.part.holds(pids) - self.deleted

    def pids(self) -> list[int]:
        """Return the pids that are here, growing."""
        return [pid for pid in self.part.pids() if pid not in self.deleted]

    def vectors_of(self, pids: Sequence[int]) -> Iterator[TokenVectors]:
        """Yield the vectors of passages that are here, a few at a time, in any order."""
        for first in range(0, len(pids), AT_ONCE):
            yield joined(self.retrieve(pids[first : first + AT_ONCE], with_vectors=True))

    def retrieve(self, pids: Sequence[int], *, with_vectors: bool = False) -> list[Stored]:
        """Return those of the passages that are here, in any order."""
        wanted = [pid for pid in pids if pid not in self.deleted]
        return self.part.retrieve(wanted, with_vectors=with_vectors) if wanted else []


@dataclass(frozen=True)
class Snapshot:
    """The whole index at one moment. Nobody changes what it refers to."""

    views: tuple[View, ...] = ()
    codebook: Codebook | None = None
    growth: float = 1.0  # token vectors, over those that the codebook was fitted for

    @property
    def passages(self) -> int:
        """Passages that count."""
        return sum(view.passages for view in self.views)

    @cached_property
    def languages(self) -> dict[str, int]:
        """The number of passages of each language, most frequent first, ties by code."""
        counts: Counter[str] = Counter()
        for view in self.views:
            counts.update(view.part.languages(view.where()))
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def search(
        self, queries: Sequence[NDArray[np.float32]], k: int, where: edge.Filter | None, config: SearchConfig
    ) -> list[Scored]:
        """Return the best `k` passages for the rows ``(q, dim)`` of each query, best first, ties by pid.

        One query after the other: the engine runs each on as many threads as a part has segments, and lets no other
        thread of Python run meanwhile.
        """
        if not self.passages:
            return [[] for _ in queries]
        # All of the probes first: torch's threads wait for more work for a while, on the cores that the engine needs.
        probes = [self._probes(query, config) for query in queries]
        return [
            self._search(query, min(k, self.passages), where, config, p)
            for query, p in zip(queries, probes, strict=True)
        ]

    def _probes(self, query: NDArray[np.float32], config: SearchConfig) -> Probes | None:
        """Return what the first stage looks for, unless everything is to be scored."""
        if self.codebook is None or self.passages <= EXACT_BELOW or config.exact:
            return None
        probes = self.codebook.query_weights(torch.from_numpy(query), config.probes)
        return probes if probes[0] else None

    def _search(
        self, query: NDArray[np.float32], k: int, where: edge.Filter | None, config: SearchConfig, probes: Probes | None
    ) -> Scored:
        found: Scored = []
        if probes is not None:
            limit = ceil(config.candidates_for(k, self.passages) * max(self.growth, 1.0))
            found = self._search_in_stages(query, limit, where, probes)
        # The first stage may overlook passages that share no centroid with the query.
        return best_of(found, k) if len(found) >= k else self._search_exactly(query, k, where)

    def _search_in_stages(
        self, query: NDArray[np.float32], limit: int, where: edge.Filter | None, probes: Probes
    ) -> Scored:
        """Score the `limit` passages that are best by their centroids, of whichever parts they are."""
        if len(self.views) == 1:
            [view] = self.views
            return view.part.search(query, limit, view.where(where), probes)
        candidates = [
            (score, pid, view)
            for view in self.views
            for pid, score in view.part.candidates(probes, limit, view.where(where))
        ]
        chosen: dict[View, set[int]] = {}
        for _, pid, view in heapq.nlargest(limit, candidates, key=itemgetter(0)):
            chosen.setdefault(view, set()).add(pid)
        among = ((view, edge.Filter(must=[edge.HasIdCondition({*pids})])) for view, pids in chosen.items())
        return [hit for view, these in among for hit in view.part.search(query, limit, these)]

    def _search_exactly(self, query: NDArray[np.float32], k: int, where: edge.Filter | None) -> Scored:
        """Score everything. The engine cuts equals off as it likes, so look until none of the k-th's is left out."""
        limit = k + SLACK
        while True:
            lists = [view.part.search(query, limit, view.where(where)) for view in self.views]
            best = best_of([hit for hits in lists for hit in hits], k)
            if all(len(hits) < limit or hits[-1][1] < best[-1][1] for hits in lists):
                return best
            limit *= 4


def best_of(hits: Scored, k: int) -> Scored:
    """Return the best `k`, best first, ties by pid."""
    return heapq.nsmallest(k, hits, key=lambda hit: (-hit[1], hit[0]))


class Reader(ABC):
    """The reading half of `ragatouille_xm.index.base.PassageIndex`."""

    _dim: int

    @abstractmethod
    def _snapshot(self) -> Snapshot:
        """Return the index as it is now."""

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self._dim

    def __len__(self) -> int:
        return self._snapshot().passages

    def languages(self) -> dict[str, int]:
        """Return the number of passages of each language, most frequent first, ties by code."""
        return dict(self._snapshot().languages)

    def codebook(self) -> Codebook | None:
        """Return the codebook of the first stage, if there is one."""
        return self._snapshot().codebook

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages here."""
        return {found for view in self._snapshot().views for _, found in view.of_documents(document_ids)}

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits.

        Above 2,000 passages a first stage picks ``config.candidates_for(k, len(self))`` of them by their centroids, and
        MaxSim decides among these; ``config.exact`` scores everything. All passages come back where fewer than `k`
        qualify. Token vectors are stored as float16, so scores are exact to about 1e-3.

        Parameters
        ----------
        queries : torch.Tensor
            Shape ``(Q, q_len, dim)``; rows of zeros are padding and add nothing to a score.
        k : int
            At least 1.

        Raises
        ------
        InputError
            If the shape or `k` does not fit.
        """
        check_search(queries, k, self._dim)
        where = None if filter is None else compile_filter(filter)
        return hits_of(self._snapshot().search(rows_of(queries), k, where, config), k)

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        wanted = [pid for pid in dict.fromkeys(pids) if pid >= 0]
        found = {s.passage.pid: s.passage for view in self._snapshot().views for s in view.retrieve(wanted)}
        return [found[pid] for pid in pids]

    def scroll(
        self, filter: Condition | None = None, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, as it was at the call, in batches, by growing pid.

        The vectors are float16, as stored.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, not {batch_size}.")
        return _scroll(self._snapshot(), filter, with_vectors, batch_size)


def _scroll(
    snapshot: Snapshot, filter: Condition | None, with_vectors: bool, batch_size: int
) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
    where = None if filter is None else compile_filter(filter)
    streams = [view.part.read(view.where(where), with_vectors=with_vectors) for view in snapshot.views]
    merged = heapq.merge(*streams, key=lambda stored: stored.passage.pid)
    for batch in batches_of(merged, batch_size):
        yield [stored.passage for stored in batch], joined(batch) if with_vectors else None


def joined(batch: Sequence[Stored]) -> TokenVectors:
    """Return the vectors of passages that were read with them, as one."""
    blocks = [stored.vectors for stored in batch if stored.vectors is not None]
    return TokenVectors(torch.from_numpy(np.concatenate(blocks)), torch.tensor([len(block) for block in blocks]))


def rows_of(queries: torch.Tensor) -> list[NDArray[np.float32]]:
    """Return the rows ``(q, dim)`` of each query ``(Q, q_len, dim)`` that are no padding, or one if all are."""
    every = [query[query.any(1)] for query in queries.detach().to("cpu", torch.float32)]
    return [(rows if len(rows) else torch.zeros(1, queries.shape[2])).numpy() for rows in every]


def hits_of(answers: Sequence[Scored], k: int) -> Hits:
    """Return the answers to several queries, none longer than `k`."""
    hits = Hits(np.full((len(answers), k), -1, dtype=np.int64), np.full((len(answers), k), -np.inf, dtype=np.float32))
    for i, answer in enumerate(answers):
        hits.pids[i, : len(answer)] = [pid for pid, _ in answer]
        hits.scores[i, : len(answer)] = [score for _, score in answer]
    return hits
