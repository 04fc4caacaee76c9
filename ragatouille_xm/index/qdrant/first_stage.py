"""Picking candidates by centroids: the codebook in a point, and a sparse vector of each passage, named after it.

The point with the codebook is replaced as a whole once all passages have their centroids in the new one.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from qdrant_client import models
from safetensors import SafetensorError
from safetensors.torch import load, save

from ...config import SearchConfig
from ...errors import IndexDamagedError
from ..quantization.codebook import GROWTH, Codebook, needs_codebook
from ..quantization.query import Query
from .points import PASSAGE, VECTORS, NamedCodebook, vectors_of

if TYPE_CHECKING:
    from .index import QdrantIndex

CODEBOOK_ID = str(UUID(int=2))
MOST_BYTES = 12 * 2**20  # of a codebook: it goes through one request, written in base64


class FirstStage:
    """The first stage of searches in an index."""

    def __init__(self, index: QdrantIndex) -> None:
        self._index = index
        self._codebook: NamedCodebook | None = None

    def codebook(self) -> NamedCodebook | None:
        """Return the codebook that counts now. Raise `IndexDamagedError` if it cannot be read."""
        found = self._index.call("retrieve", ids=[CODEBOOK_ID], with_payload=["name"])
        if found and (self._codebook is None or found[0].payload["name"] != self._codebook.name):
            [point] = self._index.call("retrieve", ids=[CODEBOOK_ID], with_payload=True)
            try:
                codebook = Codebook.of(load(base64.b64decode(point.payload["data"])))
                self._codebook = NamedCodebook(point.payload["name"], point.payload["passages"], codebook)
            except (KeyError, TypeError, ValueError, SafetensorError) as error:
                raise IndexDamagedError(
                    f"The codebook of the index {self._index.folder} cannot be read: {error}. Index the documents "
                    "again, or restore the collection from a snapshot."
                ) from error
        return self._codebook if found else None

    def prefetches(
        self, rows: Sequence[NDArray[np.float32]], k: int, where: models.Filter, config: SearchConfig
    ) -> list[models.Prefetch | None]:
        """Return what picks candidates for each query ``(q, dim)``; None to score everything."""
        named = None if config.exact else self.codebook()
        if named is None:
            return [None] * len(rows)
        passages = GROWTH * named.passages  # as many as the index may have with this codebook
        found: list[models.Prefetch | None] = []
        for row in rows:
            centroids, weights = named.codebook.query_weights(Query(row).pooled, config.probes_for(passages))
            query = models.SparseVector(indices=centroids.tolist(), values=weights.tolist())
            limit = config.candidates_for(k, passages)
            prefetch = models.Prefetch(query=query, using=named.name, limit=limit, filter=where)
            found.append(prefetch if len(centroids) else None)
        return found

    def optimize(self, passages: int, *, refit: bool, use_faiss: bool) -> None:
        """Fit a codebook if the index has outgrown the old one, or with `refit` if its size has changed at all."""
        old = self.codebook()
        changed = refit and old is not None and old.passages != passages
        if changed or needs_codebook(passages, passages, old.passages if old else None):
            self.use(self._fit(passages, use_faiss), passages)
        elif old is not None:
            self._assign(old)  # what was stored by somebody who did not know of it yet

    def _fit(self, passages: int, use_faiss: bool) -> Codebook:
        """Fit a codebook to the token vectors of random passages."""
        blocks: list[torch.Tensor] = []
        size, wanted, random = 0, 1, models.SampleQuery(sample=models.Sample.RANDOM)
        where, limit = models.Filter(must=[PASSAGE]), self._index.batch
        while sum(map(len, blocks)) < wanted:
            drawn = {"query": random, "query_filter": where, "limit": limit, "with_vectors": [VECTORS]}
            found = self._index.call("query_points", **drawn).points
            blocks.append(vectors_of(found, self._index.dim).vectors)
            if not size:
                size = Codebook.size_for(len(blocks[0]) * passages // len(found))
                wanted = Codebook.sample_for(size := min(size, MOST_BYTES // self._index.dim))
        return Codebook.fit(torch.cat(blocks).float()[:wanted], size, use_faiss=use_faiss)

    def use(self, codebook: Codebook, passages: int) -> None:
        """Search with a codebook that was fitted for so many passages, once all have their centroids in it."""
        index = self._index
        new = NamedCodebook(f"centroids-{uuid4().hex}", passages, codebook)
        sparse = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
        index.call("create_vector_name", vector_name=new.name, vector_name_config=sparse)
        self._assign(new)
        data = base64.b64encode(save(codebook.tensors())).decode()
        found = index.call("retrieve", ids=[CODEBOOK_ID], with_payload=["name", "previous"])
        old = found[0].payload if found else {"name": "", "previous": ""}
        payload = {"name": new.name, "previous": old["name"], "passages": passages, "data": data}
        index.call("upsert", points=[models.PointStruct(id=CODEBOOK_ID, vector={}, payload=payload)], wait=True)
        self._assign(new)  # what was stored meanwhile
        if old["previous"]:  # a search with the last one may be under way
            index.call("delete_vector_name", vector_name=old["previous"])

    def _assign(self, codebook: NamedCodebook) -> None:
        """Give the passages that have none their centroids in a codebook."""
        without = models.Filter(must_not=[models.HasVectorCondition(has_vector=codebook.name)])
        stream = self._index.records(without, vectors=True)
        while batch := list(islice(stream, self._index.batch)):
            blocks = zip(batch, vectors_of(batch, self._index.dim), strict=True)
            points = [models.PointVectors(id=point.id, vector=codebook.sparse(block)) for point, block in blocks]  # type: ignore[arg-type]
            self._index.call("update_vectors", points=points, wait=True)
