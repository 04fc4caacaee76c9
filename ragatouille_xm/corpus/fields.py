"""The metadata fields of a collection, and what they hold: what a user can filter by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..types import Passage
from .metadata import METADATA, Scalar, equality_key, fields_of, range_value

MOST_VALUES = 20  # named of a field


@dataclass(frozen=True)
class Field:
    """A metadata field.

    Attributes
    ----------
    name : str
        As filters write it, without ``metadata.``; dots lead into objects.
    passages : int
        That have it.
    values : tuple of (value, int)
        Its most frequent values, `MOST_VALUES` at most, with the number of passages of each.
    distinct : int
        How many values there are.
    least, greatest : float or None
        Of its numbers, if it has any.
    """

    name: str
    passages: int
    values: tuple[tuple[Scalar, int], ...]  # and no dict, in which True and 1 would be one
    distinct: int
    least: float | None = None
    greatest: float | None = None


def summarize_fields(passages: Iterable[Passage]) -> list[Field]:
    """Return the metadata fields of passages, by name.

    Examples
    --------
    >>> made = [Passage(i, "a", "…", "fr", {"year": 2020 + i, "topic": "maps"}) for i in range(2)]
    >>> [(field.name, field.values, field.least, field.greatest) for field in summarize_fields(made)]
    [('topic', (('maps', 2),), None, None), ('year', ((2020, 1), (2021, 1)), 2020.0, 2021.0)]
    """
    count: Counter[str] = Counter()
    values: dict[str, Counter[str]] = {}
    first: dict[str, Scalar] = {}  # the value that was seen first, of those that a filter takes for equal
    numbers: dict[str, list[float]] = {}
    for passage in passages:
        for name, found in fields_of(passage).items():
            if not name.startswith(METADATA):
                continue
            count[name] += 1
            keys = {equality_key(value): value for value in found}
            values.setdefault(name, Counter()).update(keys.keys())
            for key, value in keys.items():
                first.setdefault(key, value)
            numbers.setdefault(name, []).extend(n for n in map(range_value, found) if n is not None)
    return [
        Field(
            name.removeprefix(METADATA),
            count[name],
            tuple((first[key], n) for key, n in most_frequent(values[name])),
            len(values[name]),
            min(numbers[name], default=None),
            max(numbers[name], default=None),
        )
        for name in sorted(count)
    ]


def most_frequent(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return the most frequent values with their numbers, ties by value."""
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:MOST_VALUES]
