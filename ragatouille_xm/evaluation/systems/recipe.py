"""Turning a text into one vector: tokens, pooling, normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

POOLINGS = ("mean", "cls")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The input and pooling that a single-vector system was trained with.

    Attributes
    ----------
    pooling : str
        ``"mean"`` over all tokens, or ``"cls"``, the first one.
    normalised : bool
        Whether vectors are scaled to unit length, so that dot products are cosines.
    max_length : int
        Maximum tokens per text, including special tokens.
    query_prefix, document_prefix : str
    """

    pooling: str = "mean"
    normalised: bool = True
    max_length: int = 512
    query_prefix: str = ""
    document_prefix: str = ""


def tokenise(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Return the token ids of each text, including special tokens, truncated to `max_length`."""
    ids: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"] if texts else []
    return ids


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool the hidden states of each text: (b, L, hidden), (b, L) → (b, hidden).

    Examples
    --------
    >>> hidden, mask = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])
    >>> pool(hidden, mask, "mean").tolist(), pool(hidden, mask, "cls").tolist()
    ([[2.0]], [[1.0]])
    """
    if pooling == "cls":
        return hidden[:, 0]
    return (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def normalise(vectors: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Scale vectors to unit length if the recipe says so."""
    return torch.nn.functional.normalize(vectors, dim=1) if recipe.normalised else vectors
