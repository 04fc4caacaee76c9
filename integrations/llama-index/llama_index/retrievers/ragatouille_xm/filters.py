"""LlamaIndex's metadata filters, compiled into filters of ragatouille_xm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from ragatouille_xm.corpus.filters import METADATA_FIRST, rename_fields
from ragatouille_xm.errors import FilterError

Filters = MetadataFilters | Mapping[str, Any] | None

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


def compile_filters(filters: Filters, names: Mapping[str, str] = METADATA_FIRST) -> dict[str, Any] | None:
    """Return `filters` in the syntax of `ragatouille_xm.corpus.filters`; None admits everything.

    Keys are metadata. ``passage.language`` and ``passage.document_id`` are what the index says itself.

    Parameters
    ----------
    filters : MetadataFilters, mapping or None
        A mapping already has that syntax, except for `names`.
    names : mapping of str to str
        Keys that have another name there.

    Raises
    ------
    FilterError
        A `ValueError`: if a filter is invalid, or its exact meaning cannot be expressed.

    Examples
    --------
    >>> from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
    >>> compile_filters(MetadataFilters(filters=[MetadataFilter(key="year", value=2020, operator=">=")]))
    {'$and': [{'year': {'$gte': 2020}}]}
    """
    if filters is not None and not isinstance(filters, (MetadataFilters, Mapping)):
        raise FilterError(f"filters is a {type(filters).__name__}; give MetadataFilters(filters=[MetadataFilter(…)]).")
    return rename_fields(_compile_all(filters) if isinstance(filters, MetadataFilters) else filters, names)


def _compile_all(filters: MetadataFilters) -> dict[str, Any]:
    parts = [
        _compile_all(each) if isinstance(each, MetadataFilters) else _compile_one(each) for each in filters.filters
    ]
    if not parts:
        return {}
    if filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}  # none of them holds
    return {"$or" if filters.condition == FilterCondition.OR else "$and": parts}


def _compile_one(filter: MetadataFilter) -> dict[str, Any]:
    operator = filter.operator
    field = f"metadata.{filter.key}" if filter.key.startswith("$") else filter.key  # not an operator
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
