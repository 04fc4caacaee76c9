"""`RagatouilleXMTranslator`: the queries that LangChain's SelfQueryRetriever lets an LLM write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery, Visitor

from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import FilterError

Filter = dict[str, Any]

_RANGES = (Comparator.GT, Comparator.GTE, Comparator.LT, Comparator.LTE)
_LISTS = (Comparator.IN, Comparator.NIN)


class RagatouilleXMTranslator(Visitor):
    """Translates structured queries into filters of `RagatouilleXMVectorStore`.

    Attributes are metadata keys; ``passage.language`` and ``passage.document_id`` are what the index says itself. A
    list in the metadata stands for its elements, so ``contain`` is ``eq``. A date such as ``{"type": "date", "date":
    "2024-05-01"}`` is the whole day in UTC: ``eq`` admits any time of it, ``gt`` what comes after it.

    Raises
    ------
    ragatouille_xm.errors.FilterError
        A `ValueError`: if a comparison has no exact counterpart, such as ``like``.

    Examples
    --------
    >>> from langchain_core.structured_query import Comparator, Comparison, StructuredQuery
    >>> recent = Comparison(Comparator.GTE, "year", 2020)
    >>> RagatouilleXMTranslator().visit_structured_query(StructuredQuery("museum", recent))
    ('museum', {'filter': {'year': {'$gte': 2020}}})
    """

    allowed_comparators = tuple(each for each in Comparator if each != Comparator.LIKE)
    allowed_operators = tuple(Operator)

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the query's text and the options of a search."""
        if structured_query.filter is None:
            return structured_query.query, {}
        translated = structured_query.filter.accept(self)
        parse_filter(translated)
        return structured_query.query, {"filter": translated}

    def visit_operation(self, operation: Operation) -> Filter:
        """Return the filter of an operation."""
        parts = [argument.accept(self) for argument in operation.arguments]
        if operation.operator != Operator.NOT:
            return {f"${operation.operator.value}": parts}
        if len(parts) != 1:
            raise FilterError(f"not takes one filter, and has {len(parts)}: join them with and, or or.")
        return {"$not": parts[0]}

    def visit_comparison(self, comparison: Comparison) -> Filter:
        """Return the filter of a comparison."""
        comparator, attribute, value = comparison.comparator, comparison.attribute, comparison.value
        if comparator not in self.allowed_comparators:
            raise FilterError(
                f"{comparator.value} on {attribute!r} has no exact counterpart in the index: use eq, contain or in for "
                "whole values, or put the words into the query."
            )
        if comparator in _LISTS and not isinstance(value, (list, tuple)):
            raise FilterError(f"{comparator.value} on {attribute!r} takes a list of values, not {value!r}.")
        if comparator in _RANGES:
            return {attribute: _range(attribute, comparator, value)}
        admitted = _among(attribute, value if comparator in _LISTS else [value])
        return {"$not": admitted} if comparator in (Comparator.NE, Comparator.NIN) else admitted


def _among(attribute: str, values: list[Any] | tuple[Any, ...]) -> Filter:
    """Return a filter that admits any of `values`."""
    times = [value for value in values if _is_time(value)]
    plain = [value for value in values if not _is_time(value)]
    parts: list[Filter] = [
        {attribute: {**_range(attribute, Comparator.GTE, value), **_range(attribute, Comparator.LTE, value)}}
        for value in times
    ]
    if plain or not times:
        parts.append({attribute: {"$eq": plain[0]} if len(values) == 1 else {"$in": plain}})
    return parts[0] if len(parts) == 1 else {"$or": parts}


def _range(attribute: str, comparator: Comparator, value: Any) -> Filter:
    """Return the operator, and the bound, that admit a range; a date is a whole day."""
    if not _is_time(value):
        return {f"${comparator.value}": value}
    try:
        moment = _moment(value)
        if comparator in (Comparator.GT, Comparator.LTE) and not isinstance(moment, datetime):
            moment += timedelta(days=1)  # after the day is from the next one on
            comparator = Comparator.GTE if comparator == Comparator.GT else Comparator.LT
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise FilterError(
            f'{value!r}, compared with {attribute!r}, is not usable. A date is {{"type": "date", "date": '
            '"2024-05-01"}, a time {"type": "datetime", "datetime": "2024-05-01T09:30:00Z"}.'
        ) from None
    return {f"${comparator.value}": moment.isoformat()}


def _is_time(value: Any) -> bool:
    return isinstance(value, (date, Mapping))


def _moment(value: date | Mapping[str, Any]) -> date | datetime:
    """Return the date or datetime that LangChain writes as ``{"type": "date", "date": …}``."""
    if isinstance(value, date):
        return value
    read = {"date": date.fromisoformat, "datetime": datetime.fromisoformat}[value["type"]]
    return read(value[value["type"]].upper())  # z stands for Z
