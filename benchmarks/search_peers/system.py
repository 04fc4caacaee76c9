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
    """Token vectors of passages, one after the other."""

    vectors: np.memmap[Any, Any]  # (T, dim) float16
    lengths: np.ndarray[Any, Any]  # (n,) int64

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        return cls(np.load(folder / "vectors.npy", mmap_mode="c"), np.load(folder / "lengths.npy"))

    def blocks(self, at_once: int = AT_ONCE) -> Iterator[tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Yield the first position, the vectors and the lengths of `at_once` passages at a time.

        They are read, not mapped, so that the memory of a build does not count them.
        """
        dim, dtype = self.vectors.shape[1], self.vectors.dtype
        with open(str(self.vectors.filename), "rb") as file:
            file.seek(self.vectors.offset)
            for first in range(0, len(self.lengths), at_once):
                lengths = self.lengths[first : first + at_once]
                yield first, np.fromfile(file, dtype, int(lengths.sum()) * dim).reshape(-1, dim), lengths


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
