"""Metadata filters.

A filter is written in MongoDB's syntax, parsed once into a small tree, and compiled by each engine into its own
conditions. `matches` defines its meaning: every engine finds exactly the passages that it admits.

**Fields.** ``language`` and ``document_id`` are the passage's own. Any other name is a metadata key; dots descend into
nested objects (``"author.name"``) and into each object of a list, and a key that itself contains dots is addressed by
the same name. Explicitly, ``passage.language`` is the passage's own and ``metadata.language`` a metadata key. In a
framework where every name is expected to be the user's, `rename_fields` with `METADATA_FIRST` makes the two bare names
metadata keys too.

**Values.** A list matches if any of its elements does. An empty list counts as missing. A boolean never equals a
number; numbers compare equal across int and float. Objects, and lists inside lists, equal nothing. A filter may have
all values that `ragatouille_xm.corpus.scalars.simplified` takes.

**Operators.** ``$eq`` ``$in``: exact equality, but a `datetime` or `date` equals every string that holds the same
moment; ``None`` stands for null or missing. ``$gt`` ``$gte`` ``$lt`` ``$lte``: numbers are compared with numbers, as
64-bit floats; a `datetime`, `date` or ISO 8601 string with strings that hold an ISO 8601 date. In both, a missing time
means midnight and a missing zone UTC. A missing field is in no range. ``$ne``
``$nin`` ``$not`` are exact negations, so they admit passages without the field. ``$and`` and ``$or`` take a list of
filters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from operator import ge, gt, le, lt
from typing import Any, TypeAlias, TypeGuard

from ..errors import FilterError
from ..types import Passage
from .metadata import (
    METADATA,
    OWN_FIELDS,
    Scalar,
    equality_key,
    fields_of,
    fits_int64,
    instant,
    range_value,
    read_datetime,
    storable,
)
from .scalars import shown, simplified

MAX_DEPTH = 32
METADATA_FIRST = {name: METADATA + name for name in OWN_FIELDS}

_FIELDS = {**{name: name for name in OWN_FIELDS}, **{f"passage.{name}": name for name in OWN_FIELDS}}
_RANGES: dict[str, Callable[[float, float], bool]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}
_NEGATED = {"$ne": "$eq", "$nin": "$in"}
_FIELD_OPERATORS = ("$eq", "$ne", "$in", "$nin", *_RANGES, "$not")
_TOP_OPERATORS = ("$and", "$or", "$not")


@dataclass(frozen=True, slots=True)
class Compare:
    """One field against one value.

    Attributes
    ----------
    field : str
        ``"language"``, ``"document_id"`` or ``"metadata."`` and the path, as `fields_of` names them.
    op : str
        ``$eq``, ``$in``, ``$gt``, ``$gte``, ``$lt`` or ``$lte``; ``$ne`` and ``$nin`` are parsed into `Not`.
    value : scalar, datetime.datetime or tuple of these
        A tuple for ``$in``; for a range, an int, a float or a datetime. Datetimes have a zone.
    """

    field: str
    op: str
    value: Scalar | datetime | tuple[Scalar | datetime, ...]

    @property
    def wanted(self) -> tuple[list[Scalar], list[float]]:
        """For ``$eq`` and ``$in``: the values that are admitted, and the moments, as `instant` has them."""
        every = self.value if isinstance(self.value, tuple) else (self.value,)
        moments = [moment for each in every if isinstance(each, datetime) and (moment := instant(each)) is not None]
        return [each for each in every if not isinstance(each, datetime)], moments


@dataclass(frozen=True, slots=True)
class And:
    """All of `parts`, at least one."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of `parts`, at least one."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Everything that `part` does not admit."""

    part: Condition


Condition: TypeAlias = "Compare | And | Or | Not"


def parse_filter(filter: Mapping[str, Any] | None) -> Condition | None:
    """Parse a filter; return None if it is None or empty.

    Raises
    ------
    FilterError
        If the filter is invalid; the message names the part and what is allowed.

    Examples
    --------
    >>> parse_filter({"language": "fr"})
    Compare(field='language', op='$eq', value='fr')
    >>> parse_filter({"year": {"$gte": 2020, "$ne": 2022}})
    And(parts=(Compare(field='metadata.year', op='$gte', value=2020), \
Not(part=Compare(field='metadata.year', op='$eq', value=2022))))
    """
    if filter is None or (isinstance(filter, Mapping) and not filter):
        return None
    return _parse_all(filter, depth=1)


def rename_fields(filter: Mapping[str, Any] | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a filter in which other names address the fields; None if it is None or empty.

    Parameters
    ----------
    filter : mapping or None
    names : mapping of str to str
        From the names in `filter` to their names here; others stay. `METADATA_FIRST` lets bare ``language`` and
        ``document_id`` mean metadata keys.

    Raises
    ------
    FilterError
        If the filter is invalid.

    Examples
    --------
    >>> rename_fields({"$or": [{"language": "French"}, {"passage.language": "fr"}]}, METADATA_FIRST)
    {'$or': [{'metadata.language': 'French'}, {'passage.language': 'fr'}]}
    """
    if parse_filter(filter) is None or filter is None:
        return None
    return _renamed(filter, names)


