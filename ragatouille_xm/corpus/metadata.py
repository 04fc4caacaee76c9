"""Metadata: its valid values, and the fields that filters see.

An engine that cannot call Python for every passage stores the values of `fields_of`, converted to texts and numbers by
`equality_key`, `range_value` and `instant`, and compiles a filter into look-ups of these.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeAlias

from ..errors import InputError
from ..types import Passage
from .scalars import is_missing, iso_text, simplified

Scalar: TypeAlias = "str | int | float | bool | None"

OWN_FIELDS = ("language", "document_id")
METADATA = "metadata."
MAX_DEPTH = 32

_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,6}))?)?"
    r"(?:([Zz])|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))?)?"
)
_SURROGATE = "has a lone surrogate, which is not Unicode; use text.encode(errors='replace').decode()."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_metadata(metadata: object) -> dict[str, Any]:
    """Return a copy of `metadata` as plain JSON values, which every engine can store.

    Parameters
    ----------
    metadata : mapping or None
        String keys; values are strings, 64-bit ints, finite floats, booleans, None, lists and dicts of these. Strings
        must be Unicode, without lone surrogates. Other scalars are stored as `simplified` has them, dates and datetimes
        as ISO 8601 strings, missing values (NaN, NaT, NA) as None, tuples as lists.

    Raises
    ------
    InputError
        For anything else; the message names the key and the type.

    Examples
    --------
    >>> check_metadata({"year": 2021, "tags": ("a", None), "opened": date(2021, 5, 1), "rating": float("nan")})
    {'year': 2021, 'tags': ['a', None], 'opened': '2021-05-01', 'rating': None}
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        hint = ", or its to_dict()" if hasattr(metadata, "to_dict") else ""
        raise InputError(f"Metadata must be a mapping such as {{'year': 2021}}{hint}, not {type(metadata).__name__}.")
    copy: dict[str, Any] = _plain(metadata, "", 0)
    return copy


def with_own_metadata(passage: Passage) -> Passage:
    """Return a passage with a copy of its metadata: what is done to one does not change the other."""
    return replace(passage, metadata=deepcopy(passage.metadata)) if passage.metadata else passage


def fits_int64(value: int) -> bool:
    """Return whether `value` is a signed 64-bit integer."""
    return -(2**63) <= value < 2**63


