"""Metadata filters in Qdrant's terms, for Edge in process and for a cluster alike.

What filters see in a passage is stored beside it, so that the engine's answer is the one of `corpus.filters.matches`:

- ``terms``: one text for each field that it has and for each value in it; equality is looking up a text.
- ``instants``: for each field that has some, under a name that is safe in a path, a list of whole numbers; a range is
  the engine's.
- ``numbers``: likewise, but a float is stored as two whole numbers that sort as it does, since the engine may change
  the last digit of a float that it stores.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

import qdrant_edge as edge

from ...corpus.filters import And, Compare, Condition, Not, Or
from ...corpus.metadata import OWN_FIELDS, Scalar, equality_key, fields_of, instant, range_value
from ...types import Passage

TERMS, NUMBERS, INSTANTS = "terms", "numbers", "instants"
HALVES = ("high", "low")
LONGEST_TERM = 80  # characters: longer ones are stored as a hash, for the index of terms is in memory

_RANGES = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def filter_payload(passage: Passage) -> dict[str, Any]:
    """Return what is stored of a passage for filters to find it."""
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


class Dialect(Protocol):
    """The conditions of one of the engine's two packages: what they mean is the same, their classes are not."""

    def filter(self, *, must: Sequence[Any] = (), should: Sequence[Any] = (), must_not: Sequence[Any] = ()) -> Any:
        """Return the filter of all of `must`, any of `should` if there are some, and none of `must_not`."""
        ...

    def any_text(self, key: str, texts: list[str]) -> Any:
        """Return the condition that what is stored at `key` includes one of the texts."""
        ...

    def within(self, key: str, **bounds: float) -> Any:
        """Return the condition that a number at `key` is within the bounds ``gt, gte, lt, lte``."""
        ...

    def nested(self, key: str, filter: Any) -> Any:
        """Return the condition that one of the objects at `key` passes a filter."""
        ...

    def nothing(self) -> Any:
        """Return the condition that admits nothing."""
        ...


class _Edge:
    """Conditions of `qdrant_edge`."""

    def filter(
        self, *, must: Sequence[Any] = (), should: Sequence[Any] = (), must_not: Sequence[Any] = ()
    ) -> edge.Filter:
        return edge.Filter(must=list(must) or None, should=list(should) or None, must_not=list(must_not) or None)

    def any_text(self, key: str, texts: list[str]) -> edge.FieldCondition:
        return edge.FieldCondition(key, match=edge.MatchAny(texts))

    def within(self, key: str, **bounds: float) -> edge.FieldCondition:
        return edge.FieldCondition(key, range=edge.RangeFloat(**bounds))

    def nested(self, key: str, filter: Any) -> edge.NestedCondition:
        return edge.NestedCondition(key, filter)

    def nothing(self) -> edge.HasIdCondition:
        return edge.HasIdCondition(set())


EDGE = _Edge()


def compile_filter(condition: Condition, dialect: Dialect = EDGE) -> Any:
    """Return the engine's filter that admits what `condition` does."""
    if isinstance(condition, And):
        return dialect.filter(must=[compile_filter(part, dialect) for part in condition.parts])
    if isinstance(condition, Or):
        return dialect.filter(should=[compile_filter(part, dialect) for part in condition.parts])
    if isinstance(condition, Not):
        return dialect.filter(must_not=[compile_filter(condition.part, dialect)])
    if condition.op in _RANGES:
        return dialect.filter(must=[_range(condition, dialect)])
    wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    values = [value for value in wanted if not isinstance(value, datetime)]
    if condition.field in OWN_FIELDS:
        return dialect.filter(must=[any_of(condition.field, (v for v in values if isinstance(v, str)), dialect)])
    found: list[Any] = [any_of(TERMS, (_term(condition.field, value) for value in values), dialect)]
    if None in values:
        found.append(dialect.filter(must_not=[any_of(TERMS, [_term(condition.field)], dialect)]))
    return dialect.filter(should=found)


def any_of(key: str, texts: Iterable[str], dialect: Dialect = EDGE) -> Any:
    """Return the condition that the texts stored at `key` include one of `texts`."""
    wanted = [text for text in dict.fromkeys(texts) if is_storable(text)]
    return dialect.any_text(key, wanted) if wanted else dialect.nothing()


def is_storable(text: str) -> bool:
    """Return whether the engine can hold `text`: a lone surrogate has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _range(condition: Compare, dialect: Dialect) -> Any:
    """Return the condition that a value in a field is beyond a bound."""
    beyond, slot = _RANGES[condition.op], _slot(condition.field)
    if isinstance(condition.value, datetime):
        moment = instant(condition.value)
        return dialect.nothing() if moment is None else dialect.within(f"{INSTANTS}.{slot}", **{beyond: moment})
    bound = range_value(condition.value)
    if bound is None:
        return dialect.nothing()
    (high, low), (high_bound, low_bound) = HALVES, _halves(bound)
    equal = dialect.within(high, gte=high_bound, lte=high_bound)
    further = dialect.within(high, **{beyond[:2]: high_bound})
    as_far = dialect.filter(must=[equal, dialect.within(low, **{beyond: low_bound})])
    return dialect.nested(f"{NUMBERS}.{slot}", dialect.filter(should=[further, as_far]))


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
    """Return the text for a value in a field, or for the field itself; no two share one."""
    text = f"{len(field)}={field}{equality_key(value[0])}" if value else f"?{field}"
    return text if len(text) <= LONGEST_TERM and is_storable(text) else f"#{_digest(text)}"


def _slot(field: str) -> str:
    return f"f{_digest(field)}"


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