def _renamed(filter: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    parts: list[tuple[str, Any]] = []
    for key, value in filter.items():
        if key in ("$and", "$or"):
            value = [_renamed(part, names) for part in value]
        elif key == "$not":
            value = _renamed(value, names)
        parts.append((names.get(key, key), value))
    if len(dict(parts)) < len(parts):  # two names of one field
        return {"$and": [{key: value} for key, value in parts]}
    return dict(parts)


def matches(condition: Condition | None, passage: Passage) -> bool:
    """Return whether `condition` admits `passage`. This defines the meaning for every engine.

    Examples
    --------
    >>> passage = Passage(0, "a", "Bonjour.", "fr", {"year": 2021, "tags": ["x", "y"]})
    >>> matches(parse_filter({"year": {"$gt": 2020}, "tags": "y"}), passage)
    True
    >>> matches(parse_filter({"author": {"$ne": "Zola"}}), passage)
    True
    """
    return condition is None or _holds(condition, fields_of(passage))


def _holds(condition: Condition, fields: Mapping[str, list[Scalar]]) -> bool:
    if isinstance(condition, And):
        return all(_holds(part, fields) for part in condition.parts)
    if isinstance(condition, Or):
        return any(_holds(part, fields) for part in condition.parts)
    if isinstance(condition, Not):
        return not _holds(condition.part, fields)
    values = fields.get(condition.field)
    if condition.op in _RANGES:
        number = instant if isinstance(condition.value, datetime) else range_value
        bound, within = number(condition.value), _RANGES[condition.op]
        return bound is not None and any((n := number(v)) is not None and within(n, bound) for v in values or ())
    wanted, moments = condition.wanted
    if values is None:
        return None in wanted
    keys = set(map(equality_key, wanted))
    return any(equality_key(v) in keys or (moments and instant(v) in moments) for v in values)


def _parse_all(filter: object, depth: int) -> Condition:
    """Parse a filter, all of whose entries must hold."""
    if not isinstance(filter, Mapping):
        raise FilterError(f'A filter must be a mapping such as {{"year": {{"$gte": 2020}}}}, not {_show(filter)}.')
    if not filter:
        raise FilterError("A nested filter must not be empty: leave it out to admit everything.")
    if depth > MAX_DEPTH:
        raise FilterError(f"The filter is nested deeper than {MAX_DEPTH} levels.")
    parts: list[Condition] = []
    for key, value in filter.items():
        if not isinstance(key, str) or not storable(key):
            raise FilterError(f"A field name must be a valid Unicode string, not {_show(key)}.")
        parts += _parse_top(key, value, depth) if key.startswith("$") else _parse_field(key, value, depth)
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _parse_top(op: str, value: object, depth: int) -> list[Condition]:
    if op == "$not":
        return [Not(_parse_all(value, depth + 1))]
    if op not in _TOP_OPERATORS:
        hint = f" {op} belongs after a field, as in {{'year': {{'{op}': …}}}}." if op in _FIELD_OPERATORS else ""
        raise FilterError(f"Unknown operator {op!r} in place of a field: use {_listed(_TOP_OPERATORS)} there.{hint}")
    if not isinstance(value, (list, tuple)) or not value:
        raise FilterError(f"{op} takes a list of one or more filters, not {_show(value)}.")
    parts = tuple(_parse_all(part, depth + 1) for part in value)
    return [And(parts) if op == "$and" else Or(parts)]


def _parse_field(name: str, value: object, depth: int) -> list[Condition]:
    field = _FIELDS.get(name) or (name if name.startswith(METADATA) else METADATA + name)
    if not isinstance(value, Mapping):
        return [Compare(field, "$eq", _scalar(name, "$eq", value))]
    if not value:
        raise FilterError(f"The condition on {name!r} is empty: it takes {_listed(_FIELD_OPERATORS)}.")
    if depth > MAX_DEPTH:
        raise FilterError(f"The filter is nested deeper than {MAX_DEPTH} levels.")
    return [_parse_operator(name, field, op, operand, depth) for op, operand in value.items()]


def _parse_operator(name: str, field: str, op: object, value: object, depth: int) -> Condition:
    if not isinstance(op, str) or op not in _FIELD_OPERATORS:
        raise FilterError(
            f"Unknown operator {op!r} on {name!r}: use {_listed(_FIELD_OPERATORS)}. "
            'Address nested objects with dots, as in {"author.name": …}.'
        )
    if op in _NEGATED:
        return Not(_parse_operator(name, field, _NEGATED[op], value, depth))
    if op == "$not":
        if not isinstance(value, Mapping):
            raise FilterError(
                f'$not on {name!r} takes operators, as in {{"$not": {{"$gt": 3}}}}, not {_show(value)}: use $ne.'
            )
        parts = _parse_field(name, value, depth + 1)
        return Not(parts[0] if len(parts) == 1 else And(tuple(parts)))
    if op == "$in":
        if not _is_several(value):
            raise FilterError(f"$in or $nin on {name!r} takes a list of values, not {_show(value)}.")
        return Compare(field, op, tuple(_scalar(name, op, v) for v in value))
    if op == "$eq":
        return Compare(field, op, _scalar(name, op, value))
    return Compare(field, op, _bound(name, op, value))


def _is_several(value: object) -> TypeGuard[Iterable[object]]:
    """Return whether a value is a collection of values, which can be read any number of times."""
    value = simplified(value)  # an array may hold a single value
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping, Iterator))


