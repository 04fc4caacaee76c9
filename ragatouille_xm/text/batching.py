"""Batches of texts for the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..errors import InputError


def plan_batches(lengths: Sequence[int], groups: Sequence[str], budget: int) -> list[list[int]]:
    """Group texts into batches of similar length; within a batch, texts of one group are adjacent.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    groups : sequence of str
        The group of each text, which is its adapter.
    budget : int
        Maximum tokens per batch, including padding; a longer text is a batch of its own.

    Returns
    -------
    list of list of int
        Positions into `lengths`, each exactly once; the longest batch first, so that a lack of memory shows early.

    Examples
    --------
    >>> plan_batches([3, 9, 4, 8], ["fr", "en", "en", "fr"], budget=18)
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    for position in order:
        batch = batches[-1] if batches else []
        # Lengths decrease, so the first text of a batch is as wide as the batch.
        if batch and lengths[batch[0]] * (len(batch) + 1) <= budget:
            batch.append(position)
        else:
            batches.append([position])
    return [sorted(batch, key=lambda i: groups[i]) for batch in batches]


def batch_tokens_of(bsize: Literal["auto"] | int, max_length: int = 256) -> int | None:
    """Return the tokens of a batch of `bsize` full-length passages; None leaves the choice to the device.

    Raises
    ------
    InputError
        If `bsize` is neither a positive whole number nor "auto".
    """
    if bsize == "auto":
        return None
    if isinstance(bsize, bool) or not isinstance(bsize, int) or bsize < 1:
        raise InputError(f'bsize={bsize!r} is not usable: give a whole number of at least 1, or "auto".')
    return bsize * max_length
