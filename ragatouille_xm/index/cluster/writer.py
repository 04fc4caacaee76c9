"""What one call adds to an index in a cluster: points of the next generation, which nobody sees before it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from qdrant_client import models

from ...types import Passage, TokenVectors
from ..local.writer import Steps
from .points import among
from .reader import ClusterView


class UploadedAddition(Steps):
    """Points that were uploaded, and what they change.

    Parameters
    ----------
    now : ClusterView
        What is added to. It stays so meanwhile.
    replace : bool
        All other passages of the same documents go.
    before_each : callable
        Called before each request.
    """

    def __init__(self, now: ClusterView, replace: bool, before_each: Callable[[], None]) -> None:
        super().__init__(now.state.manifest.dim, now.state.manifest.next_pid)
        self._now = now
        self._replace = replace
        self._before_each = before_each
        self.passages = 0
        self.tokens = 0
        self.languages: Counter[str] = Counter()
        self.replaced: list[models.FieldCondition] = []  # what each of these admits goes

    def _keep(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        manifest = self._now.state.manifest
        entry, codebook = manifest.codebook, self._now.codebook
        known = (entry.version, codebook) if entry and codebook else None
        self._now.points.upload(passages, vectors, manifest.generation + 1, known, self._before_each)
        self.passages += len(passages)
        self.tokens += len(vectors.vectors)
        self.languages.update(passage.language for passage in passages)
        self.replaced += among("pid", [p.pid for p in passages if p.pid < manifest.next_pid])
        self.replaced += among("document_id", (p.document_id for p in passages) if self._replace else ())
