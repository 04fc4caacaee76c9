"""An index in a Qdrant cluster: a collection that keeps passages, codebook and manifest together."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import torch

from ...errors import IndexLockedError, PassageIndexError
from ...types import Passage, TokenVectors
from ..base import IndexWriter
from ..local.manifest import Manifest, PartEntry
from ..local.merge import needs_codebook
from ..local.writer import Successive, checked_number
from ..quantization.codebook import Codebook
from ..quantization.faiss_kmeans import uses_faiss
from ..validation import check_add
from .client import Cluster
from .points import POINTS_AT_ONCE, among, both, joined
from .reader import ClusterReader, ClusterView
from .state import PATIENCE, Lease, State, gone, now_ms
from .writer import UploadedAddition

logger = logging.getLogger(__name__)

GRACE = 120.0  # seconds that passages which are gone stay stored, for searches under way


class ClusterIndex(ClusterReader):
    """Passages in a Qdrant cluster, found by its URL and a name.

    Implements `ragatouille_xm.index.base.PassageIndex`. Make one with `open`, or with `create` or `build` of
    `ragatouille_xm.index.cluster.build`. Any number of clients and threads may search; each call looks at the newest
    generation, as a whole. One client at a time may write; each call is a commit of its own. ``docs/cluster.md`` has
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
    def open(cls, cluster: Cluster, name: str) -> ClusterIndex:
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
        """Hold the right to write; yield the state to build upon. What a failure leaves behind is undone.

        May be nested, as by a build that holds it for all of its calls.

        Raises
        ------
        IndexLockedError
            If another client is writing and does not come to its end in `patience` seconds.
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

    def _commit(self, now: ClusterView, manifest: Manifest, **changes: Any) -> None:
        self._held().commit(now.state, replace(now.state, manifest=manifest, **changes))

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
            first = now.state.manifest.next_pid
            if checked_number(n):
                self._commit(now, replace(now.state.manifest, next_pid=first + n))
            return first

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, *, replace: bool = False) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, the rest of their documents goes.

        All of it in one commit. The points are uploaded in batches, several at a time.

        Raises
        ------
        InputError
            If they cannot be stored.
        IndexLockedError
            If another client is writing.
        ClusterError
            If the cluster fails; searches find what they found before.
        """
        check_add(passages, vectors, self._dim)
        if passages:
            with self._adding(replace) as addition:
                addition.store(passages, vectors)

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[IndexWriter]:
        """Add in several steps, which are one commit once the context ends; if it fails, nothing changed.

        Nobody else can write meanwhile. Within `writing`, which a build holds, each step is a commit.

        Raises
        ------
        IndexLockedError, ClusterError
            As for `add`.
        """
        with self._writing_lock:
            if self._lease is not None:
                yield Successive(self, replace)
                return
            with self._adding(replace) as addition:
                yield addition

    @contextmanager
    def _adding(self, replace: bool) -> Iterator[UploadedAddition]:
        with self.writing() as now:
            addition = UploadedAddition(now, replace, self._held().renew)
            yield addition
            if addition.passages:
                self._change(now, addition)

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many went. Unknown ids are passed over.

        They are no longer found on return, and off the disk with a later `optimize`.

        Raises
        ------
        IndexLockedError, ClusterError
            As for `add`.
        """
        with self.writing() as now:
            nothing = UploadedAddition(now, False, self._held().renew)
            nothing.replaced = list(among("document_id", document_ids))
            return self._change(now, nothing)

    def _change(self, now: ClusterView, added: UploadedAddition) -> int:
        """Commit what was added, and that what it replaces is gone; return how many passages that were."""
        state, manifest = now.state, now.state.manifest
        generation = manifest.generation + 1
        went: dict[str, tuple[str, int]] = {}
        for condition in added.replaced:
            where = both(now.everything, condition)
            found = {r.id: r.payload for r in now.points.records(where, ["language", "tokens"])}
            went |= {key: (payload["language"], payload["tokens"]) for key, payload in found.items()}
            if found:
                self._held().renew()
                now.points.mark_dead(where, generation)
        if not added.passages and not went:
            return 0
        counts = Counter(state.languages) + added.languages
        counts.subtract(language for language, _ in went.values())
        [part] = manifest.parts
        alive = part.passages + added.passages - len(went)
        part = PartEntry(part.name, alive, part.tokens + added.tokens - sum(n for _, n in went.values()))
        self._commit(
            now,
            replace(manifest, generation=generation, parts=(part,), next_pid=added.next_pid),
            languages=+counts,
            dead=state.dead + len(went),
            dead_since=state.dead_since or (now_ms() if went else 0),
        )
        return len(went)

    # ---- keeping it fast

    def optimize(self, *, refit: bool = False) -> None:
        """Take deleted passages off the disk, and fit the codebook to what the index has become.

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
        if not (self._is_due(state, refit) or _has_worn(state)):
            return
        try:
            with self.writing() as now:
                if _has_worn(now.state):
                    self._purge(now)
            with self.writing() as now:
                if self._is_due(now.state, refit):
                    self._fit(now)
        except IndexLockedError:
            if refit:
                raise
            logger.info("%s is being written to: not optimized now", self.url)

    @staticmethod
    def _is_due(state: State, refit: bool) -> bool:
        manifest = state.manifest
        outgrown = manifest.codebook is not None and abs(manifest.growth - 1) >= 0.01
        return needs_codebook(manifest) or (refit and outgrown)

    def _purge(self, now: ClusterView) -> None:
        """Take off the disk what is gone and nobody can be reading any more."""
        generation, before = now.state.manifest.generation, now_ms() - int(GRACE * 1000)
        # Readers are told first: one that began earlier notices.
        self._commit(now, now.state.manifest, purged=generation)
        now.points.remove(gone(generation, before))
        left = now.points.count(gone(generation, 2**62))
        self._commit(now, now.state.manifest, purged=generation, dead=left, dead_since=now_ms() if left else 0)

    def _fit(self, now: ClusterView) -> None:
        manifest = now.state.manifest
        ids = [record.id for record in now.points.records(now.everything, ())]
        size = Codebook.size_for(manifest.tokens)
        wanted = Codebook.sample_for(size)
        some = np.random.default_rng(0).permutation(ids)[: ceil(wanted / max(manifest.tokens, 1) * len(ids))].tolist()
        blocks = []
        for start in range(0, len(some), POINTS_AT_ONCE):
            self._held().renew()
            found = dict(now.points.retrieve(batch := some[start : start + POINTS_AT_ONCE]))
            blocks.append(joined([found[each] for each in batch]).vectors)
        sample = torch.cat(blocks)[:wanted].float()
        logger.info("fitting %d centroids to %d of %d token vectors", size, len(sample), manifest.tokens)
        self.use_codebook(Codebook.fit(sample, size, use_faiss=uses_faiss(manifest.settings)), manifest.tokens)

    def use_codebook(self, codebook: Codebook, tokens: int) -> None:
        """Search with a codebook, fitted to so many token vectors: all passages get their centroids, then it counts."""
        with self.writing() as now:
            old = now.state.manifest.codebook
            version = old.version + 1 if old else 1
            now.points.drop_codebook(version - 2)  # whose sparse vector is taken; readers have long left it
            entry = now.points.store_codebook(codebook, version, tokens)
            ids = [record.id for record in now.points.records(now.everything, ())]
            now.points.assign(codebook, version, ids, self._held().renew)
            self._commit(now, replace(now.state.manifest, codebook=entry, generation=now.state.manifest.generation + 1))


def _has_worn(state: State) -> bool:
    return state.dead > 0 and now_ms() > state.dead_since + GRACE * 1000
