"""The token vectors of a build, kept aside until there is a codebook for them."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ..types import TokenVectors
from .durable import storage_errors

AT_ONCE = 256  # passages


class Spool:
    """Token vectors in a file that nobody else sees, and that goes with the process.

    The engine gives vectors back as Python floats: reading them from there took a third of a build.

    Parameters
    ----------
    folder : Path
        Where the file is.
    dim : int
        Width of a token vector.

    Examples
    --------
    >>> spool = Spool(Path(tempfile.mkdtemp()), 2)
    >>> spool.append([4, 5], TokenVectors(torch.eye(3, 2), torch.tensor([1, 2])))
    >>> spool.pids(), [block.lengths.tolist() for block in spool.vectors_of([5])]
    ([4, 5], [[2]])
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._pids = array("q")
        self._lengths = array("q")
        self._removed: set[int] = set()
        with storage_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - until `close`

    def append(self, pids: Sequence[int], vectors: TokenVectors) -> None:
        """Keep the vectors of passages; they take the place of earlier ones of the same pid.

        Raises
        ------
        StorageError
            If the file cannot be written.
        """
        with storage_errors(self._folder):
            self._file.seek(0, os.SEEK_END)  # it may have been read meanwhile
            self._file.write(vectors.vectors.detach().to("cpu", torch.float16).contiguous().numpy().data)
        self._pids.extend(pids)
        self._lengths.extend(vectors.lengths.tolist())
        self._removed.difference_update(pids)

    def remove(self, pids: Iterable[int]) -> None:
        """Forget passages."""
        self._removed.update(pids)

    def pids(self) -> list[int]:
        """Return the pids that are here, growing."""
        return sorted({*self._pids} - self._removed)

    def vectors_of(self, pids: Sequence[int]) -> Iterator[TokenVectors]:
        """Yield the vectors of passages that are here, a few at a time, in that order."""
        known, lengths = np.array(self._pids, dtype=np.int64), np.array(self._lengths, dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        order = np.argsort(known, kind="stable")  # of the same pid, the newest is last
        places = order[np.searchsorted(known, np.asarray(pids, dtype=np.int64), side="right", sorter=order) - 1]
        for first in range(0, len(places), AT_ONCE):
            some = places[first : first + AT_ONCE]
            rows = [self._read(start, length) for start, length in zip(starts[some], lengths[some], strict=True)]
            yield TokenVectors(torch.cat(rows), torch.from_numpy(lengths[some]))

    def _read(self, start: int, length: int) -> torch.Tensor:
        bytes_of_row = 2 * self._dim
        buffer = bytearray(int(length) * bytes_of_row)
        with storage_errors(self._folder):
            self._file.seek(int(start) * bytes_of_row)
            if self._file.readinto(buffer) != len(buffer):
                raise OSError("the file of a build's vectors was cut short")
        return torch.frombuffer(buffer, dtype=torch.float16).view(-1, self._dim)

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):  # a full disk: what was not written is not wanted any more
            self._file.close()
