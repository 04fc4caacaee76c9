"""Writing a segment: its vectors, its pieces if the index has lexical search, and at the end its postings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...types import TokenVectors
from ..files import storage_errors, sync
from ..lexical import PieceCounts
from ..quantization.packing import Packing
from .folder import LEXICAL, PIECES, postings_suffix
from .lexical import PieceWriter, committed_bytes
from .merge import assign_postings
from .snapshot import Snapshot
from .state import SegmentMeta, State
from .vector_writer import VectorWriter, file_sizes
from .vectors import Rows, Vectors


class SegmentWriter:
    """Writes the files of a segment that no commit names yet.

    Parameters
    ----------
    folder : Path
    name : str
        Of the segment.
    state : State
        Of the index, which says how vectors are stored and whether there are pieces.
    packing : Packing, optional
        As for `VectorWriter`.

    Raises
    ------
    StorageError
        If the files cannot be written.
    """

    def __init__(self, folder: Path, name: str, state: State, packing: Packing | None = None) -> None:
        self._folder = folder
        self.vectors = VectorWriter(folder, name, state.meta.dim, state.storage, packing)
        self._pieces = PieceWriter(folder, name) if state.meta.lexical else None

    def add(self, pids: Sequence[int] | Rows, vectors: TokenVectors, pieces: PieceCounts | None) -> None:
        """Write passages whose pids are not here."""
        self.vectors.add(pids, vectors)
        self._add_pieces(pids, pieces)

    def copy(self, vectors: Vectors, pieces: PieceCounts | None) -> None:
        """Write passages whose pids are not here, as they are stored elsewhere."""
        table = vectors.table
        self.vectors.copy(table.pids, table.lengths, table.scales, vectors.stored(np.arange(len(vectors))))
        self._add_pieces(table.pids, pieces)

    def _add_pieces(self, pids: Sequence[int] | Rows, pieces: PieceCounts | None) -> None:
        if self._pieces is not None and pieces is not None:
            self._pieces.append(pids, pieces)

    def flush(self) -> None:
        """Write everything through to the disk."""
        self.vectors.flush()
        if self._pieces is not None:
            self._pieces.flush()

    @property
    def unfinished(self) -> SegmentMeta:
        """What there is so far, as a build commits it."""
        return SegmentMeta(self.vectors.name, self.vectors.passages, self.vectors.tokens, {})

    def recover(self, committed: SegmentMeta) -> None:
        """Go on with files of another process, as far as they were committed.

        Raises
        ------
        ValueError
            If there is less in them.
        """
        self.vectors.recover(committed.passages, committed.tokens)
        if self._pieces is not None:
            self._pieces.recover(committed.passages)

    def finish(self, pids: Rows, snapshot: Snapshot) -> SegmentMeta | None:
        """Finish the segment, with postings if there is a codebook; return None if it has none of the `pids`.

        Raises
        ------
        StorageError
            If the files cannot be written.
        """
        state, name = snapshot.state, self.vectors.name
        files = dict(self.vectors.finish(pids))
        if not self.vectors.passages:
            return None  # its files are orphans
        vectors = Vectors.open(self._folder, name, state.meta.dim, state.storage)
        if self._pieces is not None:
            files[LEXICAL] = self._pieces.finish(vectors.table.pids)
        if snapshot.codebook is not None and state.codebook is not None:
            end = postings_suffix(state.codebook.name)
            files[end] = assign_postings(self._folder / f"{name}{end}", vectors, snapshot.codebook)
        with storage_errors(self._folder):
            sync(self._folder)
        return SegmentMeta(name, self.vectors.passages, int(vectors.table.lengths.sum()), files)

    def discard(self) -> None:
        """Remove the files."""
        self.vectors.discard()
        if self._pieces is not None:
            self._pieces.discard()


def find_shortage(folder: Path, segment: SegmentMeta, state: State) -> str | None:
    """Return which file of a segment that grows holds less than was committed, if one does."""
    sizes = file_sizes(segment.passages, segment.tokens, state.meta.dim, state.storage)
    for end, size in sizes.items():
        path = folder / f"{segment.name}{end}"
        if not path.is_file() or path.stat().st_size < size:
            return path.name
    path = folder / f"{segment.name}{PIECES}"
    try:
        if state.meta.lexical:
            committed_bytes(path, segment.passages)
    except (OSError, ValueError):
        return path.name
    return None
