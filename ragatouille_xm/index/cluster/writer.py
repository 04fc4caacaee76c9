"""Writing to an index in a cluster: points of the next generation, which nobody sees before it is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from qdrant_client import models

from ...types import Passage, TokenVectors
from ..lexical import PieceCounts
from ..validation import PidSequence, check_add, check_pieces
from .points import any_of
from .reader import ClusterView


class ClusterWriter:
    """A write transaction: uploads points, and counts what they change.

    Implements `ragatouille_xm.index.base.IndexWriter`. `ClusterIndex.writer` commits it.

    Parameters
    ----------
    now : ClusterView
        What is written to. It stays the same meanwhile.
    replace : bool
        Whether all other passages of the same documents are deleted.
    before_each : callable
        Called before each request.

    Attributes
    ----------
    pids : PidSequence
    passages, tokens : int
        What was added.
    languages : Counter
        Likewise, passages of each language.
    deleted : list
        Conditions: each admits passages that are deleted.
    """

    def __init__(self, now: ClusterView, replace: bool, before_each: Callable[[], None]) -> None:
        self._now = now
        self._replace = replace
        self._before_each = before_each
        self.pids = PidSequence(now.state.meta.next_pid)
        self.passages = 0
        self.tokens = 0
        self.languages: Counter[str] = Counter()
        self.deleted: list[models.FieldCondition] = []

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before."""
        return self.pids.reserve(n)

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, pieces: PieceCounts | None = None) -> None:
        """Upload passages, overwriting those of the same pid. Raise `InputError` if they cannot be stored."""
        meta, codebook = self._now.state.meta, self._now.state.codebook
        check_add(passages, vectors, meta.dim)
        check_pieces(pieces, len(passages), expected=False)
        if not passages:
            return
        self.pids.advance(passages)
        centroids = (codebook.version, self._now.codebook) if codebook and self._now.codebook else None
        self._now.points.upload(passages, vectors, meta.generation + 1, centroids, self._before_each)
        self.passages += len(passages)
        self.tokens += len(vectors.vectors)
        self.languages.update(passage.language for passage in passages)
        self.deleted += any_of("pid", [passage.pid for passage in passages if passage.pid < meta.next_pid])
        if self._replace:
            self.delete([passage.document_id for passage in passages])

    def delete(self, document_ids: Sequence[str]) -> None:
        """Remove all passages that the index had of the documents. Unknown ids are ignored."""
        self.deleted += any_of("document_id", document_ids)
