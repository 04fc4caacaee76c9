"""A passage as a point: its pid, a payload, a multivector of token vectors, a sparse vector of centroids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice, starmap
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

    def sparse(self, block: torch.Tensor) -> dict[str, models.SparseVector]:
        """Return the distinct centroids of a passage's token vectors, as a named sparse vector of unit length."""
        distinct = self.codebook.assign(block).unique().tolist()
        return {self.name: models.SparseVector(indices=distinct, values=[len(distinct) ** -0.5] * len(distinct))}


def points_of(
    passages: Sequence[Passage], vectors: TokenVectors, codebook: NamedCodebook | None
) -> Iterator[list[models.PointStruct]]:
    """Yield the points of passages, in batches that fit into a request. Raise `InputError` before the first."""
    halves = vectors.vectors.detach().to("cpu", torch.float16).split(vectors.lengths.tolist())
    stored = list(zip(passages, halves, map(_payload_of, passages), strict=True))
    longest = max(NUMBER * block.numel() + len(json.dumps(payload)) for _, block, payload in stored)

    def point(passage: Passage, block: torch.Tensor, payload: dict[str, Any]) -> models.PointStruct:
        named: dict[str, Any] = {VECTORS: block.tolist()} | (codebook.sparse(block) if codebook else {})
        return models.PointStruct(id=passage.pid, vector=named, payload=payload)

    points = starmap(point, stored)
    while batch := list(islice(points, max(REQUEST // longest, 1))):
        yield batch


def _payload_of(passage: Passage) -> dict[str, Any]:
    """Return what is stored of a passage beside its vectors: its metadata as filters see it, and as exact text."""
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
