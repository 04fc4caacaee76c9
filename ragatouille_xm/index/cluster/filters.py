"""Metadata filters as Qdrant's conditions.

What filters see of a passage is stored in its payload, so that the server answers as `corpus.filters.matches` does:

- ``terms``: one text for each field that the passage has and for each value in it; equality looks up a text.
- ``instants``: the whole numbers of each field that has some, under a name that is safe in a path; a range is a range
  of the server.
- ``numbers``: likewise, but each float is stored as two whole numbers that sort as it does, because the server may
  change the last digit of a float.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any

from qdrant_client import models

from ...corpus.filters import And, Compare, Condition, Not, Or
from ...corpus.metadata import OWN_FIELDS, Scalar, equality_key, fields_of, instant, range_value
from ...types import Passage

TERMS, NUMBERS, INSTANTS = "terms", "numbers", "instants"
HALVES = ("high", "low")
LONGEST_TERM = 80  # characters; longer ones are stored as a hash, because the server keeps its index of terms in memory

_RANGES = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
_NOTHING = models.HasIdCondition(has_id=[])  # admits nothing


def filter_payload(passage: Passage) -> dict[str, Any]:
    """Return what filters see of a passage, as part of its payload."""
    terms: set[str] = set()
    numbers: dict[str, list[dict[str, int]]] = {}
    instants: dict[str, list[int]] = {}
    for field, values in fields_of(passage).items():
        if field not in OWN_FIELDS:
            terms.add(_term(field))
            terms.update(_term(field, value) for value in values)
        if found := [n for value in values if (n := range_value(value)) is not None]:
            numbers[_slot(field)] = [dict(zip(HALVES, _halves(n), strict=True)) for n in found]
        if found := [n for value in values if (n := instant(value)) is not None]:
            instants[_slot(field)] = [int(n) for n in found]
    payload = {TERMS: sorted(terms), NUMBERS: numbers, INSTANTS: instants}
    return {name: content for name, content in payload.items() if content}


def compile_filter(condition: Condition) -> models.Filter:
    """Return the filter that admits what `condition` does."""
    if isinstance(condition, And):
        return models.Filter(must=[compile_filter(part) for part in condition.parts])
    if isinstance(condition, Or):
        return models.Filter(should=[compile_filter(part) for part in condition.parts])
    if isinstance(condition, Not):
        return models.Filter(must_not=[compile_filter(condition.part)])
    if condition.op in _RANGES:
        return models.Filter(must=[_range(condition)])
    values, moments = condition.wanted
    found: list[models.Condition] = [
        _within(f"{INSTANTS}.{_slot(condition.field)}", gte=moment, lte=moment) for moment in moments
    ]
    if condition.field in OWN_FIELDS:
        found.append(_any_of(condition.field, (v for v in values if isinstance(v, str))))
        return models.Filter(should=found)
    found.append(_any_of(TERMS, (_term(condition.field, value) for value in values)))
    if None in values:
        found.append(models.Filter(must_not=[_any_of(TERMS, [_term(condition.field)])]))
    return models.Filter(should=found)


def _any_of(key: str, texts: Iterable[str]) -> models.Condition:
    """Return the condition that the texts stored at `key` include one of `texts`."""
    wanted = [text for text in dict.fromkeys(texts) if _is_storable(text)]
    return models.FieldCondition(key=key, match=models.MatchAny(any=wanted)) if wanted else _NOTHING


def _within(key: str, **bounds: float) -> models.FieldCondition:
    """Return the condition that a number at `key` is within the bounds ``gt, gte, lt, lte``."""
    return models.FieldCondition(key=key, range=models.Range(**bounds))


def _is_storable(text: str) -> bool:
    """Return whether the server can hold `text`: a lone surrogate has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _range(condition: Compare) -> models.Condition:
    """Return the condition that a value in a field is beyond a bound."""
    beyond, slot = _RANGES[condition.op], _slot(condition.field)
    if isinstance(condition.value, datetime):
        moment = instant(condition.value)
        return _NOTHING if moment is None else _within(f"{INSTANTS}.{slot}", **{beyond: moment})
    bound = range_value(condition.value)
    if bound is None:
        return _NOTHING
    (high, low), (high_bound, low_bound) = HALVES, _halves(bound)
    equal = _within(high, gte=high_bound, lte=high_bound)
    further = _within(high, **{beyond[:2]: high_bound})
    as_far = models.Filter(must=[equal, _within(low, **{beyond: low_bound})])
    return models.NestedCondition(
        nested=models.Nested(key=f"{NUMBERS}.{slot}", filter=models.Filter(should=[further, as_far]))
    )


def _halves(number: float) -> tuple[int, int]:
    """Return the upper and the lower 32 bits of a whole number that sorts as `number` does.

    Examples
    --------
    >>> _halves(-1e300) < _halves(-1.5) < _halves(-0.0) == _halves(0.0) < _halves(5e-324) < _halves(1.5)
    True
    """
    bits = int.from_bytes(struct.pack(">d", number + 0.0), "big")
    return divmod(~bits % 2**64 if bits >> 63 else bits | 1 << 63, 2**32)


def _term(field: str, *value: Scalar) -> str:
    """Return the text for a value in a field, or for the field itself; each has its own."""
    text = f"{len(field)}={field}{equality_key(value[0])}" if value else f"?{field}"
    return text if len(text) <= LONGEST_TERM and _is_storable(text) else f"#{_digest(text)}"


def _slot(field: str) -> str:
    return f"f{_digest(field)}"


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
