"""What users ask for: checks of queries and their options, filters in the index's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from numbers import Integral, Real

from .corpus.filters import And, Compare, Condition, Not, Or
from .corpus.metadata import check_unicode
from .corpus.passages import is_blank
from .corpus.scalars import shown
from .errors import InputError


def check_k(k: object, name: str = "k") -> None:
    """Raise `InputError` unless `k`, which users know as `name`, is a positive whole number, of whatever type."""
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise InputError(f"{name}={k!r} is not usable: give a whole number of at least 1.")


def check_score(min_score: object) -> None:
    """Raise `InputError` unless `min_score` is None or a number."""
    if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, Real) or isnan(min_score)):
        raise InputError(f"min_score={min_score!r} is not usable: give a number.")


def check_share(value: object, name: str) -> None:
    """Raise `InputError` unless `value`, which users know as `name`, is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{name}={value!r} is not usable: give a number from 0 to 1.")


def check_queries(queries: Sequence[object], *, filtered: bool = False) -> None:
    """Raise `InputError` unless queries are strings, of which one at least is not blank if they are not `filtered`."""
    for i, query in enumerate(queries):
        named = "A query" if len(queries) == 1 else f"Query {i}"
        if not isinstance(query, str):
            way_out = " Decode it: query.decode()." if isinstance(query, bytes) else ""
            raise InputError(f"{named} is a {type(query).__name__}, not a string: {shown(query)}.{way_out}")
        check_unicode(query, named)
    if queries and not filtered and all(is_blank(str(query)) for query in queries):
        raise InputError("A query is blank. Give at least one word, or a filter.")


def with_languages(condition: Condition, resolve: Callable[[str], str]) -> Condition:
    """Write the languages of a filter as the index does: ``pt-BR`` is ``pt`` there."""
    if isinstance(condition, (And, Or)):
        return type(condition)(tuple(with_languages(part, resolve) for part in condition.parts))
    if isinstance(condition, Not):
        return Not(with_languages(condition.part, resolve))
    if condition.field != "language":
        return condition
    if isinstance(condition.value, str):
        return Compare("language", condition.op, resolve(condition.value))
    if isinstance(condition.value, tuple):
        languages = tuple(resolve(value) if isinstance(value, str) else value for value in condition.value)
        return Compare("language", condition.op, languages)
    return condition
