"""The storages of token vectors: which files a segment has for them."""

from __future__ import annotations

from typing import NamedTuple

from ..quantization.packing import packed_width
from .folder import BASES, CODES, PACKED, RESIDUALS


class Storage(NamedTuple):
    """How the token vectors of an index are stored.

    Attributes
    ----------
    planes : tuple of str
        Ends of the names of the files that have a row for each token vector.
    has_residuals : bool
        16 bits for each number.
    is_packed : bool
        4 bits for each number. In the buffer there are 8.
    """

    planes: tuple[str, ...]
    has_residuals: bool = False
    is_packed: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Ends of the names of all files that the rows are read from."""
        return (*self.planes, BASES) if self.is_packed else self.planes

    def row_bytes(self, dim: int) -> int:
        """Return how many bytes a row takes in each file."""
        return packed_width(dim) if self.is_packed else dim


STORAGES = {
    "int16": Storage((CODES, RESIDUALS), has_residuals=True),
    "int8": Storage((CODES,)),
    "int4": Storage((PACKED,), is_packed=True),
}
