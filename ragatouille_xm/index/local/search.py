"""What an index of several parts answers to reading."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, repeat
from math import ceil
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import qdrant_edge as edge
import torch
from numpy.typing import NDArray

from ...config import EXACT_BELOW, SearchConfig
from ...corpus.filters import Condition
from ...errors import InputError
from ...types import Hits, Passage, TokenVectors
from ..hits import Scored, query_rows, to_hits
from ..parallel import parallel_map
from ..quantization.codebook import Codebook, Probes
from ..quantization.query import Query
from ..validation import check_search
from .edge_filters import compile_filter
from .postings import Postings
from .segment import Part, batches_of
from .vectors import Rows

POSTINGS = 200_000  # or as many as there are passages: what a first stage reads of the inverted lists
SHORTLIST = 10  # times as many as are wanted, by the brief query

Mask: TypeAlias = NDArray[np.bool_]


class Wanted(NamedTuple):
    """A filter."""

    key: str  # conditions on 1 and on True are equal to Python, and are not the same
    where: edge.Filter

    @classmethod
    def of(cls, condition: Condition | None) -> Wanted | None:
        """Return what a condition wants."""
        return None if condition is None else cls(repr(condition), compile_filter(condition))


@dataclass(frozen=True, eq=False)
class View:
    """One part without its deleted passages."""

    part: Part
    deleted: frozenset[int] = frozenset()
    postings: Postings | None = None

    @property
    def passages(self) -> int:
        """Passages that count."""
        return self.part.passages - len(self.deleted)

    def where(self, condition: edge.Filter | None = None) -> edge.Filter | None:
        """Return the filter that admits what `condition` does and is not deleted."""
        if condition is None and not self.deleted:
            return None
        hidden: list[Any] | None = [edge.HasIdCondition(set(self.deleted))] if self.deleted else None
        return edge.Filter(must=[condition] if condition else None, must_not=hidden)

    @cached_property
    def alive(self) -> Mask | None:
        """Which rows of the part's table count; None if all do."""
        if not self.deleted:
            return None
        return ~np.isin(self.part.tokens.table.pids, list(self.deleted))

    def admitted(self, wanted: Wanted | None) -> Mask | None:
        """Return which rows of the table count and are wanted; None if all are."""
        if wanted is None:
            return self.alive
        mask = self.part.admitted(*wanted)
        return mask if self.alive is None else mask & self.alive

    def of_documents(self, document_ids: Sequence[str]) -> list[tuple[int, str]]:
        """Return the pid and the document id of all passages of the documents."""
        return [pair for pair in self.part.of_documents(document_ids) if pair[0] not in self.deleted]

    def holds(self, pids: Sequence[int]) -> set[int]:
        """Return those of `pids` that are here."""
        return self.part.holds(pids) - self.deleted

    def rows(self, wanted: Wanted | None = None) -> Rows:
        """Return the rows of the part's table that count and are wanted, growing."""
        admitted = self.admitted(wanted)
        return np.arange(len(self.part.tokens.table.pids)) if admitted is None else np.flatnonzero(admitted)

    def retrieve(self, pids: Sequence[int]) -> list[Passage]:
        """Return those of the passages that are here, in any order."""
        wanted = [pid for pid in pids if pid not in self.deleted]
        return self.part.retrieve(wanted) if wanted else []


