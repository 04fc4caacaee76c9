"""Settings, as small immutable value objects."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_ROOT = ".ragatouille/"  # as in RAGatouille, like the folder below it
INDEXES_FOLDER = "colbert/indexes"
# Chosen on 10,000 to a million passages to keep 0.98 of the exact top 10: benchmarks/search.py.
LEAST_CANDIDATES, SUITED_UP_TO, CANDIDATES_GROW = 1000, 10_000, 0.55
LEAST_PROBES, PROBES_UP_TO, PROBES_GROW = 64, 100_000, 0.6
EXACT_BELOW = 2000  # passages: an index of up to this many has no first stage
LEXICAL_WEIGHT = 0.3  # of BM25 in a hybrid search, measured on 14 languages in one index: benchmarks/hybrid.py
LANGUAGE_WEIGHT = 0.5  # of a preferred language: benchmarks/relevance.py
FAST_CANDIDATES, FAST_PROBES = 0.3, 0.5  # fractions of the defaults
MAX_LENGTH = 256  # tokens of a passage, by default
OVERWRITE = (True, False, "reuse", "resume", "force_silent_overwrite")  # an index of that name: colbert-ai's words
STORAGES = ("int16", "int8", "int4")  # of token vectors on disk, from the most precise to the smallest


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How an index is searched.

    Attributes
    ----------
    exact : bool
        Score every qualifying passage, without a first stage.
    fast : bool
        Use 0.3 of the default candidates, at least 10 k, and half of the default probes.
    candidates : int or None
        Passages that the first stage hands to MaxSim; by default chosen by the size of the index (1,000 up to 10,000
        passages, and 3.5 times as many for ten times the passages), at least 20 k.
    probes : int or None
        Centroids probed per query token; by default 64 up to 100,000 passages, and four times as many for ten times
        the passages.
    """

    exact: bool = False
    fast: bool = False
    candidates: int | None = None
    probes: int | None = None

    def candidates_for(self, k: int, passages: int) -> int:
        """Return the number of candidates to score for the best `k` of an index with this many passages.

        Examples
        --------
        >>> [SearchConfig().candidates_for(10, passages) for passages in (2_500, 10_000, 100_000, 1_000_000)]
        [1000, 1000, 3548, 12589]
        >>> SearchConfig(candidates=100).candidates_for(10, 80_000)
        100
        >>> SearchConfig(fast=True).candidates_for(10, 100_000), SearchConfig(fast=True).probes_for(100_000)
        (1064, 32)
        """
        if self.candidates:
            return max(self.candidates, k)
        suited = LEAST_CANDIDATES * max(passages / SUITED_UP_TO, 1) ** CANDIDATES_GROW
        return max(int(suited * FAST_CANDIDATES), 10 * k) if self.fast else max(int(suited), 20 * k)

    def probes_for(self, passages: int) -> int:
        """Return the number of centroids to probe per query token in an index with this many passages.

        Examples
        --------
        >>> [SearchConfig().probes_for(passages) for passages in (2_500, 100_000, 1_000_000)]
        [64, 64, 254]
        """
        suited = LEAST_PROBES * max(passages / PROBES_UP_TO, 1) ** PROBES_GROW
        return self.probes or int(suited * FAST_PROBES if self.fast else suited)


@dataclass(frozen=True, slots=True)
class QdrantConfig:
    """Storage of an index in Qdrant, and the connection to it.

    Attributes
    ----------
    shards, replicas, write_consistency : int or None
        For a new index: the number of shards, of copies of each, and of copies that must confirm a write, by default
        all. None leaves the choice to the server.
    on_disk : bool
        For a new index: keep token vectors on disk, memory-mapped, instead of in memory.
    timeout : int
        Timeout of a request, in seconds.
    attempts : int
        Times a request is sent before a server that is unreachable or overloaded counts as failed.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    on_disk: bool = False
    timeout: int = 20
    attempts: int = 4
