"""The values that people have, from Python, NumPy and pandas, in the few types that are stored and compared."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from math import isnan, nan
from numbers import Integral
from typing import Any
from uuid import UUID

from ..errors import InputError

_PLAIN = frozenset({str, int, float, bool, type(None)})
_MISSING = ("NAType", "NaTType")  # pandas' types, which need not be installed
_SHOWN = 80  # characters
_WHOLE_DIGITS = 19  # of the largest 64-bit integer


def simplified(value: Any) -> Any:
    """Return the plain value that a scalar stands for; anything else unchanged.

    - NumPy's and pandas' scalars, and arrays and tensors without dimensions, become Python's; any integer an int.
    - A missing value of pandas or NumPy (``NA``, ``NaT``) becomes ``nan``.
    - An enum's member becomes its value, and a UUID its string.
    - A Decimal becomes an int if it has no decimal places, else the float that is written the same; if there is none,
      it stays a Decimal.
    - Dates and datetimes become plain ones, to the microsecond.

    Examples
    --------
    >>> import numpy as np
    >>> [simplified(value) for value in (np.int64(3), np.bool_(True), Decimal("19.90"), np.datetime64("2024-05-01"))]
    [3, True, 19.9, datetime.date(2024, 5, 1)]
    """
    if type(value) in _PLAIN or isinstance(value, bool):
        return value
    if type(value).__name__ in _MISSING:
        return nan
    if isinstance(value, Enum):
        return simplified(value.value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        item = _item(value)
        return item if hasattr(item, "item") else simplified(item)  # Python may have nothing like it
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Decimal):
        return _from_decimal(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime) and type(value) is not datetime:  # of pandas, which goes on to nanoseconds
        day, clock = (value.year, value.month, value.day), (value.hour, value.minute, value.second, value.microsecond)
        return datetime(*day, *clock, value.tzinfo, fold=value.fold)
    return value


def is_missing(value: object) -> bool:
    """Return whether what `simplified` returned stands for a missing value: None or ``nan``."""
    return value is None or (isinstance(value, float) and isnan(value))


def shown(value: object) -> str:
    """Return a value as messages name it, shortened."""
    written = repr(value)
    return written if len(written) <= _SHOWN else written[: _SHOWN - 1] + "…"


def iso_text(moment: date) -> str:
    """Return a date or a datetime as it is stored: in ISO 8601. Raise `InputError` for one before the year 1 in UTC.

    Examples
    --------
    >>> iso_text(date(2024, 5, 1)), iso_text(datetime(2024, 5, 1, 9, 30, tzinfo=UTC))
    ('2024-05-01', '2024-05-01T09:30:00+00:00')
    """
    if isinstance(moment, datetime) and (moment.utcoffset() or timedelta()) % timedelta(minutes=1):
        try:
            moment = moment.astimezone(UTC)  # ISO 8601 has no seconds in a zone
        except OverflowError as error:
            raise InputError(f"{moment!r} is before the year 1 in UTC: give a later one, or none.") from error
    return moment.isoformat()


def _item(value: Any) -> Any:
    """Return the only element of an array, tensor or scalar as Python has it; `value` itself if Python has none."""
    kind = getattr(value.dtype, "kind", "")
    if kind == "m":  # nanoseconds would become a bare int
        return value
    if kind != "M":
        return value.item()
    moment = value.item()
    if isinstance(moment, int):  # nanoseconds
        moment = value.astype("datetime64[us]").item()
    if moment is None:
        return nan
    return moment if isinstance(moment, date) else value


def _from_decimal(value: Decimal) -> int | float | Decimal:
    if not value.is_finite():
        return nan if value.is_nan() else float(value)
    if value.as_tuple().exponent >= 0:  # type: ignore[operator]  # it is a letter only if it is not finite
        return int(value) if value.adjusted() < _WHOLE_DIGITS else value
    number = float(value)
    return number if Decimal(repr(number)) == value else value