Chosen = list[tuple[View, Rows]]


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
        self, queries: Sequence[NDArray[np.float32]], k: int, wanted: Wanted | None, config: SearchConfig
    ) -> list[Scored]:
        """Return the best `k` passages for the rows ``(q, dim)`` of each query, best first, ties by pid."""
        if not self.passages:
            return [[] for _ in queries]
        k = min(k, self.passages)
        if len(queries) == 1:  # whose blocks are spread
            return [self._search(queries[0], k, wanted, config)]
        return parallel_map(lambda query: self._search(query, k, wanted, config), queries)

    def _search(self, rows: NDArray[np.float32], k: int, wanted: Wanted | None, config: SearchConfig) -> Scored:
        [(query, chosen, few)] = self._begun([rows], k, wanted, config)
        return ranked(query, shortlist(query, chosen, SHORTLIST * k) if few else chosen, k)

    def chosen(
        self, queries: Sequence[NDArray[np.float32]], k: int, wanted: Wanted | None, config: SearchConfig
    ) -> list[Chosen]:
        """Return the passages that are to be scored for each query."""
        return [chosen for _, chosen, _ in self._begun(queries, k, wanted, config)]

    def _begun(
        self, queries: Sequence[NDArray[np.float32]], k: int, wanted: Wanted | None, config: SearchConfig
    ) -> list[tuple[Query, Chosen, bool]]:
        """Return each query, what is to be scored for it, and whether that is what a first stage has found."""

        def begun(rows: NDArray[np.float32]) -> tuple[Query, Chosen, bool]:
            query = Query(rows)
            chosen = self._first_stage(query, k, wanted, config)
            # The first stage may overlook passages that share no centroid with the query.
            if chosen is None or sum(len(rows) for _, rows in chosen) < k:
                return query, [(view, view.rows(wanted)) for view in self.views], False
            return query, chosen, True

        return parallel_map(begun, queries)

    def _first_stage(self, query: Query, k: int, wanted: Wanted | None, config: SearchConfig) -> Chosen | None:
        """Return the candidates of the first stage; None if everything is to be scored."""
        if self.codebook is None or self.passages <= EXACT_BELOW or config.exact:
            return None
        limit = ceil(config.candidates_for(k, self.passages) * max(self.growth, 1.0))
        probes = self._heaviest(self.codebook.query_weights(query.pooled, config.probes_for(self.passages)))
        ask = max(view.part.to_ask(*wanted, limit) for view in self.views) if wanted else 0
        if wanted and ask:
            return self._passing(wanted, self._candidates(probes, ask, [view.alive for view in self.views]))
        return self._candidates(probes, limit, [view.admitted(wanted) for view in self.views])

    def _heaviest(self, probes: Probes) -> Probes:
        """Return the centroids of the largest weights, as many as have lists that are not too long all together.

        Those of small weights are in most passages of a large index, and hardly change the order of the best.
        """
        centroids, weights = probes
        lists = [view.postings.offsets for view in self.views if view.postings is not None]
        sizes = sum((offsets[centroids + 1] - offsets[centroids] for offsets in lists), np.zeros_like(centroids))
        most = max(POSTINGS, self.passages)
        if sizes.sum() <= most:
            return probes
        order = np.argsort(-weights, kind="stable")
        kept = np.sort(order[: max(int(np.searchsorted(np.cumsum(sizes[order]), most, side="right")), 1)])
        return centroids[kept], weights[kept]

    def _candidates(self, probes: Probes, limit: int, admitted: Sequence[Mask | None]) -> Chosen | None:
        """Return the `limit` passages that are best by their centroids, of whichever parts they are.

        None if that is no less work to score all that are admitted.
        """
        pairs = list(zip(self.views, admitted, strict=True))
        counts = [view.part.passages if mask is None else int(mask.sum()) for view, mask in pairs]
        if sum(counts) <= max(limit, EXACT_BELOW):
            return None
        found = [
            (view, *view.postings.candidates(probes, limit, mask)) for view, mask in pairs if view.postings is not None
        ]
        scores = np.concatenate([scores for _, _, scores in found])
        if len(scores) <= limit or len(found) == 1:
            return [(view, rows) for view, rows, _ in found]
        least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        return [(view, rows[scores >= least]) for view, rows, scores in found]

    @staticmethod
    def _passing(wanted: Wanted, chosen: Chosen | None) -> Chosen | None:
        """Return those that a filter admits."""
        if chosen is None:
            return None
        passing = []
        for view, rows in chosen:
            table = view.part.tokens.table
            passing.append((view, table.rows_of(view.part.filtered(table.pids[rows].tolist(), wanted.where))))
        return passing


def shortlist(query: Query, chosen: Chosen, n: int) -> Chosen:
    """Return the `n` of some passages that have the best scores for the brief query."""
    if query.pooled is query or sum(len(rows) for _, rows in chosen) < 2 * n:
        return chosen
    scores = [view.part.tokens.approximate_scores(query.pooled, rows) for view, rows in chosen]
    every = np.concatenate(scores)
    least = np.partition(every, len(every) - n)[len(every) - n]
    return [(view, rows[some >= least]) for (view, rows), some in zip(chosen, scores, strict=True)]


def ranked(query: Query, chosen: Chosen, k: int) -> Scored:
    """Return the best `k` of some passages by MaxSim, best first, ties by pid.

    All are scored by their codes alone, then again by all that is stored those that may be among the best.
    """
    chosen = [(view, rows) for view, rows in chosen if len(rows)]
    if not chosen:
        return []
    rough = [view.part.tokens.approximate_scores(query, rows) for view, rows in chosen]
    doubt = [query.error_bound(view.part.tokens.table.scales[rows]) for view, rows in chosen]
    sure = np.concatenate(rough) - np.concatenate(doubt)
    least = np.partition(sure, len(sure) - k)[len(sure) - k] if k < len(sure) else -np.inf
    pids, scores = [], []
    for (view, rows), about, within in zip(chosen, rough, doubt, strict=True):
        kept = rows[about + within >= least]
        pids.append(view.part.tokens.table.pids[kept])
        scores.append(view.part.tokens.score(query, kept))
    ids, found = np.concatenate(pids), np.concatenate(scores)
    order = np.lexsort((ids, -found))[:k]
    return list(zip(ids[order].tolist(), found[order].tolist(), strict=True))


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
        qualify. Scores are those of the vectors as they are stored, to about 1e-5 for each row of a query.

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
        return to_hits(self._snapshot().search(query_rows(queries), k, Wanted.of(filter), config), k)

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        wanted = [pid for pid in dict.fromkeys(pids) if pid >= 0]
        found = {passage.pid: passage for view in self._snapshot().views for passage in view.retrieve(wanted)}
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
    streams = [zip(repeat(view), view.part.read(view.where(where))) for view in snapshot.views]
    merged = heapq.merge(*streams, key=lambda pair: pair[1].pid)
    for batch in batches_of(merged, batch_size):
        yield [passage for _, passage in batch], _vectors_of(batch) if with_vectors else None


def _vectors_of(batch: Sequence[tuple[View, Passage]]) -> TokenVectors:
    """Return the token vectors of passages of several views, in their order."""
    runs = [(view, [passage.pid for _, passage in pairs]) for view, pairs in groupby(batch, key=itemgetter(0))]
    found = [view.part.vectors_of(pids) for view, pids in runs]
    vectors = torch.cat([each.vectors for each in found]).half()
    return TokenVectors(vectors, torch.cat([each.lengths for each in found]))
