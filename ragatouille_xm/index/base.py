"""The index contract. One suite, `tests/contracts`, holds every engine to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..config import SearchConfig
from ..corpus.fields import Field
from ..corpus.filters import Condition
from ..types import Calibration, Hits, Passage, TokenVectors
from .lexical import HybridHits, PieceCounts

if TYPE_CHECKING:
    import torch


class IndexWriter(Protocol):
    """A write transaction: what it stores counts once its context ends, all of it or nothing. One thread at a time."""

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        ...

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, pieces: PieceCounts | None = None) -> None:
        """Store passages, overwriting those of the same pid.

        All passages of a document come in one call, and pids grow from call to call. An index with lexical search
        needs the `pieces` of their texts, another one takes none.
        """
        ...

    def delete(self, document_ids: Sequence[str]) -> object:
        """Remove all passages that the index had of the documents. Unknown ids are ignored."""
        ...


class IndexBuild(IndexWriter, Protocol):
    """A writer of a whole index, which may begin with what a build that was broken off has stored."""

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, pieces: PieceCounts | None = None) -> None:
        """Store documents, replacing those of them that are here.

        All passages of a document come in one call, and pids grow from call to call. `pieces` as for `IndexWriter`.
        """
        ...

    def passages_of(self, document_ids: Sequence[str]) -> list[Passage]:
        """Return the passages of the documents, by growing pid. Unknown ids are passed over."""
        ...

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, each once."""
        ...

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many were removed. Unknown ids are passed over."""
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

    def fields(self) -> list[Field]:
        """Return the metadata fields and what they hold, by name: see `ragatouille_xm.corpus.fields`."""
        ...

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages here."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """What `calibrate` kept last."""
        ...

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration with the index, whatever is added or deleted. What a search finds does not change."""
        ...

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        ...

    def add(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Store passages, overwriting those of the same pid. Durable on return, or nothing changed.

        With `replace`, all other passages of the same documents go in the same commit. `pieces` as for `IndexWriter`.
        """
        ...

    def writer(self, *, replace: bool = False) -> AbstractContextManager[IndexWriter]:
        """Open a write transaction: one `add` in several calls. Nobody else can write until it ends."""
        ...

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many went. Unknown ids are passed over."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Let the calls of this thread in the context be one reading: each sees what was committed before it began.

        Whether it sees more is open. An engine that asks a server for the newest commit asks once.
        """
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

    def vectors(self, pids: Sequence[int]) -> TokenVectors:
        """Return the token vectors of `pids` as they are stored, in that order. Raise `KeyError` as `fetch` does."""
        ...

    def around(self, pids: Sequence[int], n: int) -> dict[int, list[Passage]]:
        """Return, for each of `pids` that is here, the passages of its document from `n` before to `n` after it.

        They are in the order of pids, that is, of the text.
        """
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


@runtime_checkable
class LexicalIndex(PassageIndex, Protocol):
    """An index that can be made so that it keeps the pieces of its passages, and then also finds them by BM25."""

    @property
    def lexical(self) -> bool:
        """Whether this one has them."""
        ...

    def search_hybrid(
        self,
        queries: torch.Tensor,
        pieces: PieceCounts,
        k: int,
        *,
        weight: float,
        filter: Condition | None = None,
        config: SearchConfig = SearchConfig(),
    ) -> HybridHits:
        """Return the best `k` passages by MaxSim and BM25 together, among those that `filter` admits.

        MaxSim and BM25 each name ``listed(k)`` candidates, and `fuse` ranks all of them by both. How rare a piece is,
        and how long passages are, is that of all live passages.

        Parameters
        ----------
        queries, k, filter, config
            As for `search`.
        pieces : PieceCounts
            Of the texts of the queries.
        weight : float
            Of BM25, from 0 to 1; the rest is MaxSim's.

        Raises
        ------
        InputError
            If the index has no pieces.
        """
        ...
