"""How a single-vector system makes one vector of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

POOLINGS = ("mean", "cls")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a single-vector system was trained to see text.

    Attributes
    ----------
    pooling : str
        ``"mean"`` over all tokens, or ``"cls"``, the first one.
    normalised : bool
        Whether vectors are scaled to unit length, so that dot products are cosines.
    max_length : int
        Most tokens of a text, specials included.
    query_prefix, document_prefix : str
    """

    pooling: str = "mean"
    normalised: bool = True
    max_length: int = 512
    query_prefix: str = ""
    document_prefix: str = ""


def tokenise(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Return the token ids of each text, specials included, cut off at `max_length`."""
    ids: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"] if texts else []
    return ids


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Make one vector of the hidden states of each text: (b, L, hidden), (b, L) → (b, hidden).

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
    """Return vectors of unit length, if the recipe wants that."""
    return torch.nn.functional.normalize(vectors, dim=1) if recipe.normalised else vectors