def _scalar(name: str, op: str, given: object) -> Scalar | datetime:
    """Return a value for equality as a plain type."""
    value = simplified(given)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not storable(value):
            raise FilterError(f"{op} on {name!r}: {_show(value)} has a lone surrogate, which no field can contain.")
        return value
    if isinstance(value, (int, float)):
        return _number(name, op, value)
    if isinstance(value, date):
        return _moment(value)
    if _is_several(value):
        raise FilterError(f"{op} on {name!r} takes one value, not {_show(value)}: use $in for any of several values.")
    raise FilterError(f"{op} on {name!r} takes a string, a number, a boolean, a date or None, not {_show(value)}.")


def _bound(name: str, op: str, given: object) -> int | float | datetime:
    """Return the bound of a range: a plain number, or a datetime with a zone."""
    value = simplified(given)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(name, op, value)
    if isinstance(value, date):
        return _moment(value)
    moment = read_datetime(value) if isinstance(value, str) else None
    if moment is None:
        raise FilterError(
            f"{op} on {name!r} takes a number, a date, a datetime or an ISO 8601 string, not {_show(given)}."
        )
    return moment


def _moment(value: date) -> datetime:
    """Return a date or a datetime as a datetime with a zone."""
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value if value.utcoffset() is not None else value.replace(tzinfo=UTC)


def _number(name: str, op: str, value: int | float) -> int | float:
    if isinstance(value, int):
        if not fits_int64(value):
            raise FilterError(f"{op} on {name!r}: {value} does not fit into 64 bits; store such numbers as strings.")
        return value
    if not math.isfinite(value):
        hint = ": None stands for a missing value" if math.isnan(value) else ""
        raise FilterError(f"{op} on {name!r} takes a finite number, not {value!r}{hint}.")
    return value


def _show(value: object) -> str:
    return f"{shown(value)} ({type(value).__name__})"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
