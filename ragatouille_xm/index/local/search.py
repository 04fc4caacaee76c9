"""A search: candidates by centroids, then MaxSim over what is stored of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from math import ceil
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...config import EXACT_BELOW, SearchConfig
from ...corpus.filters import Condition
from ..hits import Scored
from ..parallel import parallel_map
from ..quantization.codebook import Probes
from ..quantization.query import Query
from .filters import Mask, admitted_among, estimate
from .segment import SegmentView
from .snapshot import Snapshot
from .vectors import Rows

POSTINGS_READ = 200_000  # of the first stage, or as many as there are passages
SHORTLIST, LEAST_SHORTLIST = 3, 20  # times k, and passages at least, by the pooled query
ROWS_PER_CANDIDATE = 4  # attributes that are looked up in the time in which one candidate is asked about

Chosen: TypeAlias = list[tuple[SegmentView, Rows]]


class Search:
    """A search of a snapshot, for any number of queries.

    Parameters
    ----------
    snapshot : Snapshot
    connection : sqlite3.Connection
        In a transaction that reads the same commit.
    k : int
    condition : Condition or None
        A filter.
    config : SearchConfig
    """

    def __init__(
        self,
        snapshot: Snapshot,
        connection: sqlite3.Connection,
        k: int,
        condition: Condition | None,
        config: SearchConfig,
    ) -> None:
        self._snapshot = snapshot
        self._connection = connection
        self._lock = Lock()  # threads that share a connection get one another's rows
        self._k = min(k, snapshot.passages)
        self._condition = condition
        self._config = config
        self._has_first_stage = snapshot.codebook is not None and snapshot.passages > EXACT_BELOW and not config.exact
        growth = max(snapshot.state.growth, 1.0)
        self._limit = ceil(config.candidates_for(self._k, snapshot.passages) * growth)
        self._asked = self._candidates_to_ask()
        self._masks = None if self._asked else snapshot.masks(connection, condition)

    def best(self, queries: Sequence[NDArray[np.float32]]) -> list[Scored]:
        """Return the best `k` passages for the rows ``(q, dim)`` of each query, best first, ties by pid."""
        if not self._snapshot.passages:
            return [[] for _ in queries]
        if len(queries) == 1:  # its blocks are scored in parallel
            return [self._best(queries[0])]
        return parallel_map(self._best, queries)

    def _best(self, rows: NDArray[np.float32]) -> Scored:
        return self.ranked(Query(rows))

    def ranked(self, query: Query) -> Scored:
        """Return the best `k` passages for a query, best first, ties by pid."""
        candidates = self._candidates(query)
        if candidates is None:
            return rank(query, self.everything(), self._k)
        return rank(query, shortlist(query, candidates, max(SHORTLIST * self._k, LEAST_SHORTLIST)), self._k)

    def chosen(self, queries: Sequence[NDArray[np.float32]]) -> list[Chosen]:
        """Return the passages that are to be scored for each query."""
        return parallel_map(lambda rows: self._candidates(Query(rows)) or self.everything(), queries)

    def admitted(self) -> list[Mask | None]:
        """Return which passages of each segment are live and admitted by the filter; None where all are."""
        with self._lock:
            if self._masks is None:
                self._masks = self._snapshot.masks(self._connection, self._condition)
        return [view.admitted(mask) for view, mask in zip(self._snapshot.views, self._masks, strict=True)]

    def everything(self) -> Chosen:
        """Return all live passages that the filter admits."""
        pairs = zip(self._snapshot.views, self.admitted(), strict=True)
        return [
            (view, np.arange(len(view.segment.vectors)) if mask is None else np.flatnonzero(mask))
            for view, mask in pairs
        ]

    def _candidates_to_ask(self) -> int:
        """Return how many candidates to ask whether the filter admits them, until about enough are admitted.

        It is 0 if looking up everything that the filter admits is no more work. That takes long for a broad filter,
        and pays only if it comes again, so that it is left for the second time.
        """
        snapshot = self._snapshot
        if self._condition is None or not self._has_first_stage or snapshot.was_met(self._condition):
            return 0
        count, rows = estimate(self._connection, self._condition, snapshot.passages)
        enough = ceil(self._limit * snapshot.passages / max(count, 1))
        return 0 if rows <= ROWS_PER_CANDIDATE * enough else enough

    def _candidates(self, query: Query) -> Chosen | None:
        """Return the candidates of the first stage; None if everything is to be scored."""
        codebook, views = self._snapshot.codebook, self._snapshot.views
        if codebook is None or not self._has_first_stage:
            return None
        asked = self._masks is None
        limit = self._asked if asked else self._limit
        admitted = [view.live for view in views] if asked else self.admitted()
        counts = [
            len(v.segment.vectors) if mask is None else int(mask.sum()) for v, mask in zip(views, admitted, strict=True)
        ]
        if sum(counts) <= max(limit, EXACT_BELOW):  # no more work than to choose among them
            return None
        weights = codebook.query_weights(query.pooled, self._config.probes_for(self._snapshot.passages))
        chosen = self._nearest(self._prune_probes(weights), limit, admitted)
        if asked:
            chosen = [self._admitted(view, rows) for view, rows in chosen]
        # The first stage may overlook passages that share no centroid with the query.
        return None if sum(len(rows) for _, rows in chosen) < self._k else chosen

    def _prune_probes(self, probes: Probes) -> Probes:
        """Return the centroids of the largest weights, as many as have lists that are not too long all together.

        Those of small weights are in most passages of a large index, and hardly change the order of the best.
        """
        centroids, weights = probes
        lists = [view.segment.postings.offsets for view in self._snapshot.views if view.segment.postings is not None]
        sizes = sum((offsets[centroids + 1] - offsets[centroids] for offsets in lists), np.zeros_like(centroids))
        most = max(POSTINGS_READ, self._snapshot.passages)
        if sizes.sum() <= most:
            return probes
        order = np.argsort(-weights, kind="stable")
        kept = np.sort(order[: max(int(np.searchsorted(np.cumsum(sizes[order]), most, side="right")), 1)])
        return centroids[kept], weights[kept]

    def _nearest(self, probes: Probes, limit: int, admitted: Sequence[Mask | None]) -> Chosen:
        """Return the `limit` passages that are best by their centroids, of whichever segments they are."""
        pairs = list(zip(self._snapshot.views, admitted, strict=True))
        found = [(view, *view.candidates(probes, limit, mask)) for view, mask in pairs]
        scores = np.concatenate([scores for _, _, scores in found])
        if len(scores) <= limit or len(found) == 1:
            return [(view, rows) for view, rows, _ in found]
        least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        return [(view, rows[scores >= least]) for view, rows, scores in found]

    def _admitted(self, view: SegmentView, rows: Rows) -> tuple[SegmentView, Rows]:
        """Return those of some candidates that the filter admits."""
        if self._condition is None or not len(rows):
            return view, rows
        pids = view.segment.table.pids[rows]
        with self._lock:
            return view, rows[admitted_among(self._connection, self._condition, pids)]


def shortlist(query: Query, chosen: Chosen, n: int) -> Chosen:
    """Return the `n` of some passages that have the best approximate scores for the pooled query."""
    if query.pooled is query or sum(len(rows) for _, rows in chosen) < 2 * n:
        return chosen
    scores = [view.segment.vectors.approximate_scores(query.pooled, rows) for view, rows in chosen]
    every = np.concatenate(scores)
    least = np.partition(every, len(every) - n)[len(every) - n]
    return [(view, rows[some >= least]) for (view, rows), some in zip(chosen, scores, strict=True)]


def rank(query: Query, chosen: Chosen, k: int) -> Scored:
    """Return the best `k` of some passages by MaxSim, best first, ties by pid.

    All are scored by their codes alone, then by all that is stored those that may be among the best.
    """
    chosen = [(view, rows) for view, rows in chosen if len(rows)]
    if not chosen:
        return []
    approximate = [view.segment.vectors.approximate_scores(query, rows) for view, rows in chosen]
    bounds = [query.error_bound(view.segment.table.scales[rows]) for view, rows in chosen]
    at_least = np.concatenate(approximate) - np.concatenate(bounds)
    least = np.partition(at_least, len(at_least) - k)[len(at_least) - k] if k < len(at_least) else -np.inf
    pids, scores = [], []
    for (view, rows), about, bound in zip(chosen, approximate, bounds, strict=True):
        kept = rows[about + bound >= least]
        pids.append(view.segment.table.pids[kept])
        scores.append(view.segment.vectors.scores(query, kept))
    ids, found = np.concatenate(pids), np.concatenate(scores)
    order = np.lexsort((ids, -found))[:k]
    return list(zip(ids[order].tolist(), found[order].tolist(), strict=True))
