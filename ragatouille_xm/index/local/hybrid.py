"""Hybrid search: the candidates of MaxSim and those of BM25, ranked by both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..lexical import Fused, PieceCounts, Terms, fuse
from ..parallel import parallel_map
from ..quantization.query import Query
from ..quantization.scalar import Floats
from .postings import largest
from .search import Search
from .snapshot import Snapshot
from .vectors import Rows


class HybridSearch:
    """A search of a snapshot by MaxSim and BM25, for any number of queries.

    Parameters
    ----------
    search : Search
        For the best `n`, of the same snapshot.
    n : int
        Candidates of either kind.
    snapshot : Snapshot
    weight : float
        Of lexical scores.
    k : int
    """

    def __init__(self, search: Search, n: int, snapshot: Snapshot, weight: float, k: int) -> None:
        self._search, self._n, self._weight, self._k = search, n, weight, k
        self._lexical, self._views = snapshot.lexical, snapshot.views
        self._admitted = search.admitted()

    def best(self, queries: Sequence[NDArray[np.float32]], pieces: PieceCounts) -> list[Fused]:
        """Return the best `k` passages for the rows ``(q, dim)`` and the pieces of each query."""
        pairs = list(zip(queries, pieces, strict=True))
        if len(pairs) == 1:  # its blocks are scored in parallel
            return [self._best(pairs[0])]
        return parallel_map(self._best, pairs)

    def _best(self, pair: tuple[NDArray[np.float32], Terms]) -> Fused:
        rows, terms = pair
        query = Query(rows)
        ranked = self._search.ranked(query)
        pids = np.array([pid for pid, _ in ranked], np.int64)
        scores = self._lexical.scores(terms, self._admitted)
        columns = [(pids, np.array([score for _, score in ranked], np.float32), self._lexical_of(pids, scores))]
        for view, lexical, best in zip(self._views, scores, self._most(scores), strict=True):
            more = best[~np.isin(view.segment.table.pids[best], pids)]
            columns.append((view.segment.table.pids[more], view.segment.vectors.scores(query, more), lexical[more]))
        every, maxsim, lexical = (np.concatenate(column) for column in zip(*columns, strict=True))
        return fuse(every, maxsim, lexical, self._weight, self._k)

    def _lexical_of(self, pids: Rows, scores: Sequence[Floats]) -> Floats:
        """Return the lexical scores of live passages, which are in whichever segment."""
        found = np.zeros(len(pids), np.float32)
        for view, some in zip(self._views, scores, strict=True):
            table = view.segment.table.pids
            rows = np.minimum(np.searchsorted(table, pids), len(table) - 1)
            here = table[rows] == pids
            if view.live is not None:
                here &= view.live[rows]
            found[here] = some[rows[here]]
        return found

    def _most(self, scores: Sequence[Floats]) -> list[Rows]:
        """Return the rows of each segment that are among the best by their lexical scores, ties by pid."""
        best = [largest(some, self._n) for some in scores]
        pids = np.concatenate([view.segment.table.pids[rows] for view, rows in zip(self._views, best, strict=True)])
        found = np.concatenate([some[rows] for some, rows in zip(scores, best, strict=True)])
        kept = np.zeros(len(pids), np.bool_)
        kept[np.lexsort((pids, -found))[: self._n]] = True
        ends = np.cumsum([len(rows) for rows in best])[:-1]
        return [rows[part] for rows, part in zip(best, np.split(kept, ends), strict=True)]