def storable(text: str) -> bool:
    """Return whether `text` can be encoded: Python's strings may contain lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_unicode(text: str, what: str) -> None:
    """Raise `InputError` if `text`, named `what` in the message, has a lone surrogate."""
    if not storable(text):
        raise InputError(f"{what} {_SURROGATE}")


def _plain(given: object, where: str, depth: int) -> Any:
    """Return a value as plain types, even if it is of a subclass."""
    value = simplified(given)
    if is_missing(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and storable(value):
        return value
    if isinstance(value, int) and fits_int64(value):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, date):
        try:
            return iso_text(value)
        except InputError as error:
            raise InputError(f"Metadata {where!r}: {error}") from error
    if depth > MAX_DEPTH:
        raise InputError(f"Metadata {where!r} is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, (list, tuple)):
        return [_plain(element, f"{where}[{i}]", depth + 1) for i, element in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not storable(key):
                kind, place = type(key).__name__, f" {where!r}" if where else ""
                raise InputError(f"Metadata{place} has the key {key!r} ({kind}): keys must be valid Unicode strings.")
        prefix = f"{where}." if where else ""
        return {str.__str__(key): _plain(inner, prefix + key, depth + 1) for key, inner in value.items()}
    raise InputError(f"Metadata {where!r} has a value that cannot be stored: {_complaint(value)}")


def _complaint(value: object) -> str:
    if isinstance(value, str):
        return f"{value!r} {_SURROGATE}"
    if isinstance(value, int):
        return f"{value} does not fit into 64 bits; store it as a string."
    if isinstance(value, float):
        return f"{value!r} is not a finite number; leave the key out or store None."
    if isinstance(value, Decimal):
        return f"{value!r} has more digits than a 64-bit number holds; store it as a string."
    kind = type(value).__name__
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{kind}; store text: value.decode(), or base64.b64encode(value).decode()."
    if isinstance(value, (set, frozenset)):
        return f"a {kind}, which has no order; store a list."
    if isinstance(value, time):
        return f"a {kind}; store value.isoformat()."
    if isinstance(value, timedelta):
        return f"a {kind}; store value.total_seconds()."
    if hasattr(value, "tolist") and getattr(value, "shape", ()) != ():
        return f"a {kind}; store value.tolist()."
    return f"a {kind}; use strings, numbers, booleans, dates, None, lists and dicts."


def fields_of(passage: Passage) -> dict[str, list[Scalar]]:
    """Return the scalar values of every field that the passage has, as filters see them.

    A field without an entry is missing; one with an empty list holds only objects or lists, which equal nothing. Names
    lead into objects, and into each object of a list.

    Examples
    --------
    >>> fields_of(Passage(0, "a", "…", "fr", {"year": 2021, "authors": [{"name": "Ada"}, {"name": None}], "empty": []}))
    {'language': ['fr'], 'document_id': ['a'], 'metadata.year': [2021], 'metadata.authors': [], \
'metadata.authors.name': ['Ada', None]}
    """
    fields: dict[str, list[Scalar]] = {"language": [passage.language], "document_id": [passage.document_id]}

    def descend(mapping: Mapping[str, Any], prefix: str) -> None:
        for key, value in mapping.items():
            values = value if isinstance(value, list) else [value]
            if values:
                fields.setdefault(prefix + key, []).extend(v for v in values if not isinstance(v, (list, Mapping)))
            for each in values:
                if isinstance(each, Mapping):
                    descend(each, f"{prefix}{key}.")

    descend(passage.metadata or {}, METADATA)
    return fields


def equality_key(value: Scalar) -> str:
    """Return a text that two values share if, and only if, a filter takes them for equal.

    Examples
    --------
    >>> equality_key(1) == equality_key(1.0), equality_key(1) == equality_key(True)
    (True, False)
    """
    if isinstance(value, str):
        return f"s{value}"
    if value is None:
        return "z"
    if isinstance(value, bool):
        return "b1" if value else "b0"
    if isinstance(value, float) and value.is_integer() and fits_int64(int(value)):
        value = int(value)
    return f"n{value!r}"


def value_of_key(key: str) -> Scalar:
    """Return a value that has this `equality_key`.

    Examples
    --------
    >>> [value_of_key(equality_key(value)) for value in ("a", None, True, 3, 2.5)]
    ['a', None, True, 3, 2.5]
    """
    kind, written = key[:1], key[1:]
    if kind == "s":
        return written
    if kind == "n":
        return float(written) if set(written) & set(".en") else int(written)
    return None if kind == "z" else written == "1"


def range_value(value: object) -> float | None:
    """Return the number by which a range compares `value`, or None for a value that is in no range of numbers.

    Ints and floats as a 64-bit float; None for everything else.
    """
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def instant(value: object) -> float | None:
    """Return the microseconds since 1970 of a `datetime`, `date` or ISO 8601 string; None for anything else.

    Examples
    --------
    >>> instant("1970-01-01T00:00:01Z") == instant("1970-01-01 01:00:01+01:00") == 1e6
    True
    >>> instant("yesterday") is None
    True
    """
    if isinstance(value, str):
        value = read_datetime(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    moment = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
    return float((moment - _EPOCH) // timedelta(microseconds=1))


def read_datetime(text: str) -> datetime | None:
    """Return the datetime, with a zone, that an ISO 8601 string holds; None for any other string."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, zone_hours, zone_minutes = found.groups()
    offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    try:
        return datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "0").ljust(6, "0")), timezone(-offset if sign == "-" else offset),
        )  # fmt: skip
    except ValueError:  # such as a 30th of February
        return None
