"""Metadata filters as Qdrant's own conditions, on a payload that anybody's filters can use.

It has ``document_id``, ``language``, and in ``metadata`` the values of each field by its name, as lists:
``"year": [2021]``, ``"author.name": ["Ada"]``; in ``moments``, for each field with ISO 8601 dates, their microseconds
since 1970. The server may change the last digits of a float, so floats that agree in 15 digits are equal.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from qdrant_client import models

from ...corpus.filters import And, Condition, Not, Or
from ...corpus.metadata import METADATA, OWN_FIELDS, Scalar, fields_of, fits_int64, instant, range_value
from ...types import Passage

CLOSE = 8  # steps between floats that are equal here

_RANGES = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def filter_payload(passage: Passage) -> dict[str, Any]:
    """Return what filters see of a passage's metadata, as part of its payload.

    Examples
    --------
    >>> filter_payload(Passage(0, "a", "…", "fr", {"n": 2.0, "by": [{"name": "Ada"}], "day": "1970-01-01"}))
    {'metadata': {'n': [2], 'by': {}, 'by.name': ['Ada'], 'day': ['1970-01-01']}, 'moments': {'metadata.day': [0]}}
    """
    metadata: dict[str, Any] = {}
    moments: dict[str, list[int]] = {}
    for field, values in fields_of(passage).items():
        if field not in OWN_FIELDS:  # a field of objects alone equals nothing, and is not missing: so is {}
            metadata[_escaped(field.removeprefix(METADATA))] = [_stored(value) for value in values] or {}
        if found := [int(moment) for value in values if (moment := instant(value)) is not None]:
            moments[_escaped(field)] = found
    return {"metadata": metadata, "moments": moments}


def compile_filter(condition: Condition | None) -> models.Filter:
    """Return the filter that admits what `condition` does."""
    if condition is None:
        return models.Filter()
    if isinstance(condition, And):
        return models.Filter(must=[compile_filter(part) for part in condition.parts])
    if isinstance(condition, Or):
        return models.Filter(should=[compile_filter(part) for part in condition.parts])
    if isinstance(condition, Not):
        return models.Filter(must_not=[compile_filter(condition.part)])
    field, value = condition.field, condition.value
    key = field if field in OWN_FIELDS else f'metadata."{_escaped(field.removeprefix(METADATA))}"'
    moments_key = f'moments."{_escaped(field)}"'
    if condition.op not in _RANGES:
        values, moments = condition.wanted
        return models.Filter(should=[*_equal(key, values), any_of(moments_key, map(int, moments))])
    dated = isinstance(value, datetime)
    bound: Any = instant(value) if dated else range_value(value)  # parsed filters have no other bounds
    return models.Filter(must=[_within(moments_key if dated else key, **{_RANGES[condition.op]: bound})])


def any_of(key: str, values: Iterable[str] | Iterable[int]) -> models.Condition:
    """Return the condition that something at `key` is one of the texts, or of the whole numbers."""
    every: Any = list(dict.fromkeys(values))
    return models.FieldCondition(key=key, match=models.MatchAny(any=every))


def _equal(key: str, values: Iterable[Scalar]) -> Iterator[models.Condition]:
    """Yield conditions of which one holds where something at `key` equals one of the values."""
    plain = [_stored(value) for value in values]
    yield any_of(key, (value for value in plain if isinstance(value, str)))
    yield any_of(key, (value for value in plain if isinstance(value, int) and not isinstance(value, bool)))
    for value in plain:
        if isinstance(value, bool):
            yield models.FieldCondition(key=key, match=models.MatchValue(value=value))
        elif isinstance(value, float):
            yield _within(key, gte=value, lte=value)
        elif value is None:
            yield models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            yield models.IsNullCondition(is_null=models.PayloadField(key=key))


def _within(key: str, **bounds: float) -> models.Condition:
    """Return the condition that a number at `key` is within the bounds ``gt, gte, lt, lte``."""
    for name, bound in bounds.items():
        if isinstance(_stored(bound), float):  # whole numbers are stored exactly
            close = CLOSE * math.ulp(bound) * (-1 if name in ("gte", "lt") else 1)
            bounds[name] = min(max(bound + close, -sys.float_info.max), sys.float_info.max)
    return models.FieldCondition(key=key, range=models.Range(**bounds))


def _stored(value: Scalar) -> Scalar:
    """Return a value so that those that are equal have the same type."""
    return int(value) if isinstance(value, float) and value.is_integer() and fits_int64(int(value)) else value


def _escaped(name: str) -> str:
    """Return a name that can stand in a path, where nothing escapes a quotation mark."""
    return name.replace("%2", "%252").replace('"', "%22")
