"""A say in the language of the answers."""

from __future__ import annotations

from collections.abc import Sequence


def by_worth(relevance: Sequence[float], preferred: Sequence[bool], weight: float) -> list[int]:
    """Return the positions of hits in the order of what they are expected to be worth.

    That is their relevance, times ``1 - weight`` where they are not in the language that is preferred. So a foreign
    passage comes first if its relevance is more than ``1 / (1 - weight)`` times as large. Of equals, those in the
    language come first.

    Parameters
    ----------
    relevance : sequence of float
    preferred : sequence of bool
        Whether each hit is in the language.
    weight : float
        0 prefers nothing, 1 puts all hits in the language first.

    Examples
    --------
    >>> by_worth([0.9, 0.7, 0.5, 0.3], [False, False, True, True], 0.5)
    [2, 0, 1, 3]
    >>> by_worth([0.9, 0.7, 0.5, 0.3], [False, False, True, True], 1.0)
    [2, 3, 0, 1]
    """

    def worth(i: int) -> tuple[float, bool]:
        return relevance[i] * (1.0 if preferred[i] else 1 - weight), preferred[i]

    return sorted(range(len(relevance)), key=worth, reverse=True)
