"""The index contract. One suite, `tests/contracts`, holds every engine to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..config import SearchConfig
from ..corpus.filters import Condition
from ..types import Hits, Passage, TokenVectors

if TYPE_CHECKING:
    import torch


class IndexWriter(Protocol):
    """What is being added to an index."""

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        ...

    def add(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        """Store passages, overwriting those of the same pid."""
        ...


@runtime_checkable
class PassageIndex(Protocol):
    """The sole owner of passages: text, document id, metadata, language, vectors.

    Safe to search from many threads at once; writes are serialised by the engine.
    """

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        ...

    def __len__(self) -> int:
        """Return the number of passages."""
        ...

    def languages(self) -> dict[str, int]:
        """Return the number of passages of each language, most frequent first, ties by code."""
        ...

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages here."""
        ...

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        ...

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, *, replace: bool = False) -> None:
        """Store passages, overwriting those of the same pid. Durable on return, or nothing changed.

        With `replace`, all other passages of the same documents go in the same commit.
        """
        ...

    def writer(self, *, replace: bool = False) -> AbstractContextManager[IndexWriter]:
        """Add in several steps, which are one `add` once the context ends; if it fails, nothing changed.

        Nobody else can write meanwhile. Of a build, each step stays.
        """
        ...

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many went. Unknown ids are passed over."""
        ...

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits.

        Parameters
        ----------
        queries : torch.Tensor
            Shape ``(Q, q_len, dim)``; rows of zeros are padding and add nothing to a score.
        k : int
            At least 1. All passages come back where fewer qualify.
        """
        ...

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        ...

    def scroll(
        self, filter: Condition | None = None, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, in batches, by growing pid."""
        ...

    def optimize(self, *, refit: bool = False) -> None:
        """Bring the stored form up to date after large changes; with `refit`, after any.

        Never changes what a search finds exactly. Nothing is encoded again.
        """
        ...

    def close(self) -> None:
        """Release files and memory. Closing twice is allowed."""
        ...
