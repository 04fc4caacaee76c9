"""What users ask for: checks of queries and their options, filters in the index's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan
from numbers import Integral, Real
from typing import Any

from .corpus.filters import And, Compare, Condition, Not, Or
from .corpus.metadata import check_unicode
from .corpus.passages import check_order, is_blank, is_column
from .corpus.scalars import shown
from .errors import InputError
from .index.base import LexicalIndex, PassageIndex
from .text.detect import list_of_strings


def check_k(k: object, name: str = "k") -> None:
    """Raise `InputError` unless `k`, which users know as `name`, is a positive whole number, of whatever type."""
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise InputError(f"{name}={k!r} is not usable: give a whole number of at least 1.")


def check_context(context: object) -> None:
    """Raise `InputError` unless `context` is a whole number from 0, of whatever type."""
    if isinstance(context, bool) or not isinstance(context, Integral) or context < 0:
        raise InputError(f"context={context!r} is not usable: give a number of passages, 0 for none.")


def check_score(min_score: object) -> None:
    """Raise `InputError` unless `min_score` is None or a number."""
    if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, Real) or isnan(min_score)):
        raise InputError(f"min_score={min_score!r} is not usable: give a number.")


def check_share(value: object, name: str) -> None:
    """Raise `InputError` unless `value`, which users know as `name`, is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{name}={value!r} is not usable: give a number from 0 to 1.")


def hybrid_weight(hybrid: bool, lexical_weight: float) -> float | None:
    """Return the weight of shared words, or None without `hybrid`. Raise `InputError` unless it is from 0 to 1."""
    if not hybrid:
        return None
    check_share(lexical_weight, "lexical_weight")
    return lexical_weight


def lexical_index(index: PassageIndex) -> LexicalIndex:
    """Return an index as one that finds by pieces. Raise `InputError` if it is none, or was made without them."""
    if isinstance(index, LexicalIndex) and index.lexical:
        return index
    raise InputError(
        f"The index {str(getattr(index, 'folder', ''))!r} does not keep the pieces of its texts, which hybrid=True "
        "needs. Index the documents again, in a folder: index(…, lexical=True)."
    )


def check_queries(queries: Sequence[object], *, filtered: bool | None = None) -> None:
    """Raise `InputError` unless queries are strings, of which one at least is not blank if they are not `filtered`.

    `filtered` is None where no filter can be given.
    """
    for i, query in enumerate(queries):
        named = "A query" if len(queries) == 1 else f"Query {i}"
        if not isinstance(query, str):
            way_out = " Decode it: query.decode()." if isinstance(query, bytes) else ""
            raise InputError(f"{named} is a {type(query).__name__}, not a string: {shown(query)}.{way_out}")
        check_unicode(query, named)
    if queries and not filtered and all(is_blank(str(query)) for query in queries):
        way_out = "Give at least one word." if filtered is None else "Give at least one word, or a filter."
        raise InputError(f"A query is blank. {way_out}")


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


def with_ids(
    filter: Mapping[str, Any] | None,
    ids: str | Iterable[str] | None,
    name: str = "doc_ids",
    field: str = "document_id",
) -> Mapping[str, Any] | None:
    """Return a filter that also admits only what has one of `ids`, which users know as `name`, in a field.

    Examples
    --------
    >>> with_ids({"year": 2024}, "a")
    {'$and': [{'year': 2024}, {'document_id': {'$in': ['a']}}]}
    >>> with_ids({"year": 2024}, None)
    {'year': 2024}
    """
    if ids is None:
        return filter
    among = {field: {"$in": list_of_strings(ids, name)}}
    return {"$and": [filter, among]} if filter else among


def list_of_queries(queries: object) -> list[str]:
    """Return one query or several as a list. Raise `InputError` if they are neither a string nor a list."""
    if isinstance(queries, str):
        return [queries]
    if not is_column(queries):
        way_out = "decode it: query.decode()" if isinstance(queries, bytes) else "give a string, or a list of strings"
        raise InputError(f"The query is a {type(queries).__name__}; {way_out}.")
    check_order(queries, "The list of queries")
    return list(queries)
