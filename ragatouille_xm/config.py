"""Small value objects for settings. Each belongs to one room; none is mutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DEFAULT_ROOT = ".ragatouille/"  # where RAGatouille keeps indexes, and below it:
INDEXES_FOLDER = "colbert/indexes"
# Found on 10,000 to a million passages, to have 0.98 of the exact top 10: benchmarks/search.py.
LEAST_CANDIDATES, SUITED_UP_TO, CANDIDATES_GROW = 1000, 10_000, 0.55
LEAST_PROBES, PROBES_UP_TO, PROBES_GROW = 64, 100_000, 0.6
EXACT_BELOW = 2000  # passages: an index of up to so many has no first stage
FAST_CANDIDATES, FAST_PROBES = 0.15, 0.25  # of these
STORAGES = ("int16", "int8")  # of token vectors on disk: 2 bytes for each number, or 1 and a scale for each vector


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How an index is searched.

    Attributes
    ----------
    exact : bool
        Score every passage that qualifies, without a first stage.
    fast : bool
        Fewer candidates and probes than by default: 0.15 of the ones, at least 10 k, and a quarter of the others.
    candidates : int or None
        Passages that the first stage hands to MaxSim; by default as many as the size of the index asks for (1,000 up to
        10,000 passages, and 3.5 times as many for ten times the passages), and at least 20 k.
    probes : int or None
        Centroids looked up for each query token; by default 64 up to 100,000 passages, and four times as many for ten
        times the passages.
    """

    exact: bool = False
    fast: bool = False
    candidates: int | None = None
    probes: int | None = None

    def candidates_for(self, k: int, passages: int) -> int:
        """Return how many candidates to score for the best `k` of an index of so many passages.

        Examples
        --------
        >>> [SearchConfig().candidates_for(10, passages) for passages in (2_500, 10_000, 100_000, 1_000_000)]
        [1000, 1000, 3548, 12589]
        >>> SearchConfig(candidates=100).candidates_for(10, 80_000)
        100
        >>> SearchConfig(fast=True).candidates_for(10, 100_000), SearchConfig(fast=True).probes_for(100_000)
        (532, 16)
        """
        if self.candidates:
            return max(self.candidates, k)
        suited = LEAST_CANDIDATES * max(passages / SUITED_UP_TO, 1) ** CANDIDATES_GROW
        return max(int(suited * FAST_CANDIDATES), 10 * k) if self.fast else max(int(suited), 20 * k)

    def probes_for(self, passages: int) -> int:
        """Return how many centroids to look up for a query token in an index of so many passages.

        Examples
        --------
        >>> [SearchConfig().probes_for(passages) for passages in (2_500, 100_000, 1_000_000)]
        [64, 64, 254]
        """
        suited = LEAST_PROBES * max(passages / PROBES_UP_TO, 1) ** PROBES_GROW
        return self.probes or int(suited * FAST_PROBES if self.fast else suited)


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """How an index is kept in a Qdrant cluster, and how the cluster is spoken to.

    Attributes
    ----------
    shards, replicas, write_consistency : int or None
        Of a new index: into how many shards it is divided, how many copies of each there are, and how many of them
        must confirm a write. None leaves it to the cluster.
    on_disk : bool
        Of a new index: token vectors stay on disk, mapped, instead of in memory.
    read_consistency : int, str or None
        How many copies a read asks: a number, ``"majority"``, ``"quorum"`` or ``"all"``; None is one of them.
    timeout : int
        Seconds that one request may take.
    attempts : int
        How many times a request is sent before a cluster that does not answer, or is overloaded, counts as failed.
    parallel : int
        Requests on their way at the same time.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    on_disk: bool = False
    read_consistency: int | Literal["majority", "quorum", "all"] | None = None
    timeout: int = 20
    attempts: int = 4
    parallel: int = 4
