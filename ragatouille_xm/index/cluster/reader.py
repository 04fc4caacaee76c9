"""The reading half of an index in a cluster."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import ceil
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from qdrant_client import models

from ...config import EXACT_BELOW, SearchConfig
from ...corpus.fields import Field, summarize_fields
from ...corpus.filters import Condition
from ...errors import IndexDamagedError, IndexNotFoundError, InputError, PassageIndexError
from ...types import Calibration, Hits, Passage, TokenVectors
from ..hits import Scored, near, query_rows, to_hits
from ..meta import IndexMeta
from ..quantization.codebook import Codebook
from ..quantization.query import Query
from ..validation import check_search
from .client import Cluster
from .filters import compile_filter
from .points import PASSAGE_BATCH, POINT_BATCH, Points, Stored, all_of, any_of, concat_vectors, pid_of, slot
from .state import State, read_state, visible

SLACK = 16  # hits asked for beyond k, to see whether others score as the k-th does
READ_ATTEMPTS = 3  # if the index is replaced meanwhile

T = TypeVar("T")


def best_of(hits: Scored, k: int) -> Scored:
    """Return the best `k`, best first, ties by pid."""
    return heapq.nsmallest(k, hits, key=lambda hit: (-hit[1], hit[0]))


@dataclass(frozen=True)
class ClusterView:
    """The index at one generation."""

    state: State
    points: Points
    codebook: Codebook | None

    @cached_property
    def everything(self) -> models.Filter:
        """The filter that admits all passages of it."""
        return visible(self.state.meta.generation)

    def where(self, condition: Condition | None) -> models.Filter:
        """Return the filter that admits those passages that `condition` does."""
        return all_of(self.everything, None if condition is None else compile_filter(condition))

    def search(self, query: NDArray[np.float32], k: int, where: models.Filter, config: SearchConfig) -> Scored:
        """Return the best `k` passages for the rows ``(q, dim)`` of a query, best first, ties by pid."""
        state = self.state
        k = min(k, state.passages)
        found: Scored = []
        if self.codebook is not None and state.codebook and state.passages > EXACT_BELOW and not config.exact:
            probes = self.codebook.query_weights(Query(query).pooled, config.probes_for(state.passages))
            if len(probes[0]):
                candidates = ceil(config.candidates_for(k, state.passages) * max(state.growth, 1.0))
                first_stage = (slot(state.codebook.version), candidates, probes)
                found = self.points.rank(query, min(k + SLACK, candidates), where, first_stage)
        # The first stage may overlook passages that share no centroid with the query.
        return best_of(found, k) if len(found) >= k else self._search_exactly(query, k, where)

    def _search_exactly(self, query: NDArray[np.float32], k: int, where: models.Filter) -> Scored:
        """Score everything. The server breaks ties as it likes: ask until none of the k-th score can be missing."""
        limit = k + SLACK
        while True:
            found = self.points.rank(query, limit, where)
            best = best_of(found, k)
            if len(found) < limit or found[-1][1] < best[-1][1]:
                return best
            limit *= 4

    def stored(self, pids: Sequence[int], *, with_vectors: bool) -> dict[int, Stored]:
        """Return those of the passages that are here, by pid."""
        size = POINT_BATCH if with_vectors else PASSAGE_BATCH
        found = (
            self.points.stored(all_of(self.everything, condition), size, with_vectors=with_vectors)
            for condition in any_of("pid", (pid for pid in pids if pid >= 0))
        )
        return {stored.passage.pid: stored for batch in found for stored in batch}

    def of_documents(self, document_ids: Sequence[str], fields: Sequence[str]) -> Iterator[Any]:
        """Yield the points of all passages of the documents, with some of their payload."""
        for condition in any_of("document_id", document_ids):
            yield from self.points.records(all_of(self.everything, condition), fields)


class ClusterReader:
    """The reading half of `ragatouille_xm.index.base.PassageIndex`.

    Parameters
    ----------
    cluster : Cluster
    name : str
        Of the index, or of its collection.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self._closed = False
        self._codebook: tuple[object, Codebook] | None = None
        self._dim = self._view().state.meta.dim

    # ---- what there is

    @property
    def url(self) -> str:
        """Address of the cluster and name of the index."""
        return f"{self.cluster.url}/{self.name}"

    @property
    def folder(self) -> str:
        """The same: what messages name."""
        return self.url

    @property
    def state(self) -> State:
        """The newest state of the index, and who writes to it."""
        return self._view().state

    @property
    def collection(self) -> str:
        """Name of the collection behind it."""
        return self.state.collection

    @property
    def meta(self) -> IndexMeta:
        """The description of the index, and how far it has come."""
        return self.state.meta

    @property
    def calibration(self) -> Calibration | None:
        """What `calibrate` kept last."""
        return self.meta.calibration

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that filled it."""
        return self.meta.checkpoint

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the caller of `build` stored with it."""
        return self.meta.settings

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self._dim

    def __len__(self) -> int:
        return self.state.passages

    def languages(self) -> dict[str, int]:
        """Return the number of passages of each language, most frequent first, ties by code."""
        return dict(sorted(self.state.languages.items(), key=lambda pair: (-pair[1], pair[0])))

    def codebook(self) -> Codebook | None:
        """Return the codebook of the first stage, if there is one."""
        return self._view().codebook

    def _view(self) -> ClusterView:
        if self._closed:
            raise PassageIndexError(f"The index {self.url} was closed. Open it again.")
        state = read_state(self.cluster, self.name)
        try:
            return self._view_of(state)
        except IndexDamagedError:
            if read_state(self.cluster, self.name).meta.state == state.meta.state:
                raise
            return self._view()  # its codebook was replaced meanwhile

    def _view_of(self, state: State) -> ClusterView:
        points, entry = Points(self.cluster, state.collection), state.codebook
        if entry is None:
            return ClusterView(state, points, None)
        key = (state.meta.build, entry)
        cached = self._codebook
        if cached is None or cached[0] != key:
            self._codebook = cached = (key, points.load_codebook(entry))
        return ClusterView(state, points, cached[1])

    def _reading(self, read: Callable[[ClusterView], T]) -> T:
        """Read from the newest state, again if it is replaced by another build meanwhile."""
        for _ in range(READ_ATTEMPTS - 1):
            view = self._view()
            try:
                return read(view)
            except IndexNotFoundError:
                continue
        return read(self._view())

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages here."""
        return self._reading(
            lambda view: {r.payload["document_id"] for r in view.of_documents(document_ids, ["document_id"])}
        )

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits.

        Above 2,000 passages, and once it has a codebook, a first stage picks ``config.candidates_for(k, len(self))``
        by their centroids, and MaxSim decides among these, in one request; ``config.exact`` scores everything.

        Parameters
        ----------
        queries : torch.Tensor
            Shape ``(Q, q_len, dim)``; rows of zeros are padding and add nothing to a score.
        k : int
            At least 1.

        Raises
        ------
        InputError
            If the shape or `k` does not fit.
        ClusterError
            If the cluster does not answer.
        """
        check_search(queries, k, self._dim)

        def read(view: ClusterView) -> Hits:
            where = view.where(filter)

            def search(query: NDArray[np.float32]) -> Scored:
                return view.search(query, k, where, config)

            rows = query_rows(queries)
            if not rows or not view.state.passages:
                return to_hits([[] for _ in rows], k)
            with ThreadPoolExecutor(min(len(rows), self.cluster.config.parallel)) as pool:
                return to_hits(list(pool.map(search, rows)), k)

        return self._reading(read)

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        return [stored.passage for stored in self._stored(pids, with_vectors=False)]

    def vectors(self, pids: Sequence[int]) -> TokenVectors:
        """Return the token vectors of `pids` as they are stored, in that order. Raise `KeyError` as `fetch` does."""
        return concat_vectors(self._stored(pids, with_vectors=True), self._dim)

    def fields(self) -> list[Field]:
        """Return the metadata fields and what they hold, by name; all passages are read for that."""
        return summarize_fields(passage for passages, _ in self.scroll() for passage in passages)

    def around(self, pids: Sequence[int], n: int) -> dict[int, list[Passage]]:
        """Return, for each of `pids` that is here, the passages of its document from `n` before to `n` after it.

        The server is asked for the ids of all passages of the documents, and for the texts of those that are wanted.
        """

        def read(view: ClusterView) -> dict[int, list[Passage]]:
            here = {pid: stored.passage.document_id for pid, stored in view.stored(pids, with_vectors=False).items()}
            growing: dict[str, list[int]] = {}
            for record in view.of_documents(list(here.values()), ["document_id"]):
                growing.setdefault(record.payload["document_id"], []).append(pid_of(record.id))
            wanted = {pid: near(growing[document_id], pid, n) for pid, document_id in here.items()}
            found = view.stored(sorted({each for some in wanted.values() for each in some}), with_vectors=False)
            return {pid: [found[each].passage for each in some] for pid, some in wanted.items()}

        return self._reading(read)

    def _stored(self, pids: Sequence[int], *, with_vectors: bool) -> list[Stored]:
        found = self._reading(lambda view: view.stored(pids, with_vectors=with_vectors))
        return [found[pid] for pid in pids]

    def scroll(
        self,
        filter: Condition | None = None,
        *,
        with_vectors: bool = False,
        batch_size: int = 256,
        after: int = -1,
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, as it was at the call, in batches, by growing pid.

        Parameters
        ----------
        after : int
            Only passages of larger pids.

        Raises
        ------
        PassageIndexError
            While it goes on, if what was deleted since the call has been removed from the disk: begin again.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, not {batch_size}.")
        return self._batches(self._view(), filter, with_vectors, batch_size, after)

    def _batches(
        self, view: ClusterView, filter: Condition | None, with_vectors: bool, batch_size: int, after: int
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        size = POINT_BATCH if with_vectors else PASSAGE_BATCH
        stream = view.points.stored(view.where(filter), size, with_vectors=with_vectors, after=after)
        while batch := self._checked(view, list(islice(stream, batch_size))):
            yield [stored.passage for stored in batch], concat_vectors(batch, self._dim) if with_vectors else None

    def _checked(self, view: ClusterView, batch: list[Stored]) -> list[Stored]:
        now = self.state
        same = now.meta.build == view.state.meta.build
        if not same or now.purged > view.state.meta.generation:
            raise PassageIndexError(f"The index {self.url} has changed too much while it was being read: begin again.")
        return batch

    def close(self) -> None:
        """Close the index; the connection stays open. Closing twice is allowed."""
        self._closed = True
