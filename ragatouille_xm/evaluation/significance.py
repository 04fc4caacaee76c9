"""Significance of differences between systems: a paired randomisation test with Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .measure import PerQuery

FLIPS = 10_000
LEVEL = 0.05
_FLIP_BLOCK = 250  # sign flips of all queries at a time


class Comparison(NamedTuple):
    """Two systems on the same queries.

    Attributes
    ----------
    first, second : str
    difference : float
        Mean of the first minus mean of the second.
    p : float
        p-value of the two-sided test.
    corrected : float
        `p` after Holm's correction for all pairs compared together.
    """

    first: str
    second: str
    difference: float
    p: float
    corrected: float

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below 0.05."""
        return self.corrected < LEVEL


def paired_test(first: NDArray[np.float64], second: NDArray[np.float64], *, flips: int = FLIPS, seed: int = 0) -> float:
    """Return the p-value of a two-sided paired randomisation test on the difference of means.

    Under the null hypothesis the two systems' values of a query are exchangeable: the signs of the differences are
    drawn `flips` times, and means that are at least as far from 0 are counted (Smucker et al. 2007, "A Comparison of
    Statistical Significance Tests for Information Retrieval Evaluation", section 3.1).

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape ``(Q,)``: the values of the same queries in the same order.
    flips : int
        The smallest possible p is ``1 / (flips + 1)``.
    seed : int
        Makes the result reproducible.

    Examples
    --------
    >>> a = np.full(20, 0.5)
    >>> paired_test(a, a), paired_test(a + 0.1, a) < 0.001
    (1.0, True)
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    differences = differences[differences != 0]
    observed = abs(differences.sum())
    if not observed:
        return 1.0
    generator = np.random.default_rng(seed)
    beyond = 0
    for start in range(0, flips, _FLIP_BLOCK):
        signs = generator.integers(0, 2, (min(_FLIP_BLOCK, flips - start), len(differences))) * 2 - 1
        beyond += int((np.abs(signs @ differences) >= observed * (1 - 1e-12)).sum())
    return (1 + beyond) / (1 + flips)


def holm(p_values: list[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979, "A Simple Sequentially Rejective Multiple Test").

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def compare(systems: Mapping[str, PerQuery]) -> list[Comparison]:
    """Compare every pair of systems by their values of one measure, corrected for the number of pairs.

    Raises
    ------
    InputError
        If the systems were not measured on the same queries.
    """
    queries = {name: list(values) for name, values in systems.items()}
    if any(set(each) != set(next(iter(queries.values()))) for each in queries.values()):
        raise InputError(f"These systems were not measured on the same queries: {', '.join(systems)}.")
    order = sorted(next(iter(queries.values()), []))
    values = {name: np.array([each[query] for query in order]) for name, each in systems.items()}
    pairs = list(combinations(systems, 2))
    p_values = [paired_test(values[a], values[b]) for a, b in pairs]
    return [
        Comparison(a, b, float(values[a].mean() - values[b].mean()), p, corrected)
        for (a, b), p, corrected in zip(pairs, p_values, holm(p_values), strict=True)
    ]
