"""From evidence to languages: what a collection is written in tells what its short texts are.

The language of a text is the likeliest by Bayes' rule. The prior is the share of each language in the collection, as
far as that is known: the texts that it holds already, and, for texts that come together, these texts themselves, whose
shares are fitted by expectation maximisation (Dempster, Laird and Rubin 1977; for class priors Saerens, Latinne and
Decaestecker 2002). A floor keeps every language possible: clear evidence wins over any collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import Detection

FLOOR = 0.03  # prior of a language that the collection does not hold, relative to that of its main language
UNSEEN = 0.2  # texts that every language is taken to have, so that the first ones do not settle the matter
UNUSUAL = 0.01  # likelihood of any other language than the usual one, where nothing is known
ROUNDS = 20


class Evidence(NamedTuple):
    """What a text says about its language.

    Attributes
    ----------
    likelihoods : mapping of str to float
        Natural logarithm, up to a constant, for each language that is possible; at least one.
    usual : str, optional
        Set if the text says little: the language to take if nothing is known of the collection either.
    """

    likelihoods: Mapping[str, float]
    usual: str | None = None


def decide(
    evidence: Sequence[Evidence],
    languages: Sequence[str],
    counts: Mapping[str, float] | None = None,
    *,
    together: bool = False,
) -> list[Detection]:
    """Return the likeliest language of each text, and its probability.

    Parameters
    ----------
    evidence : sequence of Evidence
        Of each text.
    languages : sequence of str
        All that the evidence names; among equally likely ones, the first is taken.
    counts : mapping of str to float, optional
        How many texts the collection holds in each language.
    together : bool
        The texts are of one collection, and say something about each other.

    Examples
    --------
    >>> close = Evidence({"pt": 0.0, "gl": -0.1}), Evidence({"pt": -0.1, "gl": 0.0}), Evidence({"pt": 0.0, "gl": -9.0})
    >>> [found.language for found in decide(close, ["gl", "pt"])]
    ['pt', 'gl', 'pt']
    >>> [found.language for found in decide(close, ["gl", "pt"], together=True)]
    ['pt', 'pt', 'pt']
    """
    if not evidence:
        return []
    held = np.array([(counts or {}).get(language, 0.0) for language in languages])
    likelihood = _likelihoods(evidence, languages)
    if together:
        sure = [row for row, each in zip(likelihood, evidence, strict=True) if each.usual is None]
        known = held + np.sum([row / row.sum() for row in sure], axis=0) if sure else held
    else:
        known = held
    for row, each in zip(likelihood, evidence, strict=True):
        if each.usual is not None and not known[row > 0].any():
            row *= UNUSUAL
            row[languages.index(each.usual)] = 1.0
    expected = held + UNSEEN
    if together:
        posterior = likelihood / likelihood.sum(axis=1, keepdims=True)
        for _ in range(ROUNDS):
            posterior = likelihood * (held + UNSEEN + posterior.sum(axis=0))
            posterior /= posterior.sum(axis=1, keepdims=True)
        expected = held + UNSEEN + posterior.sum(axis=0)
    possible = expected * (likelihood > 0)
    posterior = likelihood * (possible / possible.max(axis=1, keepdims=True) + FLOOR)
    posterior /= posterior.sum(axis=1, keepdims=True)
    return [
        Detection(languages[best], min(float(row[best]), 1.0) if each.usual is None else 0.0)
        for each, row, best in zip(evidence, posterior, posterior.argmax(axis=1).tolist(), strict=True)
    ]


def _likelihoods(evidence: Sequence[Evidence], languages: Sequence[str]) -> NDArray[np.float64]:
    """Return the likelihoods of each text, the greatest of them 1, 0 where impossible: ``(texts, languages)``."""
    position = {language: i for i, language in enumerate(languages)}
    result = np.zeros((len(evidence), len(languages)))
    for row, each in zip(result, evidence, strict=True):
        top = max(each.likelihoods.values())
        for language, value in each.likelihoods.items():
            row[position[language]] = np.exp(value - top)
    return result
