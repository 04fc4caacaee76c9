"""Where the scores of a query lie between chance and a perfect match."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from ..demo import demo_sample
from ..encoder import Encoder
from ..index.base import PassageIndex
from ..index.quantization.query import Query
from ..index.quantization.scalar import quantize
from ..types import Calibration, TokenVectors
from .curve import DEFAULT, Curve, Values

LEAST_HEADROOM = 1e-3  # of a row, between chance and a perfect match
NEUTRAL_CHARACTERS = 100  # of a text: chance needs little, and the first search waits for it


class Gauge:
    """A background of passages, and the curve that goes with it.

    Parameters
    ----------
    background : TokenVectors
        Of at least one passage.
    curve : Curve

    Examples
    --------
    >>> background = TokenVectors(torch.eye(4)[[0, 1, 0, 2]], torch.tensor([2, 2]))
    >>> gauge, rows = Gauge(background, Curve(10.0, 0.5)), torch.eye(4)[[1, 3]]
    >>> round(gauge.chance(rows), 2), gauge.relevance(rows, [0.5, 1.25, 2.0]).round(2).tolist()
    (0.5, [0.01, 0.5, 0.99])
    """

    def __init__(self, background: TokenVectors, curve: Curve) -> None:
        self.curve = curve
        vectors, lengths = background.vectors.detach().float().cpu(), background.lengths
        self._codes = quantize(vectors, lengths, residuals=False)
        self._starts = (lengths.cumsum(0) - lengths).numpy()

    def chance(self, rows: torch.Tensor) -> float:
        """Return what a query ``(q, dim)`` scores on average against the background, to about 0.02."""
        query = Query(_filled(rows)).pooled
        return float(query.approximate_scores(self._codes.codes, self._starts, self._codes.scales).mean())

    def shares(self, rows: torch.Tensor, scores: Sequence[float] | NDArray[np.float32]) -> Values:
        """Return where the scores of a query lie: 0 at chance, 1 at a perfect match."""
        most = len(_filled(rows))
        if not most:
            return np.zeros(len(scores))
        chance = self.chance(rows)
        return (np.asarray(scores, np.float64) - chance) / max(most - chance, LEAST_HEADROOM * most)

    def relevance(self, rows: torch.Tensor, scores: Sequence[float] | NDArray[np.float32]) -> Values:
        """Return how likely hits answer their query, 0 to 1; the better the score, the likelier.

        Parameters
        ----------
        rows : torch.Tensor
            The query, shape ``(q, dim)``; rows of zeros are padding.
        scores : sequence of float
            The MaxSim score of each hit.
        """
        return self.curve(self.shares(rows, scores))


def _filled(rows: torch.Tensor) -> NDArray[np.float32]:
    rows = rows.detach().float().cpu()
    return rows[rows.any(dim=1)].numpy()


def index_gauge(index: PassageIndex, calibration: Calibration) -> Gauge | None:
    """Return the gauge of a calibrated index, unless all of its background is deleted."""
    pids = list(calibration.pids)
    while pids:
        try:
            return Gauge(index.vectors(pids), Curve(calibration.slope, calibration.midpoint))
        except KeyError as error:  # deleted since
            pids.remove(error.args[0])
    return None


_neutral: WeakKeyDictionary[Encoder, Gauge] = WeakKeyDictionary()
_lock = Lock()


def neutral_gauge(encoder: Encoder) -> Gauge:
    """Return the gauge for passages of which nothing is known: its background is a text in each of 15 languages.

    They are encoded at the first call for an encoder.
    """
    with _lock:
        if encoder not in _neutral:
            texts = {each.language: each.text[:NEUTRAL_CHARACTERS] for each in demo_sample()}
            known = encoder.adapters.languages
            languages = [each if each in known or not known else known[0] for each in texts]
            length = encoder.tokenizer.max_tokens
            vectors = encoder.encode_documents(list(texts.values()), languages, max_length=length)
            _neutral[encoder] = Gauge(vectors, DEFAULT)
        return _neutral[encoder]
