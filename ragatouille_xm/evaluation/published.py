"""The published tables of ColBERT-XM's model card and paper."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple


class PublishedRow(NamedTuple):
    """A row of a published table.

    Attributes
    ----------
    system : str
        As in `ragatouille_xm.evaluation.systems.registry.SYSTEMS`.
    model, kind : str
        As printed.
    values : dict
        Percent by language.
    average : float or None
        As printed.
    """

    system: str
    model: str
    kind: str
    values: dict[str, float]
    average: float | None


def published_rows(family: str, measure: str) -> list[PublishedRow]:
    """Return the published rows for a benchmark, in the order of the table, if there are any.

    Examples
    --------
    >>> [row.values["fr"] for row in published_rows("mmarco", "MRR@10") if row.system == "colbert-xm"]
    [26.9]
    >>> published_rows("miracl", "nDCG@10")
    []
    """
    return [
        PublishedRow(row["system"], row["model"], row["type"], row["values"], row.get("average"))
        for table in _published()["tables"]
        if (table["family"], table["measure"]) == (family, measure)
        for row in table["rows"]
    ]


def source() -> str:
    """Return the source of the numbers."""
    return str(_published()["source"])


@cache
def _published() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    return result
