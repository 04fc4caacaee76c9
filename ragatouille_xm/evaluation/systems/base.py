"""The interface of systems, which rank the documents of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..dataset import Dataset, Query
from ..measure import Ranking

Found = list[tuple[str, float]]
"""Document ids and scores, best first."""

DATASET, DETECTED = "dataset", "detected"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a system. Each system ignores those that do not concern it.

    Attributes
    ----------
    checkpoint : str or None
        Hub id, local folder, or ``"demo"``; by default the published one.
    document_language, query_language : str
        Whose adapter encodes a text, in systems with adapters: ``"dataset"``, the language stated by the dataset, else
        the detected one; ``"detected"``; or one language for all.
    device : str or None
        By default a GPU if there is one.
    k1, b : float or None
        BM25's; by default those of the dataset's published row.
    pooling : str or None
        ``"mean"`` or ``"cls"``, for single-vector systems; by default the system's own.
    progress : bool
        Whether to show progress bars.
    """

    checkpoint: str | None = None
    document_language: str = DATASET
    query_language: str = DATASET
    device: str | None = None
    k1: float | None = None
    b: float | None = None
    pooling: str | None = None
    progress: bool = False


class Searcher(Protocol):
    """A system prepared for one dataset."""

    def search(self, queries: Sequence[Query], k: int) -> list[Found]:
        """Return the best `k` documents for each query."""
        ...

    def close(self) -> None:
        """Release memory and files."""
        ...


class System(Protocol):
    """A system that can be run on any dataset.

    Attributes
    ----------
    name : str
        Name in `ragatouille_xm.evaluation.systems.registry`.
    first_stage : System or None
        The system whose results this one re-ranks.
    query_batch : int
        Queries ranked between two writes of their rows.
    """

    name: str
    first_stage: System | None
    query_batch: int

    def parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return JSON values that, with the dataset, determine the ranking."""
        ...

    def index_parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return those of `parameters` that determine the files kept on disk."""
        ...

    def prepare(self, dataset: Dataset, folder: Path, first: Ranking) -> Searcher:
        """Load the model, and build, resume or open the index in `folder`.

        Parameters
        ----------
        dataset : Dataset
        folder : Path
            Kept between runs; created if needed.
        first : mapping
            The ranking of `first_stage`, empty without one.
        """
        ...


def route_language(own: str | None, choice: str) -> str | None:
    """Return the language of a text under a routing; None means to detect it.

    Examples
    --------
    >>> route_language("fr", "dataset"), route_language("fr", "detected"), route_language("fr", "en")
    ('fr', None, 'en')
    """
    return own if choice == DATASET else None if choice == DETECTED else choice
