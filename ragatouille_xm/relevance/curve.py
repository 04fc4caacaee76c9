"""From a share to a probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]

GENTLEST = 1.0  # slope, so that more is never less
PRIOR = 8.0  # hits that the default curve counts as: they settle what a few queries leave open
PRIOR_SHARES = np.linspace(0.0, 1.0, 11)
ROUNDS, CLOSE, RIDGE = 50, 1e-6, 1e-9


@dataclass(frozen=True, slots=True)
class Curve:
    """A logistic curve.

    Attributes
    ----------
    slope : float
        How sharply answers and others are told apart.
    midpoint : float
        The share at which a hit is as likely an answer as not.

    Examples
    --------
    >>> Curve(10.0, 0.6)(np.array([0.0, 0.6, 1.0])).round(3).tolist()
    [0.002, 0.5, 0.982]
    """

    slope: float
    midpoint: float

    def __call__(self, shares: Values) -> Values:
        """Return the probability of each share."""
        values: Values = 1 / (1 + np.exp(-np.clip(self.slope * (shares - self.midpoint), -50, 50)))
        return values

    @classmethod
    def fit(cls, shares: Values, answers: NDArray[np.bool_]) -> Curve:
        """Fit the curve to hits of which it is known whether they are answers, by maximum a posteriori.

        Parameters
        ----------
        shares : numpy.ndarray
            Shape ``(n,)``.
        answers : numpy.ndarray
            Shape ``(n,)``, bool.

        Examples
        --------
        >>> Curve.fit(np.empty(0), np.empty(0, bool)) == DEFAULT
        True
        >>> shares = np.repeat([0.2, 0.4], 500)
        >>> 0.3 < Curve.fit(shares, shares > 0.3).midpoint < 0.4
        True
        """
        if not len(shares):
            return DEFAULT
        expected = DEFAULT(PRIOR_SHARES)
        weight = PRIOR / len(PRIOR_SHARES)
        x = np.concatenate([shares, PRIOR_SHARES, PRIOR_SHARES])
        y = np.concatenate([answers, np.ones(len(expected)), np.zeros(len(expected))])
        weights = np.concatenate([np.ones(len(shares)), weight * expected, weight * (1 - expected)])
        design = np.stack([np.ones_like(x), x], axis=1)
        found = np.array([-DEFAULT.slope * DEFAULT.midpoint, DEFAULT.slope])
        loss = _loss(design, y, weights, found)
        for _ in range(ROUNDS):  # Newton's method, with steps that do not overshoot
            p = 1 / (1 + np.exp(-design @ found))
            curvature = (design * (weights * p * (1 - p))[:, None]).T @ design
            step = np.linalg.solve(curvature + RIDGE * np.eye(2), design.T @ (weights * (y - p)))
            while (new := _loss(design, y, weights, found + step)) > loss and np.abs(step).max() > CLOSE:
                step /= 2
            if np.abs(step).max() <= CLOSE:
                break
            found, loss = found + step, new
        intercept, slope = found.tolist()
        return cls(slope, -intercept / slope) if slope >= GENTLEST else DEFAULT


def _loss(design: Values, y: Values, weights: Values, parameters: Values) -> float:
    logits = design @ parameters
    return float((weights * (np.logaddexp(0.0, logits) - y * logits)).sum())


DEFAULT = Curve(10.0, 0.55)  # about as `calibrate` fits it to 900 passages in 14 languages: benchmarks/relevance.py
