"""An index in a Qdrant cluster: one collection of passages, a codebook and a manifest."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import ceil
from typing import Any, Self

import numpy as np
import torch

from ...errors import IndexLockedError, PassageIndexError
from ...types import Calibration, Passage, TokenVectors
from ..base import IndexWriter
from ..lexical import PieceCounts
from ..meta import IndexMeta
from ..quantization.codebook import Codebook
from ..quantization.faiss_kmeans import uses_faiss
from ..validation import PidSequence, check_add
from .client import Cluster
from .lease import PATIENCE, Lease
from .points import POINT_BATCH, all_of, concat_vectors
from .reader import ClusterReader, ClusterView
from .state import State, deleted_by, now_ms
from .writer import ClusterWriter

logger = logging.getLogger(__name__)

GRACE = 120.0  # seconds that deleted passages stay stored, for searches under way


class ClusterIndex(ClusterReader):
    """Passages in a Qdrant cluster, found by its URL and a name.

    Implements `ragatouille_xm.index.base.PassageIndex`. Make one with `open`, or with `create` or `build` of
    `ragatouille_xm.index.cluster.build`. Any number of clients and threads may search; each call sees the newest
    generation as a whole. One client at a time may write; each call is a commit of its own. ``docs/cluster.md`` says
    what that rests on, and its limits.

    Parameters
    ----------
    cluster : Cluster
    name : str
        Of the index, or of its collection.

    Examples
    --------
    >>> from qdrant_client import QdrantClient
    >>> from ragatouille_xm.index.cluster.build import create
    >>> cluster = Cluster(QdrantClient(":memory:"))
    >>> index = create(cluster, "news", dim=2, checkpoint="demo", fingerprint="0", settings={})
    >>> vectors = TokenVectors(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([2, 1]))
    >>> index.add([Passage(0, "a", "one two", "en"), Passage(1, "b", "three", "en")], vectors)
    >>> ClusterIndex.open(cluster, "news").search(torch.tensor([[[0.0, 1.0]]]), k=1).pids.tolist()
    [[1]]
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(cluster, name)
        self._writing_lock = threading.RLock()
        self._lease: Lease | None = None

    @classmethod
    def open(cls, cluster: Cluster, name: str) -> Self:
        """Open an index, for searching and for writing.

        Raises
        ------
        IndexNotFoundError, IndexDamagedError, IndexFormatError, ClusterError
            If there is no usable index of that name.
        """
        return cls(cluster, name)

    # ---- writing

    @contextmanager
    def writing(self, patience: float = PATIENCE) -> Iterator[ClusterView]:
        """Hold the right to write; yield the state to write to. A failure is rolled back.

        May be nested: a build holds it for all of its calls.

        Raises
        ------
        IndexLockedError
            If another client is writing and does not finish within `patience` seconds.
        """
        with self._writing_lock:
            view = self._view()
            outermost = self._lease is None
            lease = self._lease or Lease(self.cluster, view.state.collection)
            if outermost:
                view = self._view_of(lease.acquire(patience))
                self._lease = lease
            try:
                lease.renew()
                yield view
            except BaseException:
                with suppress(PassageIndexError):  # otherwise the next writer does it
                    lease.roll_back()
                raise
            finally:
                if outermost:
                    self._lease = None
                    with suppress(PassageIndexError):
                        lease.release()

    def _commit(self, now: ClusterView, meta: IndexMeta, **changes: Any) -> None:
        self._held().commit(now.state, replace(now.state, meta=meta, **changes))

    def _held(self) -> Lease:
        if self._lease is None:
            raise IndexLockedError(f"The index {self.url} can only be written to while the right to write is held.")
        return self._lease

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again.

        Raises
        ------
        IndexLockedError, ClusterError
            As for `add`.
        """
        with self.writing() as now:
            pids = PidSequence(now.state.meta.next_pid)
            first = pids.reserve(n)
            if n:
                self._commit(now, replace(now.state.meta, next_pid=pids.next_pid))
            return first

    def add(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, all others of their documents are deleted.

        All of it is one commit. The points are uploaded in batches, several at a time.

        Raises
        ------
        InputError
            If they cannot be stored.
        IndexLockedError
            If another client is writing.
        ClusterError
            If the cluster fails; searches find what they found before.
        """
        check_add(passages, vectors, self._dim)  # before anything is sent
        if passages:
            with self._transaction(replace) as writer:
                writer.add(passages, vectors, pieces)

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[IndexWriter]:
        """Open a write transaction: one `add` in several calls. Nobody else can write until it ends.

        Raises
        ------
        IndexLockedError, ClusterError
            As for `add`.
        """
        with self._transaction(replace) as writer:
            yield writer

    @contextmanager
    def _transaction(self, replace: bool) -> Iterator[ClusterWriter]:
        with self.writing() as now:
            writer = ClusterWriter(now, replace, self._held().renew)
            yield writer
            if writer.passages or writer.deleted:
                self._apply(now, writer)

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many were removed. Unknown ids are passed over.

        They are no longer found on return; a later `optimize` removes them from the disk.

        Raises
        ------
        IndexLockedError, ClusterError
            As for `add`.
        """
        with self.writing() as now:
            writer = ClusterWriter(now, False, self._held().renew)
            writer.delete(document_ids)
            return self._apply(now, writer)

    def _apply(self, now: ClusterView, writer: ClusterWriter) -> int:
        """Commit what was added and deleted; return how many passages were deleted."""
        state, generation = now.state, now.state.meta.generation + 1
        deleted: dict[str, tuple[str, int]] = {}  # language and tokens of each point
        for condition in writer.deleted:
            where = all_of(now.everything, condition)
            found = {r.id: r.payload for r in now.points.records(where, ["language", "tokens"])}
            deleted |= {key: (payload["language"], payload["tokens"]) for key, payload in found.items()}
            if found:
                self._held().renew()
                now.points.mark_dead(where, generation)
        if not writer.passages and not deleted:
            return 0
        languages = Counter(state.languages) + writer.languages
        languages.subtract(language for language, _ in deleted.values())
        self._commit(
            now,
            replace(state.meta, generation=generation, next_pid=writer.pids.next_pid),
            passages=state.passages + writer.passages - len(deleted),
            tokens=state.tokens + writer.tokens - sum(tokens for _, tokens in deleted.values()),
            languages=+languages,
            dead=state.dead + len(deleted),
            dead_since=state.dead_since or (now_ms() if deleted else 0),
        )
        return len(deleted)

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration with the index. What a search finds does not change.

        Raises
        ------
        IndexLockedError, ClusterError
            As for `add`.
        """
        with self.writing() as now:
            meta = now.state.meta
            self._commit(now, replace(meta, generation=meta.generation + 1, calibration=calibration))

    # ---- keeping it fast

    def optimize(self, *, refit: bool = False) -> None:
        """Remove deleted passages from the disk, and fit the codebook to what the index has become.

        Does only what has become due; while another client is writing, nothing. With `refit`, an index that has grown
        since its codebook was fitted gets a new one. Searches go on meanwhile.

        Raises
        ------
        IndexLockedError
            With `refit`, if another client is writing.
        ClusterError
            If the cluster fails; what the index finds has not changed.
        """
        state = self.state
        if not (_is_fit_due(state, refit) or _is_purge_due(state)):
            return
        try:
            with self.writing() as now:
                if _is_purge_due(now.state):
                    self._purge(now)
            with self.writing() as now:
                if _is_fit_due(now.state, refit):
                    self._fit(now)
        except IndexLockedError:
            if refit:
                raise
            logger.info("%s is being written to: not optimized now", self.url)

    def _purge(self, now: ClusterView) -> None:
        """Remove deleted passages that nobody can be reading any more from the disk."""
        meta, before = now.state.meta, now_ms() - int(GRACE * 1000)
        # Readers are told first, so that one that began earlier notices.
        self._commit(now, meta, purged=meta.generation)
        now.points.remove(deleted_by(meta.generation, before))
        left = now.points.count(deleted_by(meta.generation, 2**62))
        self._commit(now, meta, purged=meta.generation, dead=left, dead_since=now_ms() if left else 0)

    def _fit(self, now: ClusterView) -> None:
        """Fit a codebook to a sample of the token vectors."""
        tokens = now.state.tokens
        ids = [record.id for record in now.points.records(now.everything, ())]
        size = Codebook.size_for(tokens)
        wanted = Codebook.sample_for(size)
        chosen = np.random.default_rng(0).permutation(ids)[: ceil(wanted / max(tokens, 1) * len(ids))].tolist()
        blocks = []
        for start in range(0, len(chosen), POINT_BATCH):
            self._held().renew()
            found = dict(now.points.retrieve(batch := chosen[start : start + POINT_BATCH]))
            blocks.append(concat_vectors([found[each] for each in batch], self.dim).vectors)
        sample = torch.cat(blocks)[:wanted].float()
        logger.info("fitting %d centroids to %d of %d token vectors", size, len(sample), tokens)
        self.use_codebook(Codebook.fit(sample, size, use_faiss=uses_faiss(now.state.meta.settings)), tokens)

    def use_codebook(self, codebook: Codebook, tokens: int) -> None:
        """Assign all passages to the centroids of a codebook, then search with it.

        Parameters
        ----------
        codebook : Codebook
        tokens : int
            Token vectors of the index that it was fitted for.
        """
        with self.writing() as now:
            old, meta = now.state.codebook, now.state.meta
            version = old.version + 1 if old else 1
            now.points.drop_codebook(version - 2)  # whose sparse vector is reused; no reader has it any more
            stored = now.points.store_codebook(codebook, version, tokens)
            ids = [record.id for record in now.points.records(now.everything, ())]
            now.points.assign(codebook, version, ids, self._held().renew)
            self._commit(now, replace(meta, generation=meta.generation + 1), codebook=stored)


def _is_fit_due(state: State, refit: bool) -> bool:
    has_grown = state.codebook is not None and abs(state.growth - 1) >= 0.01
    return state.needs_codebook or (refit and has_grown)


def _is_purge_due(state: State) -> bool:
    return state.dead > 0 and now_ms() > state.dead_since + GRACE * 1000
