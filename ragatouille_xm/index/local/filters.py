"""Filters as SQL: which passages a condition admits, as `corpus.filters.matches` has it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...corpus.filters import And, Compare, Condition, Not, Or
from ...corpus.metadata import OWN_FIELDS, instant, range_value, storable
from ...errors import IndexDamagedError
from .folder import WAY_OUT
from .passages import EQUAL, EXISTS, INSTANT, NUMBER, VALUES_BATCH, batches, lookup_key

Mask: TypeAlias = NDArray[np.bool_]
Pids: TypeAlias = NDArray[np.int64]

_RANGES = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_FIELD = "(SELECT id FROM field WHERE name = ?)"
_ATTRIBUTE = f"FROM attribute AS a WHERE a.field = {_FIELD} AND a.kind = ?"
_CANDIDATES = "FROM json_each(?) AS candidate CROSS JOIN"  # which SQLite goes through first


class _Lookup:
    """A look-up of pids: of passages with an attribute of one field and kind, or a column if `kind` is None.

    Parameters
    ----------
    test : str
        What the value must pass: an SQL operator and its right side.
    *parameters : object
        Of the test.
    field : str
    kind : int or None
    """

    def __init__(self, test: str, *parameters: Any, field: str, kind: int | None) -> None:
        self._test, self._parameters = test, parameters
        self._field, self._kind = field, kind

    def pids(self, connection: sqlite3.Connection) -> Pids:
        """Return the pids of all passages that pass, in any order."""
        return _pids(connection, *self._sql("pid"))

    def count(self, connection: sqlite3.Connection) -> int:
        """Return the number of rows to be read for that."""
        sql, parameters = self._sql("count(*)")
        return int(connection.execute(sql, parameters).fetchone()[0])

    def among(self, connection: sqlite3.Connection, candidates: Pids) -> Pids:
        """Return those of some pids that pass."""
        given = json.dumps(candidates.tolist())
        if self._kind is None:
            sql = (
                f"SELECT p.pid {_CANDIDATES} passage AS p ON p.pid = candidate.value WHERE p.{self._field} {self._test}"
            )
            return _pids(connection, sql, [given, *self._parameters])
        sql = (
            f"SELECT a.pid {_CANDIDATES} attribute AS a ON a.pid = candidate.value AND a.field = {_FIELD} "
            f"AND a.kind = ? AND a.value {self._test}"
        )
        return _pids(connection, sql, [given, self._field, self._kind, *self._parameters])

    def _sql(self, what: str) -> tuple[str, list[Any]]:
        if self._kind is None:
            return f"SELECT {what} FROM passage WHERE {self._field} {self._test}", list(self._parameters)
        sql = f"SELECT {what} {_ATTRIBUTE} AND a.value {self._test}"
        return sql, [self._field, self._kind, *self._parameters]


def _pids(connection: sqlite3.Connection, sql: str, parameters: list[Any]) -> Pids:
    try:
        return np.fromiter((pid for (pid,) in connection.execute(sql, parameters)), np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise IndexDamagedError(f"What filters look up in the index is damaged: {error}. {WAY_OUT}") from error


def admitted(connection: sqlite3.Connection, condition: Condition, pids: Pids) -> Mask:
    """Return which of the pids ``(n,)``, distinct and growing, a condition admits, by looking up all that it admits."""
    return _mask(condition, pids, lambda lookup: lookup.pids(connection))


def admitted_among(connection: sqlite3.Connection, condition: Condition, candidates: Pids) -> Mask:
    """Return the same by looking at the candidates alone, which is faster for a few of them."""
    return _mask(condition, candidates, lambda lookup: lookup.among(connection, candidates))


def estimate(connection: sqlite3.Connection, condition: Condition, passages: int) -> tuple[int, int]:
    """Return about how many of so many passages a condition admits, and how many rows `admitted` reads for it."""
    if isinstance(condition, (And, Or)):
        parts = [estimate(connection, part, passages) for part in condition.parts]
        counts = [count for count, _ in parts]
        count = min(counts) if isinstance(condition, And) else min(sum(counts), passages)
        return count, sum(rows for _, rows in parts)
    if isinstance(condition, Not):
        count, rows = estimate(connection, condition.part, passages)
        return passages - min(count, passages), rows
    lookups, missing = _lookups(condition)
    count = rows = sum(lookup.count(connection) for lookup in lookups)
    if missing is not None:
        present = missing.count(connection)
        count, rows = count + passages - min(present, passages), rows + present
    return min(count, passages), rows


def _mask(condition: Condition, pids: Pids, look_up: Callable[[_Lookup], Pids]) -> Mask:
    if isinstance(condition, And):
        return np.logical_and.reduce([_mask(part, pids, look_up) for part in condition.parts])
    if isinstance(condition, Or):
        return np.logical_or.reduce([_mask(part, pids, look_up) for part in condition.parts])
    if isinstance(condition, Not):
        return ~_mask(condition.part, pids, look_up)
    lookups, missing = _lookups(condition)
    mask = np.zeros(len(pids), np.bool_)
    for lookup in lookups:
        _mark(mask, pids, look_up(lookup))
    if missing is not None:
        present = np.zeros(len(pids), np.bool_)
        _mark(present, pids, look_up(missing))
        mask |= ~present
    return mask


def _mark(mask: Mask, pids: Pids, found: Pids) -> None:
    if len(pids) and len(found):
        places = np.minimum(np.searchsorted(pids, found), len(pids) - 1)
        mask[places[pids[places] == found]] = True


def _lookups(condition: Compare) -> tuple[list[_Lookup], _Lookup | None]:
    """Return what to look up for a comparison, and, if it admits passages without the field, those that have it."""
    field = condition.field
    if condition.op in _RANGES:
        moment = isinstance(condition.value, datetime)
        bound = instant(condition.value) if moment else range_value(condition.value)
        if bound is None:
            return [], None
        return [_Lookup(f"{_RANGES[condition.op]} ?", bound, field=field, kind=INSTANT if moment else NUMBER)], None
    wanted, moments = condition.wanted
    texts = [value for value in wanted if isinstance(value, str) and storable(value)]
    lookups = [_one_of(some, field, INSTANT) for some in batches(moments, VALUES_BATCH)]
    if field in OWN_FIELDS:
        return lookups + [_one_of(some, field, None) for some in batches(texts, VALUES_BATCH)], None
    keys = map(lookup_key, [*texts, *(value for value in wanted if not isinstance(value, str))])
    missing = _Lookup("= 0", field=field, kind=EXISTS) if None in wanted else None
    return lookups + [_one_of(some, field, EQUAL) for some in batches(keys, VALUES_BATCH)], missing


def _one_of(values: Sequence[str] | Sequence[float], field: str, kind: int | None) -> _Lookup:
    return _Lookup(f"IN ({', '.join('?' * len(values))})", *values, field=field, kind=kind)
