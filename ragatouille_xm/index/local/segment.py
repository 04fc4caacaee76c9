"""A segment: an immutable set of passages' token vectors and postings, and which of them are live."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ...errors import IndexDamagedError
from ..files import checksum
from ..quantization.codebook import Probes
from ..quantization.scalar import Floats
from .database import damaged
from .filters import Mask
from .folder import LEXICAL, WAY_OUT, postings_suffix
from .lexical import PieceLists
from .postings import Postings
from .state import SegmentMeta, State
from .vectors import Rows, Table, Vectors

VERIFIED_BYTES = 2**24  # files up to this size are compared with their checksums when they are opened
MASKS_KEPT = 16  # filters whose passages a segment remembers


class Masks:
    """Which passages of a segment recent filters admit. Thread-safe.

    What is found out at one commit holds for the later ones too, where fewer passages are live, and not before it.
    """

    def __init__(self) -> None:
        self._masks: OrderedDict[str, tuple[int, Mask | None]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, generation: int) -> Mask | None:
        """Return the mask ``(n,)`` of a filter at a commit, if it is remembered."""
        with self._lock:
            since, mask = self._masks.get(key, (0, None))
            return mask if since <= generation else None

    def __contains__(self, key: str) -> bool:
        """Return whether the filter was met before."""
        with self._lock:
            return key in self._masks

    def remember(self, key: str, generation: int, mask: Mask | None) -> None:
        """Remember the mask of a filter at a commit, or that it was met."""
        with self._lock:
            self._masks[key] = generation, mask
            self._masks.move_to_end(key)
            while len(self._masks) > MASKS_KEPT:
                self._masks.popitem(last=False)


@dataclass(frozen=True, eq=False)
class Segment:
    """The files of a segment, opened.

    Attributes
    ----------
    name : str
    vectors : Vectors
    postings : Postings or None
        None if there is no codebook: all of its passages are candidates then.
    lexical : PieceLists or None
        None in an index without lexical search.
    masks : Masks
    """

    name: str
    vectors: Vectors
    postings: Postings | None
    lexical: PieceLists | None
    masks: Masks

    @classmethod
    def open(cls, folder: Path, meta: SegmentMeta, state: State) -> Segment:
        """Open the files of a segment.

        Raises
        ------
        IndexDamagedError
            If one of them is missing or not the file that was written, as far as a look at small files tells.
        """
        try:
            check_files(folder, meta)
            vectors = Vectors.open(folder, meta.name, state.meta.dim, state.storage)
            if len(vectors) != meta.passages:
                raise ValueError(f"it has {len(vectors)} passages instead of {meta.passages}")
            lexical = cls._lexical(folder, meta) if state.meta.lexical else None
            return cls(meta.name, vectors, cls._postings(folder, meta, state), lexical, Masks())
        except (OSError, ValueError) as error:
            raise damaged(folder / meta.name, error) from error

    def with_postings(self, folder: Path, meta: SegmentMeta, state: State) -> Segment:
        """Return the same segment with the postings of another codebook."""
        try:
            return replace(self, postings=self._postings(folder, meta, state))
        except (OSError, ValueError) as error:
            raise damaged(folder / meta.name, error) from error

    @staticmethod
    def _postings(folder: Path, meta: SegmentMeta, state: State) -> Postings | None:
        if state.codebook is None:
            return None
        end = postings_suffix(state.codebook.name)
        postings = Postings.open(folder / f"{meta.name}{end}", meta.passages)
        if meta.files[end].bytes <= VERIFIED_BYTES:
            postings.check()
        return postings

    @staticmethod
    def _lexical(folder: Path, meta: SegmentMeta) -> PieceLists:
        lists = PieceLists.open(folder / f"{meta.name}{LEXICAL}", meta.passages)
        if meta.files[LEXICAL].bytes <= VERIFIED_BYTES:
            lists.check()
        return lists

    @property
    def table(self) -> Table:
        """The passages, by growing pid."""
        return self.vectors.table


def check_files(folder: Path, meta: SegmentMeta, *, all_checksums: bool = False) -> None:
    """Raise `OSError` or `ValueError` unless the files of a segment are those that were written."""
    for end, file in meta.files.items():
        path = folder / f"{meta.name}{end}"
        size = path.lstat().st_size
        if size != file.bytes:
            raise ValueError(f"{path.name} has {size} bytes instead of {file.bytes}")
        if (all_checksums or size <= VERIFIED_BYTES) and checksum(path) != file.sha256:
            raise ValueError(f"{path.name} has another checksum than when it was written")


@dataclass(frozen=True, eq=False)
class SegmentView:
    """A segment with the live passages of one commit.

    Attributes
    ----------
    segment : Segment
    live : numpy.ndarray or None
        Shape ``(n,)``, bool; None if all passages are live.
    """

    segment: Segment
    live: NDArray[np.bool_] | None = None

    @cached_property
    def passages(self) -> int:
        """How many passages are live."""
        return len(self.segment.table.pids) if self.live is None else int(np.count_nonzero(self.live))

    def admitted(self, mask: Mask | None) -> Mask | None:
        """Return which passages are live and in the mask of a filter; None if all are."""
        if mask is None or self.live is None:
            return self.live if mask is None else mask
        return mask & self.live

    def rows(self, mask: Mask | None = None) -> Rows:
        """Return the rows that are live and in the mask, growing."""
        admitted = self.admitted(mask)
        return np.arange(len(self.segment.table.pids)) if admitted is None else np.flatnonzero(admitted)

    def candidates(self, probes: Probes, limit: int, admitted: Mask | None) -> tuple[Rows, Floats]:
        """Return up to `limit` rows by their centroids, and their scores: everything without postings, at infinity."""
        if self.segment.postings is None:
            rows = np.arange(len(self.segment.table.pids)) if admitted is None else np.flatnonzero(admitted)
            return rows, np.full(len(rows), np.inf, np.float32)
        try:
            return self.segment.postings.candidates(probes, limit, admitted)
        except ValueError as error:
            raise IndexDamagedError(f"The segment {self.segment.name} is damaged: {error}. {WAY_OUT}") from error
