"""Ranking measures, per query and averaged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..extras import import_extra

PerQuery = dict[str, float]
"""A measure's value for each query, 0 to 1."""

Ranking = Mapping[str, Sequence[str]]
"""Document ids by query id, best first."""

_MRR = re.compile(r"^MRR(?=@|$)", re.IGNORECASE)


def check_measures(names: Sequence[str]) -> None:
    """Check the names of measures before anything is computed.

    Raises
    ------
    InputError
        If one of them is not a measure of ir_measures.
    MissingExtraError
        If ir_measures is not installed.

    Examples
    --------
    >>> check_measures(["MRR@10", "R@100", "nDCG@10"])
    """
    for name in names:
        _parse(name)


def measure(ranking: Ranking, qrels: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> dict[str, PerQuery]:
    """Measure a ranking by each of several measures.

    Computed by ir_measures (MacAvaney et al. 2022) from the order of the ranking alone: trec_eval would reorder
    documents of equal score by their ids.

    Parameters
    ----------
    ranking : mapping
        Document ids by query id, best first. A missing query has no results.
    qrels : mapping
        Grades by query id and document id. All its queries count.
    names : sequence of str
        Names of ir_measures, or ``"MRR@10"`` for its ``"RR@10"``.

    Returns
    -------
    dict
        For each measure, its value for each query of `qrels`.

    Raises
    ------
    InputError
        If a measure is unknown.
    MissingExtraError
        If ir_measures is not installed.

    Examples
    --------
    >>> measure({"q": ["b", "a"]}, {"q": {"a": 1}, "unanswered": {"a": 1}}, ["MRR@10"])
    {'MRR@10': {'q': 0.5, 'unanswered': 0.0}}
    """
    measures = {name: _parse(name) for name in names}
    run = {
        query: {document: float(-rank) for rank, document in enumerate(ranking[query])}
        for query in qrels
        if ranking.get(query)
    }
    values: dict[str, PerQuery] = {name: dict.fromkeys(qrels, 0.0) for name in names}
    if run:
        ir_measures = import_extra("ir_measures", "Measuring", "evaluate")
        by_measure: dict[Any, list[str]] = {}
        for name, parsed in measures.items():
            by_measure.setdefault(parsed, []).append(name)
        for found in ir_measures.iter_calc(list(by_measure), {q: dict(grades) for q, grades in qrels.items()}, run):
            for name in by_measure[found.measure]:
                values[name][found.query_id] = float(found.value)
    return values


def mean(values: PerQuery) -> float:
    """Return the average over queries.

    Examples
    --------
    >>> mean({"a": 1.0, "b": 0.5})
    0.75
    """
    return float(np.mean(list(values.values())))


def _parse(name: str) -> Any:
    ir_measures = import_extra("ir_measures", f"The measure {name!r}", "evaluate")
    try:
        return ir_measures.parse_measure(_MRR.sub("RR", name))
    except (ValueError, NameError, KeyError) as error:
        raise InputError(
            f"{name!r} is not a measure. Give MRR@10, R@100, nDCG@10, or another measure of ir_measures (ir-measur.es)."
        ) from error
