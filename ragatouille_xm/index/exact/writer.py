"""A write transaction on the index in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...types import Passage, TokenVectors
from ..lexical import NO_PIECES, PieceCounts
from ..validation import PidSequence, check_add, check_pieces


class ExactWriter:
    """A write transaction, kept in memory until `ExactIndex.writer` commits it.

    Implements `ragatouille_xm.index.base.IndexWriter`.

    Parameters
    ----------
    dim : int
        Width of a token vector.
    next_pid : int
        The first pid that was never handed out.
    lexical : bool
        Whether the pieces of passages are kept.
    """

    def __init__(self, dim: int, next_pid: int, lexical: bool) -> None:
        self._dim = dim
        self._lexical = lexical
        self.pids = PidSequence(next_pid)
        self.passages: list[Passage] = []
        self.deleted: set[str] = set()  # documents
        self._vectors: list[TokenVectors] = []
        self._pieces: list[PieceCounts] = []

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before."""
        return self.pids.reserve(n)

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, pieces: PieceCounts | None = None) -> None:
        """Store passages, overwriting those of the same pid. Raise `InputError` if they cannot be stored."""
        check_add(passages, vectors, self._dim)
        check_pieces(pieces, len(passages), expected=self._lexical)
        if passages:
            self.pids.advance(passages)
            self.passages += passages
            self._vectors.append(vectors)
            self._pieces.append(pieces or NO_PIECES)

    def delete(self, document_ids: Sequence[str]) -> None:
        """Remove all passages that the index had of the documents. Unknown ids are ignored."""
        self.deleted.update(document_ids)

    def vectors(self) -> TokenVectors:
        """Return the token vectors of all that was added."""
        vectors = torch.cat([each.vectors for each in self._vectors])
        return TokenVectors(vectors, torch.cat([each.lengths for each in self._vectors]))

    def pieces(self) -> PieceCounts | None:
        """Return the pieces of all that was added, if they are kept."""
        return PieceCounts.joined(self._pieces) if self._lexical else None
