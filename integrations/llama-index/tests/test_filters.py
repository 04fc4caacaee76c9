"""Metadata filters mean what LlamaIndex says they mean, and are applied before the best are taken."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn
from llama_index.retrievers.ragatouille_xm import RagatouilleXMRetriever
from llama_index.retrievers.ragatouille_xm.filters import compile_filters

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.corpus.filters import matches, parse_filter
from ragatouille_xm.errors import FilterError
from ragatouille_xm.types import Passage

YEARS = [2019, 2020, 2020.5, -1]
CITIES = ["Paris", "東京", "paris", "$and"]
TAGS = ["a", "b", "c"]

metadatas = st.fixed_dictionaries(
    {},
    optional={
        "year": st.none() | st.sampled_from(YEARS),
        "city.name": st.none() | st.just("") | st.sampled_from(CITIES),
        "tags": st.none() | st.lists(st.sampled_from(TAGS), unique=True),
    },
)
some = {"max_size": 3, "unique": True}


def one(key: str, operators: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[MetadataFilter]:
    chosen = st.sampled_from([FilterOperator[name] for name in operators.split()])
    return st.builds(MetadataFilter, key=st.just(key), operator=chosen, value=values)


leaves = st.one_of(
    one("year", "EQ NE GT GTE LT LTE", st.sampled_from(YEARS)),
    one("year", "IN NIN", st.lists(st.sampled_from(YEARS), **some)),
    one("city.name", "EQ NE", st.sampled_from(CITIES)),
    one("city.name", "IN NIN", st.lists(st.sampled_from(CITIES), **some)),
    one("tags", "CONTAINS", st.sampled_from(TAGS)),
    one("tags", "ANY", st.lists(st.sampled_from(TAGS), **some)),
    one("tags", "ALL", st.lists(st.sampled_from(TAGS), min_size=1, **some)),
    *(one(key, "IS_EMPTY", st.none()) for key in ("year", "city.name", "tags")),
)


def several(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[MetadataFilters]:
    conditions = st.sampled_from([None, *FilterCondition])
    return st.builds(MetadataFilters, filters=st.lists(parts, min_size=1, max_size=3), condition=conditions)


trees = several(st.recursive(leaves, several, max_leaves=6))


def holds(filter: MetadataFilter | MetadataFilters, metadata: dict[str, Any]) -> bool:
    """Evaluate a filter as LlamaIndex documents it, on metadata of the types that it documents."""
    if isinstance(filter, MetadataFilters):
        found = [holds(each, metadata) for each in filter.filters]
        if filter.condition == FilterCondition.OR:
            return any(found)
        return not any(found) if filter.condition == FilterCondition.NOT else all(found)
    operator, wanted, value = filter.operator, filter.value, metadata.get(filter.key)
    if operator == FilterOperator.IS_EMPTY:
        return value in (None, "", [])
    if value is None:
        return operator in (FilterOperator.NE, FilterOperator.NIN)
    return {
        "EQ": lambda: value == wanted,
        "NE": lambda: value != wanted,
        "GT": lambda: value > wanted,
        "GTE": lambda: value >= wanted,
        "LT": lambda: value < wanted,
        "LTE": lambda: value <= wanted,
        "IN": lambda: value in wanted,
        "NIN": lambda: value not in wanted,
        "CONTAINS": lambda: wanted in value,
        "ANY": lambda: any(each in value for each in wanted),
        "ALL": lambda: all(each in value for each in wanted),
    }[operator.name]()


def admits(filters: MetadataFilters, metadata: dict[str, Any]) -> bool:
    return matches(parse_filter(compile_filters(filters)), Passage(0, "a", "…", "fr", metadata))


@settings(max_examples=300)
@given(trees, metadatas)
def test_a_tree_of_filters_means_what_llama_index_says(filters: MetadataFilters, metadata: dict[str, Any]) -> None:
    assert admits(filters, metadata) == holds(filters, metadata)


@pytest.mark.skipif(version("llama-index-core").startswith("0.13"), reason="!= and nin of a missing key changed after")
@settings(max_examples=200)
@given(several(leaves), metadatas)
def test_flat_filters_do_what_llama_indexs_own_function_does(
    filters: MetadataFilters, metadata: dict[str, Any]
) -> None:
    assert admits(filters, metadata) == build_metadata_filter_fn(lambda _: metadata, filters)("any")


@pytest.fixture
def filled(empty: RAGPretrainedModel) -> tuple[RAGPretrainedModel, dict[str, dict[str, Any]]]:
    years, cities, tags = [None, *YEARS], [None, "", *CITIES], [None, [], ["a"], ["a", "b"]]
    rows = {f"d{i}": {"year": years[i % 5], "city.name": cities[i % 6], "tags": tags[i % 4]} for i in range(40)}
    rows |= {"bare": {}, "year": {"year": 2020}}
    empty.index([f"The book of {each}." for each in rows], list(rows), list(rows.values()), index_name="filled")
    return empty, rows


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees)
def test_a_search_returns_what_the_filters_admit(
    filled: tuple[RAGPretrainedModel, dict[str, dict[str, Any]]], filters: MetadataFilters
) -> None:
    model, rows = filled
    expected = {each for each, metadata in rows.items() if holds(filters, metadata)}
    found = RagatouilleXMRetriever(model, similarity_top_k=len(rows), filters=filters).retrieve("book")
    assert {node.node.ref_doc_id for node in found} == expected
    first = RagatouilleXMRetriever(model, similarity_top_k=3, filters=filters).retrieve("book")
    assert len(first) == min(3, len(expected))  # before top-k, not after


def test_keys_are_the_users_metadata_unless_they_say_otherwise(rag: RAGPretrainedModel) -> None:
    metadatas = [{"language": "français", "document_id": "x"}, {"$or": 1}]
    rag.index(["The book."] * 2, ["a", "b"], metadatas, index_name="own", languages="en")

    def found(key: str, value: Any, operator: FilterOperator = FilterOperator.EQ) -> list[str]:
        filters = MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])
        return sorted(node.node.ref_doc_id for node in RagatouilleXMRetriever(rag, filters=filters).retrieve("book"))

    def mapped(filters: dict[str, Any]) -> list[str]:
        return sorted(node.node.ref_doc_id for node in RagatouilleXMRetriever(rag, filters=filters).retrieve("book"))

    assert found("language", "français") == found("metadata.language", "français") == ["a"]
    assert found("language", "en") == []
    assert found("passage.language", "en") == found("passage.language", "en-GB") == ["a", "b"]
    assert found("document_id", ["x", "b"], FilterOperator.IN) == ["a"]
    assert found("passage.document_id", ["x", "b"], FilterOperator.IN) == ["b"]
    assert found("$or", 1) == ["b"]
    assert mapped({"language": "français", "document_id": "x"}) == ["a"]
    assert mapped({"$not": {"language": "français"}, "passage.language": "en"}) == ["b"]


def test_no_filters_admit_everything() -> None:
    assert compile_filters(None) is None
    assert compile_filters({}) is None
    for condition in (None, *FilterCondition):
        assert compile_filters(MetadataFilters(filters=[], condition=condition)) is None


def test_a_comparison_takes_dates() -> None:
    filters = MetadataFilters(filters=[MetadataFilter(key="day", value="2024-05-01", operator=FilterOperator.GTE)])
    assert admits(filters, {"day": "2024-05-01T12:00:00"})
    assert not admits(filters, {"day": "2024-04-30"})


@pytest.mark.parametrize(
    ("operator", "value", "sentence"),
    [
        ("TEXT_MATCH", "a", "FilterOperator.TEXT_MATCH on 'key' has no exact counterpart .* node postprocessor"),
        ("TEXT_MATCH_INSENSITIVE", "a", "FilterOperator.TEXT_MATCH_INSENSITIVE on 'key' has no exact counterpart"),
        ("EQ", ["a"], "FilterOperator.EQ on 'key' takes one value, .* use FilterOperator.IN, ANY or ALL"),
        ("EQ", None, "FilterOperator.EQ on 'key' takes a value, not None. Use FilterOperator.IS_EMPTY"),
        ("CONTAINS", None, "FilterOperator.CONTAINS on 'key' takes a value"),
        ("IN", "abc", "FilterOperator.IN on 'key' takes a list of values, not 'abc'"),
        ("ANY", 3, "FilterOperator.ANY on 'key' takes a list of values"),
        ("ALL", [], r"FilterOperator.ALL on 'key' takes a list of values, not \[\]"),
        ("GT", "Paris", "takes a number, a date, a datetime or an ISO 8601 string, not 'Paris'"),
    ],
)
def test_what_cannot_be_expressed_is_refused(operator: str, value: Any, sentence: str) -> None:
    leaf = MetadataFilter(key="key", value=value, operator=FilterOperator[operator])
    with pytest.raises(FilterError, match=sentence) as caught:
        compile_filters(MetadataFilters(filters=[MetadataFilters(filters=[leaf])]))
    assert isinstance(caught.value, ValueError)


def test_an_empty_filter_within_another_is_refused() -> None:
    with pytest.raises(FilterError, match="must not be empty"):
        compile_filters(MetadataFilters(filters=[MetadataFilters(filters=[])]))
