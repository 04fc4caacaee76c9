"""A passage as a point: its payload and its sparse vector."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from ...errors import InputError
from ...types import Passage
from .filters import filter_payload

VECTORS, CENTROIDS = "tok", "cent"  # names of the vectors
OWN = ("document_id", "text", "language", "metadata")


def payload_of(passage: Passage) -> dict[str, Any]:
    """Return what is stored of a passage beside its vectors.

    Raises
    ------
    InputError
        If its texts or its metadata cannot be stored.
    """
    try:
        payload = {
            "document_id": passage.document_id,
            "text": passage.text,
            "language": passage.language,
            # As text, because the server may change the last digit of a float.
            "metadata": None if passage.metadata is None else json.dumps(dict(passage.metadata), ensure_ascii=False),
        }
        payload |= filter_payload(passage)
        json.dumps(payload, ensure_ascii=False).encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"The passage {passage.pid} of document {passage.document_id!r} cannot be stored: its texts must have no "
            f"lone surrogates, and its metadata must be JSON values. Nothing was stored. ({error})"
        ) from error
    return payload


def passage_of(pid: int, payload: Mapping[str, Any]) -> Passage:
    """Return the passage that a payload describes."""
    own: list[Any] = [payload.get(name) for name in OWN]
    document_id, text, language, metadata = own
    return Passage(pid, document_id, text, language, None if metadata is None else json.loads(metadata))


def sparse_of(centroids: torch.Tensor) -> tuple[list[int], list[float]]:
    """Return the distinct centroids of a passage, in ascending order, as a sparse vector of unit length.

    Examples
    --------
    >>> sparse_of(torch.tensor([7, 2, 2, 9, 4]))
    ([2, 4, 7, 9], [0.5, 0.5, 0.5, 0.5])
    """
    distinct = centroids.unique().tolist()
    return distinct, [len(distinct) ** -0.5] * len(distinct)
