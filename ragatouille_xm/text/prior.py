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

from ..types import Detection

FLOOR = 0.03  # prior of a language that the collection does not hold, relative to that of its main language
UNSEEN = 0.2  # texts that every language is taken to have, so that the first ones do not settle the matter
ROUNDS = 20


class Evidence(NamedTuple):
    """What a text says about its language.

    Attributes
    ----------
    likelihoods : mapping of str to float
        Natural logarithm, up to a constant, for each language that is possible; at least one.
    found : bool
        False if the text says nothing, and the likelihoods only order the languages.
    """

    likelihoods: Mapping[str, float]
    found: bool = True


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
    position = {language: i for i, language in enumerate(languages)}
    likelihood = np.zeros((len(evidence), len(languages)))
    for row, each in zip(likelihood, evidence, strict=True):
        top = max(each.likelihoods.values())
        for language, value in each.likelihoods.items():
            row[position[language]] = np.exp(value - top)
    held = np.array([(counts or {}).get(language, 0.0) + UNSEEN for language in languages])
    expected = held
    if together:
        posterior = likelihood / likelihood.sum(axis=1, keepdims=True)
        for _ in range(ROUNDS):
            expected = held + posterior.sum(axis=0)
            posterior = likelihood * expected
            posterior /= posterior.sum(axis=1, keepdims=True)
        expected = held + posterior.sum(axis=0)
    possible = expected * (likelihood > 0)
    posterior = likelihood * (possible / possible.max(axis=1, keepdims=True) + FLOOR)
    posterior /= posterior.sum(axis=1, keepdims=True)
    return [
        Detection(languages[best], min(float(row[best]), 1.0) if each.found else 0.0)
        for each, row, best in zip(evidence, posterior, posterior.argmax(axis=1).tolist(), strict=True)
    ]
