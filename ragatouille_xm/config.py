"""Small value objects for settings. Each belongs to one room; none is mutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DEFAULT_ROOT = ".ragatouille/"  # where RAGatouille keeps indexes, and below it:
INDEXES_FOLDER = "colbert/indexes"
STORAGES = ("float16", "int8")  # of token vectors on disk: 2 bytes for each number, or 1 and a scale for each vector


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How an index is searched.

    Attributes
    ----------
    exact : bool
        Score every passage that qualifies, without a first stage.
    candidates : int or None
        Passages that the first stage hands to MaxSim; by default the larger of 800 and 20 k.
    probes : int
        Centroids looked up for each query token.
    """

    exact: bool = False
    candidates: int | None = None
    probes: int = 64

    def candidates_for(self, k: int) -> int:
        """Return how many candidates to score for the best `k`."""
        return max(self.candidates or max(800, 20 * k), k)


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
