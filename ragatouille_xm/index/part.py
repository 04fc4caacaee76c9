"""One Qdrant Edge shard, which never changes once others may read it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import qdrant_edge as edge
import torch
from numpy.typing import NDArray

from ..errors import IndexDamagedError, StorageError
from ..types import Passage
from .codebook import Probes
from .durable import is_foreign, storage_errors, sync_tree
from .inventory import check_sizes, write_inventory
from .manifest import WAY_OUT
from .points import CENTROIDS, OWN, VECTORS, passage_of, sparse_of
from .qdrant_filters import TERMS, any_of

T = TypeVar("T")

DATATYPES = {"float16": edge.VectorStorageDatatype.Float16, "int8": edge.VectorStorageDatatype.Turbo8}
AT_ONCE = 64  # passages read: their vectors come out of the engine as Python floats, 32 bytes each
REOPEN_AFTER = 256 * 2**20  # bytes of vectors read or written: keeps down the mapped memory of a large part
SCAN_BELOW = 600  # passages of a segment under a filter: the engine compares these instead of going by centroids
SEGMENTS = "segments"  # the engine's folder of them


class Stored(NamedTuple):
    """A passage as the engine has it."""

    passage: Passage
    vectors: NDArray[np.float16] | None  # (t, dim)


class Part:
    """A handle on one shard. Searching is safe from many threads.

    Opening and closing a shard writes to its folder, and what a stale handle writes destroys what another one has
    added since; over files that nobody changes it is the same bytes again. That is why a part that others may read
    is never added to.
    """

    def __init__(self, folder: Path, shard: edge.EdgeShard) -> None:
        self.folder = folder
        self._shard = shard
        self.passages = int(shard.info().points_count)
        self._touched = 0

    @classmethod
    def create(cls, folder: Path, dim: int, storage: str, *, threads: int = 1) -> Part:
        """Make an empty one, searched by so many threads. Raise `StorageError` if that is not possible."""
        with storage_errors(folder):
            folder.mkdir()
            shard = edge.EdgeShard.create(str(folder), _config(dim, storage, threads))
            part = cls(folder, shard)
            part._index("document_id", "language")
            return part

    @classmethod
    def joined(cls, folder: Path, dim: int, storage: str, others: Sequence[Part]) -> Part:
        """Make one of the segments of others, each searched by a thread; these are optimized, and closed.

        The engine has no call for that: its shard is the folder ``segments``, of which it opens whatever is there. The
        files are shared with the others, which stay as they are, so that a build that dies here can go on with them.
        """
        total = sum(other.passages for other in others)
        with storage_errors(folder):
            part = cls.create(folder, dim, storage, threads=len(others))
            part.close()
            shutil.rmtree(folder / SEGMENTS)  # an empty one
            for other in others:  # one after the other, so that one alone is mapped and copied
                other.optimize()
                other._reopen()  # this tidies up
                other.close()
                for segment in (other.folder / SEGMENTS).iterdir():
                    if any(segment.glob("*id_tracker.mappings")):  # one that never held a point has none
                        shutil.copytree(segment, folder / SEGMENTS / segment.name, copy_function=_shared)
            part = cls(folder, edge.EdgeShard.load(str(folder)))
            if part.passages != total:
                part.close()
                raise OSError(f"the engine finds {part.passages} of {total} passages in the segments put together")
        return part

    def _index(self, *fields: str) -> None:
        """Have the engine look up texts of `fields` in memory."""
        for name in fields:
            self._shard.update(edge.UpdateOperation.create_field_index(name, edge.PayloadSchemaType.Keyword))

    @classmethod
    def load(cls, folder: Path, passages: int | None = None) -> Part:
        """Open one, which must hold as many passages as given.

        Raises
        ------
        IndexDamagedError
            If it is not there or not whole.
        StorageError
            If the folder cannot be written to, which the engine needs even for reading.
        """
        try:
            check_sizes(folder)
            part = cls(folder, edge.EdgeShard.load(str(folder)))
        except BaseException as error:
            if not is_foreign(error):
                raise
            if folder.is_dir() and not os.access(folder, os.W_OK):
                raise StorageError(
                    f"{str(folder)!r} cannot be written to: {error}. The engine needs that even for reading: "
                    "change the permissions, or copy the index."
                ) from error
            raise _damaged(folder, error) from error
        if passages is not None and part.passages != passages:
            raise _damaged(folder, f"it holds {part.passages} passages instead of {passages}")
        return part

    @classmethod
    def reopen(cls, folder: Path) -> Part:
        """Open one that was never sealed, to go on with it, as it was at a `flush` or later."""
        try:
            return cls(folder, edge.EdgeShard.load(str(folder)))
        except BaseException as error:
            if not is_foreign(error):
                raise
            raise _damaged(folder, error) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not is_foreign(error):
                raise
            raise _damaged(self.folder, error) from error

    # ---- writing, while it is nobody else's

    def put(self, points: Sequence[edge.Point]) -> None:
        """Store points, overwriting those of the same pid. Raise `StorageError` if that fails."""
        with storage_errors(self.folder):
            self._shard.update(edge.UpdateOperation.upsert_points(list(points)))
        self.passages = int(self._shard.info().points_count)

    def remove(self, pids: Sequence[int]) -> None:
        """Forget passages."""
        with storage_errors(self.folder):
            self._shard.update(edge.UpdateOperation.delete_points(list(pids)))
        self.passages = int(self._shard.info().points_count)

    def assign(self, centroids: Mapping[int, torch.Tensor]) -> None:
        """Give passages that are here, by their pids, the centroids ``(t,)`` of their tokens."""
        points = [edge.PointVectors(pid, {CENTROIDS: sparse(rows)}) for pid, rows in centroids.items()]
        with storage_errors(self.folder):
            self._shard.update(edge.UpdateOperation.update_vectors(points))

    @property
    def has_terms(self) -> bool:
        """Whether the engine looks up the terms of filters in memory."""
        return TERMS in self._shard.info().payload_schema

    def index_terms(self) -> None:
        """Have it do so."""
        if not self.has_terms:
            with storage_errors(self.folder):
                self._index(TERMS)

    def optimize(self) -> None:
        """Bring what was stored into the form in which it is found fast, as one segment."""
        with storage_errors(self.folder):
            self._shard.optimize()

    def seal(self) -> None:
        """Have all of it on the disk. It must not be changed afterwards."""
        with storage_errors(self.folder):
            self._reopen()  # the first opening after a change tidies up files, which two readers must not do at once
            write_inventory(self.folder)
            sync_tree(self.folder)

    def flush(self) -> None:
        """Write everything out: a process that dies later does not take it along."""
        with storage_errors(self.folder):
            self._shard.flush()

    def recycle(self, touched: int) -> None:
        """Let go of mapped memory after every so many bytes touched. Nobody else may be using this handle."""
        self._touched += touched
        if self._touched > REOPEN_AFTER:
            with storage_errors(self.folder):
                self._reopen()

    def _reopen(self) -> None:
        """Write everything out and let go of the memory that maps it."""
        self._shard.flush()
        self._shard.close()
        self._shard = edge.EdgeShard.load(str(self.folder))
        self._touched = 0

    # ---- reading

    def search(
        self,
        query: NDArray[np.float32],
        limit: int,
        where: edge.Filter | None,
        probes: Probes | None = None,
    ) -> list[tuple[int, float]]:
        """Return up to `limit` pids and their MaxSim scores, best first.

        Parameters
        ----------
        query : numpy.ndarray
            Shape ``(q, dim)``.
        probes : tuple, optional
            Centroids and weights: score only the `limit` best passages by these.
        """
        prefetches = None
        if probes is not None:
            sparse = edge.Query.Nearest(edge.SparseVector(*probes), using=CENTROIDS)
            prefetches = [edge.Prefetch(limit=limit, query=sparse, filter=where)]
        nearest = edge.Query.Nearest(query, using=VECTORS)
        request = edge.QueryRequest(limit=limit, query=nearest, prefetches=prefetches, filter=where)
        with self._reading():
            return [(point.id, point.score) for point in self._shard.query(request)]  # type: ignore[misc]

    def candidates(self, probes: Probes, limit: int, where: edge.Filter | None) -> list[tuple[int, float]]:
        """Return up to `limit` pids and their scores by centroids, best first."""
        nearest = edge.Query.Nearest(edge.SparseVector(*probes), using=CENTROIDS)
        with self._reading():
            found = self._shard.query(edge.QueryRequest(limit=limit, query=nearest, filter=where))
            return [(point.id, point.score) for point in found]  # type: ignore[misc]

    def languages(self, where: edge.Filter | None) -> dict[str, int]:
        """Return the number of passages of each language."""
        with self._reading():
            request = edge.FacetRequest("language", limit=max(self.passages, 1), exact=True, filter=where)
            return {str(hit.value): hit.count for hit in self._shard.facet(request).hits}

    def of_documents(self, document_ids: Sequence[str]) -> list[tuple[int, str]]:
        """Return the pid and the document id of all passages of the documents."""
        where = edge.Filter(must=[any_of("document_id", document_ids)])
        fields = edge.PayloadSelector.Include(["document_id"])
        records = self._records(where, fields, False, self.passages)
        return [(int(record.id), (record.payload or {})["document_id"]) for record in records]

    def pids(self, where: edge.Filter | None = None) -> list[int]:
        """Return the pids that `where` admits, growing."""
        return [int(record.id) for record in self._records(where, False, False, self.passages)]

    def holds(self, pids: Sequence[int]) -> set[int]:
        """Return those of `pids` that are here."""
        with self._reading():
            return {int(record.id) for record in self._shard.retrieve(list(pids), False, False)}

    def retrieve(self, pids: Iterable[int], *, with_vectors: bool = False) -> list[Stored]:
        """Return those of the passages that are here, in any order."""
        with self._reading():
            fields = edge.PayloadSelector.Include(list(OWN))
            wanted = [VECTORS] if with_vectors else False
            return [_stored(record) for record in self._shard.retrieve(list(pids), fields, wanted)]

    def read(self, where: edge.Filter | None = None, *, with_vectors: bool = False) -> Iterator[Stored]:
        """Yield the passages that `where` admits, by growing pid."""
        fields = edge.PayloadSelector.Include(list(OWN))
        for record in self._records(where, fields, with_vectors, AT_ONCE):
            yield _stored(record)

    def _records(
        self, where: edge.Filter | None, fields: Any, with_vectors: bool, at_once: int
    ) -> Iterator[edge.Record]:
        offset = None
        while True:
            request = edge.ScrollRequest(
                offset=offset,
                limit=max(at_once, 1),
                filter=where,
                with_payload=fields,
                with_vector=[VECTORS] if with_vectors else False,
            )
            with self._reading():
                records, offset = self._shard.scroll(request)
            yield from records
            if offset is None:
                return

    def close(self) -> None:
        """Release files and memory."""
        with storage_errors(self.folder):
            self._shard.close()


def _config(dim: int, storage: str, threads: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={
            VECTORS: edge.EdgeVectorParams(
                size=dim,
                distance=edge.Distance.Dot,
                multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
                datatype=DATATYPES[storage],
                memory=edge.Memory.Cold,
                hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10),
            )
        },
        sparse_vectors={
            CENTROIDS: edge.EdgeSparseVectorParams(full_scan_threshold=SCAN_BELOW, memory=edge.Memory.Cached)
        },
        max_search_threads=threads,
        wal_enabled=False,
    )


def _shared(source: str, target: str) -> str:
    """Give a file a second name; copy what the engine writes anew, and where the file system has no such names."""
    if not source.endswith(".json"):
        with suppress(OSError):
            os.link(source, target)
            return target
    return shutil.copy2(source, target)


def _damaged(folder: Path, error: object) -> IndexDamagedError:
    return IndexDamagedError(f"{str(folder)!r}, a part of the index, cannot be read: {error}. {WAY_OUT}")


def point(pid: int, payload: dict[str, Any], vectors: torch.Tensor, centroids: torch.Tensor | None) -> edge.Point:
    """Return a passage with its vectors ``(t, dim)`` and their centroids ``(t,)`` as the engine takes it."""
    rows: dict[str, Any] = {VECTORS: vectors.float().tolist()}  # lists in half the time that it takes arrays
    return edge.Point(pid, rows if centroids is None else rows | {CENTROIDS: sparse(centroids)}, payload)


def sparse(centroids: torch.Tensor) -> edge.SparseVector:
    """Return the centroids ``(t,)`` of a passage's tokens as the engine takes them."""
    return edge.SparseVector(*sparse_of(centroids))


def _stored(record: edge.Record) -> Stored:
    passage = passage_of(int(record.id), record.payload or {})
    vectors = record.vector
    return Stored(passage, np.asarray(vectors[VECTORS], np.float16) if isinstance(vectors, dict) else None)


def batches_of(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield up to `size` at a time."""
    while batch := list(islice(items, size)):
        yield batch
