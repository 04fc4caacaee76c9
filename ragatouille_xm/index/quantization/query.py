"""MaxSim between a query and passages whose token vectors are whole numbers."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from .products import dot_products
from .rotation import rotate
from .scalar import LARGEST, STEPS, Codes, Floats, Quantized, inverse_norms

SIMILAR = 0.9  # cosine of rows of a query that are pooled
DEVIATIONS = 3 / 12**0.5  # three standard deviations of a rounding error, in steps of a code


class Query:
    """The rows of a query as whole numbers.

    Parameters
    ----------
    rows : numpy.ndarray
        Shape ``(q, dim)``, float32.
    """

    def __init__(self, rows: Floats) -> None:
        self._rows = rows
        rows = rotate(torch.from_numpy(rows)).numpy()
        scales = np.maximum(np.abs(rows).max(1, keepdims=True) / LARGEST, np.finfo(np.float32).tiny)
        scaled = rows / scales
        codes = np.rint(scaled)
        self.codes: Codes = codes.astype(np.int8)  # (q, dim)
        residuals = np.rint((scaled - codes) * STEPS)
        self._codes_and_residuals: Codes = np.concatenate([codes, residuals]).astype(np.int8)  # (2q, dim)
        self.scales = scales[:, 0].astype(np.float64)  # (q,)
        self._norm = float(np.linalg.norm(rows, axis=1).sum())
        self._error = DEVIATIONS * float(np.linalg.norm(scales))

    @cached_property
    def pooled(self) -> Query:
        """The query with similar rows summed up; the query itself if that saves less than half of its rows.

        The ``<mask>`` rows that fill a ColBERT query up are nearly the same, and have the same best vectors: scores of
        the pooled query are a little lower and in nearly the same order, for a fraction of the work.
        """
        unit = normalize(torch.from_numpy(self._rows))
        first_similar = (unit @ unit.T >= SIMILAR).numpy().argmax(1)
        leaders, group = np.unique(first_similar, return_inverse=True)
        if 2 * len(leaders) > len(first_similar):
            return self
        sums = np.zeros((len(leaders), unit.shape[1]), np.float32)
        np.add.at(sums, group, self._rows)
        return Query(sums)

    def error_bound(self, scales: Floats) -> Floats:
        """Return how far approximate scores may be from scores: ``(n,)``, for passages of these `scales`.

        Rounding errors of different numbers count as independent, those of a passage's vectors as the same for all
        rows, which is the worst case.
        """
        return (scales * np.float32(DEVIATIONS * self._norm) + np.float32(self._error)).astype(np.float32)

    def approximate_scores(self, codes: Codes, starts: NDArray[np.int64], scales: Floats) -> Floats:
        """Score passages by their codes alone, to within about 0.01 for each row.

        Parameters
        ----------
        codes : numpy.ndarray
            Shape ``(T, dim)``, int8.
        starts : numpy.ndarray
            Shape ``(n,)``, int64: the first vector of each passage.
        scales : numpy.ndarray
            Shape ``(n,)``, float32.

        Returns
        -------
        numpy.ndarray
            Shape ``(n,)``, float32.
        """
        best = np.maximum.reduceat(dot_products(codes, self.codes), starts)
        return _sum_rows(best * self.scales, scales)

    def scores(self, passages: Quantized, starts: NDArray[np.int64]) -> Floats:
        """Score passages by all that is stored of them: ``(n,)`` float32. `starts` as for `approximate_scores`."""
        similarities, low = np.split(dot_products(passages.codes, self._codes_and_residuals), 2, axis=1)
        if LARGEST**2 * STEPS * passages.codes.shape[1] >= 2**31:
            similarities = similarities.astype(np.int64)
        similarities *= STEPS
        similarities += low
        if passages.residuals is None:
            best = np.maximum.reduceat(similarities * inverse_norms(passages.codes)[:, None], starts)
            return _sum_rows(best * (self.scales / STEPS), np.ones_like(passages.scales))
        high, low = np.split(dot_products(passages.residuals, self._codes_and_residuals), 2, axis=1)
        similarities += high
        similarities += low // STEPS
        best = np.maximum.reduceat(similarities, starts)
        return _sum_rows(best * (self.scales / STEPS), passages.scales)


def _sum_rows(best: NDArray[np.float64], scales: Floats) -> Floats:
    """Sum over a query's rows ``(n, q)``, one after the other: in the same order whatever stands beside a passage."""
    return (np.add.accumulate(best, axis=1)[:, -1] * scales).astype(np.float32)
