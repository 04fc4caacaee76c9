"""Queries that are encoded → results: the hits of an index, how relevant they are, and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from .config import SearchConfig
from .corpus.filters import And, Compare, Condition
from .errors import IndexDamagedError
from .index.base import PassageIndex
from .index.lexical import HybridHits, PieceCounts
from .indexing import preview
from .queries import lexical_index
from .relevance import Gauge, by_worth
from .results import Result, make_result
from .types import Hits, Passage

FIND_ATTEMPTS = 20  # while others delete what was found
HYBRID_DEPTH, HYBRID_DEPTH_PER_RESULT = 50, 5  # of the list in which a preferred language comes first


@dataclass(frozen=True, slots=True)
class EncodedQueries:
    """Queries as an index is asked for them.

    Attributes
    ----------
    vectors : torch.Tensor
        Shape ``(Q, q, dim)``.
    preferred : sequence of (str or None)
        The language that is preferred for each, if one is.
    pieces : PieceCounts or None
        Of their texts, for hybrid search.
    """

    vectors: torch.Tensor
    preferred: Sequence[str | None]
    pieces: PieceCounts | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, positions: Sequence[int]) -> EncodedQueries:
        """Return those at growing positions."""
        pieces = None if self.pieces is None else self.pieces.select(positions)
        return EncodedQueries(self.vectors[list(positions)], [self.preferred[i] for i in positions], pieces)


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """What is looked for, and in which order.

    Attributes
    ----------
    condition : Condition or None
        A filter.
    min_score, min_relevance : float or None
        What a result must reach.
    lexical_weight : float or None
        Of BM25, in hybrid search.
    language_weight : float
        0 prefers nothing, 1 puts all passages in the preferred language first.
    config : SearchConfig
    """

    condition: Condition | None
    min_score: float | None
    min_relevance: float | None
    lexical_weight: float | None
    language_weight: float
    config: SearchConfig

    def admits(self, score: float, relevance: float) -> bool:
        """Return whether a result reaches what it must."""
        return (self.min_score is None or score >= self.min_score) and (
            self.min_relevance is None or relevance >= self.min_relevance
        )


class _Hit(NamedTuple):
    pid: int
    score: float
    parts: tuple[float, ...] = ()  # MaxSim and BM25, of which the score of a hybrid search is made

    @property
    def maxsim(self) -> float:
        return self.parts[0] if self.parts else self.score


class Ranking:
    """Finds the results of encoded queries in an index.

    Parameters
    ----------
    index : PassageIndex
    gauge : Gauge
        What relevance is measured by.
    options : RankingOptions
    """

    def __init__(self, index: PassageIndex, gauge: Gauge, options: RankingOptions) -> None:
        self._index = index
        self._gauge = gauge
        self._options = options

    def best(self, queries: EncodedQueries, k: int) -> list[list[Result]]:
        """Return the best `k` results of each query, best first."""
        if not len(queries) or not k:
            return [[] for _ in range(len(queries))]
        prefers = any(language is not None for language in queries.preferred)
        hybrid = queries.pieces is not None
        depth = k
        if prefers and hybrid:  # scores of one list do not compare with those of another
            depth = min(max(HYBRID_DEPTH, HYBRID_DEPTH_PER_RESULT * k), len(self._index))
        hits, passages = self._find(queries, depth)
        if prefers and not hybrid:
            hits = self._with_own(queries, k, hits, passages)
        return [
            list(self._results(*each, passages))[:k]
            for each in zip(queries.vectors, hits, queries.preferred, strict=True)
        ]

    def _with_own(
        self, queries: EncodedQueries, k: int, hits: list[list[_Hit]], passages: dict[int, Passage]
    ) -> list[list[_Hit]]:
        """Return hits with the best `k` in the preferred language.

        No others than these can be among the best k, since those in other languages only fall.
        """
        found, condition = list(hits), self._options.condition
        for language in dict.fromkeys(each for each in queries.preferred if each is not None):
            asked = [i for i, each in enumerate(queries.preferred) if each == language]
            own = Compare("language", "$eq", language)
            both = And((condition, own)) if condition else own
            more, their_passages = self._find(queries.select(asked), k, both)
            passages |= their_passages
            for i, in_language in zip(asked, more, strict=True):
                every = {hit.pid: hit for hit in (*found[i], *in_language)}
                found[i] = sorted(every.values(), key=lambda hit: (-hit.score, hit.pid))
        return found

    def _results(
        self, rows: torch.Tensor, hits: list[_Hit], language: str | None, passages: dict[int, Passage]
    ) -> Iterator[Result]:
        """Yield the results of one query, best first."""
        options = self._options
        relevance = self._gauge.relevance(rows, [hit.maxsim for hit in hits]).tolist()
        found = [pair for pair in zip(hits, relevance, strict=True) if options.admits(pair[0].score, pair[1])]
        if language is not None:
            worth = [hit.score if hit.parts else each for hit, each in found]
            in_language = [passages[hit.pid].language == language for hit, _ in found]
            found = [found[i] for i in by_worth(worth, in_language, options.language_weight)]
        for rank, (hit, each) in enumerate(found, start=1):
            yield make_result(passages[hit.pid], hit.score, rank, each, hit.parts)

    def _find(
        self, queries: EncodedQueries, k: int, condition: Condition | None = None
    ) -> tuple[list[list[_Hit]], dict[int, Passage]]:
        """Return the hits of each query, best first, and their passages; `condition` in the place of the options'."""
        options = self._options if condition is None else replace(self._options, condition=condition)
        missing: set[int] = set()
        for _ in range(FIND_ATTEMPTS):
            found = self._search(queries, k, options)
            pids = sorted(set(found.pids[found.pids >= 0].tolist()))
            try:
                passages = dict(zip(pids, self._index.fetch(pids), strict=True))
            except KeyError as error:  # deleted since the search: search again
                [pid] = error.args
                if pid in missing:  # it was found again, so it is not deleted
                    break
                missing.add(pid)
            else:
                columns = [column.tolist() for column in found]
                return [_hits(*row) for row in zip(*columns, strict=True)], passages
        raise IndexDamagedError(
            f"The index finds the passages {preview(missing)}, and has no text of them. Index the documents again, or "
            "restore the index from a copy."
        )

    def _search(self, queries: EncodedQueries, k: int, options: RankingOptions) -> Hits | HybridHits:
        condition, config = options.condition, options.config
        if queries.pieces is None or options.lexical_weight is None:
            return self._index.search(queries.vectors, k, filter=condition, config=config)
        return lexical_index(self._index).search_hybrid(
            queries.vectors, queries.pieces, k, weight=options.lexical_weight, filter=condition, config=config
        )


def _hits(pids: list[int], scores: list[float], *parts: list[float]) -> list[_Hit]:
    rows = zip(pids, scores, *parts, strict=True)
    return [_Hit(pid, score, tuple(rest)) for pid, score, *rest in rows if pid >= 0]
