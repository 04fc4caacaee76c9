"""The storages of token vectors: which files a segment has for them."""

from __future__ import annotations

from typing import NamedTuple

from .folder import CODES, RESIDUALS


class Storage(NamedTuple):
    """How the token vectors of an index are stored.

    Attributes
    ----------
    planes : tuple of str
        Ends of the names of the files that have a row for each token vector.
    has_residuals : bool
        16 bits for each number.
    """

    planes: tuple[str, ...]
    has_residuals: bool

    def row_bytes(self, dim: int) -> int:
        """Return how many bytes a row takes in each file."""
        return dim


STORAGES = {"int16": Storage((CODES, RESIDUALS), True), "int8": Storage((CODES,), False)}
