"""The points of one collection: storing, reading and ranking them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
import torch
from numpy.typing import NDArray
from qdrant_client import models
from safetensors import SafetensorError
from safetensors.torch import load, save

from ...errors import IndexDamagedError
from ...types import Passage, TokenVectors
from ..hits import Scored
from ..quantization.codebook import Codebook, Probes
from .client import Cluster
from .payload import CENTROIDS, OWN, VECTORS, passage_of, payload_of, sparse_of
from .state import BORN, DIED, DIED_AT, CodebookMeta, now_ms

FLOAT_BATCH = 2**19  # in one request: some 6 MB of JSON, and a server takes 32
POINT_BATCH = 256  # written, or read with vectors, in one request
PASSAGE_BATCH = 512  # read without vectors in one request
RECORD_BATCH = 2048  # read without vectors and texts in one request
VALUE_BATCH = 2048  # ids in one filter
CHUNK = 2**20  # bytes of a codebook in one point

T = TypeVar("T")


class Stored(NamedTuple):
    """A passage as it was read."""

    passage: Passage
    vectors: NDArray[np.float16] | None  # (t, dim)


def concat_vectors(batch: Sequence[Stored], dim: int) -> TokenVectors:
    """Return the vectors of passages that were read with their vectors."""
    return TokenVectors.of_blocks([torch.from_numpy(each.vectors) for each in batch if each.vectors is not None], dim)


def point_id(pid: int, generation: int) -> str:
    """Return the id of a passage's point. Ids sort as pids do, and a write that is repeated makes the same ids.

    Examples
    --------
    >>> point_id(5, 1)
    '00000000-0000-0005-0000-000000000001'
    """
    return str(UUID(int=pid << 64 | generation))


def pid_of(id: str) -> int:
    """Return the pid in a point's id."""
    return UUID(id).int >> 64


def slot(version: int) -> str:
    """Return the name of the sparse vector for a codebook; the next one has another, so that searches can go on."""
    return f"{CENTROIDS}{version % 2}"


