"""Small value objects for settings. Each belongs to one room; none is mutable."""

from __future__ import annotations

from dataclasses import dataclass

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
        Passages that the first stage hands to MaxSim; by default the larger of 600 and 20 k.
    probes : int
        Centroids looked up for each query token.
    """

    exact: bool = False
    candidates: int | None = None
    probes: int = 32

    def candidates_for(self, k: int) -> int:
        """Return how many candidates to score for the best `k`."""
        return max(self.candidates or max(600, 20 * k), k)
