"""LlamaIndex's metadata filters, compiled into filters of ragatouille_xm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import FilterError

Filters = MetadataFilters | Mapping[str, Any] | None

OWN_FIELDS = {"language": "language", "document_id": "document_id"}

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.ANY: "$in",
    FilterOperator.CONTAINS: "$eq",  # a list matches if an element does
}
_TAKE_LISTS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)


def compile_filters(filters: Filters, fields: Mapping[str, str] = OWN_FIELDS) -> dict[str, Any] | None:
    """Return `filters` in the syntax of `ragatouille_xm.corpus.filters`; None admits everything.

    Parameters
    ----------
    filters : MetadataFilters, mapping or None
        A mapping already has that syntax, except for the names in `fields`.
    fields : mapping of str to str
        Keys that are not metadata, and their names there.

    Raises
    ------
    FilterError
        A `ValueError`: if a filter is invalid, or its exact meaning cannot be expressed.

    Examples
    --------
    >>> from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
    >>> compile_filters(MetadataFilters(filters=[MetadataFilter(key="year", value=2020, operator=">=")]))
    {'$and': [{'metadata.year': {'$gte': 2020}}]}
    """
    if filters is None:
        return None
    if isinstance(filters, MetadataFilters):
        compiled = _compile_all(filters, fields)
    elif isinstance(filters, Mapping):
        parse_filter(filters)
        compiled = _rename_fields(filters, fields)
    else:
        raise FilterError(f"filters is a {type(filters).__name__}; give MetadataFilters(filters=[MetadataFilter(…)]).")
    parse_filter(compiled)
    return compiled or None


def _rename_fields(filters: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a filter in the index's syntax with the index's field names."""
    parts: list[tuple[str, Any]] = []
    for key, value in filters.items():
        if key in ("$and", "$or"):
            value = [_rename_fields(each, fields) for each in value]
        elif key == "$not":
            value = _rename_fields(value, fields)
        parts.append((fields.get(key, key), value))
    if len(dict(parts)) < len(parts):  # two names of one field
        return {"$and": [{key: value} for key, value in parts]}
    return dict(parts)


def _compile_all(filters: MetadataFilters, fields: Mapping[str, str]) -> dict[str, Any]:
    parts = [
        _compile_all(each, fields) if isinstance(each, MetadataFilters) else _compile_one(each, fields)
        for each in filters.filters
    ]
    if not parts:
        return {}
    if filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}  # none of them holds
    return {"$or" if filters.condition == FilterCondition.OR else "$and": parts}


def _compile_one(filter: MetadataFilter, fields: Mapping[str, str]) -> dict[str, Any]:
    key, operator = filter.key, filter.operator
    field = fields.get(key) or (key if key.startswith("metadata.") else f"metadata.{key}")
    if operator == FilterOperator.IS_EMPTY:
        return {field: {"$in": [None, ""]}}  # an empty list counts as missing
    value = _value(filter)
    if operator == FilterOperator.ALL:
        return {"$and": [{field: {"$eq": each}} for each in value]}
    return {field: {_OPERATORS[operator]: value}}


def _value(filter: MetadataFilter) -> Any:
    """Return the value of a filter, if its exact meaning can be expressed."""
    operator, value = filter.operator, filter.value
    what = f"FilterOperator.{operator.name} on {filter.key!r}"
    if operator not in _OPERATORS and operator != FilterOperator.ALL:
        raise FilterError(
            f"{what} has no exact counterpart in the index. Put the words into the query, or filter the "
            "returned nodes with a node postprocessor."
        )
    if operator in _TAKE_LISTS:
        if not isinstance(value, list) or (operator == FilterOperator.ALL and not value):
            raise FilterError(f"{what} takes a list of values, not {value!r}.")
    elif isinstance(value, list):
        raise FilterError(f"{what} takes one value, not {value!r}: use FilterOperator.IN, ANY or ALL.")
    elif value is None:
        raise FilterError(
            f"{what} takes a value, not None. Use FilterOperator.IS_EMPTY, within FilterCondition.NOT for its opposite."
        )
    return value