class Points:
    """The points of one collection.

    Parameters
    ----------
    cluster : Cluster
    collection : str
    """

    def __init__(self, cluster: Cluster, collection: str) -> None:
        self._cluster = cluster
        self.collection = collection

    def _call(self, operation: str, **arguments: Any) -> Any:
        return self._cluster.call(operation, collection_name=self.collection, **arguments)

    def _read(self, operation: str, **arguments: Any) -> Any:
        return self._cluster.read(operation, collection_name=self.collection, **arguments)

    # ---- writing

    def upload(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        generation: int,
        codebook: tuple[int, Codebook] | None,
        before_each: Callable[[], None],
    ) -> None:
        """Store passages as points of a generation; `before_each` is called before each request.

        Raises
        ------
        InputError
            If a text or the metadata cannot be stored; nothing was stored.
        """
        payloads = [payload_of(passage) for passage in passages]
        blocks = vectors.vectors.detach().to("cpu", torch.float16).split(vectors.lengths.tolist())

        def send(batch: range) -> None:
            before_each()
            rows = [blocks[i] for i in batch]
            named: list[dict[str, Any]] = [{VECTORS: block.tolist()} for block in rows]
            if codebook is not None:
                version, centroids = codebook
                assigned = centroids.assign(torch.cat(rows)).split([len(block) for block in rows])
                for vector, each in zip(named, assigned, strict=True):
                    vector[slot(version)] = _sparse(sparse_of(each))
            points = []
            for i, vector in zip(batch, named, strict=True):
                pid = passages[i].pid
                payload = {**payloads[i], "pid": pid, "tokens": len(blocks[i]), BORN: generation}
                points.append(models.PointStruct(id=point_id(pid, generation), vector=vector, payload=payload))
            self._call("upsert", points=points, wait=True)

        self.in_parallel(send, _batches([block.numel() for block in blocks]))

    def in_parallel(self, send: Callable[[T], None], batches: Iterable[T]) -> None:
        """Call `send` with each batch, several at a time; the first failure ends it."""
        parallel = self._cluster.config.parallel
        with ThreadPoolExecutor(parallel) as pool:
            running = set()
            for batch in batches:
                running.add(pool.submit(send, batch))
                if len(running) >= 2 * parallel:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in running:
                future.result()

    def mark_dead(self, where: models.Filter, generation: int) -> None:
        """Mark the points that `where` admits as deleted by a generation."""
        self._call("set_payload", payload={DIED: generation, DIED_AT: now_ms()}, points=where, wait=True)

    def remove(self, where: models.Filter) -> None:
        """Remove points from the disk."""
        self._call("delete", points_selector=where, wait=True)

    def assign(self, codebook: Codebook, version: int, ids: Sequence[str], before_each: Callable[[], None]) -> None:
        """Store the centroids of points in a new codebook, in the sparse vector that nobody searches."""

        def send(batch: Sequence[str]) -> None:
            before_each()
            found = self.retrieve(batch)
            if not found:
                return
            blocks = [torch.from_numpy(stored.vectors) for _, stored in found]
            rows = codebook.assign(torch.cat(blocks)).split([len(block) for block in blocks])
            points = [
                models.PointVectors(id=each, vector={slot(version): _sparse(sparse_of(row))})
                for (each, _), row in zip(found, rows, strict=True)
            ]
            self._call("update_vectors", points=points, wait=True)

        self.in_parallel(send, (ids[i : i + POINT_BATCH // 4] for i in range(0, len(ids), POINT_BATCH // 4)))

    # ---- the codebook

    def store_codebook(self, codebook: Codebook, version: int, tokens: int) -> CodebookMeta:
        """Store a codebook beside the passages; it was fitted for an index of `tokens` token vectors."""
        content = save(codebook.tensors())
        for i, chunk in enumerate(_chunk_ids(version, len(content))):
            data = base64.b64encode(content[i * CHUNK : (i + 1) * CHUNK]).decode()
            payload = {"codebook": version, "chunk": i, "bytes": len(content), "data": data}
            self._call("upsert", points=[models.PointStruct(id=chunk, vector={}, payload=payload)], wait=True)
        return CodebookMeta(version, tokens, hashlib.sha256(content).hexdigest())

    def load_codebook(self, entry: CodebookMeta) -> Codebook:
        """Read a codebook. Raise `IndexDamagedError` if it is missing or altered."""
        [first] = self._read("retrieve", ids=[_chunk_ids(entry.version, 1)[0]], with_payload=True) or [None]
        try:
            payload = first.payload
            content = base64.b64decode(payload["data"])
            for each in _chunk_ids(entry.version, int(payload["bytes"]))[1:]:
                [chunk] = self._read("retrieve", ids=[each], with_payload=True)
                content += base64.b64decode(chunk.payload["data"])
            if hashlib.sha256(content).hexdigest() != entry.sha256:
                raise ValueError("its checksum is another one")
            return Codebook.of(load(content))
        except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise IndexDamagedError(
                f"The codebook {entry.version} in the collection {self.collection!r} at {self._cluster.url} cannot be "
                f"read: {error}. Index the documents again, or restore the collection from a snapshot."
            ) from error

    def drop_codebook(self, version: int) -> None:
        """Delete a codebook, and the centroids of passages in it."""
        chunks = models.Filter(must=[models.FieldCondition(key="codebook", match=models.MatchValue(value=version))])
        self._call("delete", points_selector=chunks, wait=True)
        passages = models.Filter(must=[models.FieldCondition(key=BORN, range=models.Range(gte=0))])
        self._call("delete_vectors", vectors=[slot(version)], points=passages, wait=True)

    # ---- reading

    def rank(
        self,
        query: NDArray[np.float32],
        limit: int,
        where: models.Filter,
        probes: tuple[str, int, Probes] | None = None,
    ) -> Scored:
        """Return up to `limit` pids and their MaxSim scores, best first.

        Parameters
        ----------
        query : numpy.ndarray
            Shape ``(q, dim)``.
        limit : int
        where : models.Filter
        probes : tuple, optional
            Name of the sparse vector, number of candidates, centroids and weights: score only the best by these.
        """
        prefetch = None
        if probes is not None:
            name, candidates, (centroids, weights) = probes
            sparse = models.SparseVector(indices=centroids.tolist(), values=weights.tolist())
            prefetch = models.Prefetch(query=sparse, using=name, limit=candidates, filter=where)
        found = self._read(
            "query_points",
            query=query.tolist(),
            using=VECTORS,
            prefetch=prefetch,
            query_filter=where,
            limit=limit,
            with_payload=False,
        )
        return [(pid_of(point.id), point.score) for point in found.points]

    def records(self, where: models.Filter, fields: Sequence[str], batch_size: int = RECORD_BATCH) -> Iterator[Any]:
        """Yield the points that `where` admits, by growing pid, with some of their payload."""
        yield from self._scroll(where, list(fields) or False, False, batch_size)

    def stored(self, where: models.Filter, batch_size: int, *, with_vectors: bool, after: int = -1) -> Iterator[Stored]:
        """Yield the passages that `where` admits, by growing pid; only pids larger than `after`."""
        start = point_id(after + 1, 0) if after >= 0 else None
        for record in self._scroll(where, list(OWN), [VECTORS] if with_vectors else False, batch_size, start):
            yield _stored(record)

    def _scroll(
        self, where: models.Filter, fields: Any, vectors: Any, batch_size: int, offset: Any = None
    ) -> Iterator[Any]:
        while True:
            records, offset = self._read(
                "scroll",
                scroll_filter=where,
                offset=offset,
                limit=batch_size,
                with_payload=fields,
                with_vectors=vectors,
            )
            yield from records
            if offset is None:
                return

    def count(self, where: models.Filter) -> int:
        """Return how many points `where` admits."""
        return int(self._read("count", count_filter=where, exact=True).count)

    def retrieve(self, ids: Sequence[str]) -> list[tuple[str, Stored]]:
        """Return those of the points that are here, with their token vectors."""
        records = self._read("retrieve", ids=list(ids), with_payload=list(OWN), with_vectors=[VECTORS])
        return [(record.id, _stored(record)) for record in records]


def any_of(key: str, values: Iterable[Any]) -> Iterator[models.FieldCondition]:
    """Yield conditions that together admit what has one of the values at `key`; each fits into a request."""
    stream = iter(dict.fromkeys(values))
    while batch := list(islice(stream, VALUE_BATCH)):
        yield models.FieldCondition(key=key, match=models.MatchAny(any=batch))


def all_of(*filters: models.Filter | models.FieldCondition | None) -> models.Filter:
    """Return the filter that admits what all of the others admit."""
    return models.Filter(must=[each for each in filters if each is not None])


def _stored(record: Any) -> Stored:
    vectors = record.vector
    passage = passage_of(pid_of(record.id), record.payload or {})
    return Stored(passage, np.asarray(vectors[VECTORS], np.float16) if isinstance(vectors, dict) else None)


def _sparse(vector: tuple[list[int], list[float]]) -> models.SparseVector:
    indices, values = vector
    return models.SparseVector(indices=indices, values=values)


def _chunk_ids(version: int, size: int) -> list[int]:
    return [version * 2**20 + i + 1 for i in range(max(-(-size // CHUNK), 1))]


def _batches(sizes: Sequence[int]) -> Iterator[range]:
    """Yield the batches of passages of so many floats each that fit into a request.

    Examples
    --------
    >>> list(_batches([2**18, 2**18, 1, 2**20, 1]))
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    """
    start = floats = 0
    for i, size in enumerate(sizes):
        if i > start and (floats + size > FLOAT_BATCH or i - start == POINT_BATCH):
            yield range(start, i)
            start, floats = i, 0
        floats += size
    if start < len(sizes):
        yield range(start, len(sizes))
