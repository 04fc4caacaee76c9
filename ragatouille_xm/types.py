"""The values that the rooms hand to each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # importing the package must not import torch
    import numpy as np
    import torch
    from numpy.typing import NDArray

Languages = str | Iterable[str | None] | None
"""Languages of texts: one for all, or one for each, None where it is to be detected."""


class Detection(NamedTuple):
    """What a language detector says of one text.

    Attributes
    ----------
    language : str
        BCP-47 code, as in `ragatouille_xm.languages` (``"fr"``, ``"zh-TW"``).
    confidence : float
        0 to 1; 0 when the text itself did not decide and a fallback was taken.
    """

    language: str
    confidence: float


class DetectedLanguage(NamedTuple):
    """What `detect_languages` says of one text.

    Attributes
    ----------
    language : str
        BCP-47 code.
    adapter : str or None
        The adapter that the text would be encoded with; None for a checkpoint without adapters.
    confidence : float
        As in `Detection`.
    """

    language: str
    adapter: str | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document: the unit that is encoded, stored and found.

    Attributes
    ----------
    pid : int
        Passage id, growing, never used again within an index.
    document_id : str
        Id of the document that the passage was cut from.
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
    """The token vectors of `n` passages, one after the other.

    Attributes
    ----------
    vectors : torch.Tensor
        Shape ``(T, dim)``, floating, each row of unit length.
    lengths : torch.Tensor
        Shape ``(n,)``, int64, on the CPU: tokens of each passage, at least 1; sums to ``T``.
    ids : torch.Tensor or None
        Shape ``(T,)``, int64: the vocabulary id behind each row.
    """

    vectors: torch.Tensor
    lengths: torch.Tensor
    ids: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.vectors.shape[1]

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield the ``(t_i, dim)`` block of each passage, without a copy."""
        return iter(self.vectors.split(self.lengths.tolist()))


class Hits(NamedTuple):
    """What a search found, best first; ties go to the smaller pid.

    Attributes
    ----------
    pids : numpy.ndarray
        Shape ``(Q, k)``, int64, padded with -1 where fewer than `k` passages qualify.
    scores : numpy.ndarray
        Shape ``(Q, k)``, float32, descending, padded with -inf.
    """

    pids: NDArray[np.int64]
    scores: NDArray[np.float32]
