"""Values shared by the subpackages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # importing the package must not import torch
    import numpy as np
    import torch
    from numpy.typing import NDArray

Languages = str | Iterable[str | None] | None
"""Languages of texts: one for all, or one for each; None to detect it."""


class Detection(NamedTuple):
    """The language detected for one text.

    Attributes
    ----------
    language : str
        BCP-47 code, as in `ragatouille_xm.languages` (``"fr"``, ``"zh-TW"``).
    confidence : float
        0 to 1; 0 if the text was inconclusive and a fallback was used.
    """

    language: str
    confidence: float


class DetectedLanguage(NamedTuple):
    """A result of `detect_languages`.

    Attributes
    ----------
    language : str
        BCP-47 code.
    adapter : str or None
        The adapter that would encode the text; None for a checkpoint without adapters.
    confidence : float
        As in `Detection`.
    """

    language: str
    adapter: str | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document: the unit of encoding, storage and search.

    Attributes
    ----------
    pid : int
        Passage id; ids increase and are never reused within an index.
    document_id : str
        Id of the passage's document.
    text : str
        What was encoded.
    language : str
        BCP-47 code of the language whose adapter encoded it.
    metadata : mapping or None
        The document's metadata (JSON values), shared by all its passages.
    """

    pid: int
    document_id: str
    text: str
    language: str
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The token vectors of `n` passages, concatenated.

    Attributes
    ----------
    vectors : torch.Tensor
        Shape ``(T, dim)``, floating, each row of unit length.
    lengths : torch.Tensor
        Shape ``(n,)``, int64, on the CPU: tokens of each passage, at least 1; sums to ``T``.
    ids : torch.Tensor or None
        Shape ``(T,)``, int64: the vocabulary id of each row; None where rows stand for several tokens.
    """

    vectors: torch.Tensor
    lengths: torch.Tensor
    ids: torch.Tensor | None = None

    @classmethod
    def of_blocks(cls, blocks: Sequence[torch.Tensor], dim: int) -> TokenVectors:
        """Return the vectors of passages, given one block ``(t_i, dim)`` for each."""
        import torch

        lengths = torch.tensor([len(block) for block in blocks], dtype=torch.int64)
        return cls(torch.cat(list(blocks) or [torch.empty(0, dim)]), lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.vectors.shape[1]

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield the ``(t_i, dim)`` block of each passage, without a copy."""
        return iter(self.vectors.split(self.lengths.tolist()))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the relevance of an index's passages is measured by: see `ragatouille_xm.relevance`.

    Attributes
    ----------
    passages : int
        How many the index had.
    pids : tuple of int
        Passages drawn from it.
    slope, midpoint : float
        Of the curve.
    """

    passages: int
    pids: tuple[int, ...]
    slope: float
    midpoint: float

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Calibration:
        """Return what is stored. Raise `KeyError`, `TypeError` or `ValueError` for anything else."""
        pids = tuple(int(pid) for pid in stored["pids"])
        return cls(int(stored["passages"]), pids, float(stored["slope"]), float(stored["midpoint"]))

    def shifted(self, by: int) -> Calibration:
        """Return the same for a copy of the index whose pids are greater by some number."""
        return replace(self, pids=tuple(pid + by for pid in self.pids))


class Hits(NamedTuple):
    """The results of a search, best first; ties go to the smaller pid.

    Attributes
    ----------
    pids : numpy.ndarray
        Shape ``(Q, k)``, int64, padded with -1 if fewer than `k` passages qualify.
    scores : numpy.ndarray
        Shape ``(Q, k)``, float32, descending, padded with -inf.
    """

    pids: NDArray[np.int64]
    scores: NDArray[np.float32]
