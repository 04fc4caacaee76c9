"""A passage as a point: its pid, a payload, a multivector of token vectors, a sparse vector of centroids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from qdrant_client import models

from ...errors import InputError
from ...types import Passage, TokenVectors
from ..quantization.codebook import Codebook
from .filters import filter_payload

VECTORS = "tok"  # name of the multivector, which passages alone have
PASSAGE = models.HasVectorCondition(has_vector=VECTORS)
OWN = ["document_id", "text", "language", "source"]  # of a payload: what a passage is made of
REQUEST = 2**23  # bytes of JSON written in one request, about; a server takes 32 MiB
NUMBER = 12  # bytes of a number in it


class NamedCodebook(NamedTuple):
    """A codebook, the name of the sparse vector with its centroids, and how many passages it was fitted for."""

    name: str
    passages: int
    codebook: Codebook

    def sparse(self, blocks: Sequence[torch.Tensor]) -> list[models.SparseVector]:
        """Return the distinct centroids of passages with these token vectors, as sparse vectors of unit length."""
        assigned = self.codebook.assign(torch.cat(list(blocks))).split([len(block) for block in blocks])
        distinct = [each.unique().tolist() for each in assigned]
        return [models.SparseVector(indices=each, values=[len(each) ** -0.5] * len(each)) for each in distinct]


def points_of(
    passages: Sequence[Passage], vectors: TokenVectors, codebook: NamedCodebook | None
) -> Iterator[list[models.PointStruct]]:
    """Yield the points of passages, in batches that fit into a request.

    Raises
    ------
    InputError
        Before the first batch, if a text or the metadata cannot be stored.
    """
    payloads = [_payload_of(passage) for passage in passages]
    blocks = vectors.vectors.detach().to("cpu", torch.float16).split(vectors.lengths.tolist())
    start = total = 0
    sizes = [len(json.dumps(p)) + NUMBER * block.numel() for p, block in zip(payloads, blocks, strict=True)]
    for end, size in enumerate([*sizes, REQUEST + 1]):
        if end > start and total + size > REQUEST:
            batch: list[dict[str, Any]] = [{VECTORS: block.tolist()} for block in blocks[start:end]]
            if codebook is not None:
                for vector, sparse in zip(batch, codebook.sparse(blocks[start:end]), strict=True):
                    vector[codebook.name] = sparse
            yield [
                models.PointStruct(id=passage.pid, vector=vector, payload=payload)
                for passage, vector, payload in zip(passages[start:end], batch, payloads[start:end], strict=True)
            ]
            start, total = end, 0
        total += size


def _payload_of(passage: Passage) -> dict[str, Any]:
    """Return what is stored of a passage beside its vectors.

    Its metadata is there as filters see it, and as text, since the server may change the last digits of floats.
    """
    try:
        source = None if passage.metadata is None else json.dumps(dict(passage.metadata), ensure_ascii=False)
        own = (passage.document_id, passage.text, passage.language, source)
        payload = dict(zip(OWN, own, strict=True)) | filter_payload(passage)
        json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"The passage {passage.pid} of document {passage.document_id!r} cannot be stored: its texts must have no "
            f"lone surrogates, and its metadata must be JSON values. Nothing was stored. ({error})"
        ) from error
    return payload


def passage_of(point: Any) -> Passage:
    """Return the passage that a point was made of."""
    document_id, text, language, source = (point.payload.get(name) for name in OWN)
    return Passage(point.id, document_id, text, language, None if source is None else json.loads(source))


def vectors_of(points: Sequence[Any], dim: int) -> TokenVectors:
    """Return the token vectors of points that were read with them."""
    return TokenVectors.of_blocks([torch.from_numpy(np.asarray(p.vector[VECTORS], np.float16)) for p in points], dim)
