"""BM25 over the pieces of a snapshot's passages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...errors import IndexDamagedError
from ..lexical import K1, B, Terms, term_weights
from ..quantization.scalar import Floats
from .filters import Mask
from .folder import WAY_OUT
from .lexical import PieceLists
from .lists import Ints
from .segment import SegmentView


class LexicalView:
    """The pieces of a segment's live passages.

    Parameters
    ----------
    view : SegmentView
        Of a segment that has lists of pieces.
    """

    def __init__(self, view: SegmentView) -> None:
        if view.segment.lexical is None:
            raise IndexDamagedError(f"The segment {view.segment.name} has no lexical lists. {WAY_OUT}")
        self.view = view
        self.lists: PieceLists = view.segment.lexical

    @cached_property
    def total(self) -> int:
        """How many pieces the live passages have."""
        lengths = self.lists.lengths
        return int((lengths if self.view.live is None else lengths[self.view.live]).sum(dtype=np.int64))

    def rows(self, span: slice) -> NDArray[np.uint16] | Ints:
        """Return a part of the lists, rows that the segment has."""
        rows = self.lists.rows[span]
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.lists.lengths)):
            raise IndexDamagedError(
                f"The segment {self.view.segment.name} is damaged: its lexical lists name passages that it does not "
                f"have. {WAY_OUT}"
            )
        return rows

    def frequency(self, rows: NDArray[np.uint16] | Ints) -> int:
        """Return how many of some passages are live."""
        return len(rows) if self.view.live is None else int(np.count_nonzero(self.view.live[rows]))


class LexicalSnapshot:
    """BM25 over the live passages of a snapshot.

    Parameters
    ----------
    views : sequence of SegmentView
    passages : int
        How many are live.
    """

    def __init__(self, views: Sequence[SegmentView], passages: int) -> None:
        self._views = [LexicalView(view) for view in views]
        self._passages = passages
        mean = sum(view.total for view in self._views) / max(passages, 1)
        slope = K1 * B / max(mean, 1e-9)
        self._norms = [np.float32(slope) * view.lists.lengths + np.float32(K1 * (1 - B)) for view in self._views]

    def scores(self, terms: Terms, admitted: Sequence[Mask | None]) -> list[Floats]:
        """Return the scores ``(n,)`` of the passages of each segment; 0 where the query's pieces, or the mask, are not.

        Parameters
        ----------
        terms : tuple
            The distinct pieces of a query, growing, and how often it has each.
        admitted : sequence of (numpy.ndarray or None)
            For each segment, which passages are live and admitted by a filter; None if all are.
        """
        pieces, counts = terms
        spans = [view.lists.find(pieces) for view in self._views]
        rows = [[view.rows(span) for span in some] for view, some in zip(self._views, spans, strict=True)]
        pairs = list(zip(self._views, rows, strict=True))
        frequencies = [sum(view.frequency(lists[i]) for view, lists in pairs) for i in range(len(pieces))]
        weights = term_weights(counts, np.array(frequencies, np.int64), self._passages).astype(np.float32)
        found = []
        for view, norms, some, lists, mask in zip(self._views, self._norms, spans, rows, admitted, strict=True):
            scores = np.zeros(len(norms), np.float32)
            for span, having, weight in zip(some, lists, weights, strict=True):
                times = view.lists.counts[span].astype(np.float32)
                scores[having] += weight * (times / (times + norms[having]))
            found.append(scores if mask is None else scores * mask)
        return found
