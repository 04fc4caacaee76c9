"""Writing the token vectors of a segment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...files import open_regular
from ...types import TokenVectors
from ..files import storage_errors, sync, write_file
from ..quantization.packing import Packing
from ..quantization.scalar import Floats, quantize
from .folder import BASES, RECORDS, TABLE
from .state import FileMeta
from .storages import Storage
from .vectors import RECORD, Planes, Rows, Table


class VectorWriter:
    """Writes the vector files of a segment that no commit names yet.

    Parameters
    ----------
    folder : Path
    name : str
        Of the segment.
    dim : int
        Width of a token vector.
    storage : Storage
    packing : Packing, optional
        Of packed rows. To go on with files of another process, none: `recover` finds it there.

    Raises
    ------
    StorageError
        If the files cannot be written.
    """

    def __init__(self, folder: Path, name: str, dim: int, storage: Storage, packing: Packing | None = None) -> None:
        self.name = name
        self._folder = folder
        self._dim = dim
        self._storage = storage
        self._packing = packing
        self._files: dict[str, BinaryIO] = {}
        self._digests = {end: hashlib.sha256() for end in self._storage.planes}
        self.passages = 0
        self.tokens = 0
        self.lowest_pid = 2**63 - 1
        with storage_errors(folder):
            for end in (*self._storage.planes, RECORDS):
                self._files[end] = (folder / f"{name}{end}").open("ab")
            if packing is not None:
                write_file(folder / f"{name}{BASES}", packing.content())
            sync(folder)

    def add(self, pids: Sequence[int] | Rows, vectors: TokenVectors) -> None:
        """Write the vectors of passages whose pids are not here."""
        if self._packing is not None:
            packed, scales = self._packing.pack(vectors.vectors), np.full(len(vectors), self._packing.scale, np.float32)
            self.copy(pids, vectors.lengths.numpy(), scales, [packed])
            return
        found = quantize(vectors.vectors, vectors.lengths, residuals=self._storage.has_residuals)
        planes = [found.codes] if found.residuals is None else [found.codes, found.residuals]
        self.copy(pids, vectors.lengths.numpy(), found.scales, planes)

    def copy(self, pids: Sequence[int] | Rows, lengths: Rows, scales: Floats, planes: Planes) -> None:
        """Write the vectors of passages whose pids are not here, as they are stored elsewhere."""
        records = np.empty(len(pids), RECORD)
        columns = (pids, self.tokens + np.cumsum(lengths) - lengths, lengths, scales)
        for field, column in zip(RECORD.names or (), columns, strict=True):
            records[field] = column
        with storage_errors(self._folder):
            for end, content in zip(self._storage.planes, planes, strict=True):
                data = np.ascontiguousarray(content).data
                self._files[end].write(data)
                self._digests[end].update(data)
            self._files[RECORDS].write(records.tobytes())
        self.lowest_pid = min(self.lowest_pid, int(records["pid"].min()))
        self.passages += len(records)
        self.tokens += int(lengths.sum())

    def flush(self) -> None:
        """Write everything through to the disk."""
        with storage_errors(self._folder):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())

    def recover(self, passages: int, tokens: int) -> None:
        """Go on with files of another process, which held so many passages and tokens when it committed last.

        Raises
        ------
        ValueError
            If there is less in them.
        """
        with storage_errors(self._folder):
            if self._storage.is_packed:
                self._packing = Packing.open(self._folder / f"{self.name}{BASES}", self._dim)
            for end, size in _growing_sizes(passages, tokens, self._dim, self._storage).items():
                if self._files[end].seek(0, os.SEEK_END) < size:
                    raise ValueError(f"{self.name}{end} is shorter than when it was committed")
                self._files[end].truncate(size)
            for end, digest in self._digests.items():
                with open_regular(self._folder / f"{self.name}{end}") as content:
                    while block := content.read(2**20):
                        digest.update(block)
        self.passages, self.tokens, self.lowest_pid = passages, tokens, 0

    def finish(self, pids: Rows) -> Mapping[str, FileMeta]:
        """Write the table of those of the passages whose pids ``(n,)`` are given; return the files of the segment."""
        self.flush()
        with storage_errors(self._folder):
            records = np.fromfile(self._folder / f"{self.name}{RECORDS}", RECORD)
            table = Table.of_records(records[np.isin(records["pid"], pids)])
            content = table.records().tobytes()
            path = self._folder / f"{self.name}{TABLE}"
            path.write_bytes(content)
            sync(path)
        self.close()
        self.passages = len(table.pids)
        files = {
            end: FileMeta(self.tokens * self._storage.row_bytes(self._dim), self._digests[end].hexdigest())
            for end in self._storage.planes
        }
        if self._packing is not None:
            files[BASES] = FileMeta.of(self._folder / f"{self.name}{BASES}")
        return {**files, TABLE: FileMeta(len(content), hashlib.sha256(content).hexdigest())}

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            with suppress(OSError):  # a full disk: what was not written is not wanted any more
                file.close()

    def discard(self) -> None:
        """Remove the files."""
        self.close()
        for end in (*self._files, BASES, TABLE):
            with suppress(OSError):
                (self._folder / f"{self.name}{end}").unlink()


def file_sizes(passages: int, tokens: int, dim: int, storage: Storage) -> dict[str, int]:
    """Return how long the files of a segment that grows are at least, by the end of the name."""
    bases = {BASES: Packing.file_bytes(dim)} if storage.is_packed else {}
    return _growing_sizes(passages, tokens, dim, storage) | bases


def _growing_sizes(passages: int, tokens: int, dim: int, storage: Storage) -> dict[str, int]:
    planes = dict.fromkeys(storage.planes, tokens * storage.row_bytes(dim))
    return {**planes, RECORDS: passages * RECORD.itemsize}
