"""What a system is: something that ranks the documents of a dataset for a query."""

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
    """How a system is run. What does not concern a system, it passes over.

    Attributes
    ----------
    checkpoint : str or None
        Hub id, local folder, or ``"demo"``; by default the published one.
    document_language, query_language : str
        Whose adapter a text goes through, in systems that have adapters: ``"dataset"``, the language that the dataset
        tells, and where it tells none the detected one; ``"detected"``; or one language for all.
    device : str or None
        By default a GPU where there is one.
    k1, b : float or None
        BM25's; by default those of the dataset's published row.
    pooling : str or None
        ``"mean"`` or ``"cls"``: how a single-vector system makes one vector; by default the system's own.
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
    """A system that is ready to search one dataset."""

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
        In `ragatouille_xm.evaluation.systems.registry`.
    first_stage : System or None
        The system whose documents this one ranks anew.
    query_batch : int
        As many are ranked before their rows are written.
    """

    name: str
    first_stage: System | None
    query_batch: int

    def parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return JSON values that tell all that the ranking depends on, the dataset apart."""
        ...

    def index_parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return those of `parameters` that what is kept on disk depends on."""
        ...

    def prepare(self, dataset: Dataset, folder: Path, first: Ranking) -> Searcher:
        """Load the model; build the index in `folder`, take up a build that was cut off, or open what is there.

        Parameters
        ----------
        dataset : Dataset
        folder : Path
            Kept between runs; made here if it is needed.
        first : mapping
            The ranking of `first_stage`, empty without one.
        """
        ...


def route_language(own: str | None, choice: str) -> str | None:
    """Return the language of a text under a routing, None where it is to be detected.

    Examples
    --------
    >>> route_language("fr", "dataset"), route_language("fr", "detected"), route_language("fr", "en")
    ('fr', None, 'en')
    """
    return own if choice == DATASET else None if choice == DETECTED else choice
