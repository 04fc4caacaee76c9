"""Writing a segment: its vectors, its pieces if the index has lexical search, and at the end its postings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import storage_errors, sync
from ..lexical import PieceCounts
from ..quantization.scalar import Quantized
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

    Raises
    ------
    StorageError
        If the files cannot be written.
    """

    def __init__(self, folder: Path, name: str, state: State) -> None:
        self._folder = folder
        self.vectors = VectorWriter(folder, name, state.meta.dim, residuals=state.residuals)
        self._pieces = PieceWriter(folder, name) if state.meta.lexical else None

    def append(
        self, pids: Sequence[int] | Rows, lengths: Rows, quantized: Quantized, pieces: PieceCounts | None
    ) -> None:
        """Write passages whose pids are not here."""
        self.vectors.append(pids, lengths, quantized)
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
        vectors = Vectors.open(self._folder, name, state.meta.dim, residuals=state.residuals)
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
    sizes = file_sizes(segment.passages, segment.tokens, state.meta.dim, residuals=state.residuals)
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
