"""What a system under measurement is, and the token vectors that it builds from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

K = 10
AT_ONCE = 512


class Corpus(NamedTuple):
    """Token vectors of passages, one after the other, memory-mapped."""

    vectors: np.ndarray[Any, Any]  # (T, dim) float16
    lengths: np.ndarray[Any, Any]  # (n,) int64

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        return cls(np.load(folder / "vectors.npy", mmap_mode="c"), np.load(folder / "lengths.npy"))

    def blocks(self, at_once: int = AT_ONCE) -> Iterator[tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Yield the first position, the vectors and the lengths of so many passages at a time."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        for first in range(0, len(self.lengths), at_once):
            last = min(first + at_once, len(self.lengths))
            yield first, np.array(self.vectors[ends[first] : ends[last]]), self.lengths[first:last]


Search = Callable[[np.ndarray[Any, Any]], list[int]]


class System(NamedTuple):
    """How a system builds its index in a folder, and opens it with each of its settings."""

    package: str
    build: Callable[[Corpus, Path], None]
    settings: dict[str, Callable[[Path, Corpus], Search]]
    batch: Callable[[Path], Callable[[np.ndarray[Any, Any]], object]] | None = None  # many queries in one call
    distribution: str = ""  # where it is not named as the package is
    environment: dict[str, str] = {}  # noqa: RUF012 - variables that it needs to be fast

    @property
    def version(self) -> str:
        return version(self.distribution or self.package)
