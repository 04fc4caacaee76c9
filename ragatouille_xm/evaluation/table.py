"""Tables in the layout of the model card: one row per system, one column per language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .catalogue import FAMILIES
from .measure import PerQuery, mean
from .published import published_rows
from .runner import Measured
from .significance import Comparison, compare

UNKNOWN = "all"  # the column for queries of unknown language


class Row(NamedTuple):
    """A system in a table.

    Attributes
    ----------
    system : str
        Label of a measured system, or the printed name of a published one.
    published : bool
    values : tuple of (float or None)
        Percent, one per column; None if missing.
    average : float or None
        Over the columns, if all have a value; for a complete published row, the printed average.
    better_than : tuple of tuple of str
        Per column, the measured systems that this one significantly outperforms.
    """

    system: str
    published: bool
    values: tuple[float | None, ...]
    average: float | None
    better_than: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Table:
    """One measure on the datasets of one family.

    Attributes
    ----------
    family, measure : str
    columns : tuple of str
        Languages; for datasets without, their names.
    rows : tuple of Row
        Measured systems first.
    comparisons : dict
        By column, every pair of measured systems, with Holm's correction within the column.
    """

    family: str
    measure: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: dict[str, list[Comparison]]


def make_tables(measured: Sequence[Measured]) -> list[Table]:
    """Return one table per dataset family and measure.

    Parameters
    ----------
    measured : sequence of Measured
        As `ragatouille_xm.evaluation.runner.evaluate` returns them.
    """
    families: dict[str, list[Measured]] = {}
    for each in measured:
        families.setdefault(each.dataset.family, []).append(each)
    return [
        _table(family, name, members)
        for family, members in families.items()
        for name in dict.fromkeys(name for each in members for name in each.values)
    ]


def as_json(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """Return tables as JSON values."""
    return [
        {
            "family": table.family,
            "measure": table.measure,
            "columns": list(table.columns),
            "rows": [row._asdict() for row in table.rows],
            "comparisons": {
                column: [pair._asdict() | {"significant": pair.significant} for pair in pairs]
                for column, pairs in table.comparisons.items()
            },
        }
        for table in tables
    ]


def _table(family: str, name: str, members: Sequence[Measured]) -> Table:
    cells: dict[str, dict[str, PerQuery]] = {}  # by column and system
    for each in members:
        if name in each.values:
            for column, queries in _columns(each):
                values = each.values[name]
                cells.setdefault(column, {})[each.system] = {query: values[query] for query in queries}
    columns = _ordered(family, list(cells))
    comparisons = {column: compare(cells[column]) for column in columns}
    systems = dict.fromkeys(each.system for each in members)
    rows = [_measured_row(system, columns, cells, comparisons) for system in systems]
    for row in published_rows(family, name):
        printed = tuple(row.values.get(column) for column in columns)
        if any(value is not None for value in printed):
            whole = set(columns) == set(row.values)
            average = row.average if whole and row.average is not None else _average(printed)
            rows.append(Row(row.model, True, printed, average, ((),) * len(columns)))
    return Table(family, name, columns, tuple(rows), comparisons)


def _measured_row(
    system: str,
    columns: Sequence[str],
    cells: dict[str, dict[str, PerQuery]],
    comparisons: dict[str, list[Comparison]],
) -> Row:
    values = tuple(100 * mean(cells[column][system]) if system in cells[column] else None for column in columns)
    better = tuple(
        tuple(
            pair.second if pair.first == system else pair.first
            for pair in comparisons[column]
            if pair.significant and system == (pair.first if pair.difference > 0 else pair.second)
        )
        for column in columns
    )
    return Row(system, False, values, _average(values), better)


def _columns(each: Measured) -> Iterable[tuple[str, list[str]]]:
    """Yield a dataset's columns with their queries; a mixed collection has one column per language."""
    dataset = each.dataset
    name = Path(dataset.name).name if Path(dataset.name).is_absolute() else dataset.name.rpartition("/")[2]
    if dataset.languages == (None,):
        yield name, [query.query_id for query in dataset.queries]
        return
    by_language = sorted(dataset.queries, key=lambda query: query.language or UNKNOWN)
    for language, queries in groupby(by_language, key=lambda query: query.language or UNKNOWN):
        yield language, [query.query_id for query in queries]


def _ordered(family: str, columns: list[str]) -> tuple[str, ...]:
    """Return columns in the published order, if there is one."""
    order = list(FAMILIES[family].ids) if family in FAMILIES else []
    return tuple(sorted(columns, key=lambda column: order.index(column) if column in order else len(order)))


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
