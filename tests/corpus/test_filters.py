"""What a filter means: a table of cases worked out by hand, laws that hold for all filters, and what is refused."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.corpus.filters import METADATA_FIRST, And, Compare, Not, Or, matches, parse_filter, rename_fields
from ragatouille_xm.corpus.metadata import equality_key
from ragatouille_xm.errors import FilterError, InputError
from ragatouille_xm.types import Passage


def admits(filter, metadata, language="fr", document_id="d1"):
    return matches(parse_filter(filter), Passage(0, document_id, "text", language, metadata))


class Colour(str, enum.Enum):  # noqa: UP042 - as users have it
    RED = "red"


BIG = 2**53
STARTED = ["2024-03-01", "2024-03-01T00:00:00Z", "2024-02-29T23:30:00-01:00", ["x", "2025-01-01"]]
NOT_STARTED = [
    "2024-02-29",
    "2024-02-30",
    "2024-03-01T00:30:00+01:00",
    "2024",
    "in 2024-05-01",
    1e18,
    None,
    "2024-13-01",
]
SAME_MOMENT = ["2024-03-01", "2024-03-01T00:00:00Z", "2024-02-29T23:00:00-01:00", ["x", "2024-03-01 00:00"]]
OTHER_MOMENTS = ["2024-03-01T00:00:00.000001Z", "2024-02-29", "2024", "x", 0, None, [], ["2024-02-29", "2024-03-02"]]
CASES = [  # condition on "v", then values that it admits, then values that it does not
    (1, [1, 1.0, [1, 2], [None, 1.0]], [True, "1", 2, None, [], {}, {"v": 1}, [[1]], [{"v": 1}]]),
    (1.0, [1, 1.0], [True, "1.0"]),
    (0, [0, -0.0, 0.0], [False, None, ""]),
    (True, [True, [False, True]], [1, "True", False, None]),
    (False, [False], [0, None, [], ""]),
    ("a", ["a", ["b", "a"]], ["A", "ab", None, [["a"]], {"a": 1}]),
    ("", [""], [None, [], " "]),
    (BIG + 1, [BIG + 1], [BIG, float(BIG), BIG + 2]),
    (float(2**63), [float(2**63)], [2**63 - 1]),
    (None, [None, [], [None], [1, None]], [0, False, "", {}, [1], [[]], [{}]]),
    (Colour.RED, ["red"], ["RED"]),
    ({"$eq": 1}, [1, [1]], [2, None]),
    ({"$ne": 1}, [2, None, [], [2], True, "1", {}], [1, 1.0, [1, 2]]),
    ({"$ne": None}, [0, [1], {}], [None, [], [1, None]]),
    ({"$in": [1, "a", True]}, [1, "a", True, ["b", "a"]], [2, "b", False, None, "1"]),
    ({"$in": []}, [], [1, None, [], "a"]),
    ({"$in": [None, 3]}, [None, [], 3], [4]),
    ({"$nin": [1, None]}, [2, {}, "1"], [1, None, [], [None, 2]]),
    ({"$nin": []}, [1, None, []], []),
    ({"$gt": 3}, [4, 3.5, [1, 4]], [3, 2, True, "4", None, [], [3]]),
    ({"$gte": 3}, [3, 3.0, 2**63 - 1], [2.9, None]),
    ({"$lt": 3}, [2, -(2**63), False + 0.0], [3, True, False, None, "2"]),
    ({"$lte": 3}, [3], [3.1]),
    ({"$gt": 1, "$lt": 3}, [2, [0, 4]], [1, 3, [0, 0.5]]),
    ({"$not": {"$gt": 3}}, [3, None, "x", []], [4, [1, 4]]),
    ({"$not": {"$gt": 1, "$lt": 3}}, [1, 3, None], [2]),
    ({"$not": {"$not": {"$eq": 1}}}, [1], [2, None]),
    ({"$gte": date(2024, 3, 1)}, STARTED, NOT_STARTED),
    ({"$gte": "2024-03-01"}, STARTED, NOT_STARTED),
    ({"$gte": "2024-02-29T22:00-02:00"}, STARTED, NOT_STARTED),
    ({"$lt": datetime(2024, 3, 1, 12, 0, 0, 1)}, ["2024-03-01 12:00", "2024-03-01T12:00:00.0Z", "1200-01-01"],
     ["2024-03-01T12:00:00.000001", "2024-03-01T12:00:00.1", -1, "2024-03-01T24:00"]),
    ({"$lte": datetime(2024, 3, 1, tzinfo=timezone(timedelta(hours=2)))}, ["2024-02-29T22:00:00Z"], ["2024-03-01"]),
    # A date or a datetime equals what holds the same moment; a string equals a string.
    (date(2024, 3, 1), SAME_MOMENT, OTHER_MOMENTS),
    (datetime(2024, 3, 1), SAME_MOMENT, OTHER_MOMENTS),
    (pd.Timestamp("2024-03-01T01:00+01:00"), SAME_MOMENT, OTHER_MOMENTS),
    (np.datetime64("2024-03-01"), SAME_MOMENT, OTHER_MOMENTS),
    ({"$in": [1, date(2024, 3, 1)]}, [1, *SAME_MOMENT], OTHER_MOMENTS),
    ({"$in": [None, date(2024, 3, 1)]}, [None, *SAME_MOMENT], ["2024-03-02", 1]),
    ({"$ne": date(2024, 3, 1)}, OTHER_MOMENTS, SAME_MOMENT),
    ({"$nin": [1, date(2024, 3, 1)]}, OTHER_MOMENTS, [1, *SAME_MOMENT]),
    ("2024-03-01", ["2024-03-01"], ["2024-03-01T00:00:00Z"]),
    # What NumPy, pandas and the standard library have.
    (np.int64(1), [1, 1.0], [True, "1"]),
    (np.bool_(True), [True], [1]),
    (np.str_("a"), ["a"], ["A"]),
    (np.float32(0.5), [0.5], [0]),
    (Decimal("19.90"), [19.9], [19]),
    (UUID(int=1), ["00000000-0000-0000-0000-000000000001"], [1]),
    ({"$gt": np.int64(3)}, [4], [3]),
    ({"$gte": pd.Timestamp("2024-03-01")}, STARTED, NOT_STARTED),
    ({"$lt": Decimal("2.5")}, [2], [3]),
    ({"$in": np.array([1, 2])}, [1, 2.0], [3]),
    ({"$in": pd.Series(["a", "b"])}, ["a"], ["c"]),
    ({"$in": range(2)}, [0, 1], [2, False]),
    ({"$in": {"a": 1}.keys()}, ["a"], ["b"]),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "admitted", "refused"), CASES, ids=[repr(c) for c, _, _ in CASES])
def test_what_a_condition_admits(condition, admitted, refused):
    for value in admitted:
        assert admits({"v": condition}, {"v": value}), value
    for value in refused:
        assert not admits({"v": condition}, {"v": value}), value


@pytest.mark.parametrize(
    ("condition", "admitted"),
    [(1, False), (None, True), ({"$in": [None]}, True), ({"$in": [1]}, False), ({"$ne": 1}, True),
     ({"$ne": None}, False), ({"$nin": [1]}, True),
     ({"$gt": -1e300}, False), ({"$lt": 1e300}, False), ({"$not": {"$gt": 0}}, True)],
)  # fmt: skip
def test_a_missing_field(condition, admitted):
    for metadata in (None, {}, {"other": 1}):
        assert admits({"v": condition}, metadata) is admitted


def test_fields_reach_into_objects_and_past_the_reserved_names():
    metadata = {
        "a": {"b": {"c": 1}, "d": [1, 2]},
        "x.y": 3,
        "x": {"y": 4},
        "language": "klingon",
        "metadata": {"k": 5},
        "": 6,
    }
    assert admits({"a.b.c": 1, "a.d": 2, "": 6}, metadata)
    assert admits({"x.y": 3}, metadata)
    assert admits({"x.y": 4}, metadata)
    assert not admits({"a.b": 1}, metadata)
    assert admits({"a.b": {"$ne": None}}, metadata)
    assert admits({"language": "fr", "document_id": "d1"}, metadata)
    assert not admits({"language": "klingon"}, metadata)
    assert admits({"metadata.language": "klingon", "metadata.a.b.c": 1, "metadata.metadata.k": 5}, metadata)
    assert not admits({"b": 1}, {"a": [{"b": 1}], "c": {"b": 1}})


def test_fields_reach_into_lists_of_objects():
    metadata = {
        "authors": [{"name": "Ada", "born": {"year": 1815}, "tags": ["x", "y"]}, {"name": "Bo", "age": None}, "Cy", 7],
        "empty": [{}],
        "deep": [[{"name": "Ada"}]],
    }
    assert admits({"authors.name": "Bo", "metadata.authors.name": "Ada"}, metadata)
    assert admits({"authors.name": {"$in": ["Bo", "Di"]}, "authors.born.year": {"$lt": 1900}}, metadata)
    assert admits({"authors.tags": "y", "authors": "Cy"}, metadata)
    assert admits({"authors": 7}, metadata)
    assert admits({"authors.age": None, "authors.height": None, "empty.name": None}, metadata)
    assert not admits({"authors.name": "Cy"}, metadata)
    assert not admits({"authors.name": {"$ne": "Ada"}}, metadata)
    assert not admits({"authors.name": None}, metadata)
    assert not admits({"deep.name": "Ada"}, metadata)
    assert admits({"authors.name": "Ada", "authors.age": None}, metadata)  # not of one object


def test_the_passages_own_fields_have_a_spelling_that_no_metadata_key_shares():
    metadata = {"language": "klingon", "document_id": "mine", "passage": {"language": "x", "year": 1}}
    for field in ("language", "passage.language"):
        assert admits({field: "fr"}, metadata)
        assert not admits({field: "klingon"}, metadata)
    assert admits({"passage.document_id": {"$in": ["d1"]}, "metadata.document_id": "mine"}, metadata)
    assert admits({"passage.year": 1, "metadata.passage.language": "x"}, metadata)
    assert not admits({"passage.language": "x"}, metadata)
    assert parse_filter({"passage.language": "fr"}) == Compare("language", "$eq", "fr")


def test_bare_names_may_mean_metadata_first():
    metadata = {"language": "klingon", "document_id": "mine", "year": 1}

    def mine(filter):
        return admits(rename_fields(filter, METADATA_FIRST), metadata)

    assert mine({"language": "klingon", "document_id": "mine", "year": 1})
    assert not mine({"language": "fr"})
    assert mine({"passage.language": "fr", "passage.document_id": {"$ne": "mine"}})
    assert mine({"$and": [{"$not": {"language": "fr"}}, {"$or": [{"document_id": "d1"}, {"language": "klingon"}]}]})
    assert mine({"language": {"$not": {"$in": ["fr"]}}})
    assert rename_fields(None, METADATA_FIRST) is rename_fields({}, METADATA_FIRST) is None
    assert rename_fields({"a": 1, "b": 2}, {"a": "c", "b": "c"}) == {"$and": [{"c": 1}, {"c": 2}]}
    with pytest.raises(FilterError, match="nested filter must not be empty"):
        rename_fields({"$not": {}}, METADATA_FIRST)
    with pytest.raises(FilterError, match="must be a mapping"):
        rename_fields("language", METADATA_FIRST)


def test_several_fields_and_connectives():
    both = {
        "year": {"$gte": 2020},
        "language": "fr",
        "$or": [{"tag": "a"}, {"tag": "b", "n": 1}],
        "$not": {"draft": True},
    }
    assert admits(both, {"year": 2020, "tag": "a"})
    assert admits(both, {"year": 2020, "tag": "b", "n": 1, "draft": False})
    assert not admits(both, {"year": 2020, "tag": "b"})
    assert not admits(both, {"year": 2020, "tag": "a", "draft": True})
    assert not admits(both, {"year": 2019, "tag": "a"})
    assert not admits(both, {"year": 2020, "tag": "a"}, language="de")
    assert admits({"$and": [{"n": 1}, {"m": 2}]}, {"n": 1, "m": 2})
    assert not admits({"$and": [{"n": 1}, {"m": 2}]}, {"n": 1})


def test_none_and_the_empty_filter_admit_everything():
    assert parse_filter(None) is None
    assert parse_filter({}) is None
    assert admits({}, None)


def test_the_tree_has_few_forms():
    assert parse_filter({"a": {"$nin": [1]}}) == Not(Compare("metadata.a", "$in", (1,)))
    assert parse_filter({"$or": [{"language": "fr"}, {"b": True}]}) == Or(
        (Compare("language", "$eq", "fr"), Compare("metadata.b", "$eq", True))
    )
    assert parse_filter({"a": 1, "b": {"$gt": 1, "$lt": 2}}) == And(
        (Compare("metadata.a", "$eq", 1), Compare("metadata.b", "$gt", 1), Compare("metadata.b", "$lt", 2))
    )
    naive = parse_filter({"a": {"$gt": datetime(2024, 1, 1)}})
    assert naive == Compare("metadata.a", "$gt", datetime(2024, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ([{"a": 1}], "mapping"),
        ("a = 1", "mapping"),
        ({1: 2}, "field name.*1"),
        ({"\ud800": 1}, "field name"),
        ({"a": {"$regex": "x"}}, r"\$regex.*'a'.*\$gte"),
        ({"a": {"b": 1}}, "dots"),
        ({"a": {}}, "'a' is empty"),
        ({"a": {2: 1}}, "Unknown operator 2"),
        ({"$nor": [{"a": 1}]}, r"\$nor.*\$and, \$or or \$not"),
        ({"$gt": 3}, "after a field"),
        ({"$and": []}, r"\$and takes a list"),
        ({"$or": {"a": 1}}, r"\$or takes a list"),
        ({"$or": [{}]}, "must not be empty"),
        ({"$or": [3]}, "mapping"),
        ({"$not": {}}, "must not be empty"),
        ({"$not": [{"a": 1}]}, "mapping"),
        ({"a": {"$not": 3}}, r"\$not.*'a'.*\$ne"),
        ({"a": {"$not": {}}}, "empty"),
        ({"a": [1, 2]}, r"'a'.*use \$in"),
        ({"a": {"$eq": (1,)}}, r"use \$in"),
        ({"a": {"$in": 3}}, r"\$in.*'a'.*list"),
        ({"a": {"$in": "abc"}}, r"\$in.*'a'.*list"),
        ({"a": {"$in": [1, {"b": 1}]}}, r"\$in on 'a'.*dict"),
        ({"a": {"$in": [[1]]}}, r"\$in on 'a'"),
        ({"a": {"$gt": "2020"}}, r"\$gt on 'a'.*'2020'.*str"),
        ({"a": {"$lt": True}}, r"\$lt on 'a'.*True"),
        ({"a": {"$lte": None}}, r"\$lte on 'a'.*None"),
        ({"a": {"$gte": [1]}}, r"\$gte on 'a'"),
        ({"a": float("nan")}, "finite.*nan"),
        ({"a": {"$gt": float("inf")}}, "finite.*inf"),
        ({"a": {"$in": [2**63]}}, "64 bits"),
        ({"a": -(2**63) - 1}, "64 bits"),
        ({"a": pd.NA}, "finite.*None stands for a missing value"),
        ({"a": {"$in": [1, np.float32("nan")]}}, "finite.*None stands for a missing value"),
        ({"a": {"$gt": pd.NaT}}, "finite.*None stands for a missing value"),
        ({"a": np.array([1, 2])}, r"'a'.*use \$in"),
        ({"a": {"$in": iter([1])}}, r"\$in.*'a'.*list"),
        ({"a": {"$in": np.int64(1)}}, r"\$in.*'a'.*list"),
        ({"a": {"$in": {"b": 1}}}, r"\$in.*'a'.*list"),
        ({"a": {"$gt": UUID(int=1)}}, r"\$gt on 'a'.*UUID"),
        ({"a": timedelta(1)}, "timedelta"),
        ({"a": b"x"}, "bytes"),
        ({"a": {"$in": b"x"}}, "bytes"),
        ({"a": "\ud800"}, "lone surrogate"),
    ],
)
def test_what_is_refused(filter, says):
    with pytest.raises(FilterError, match=f"(?s){says}"):
        parse_filter(filter)


def test_deep_nesting_is_refused_and_not_a_crash():
    tree, field = {"a": 1}, {"$gt": 1}
    for _ in range(5000):
        tree, field = {"$not": tree}, {"$not": field}
    for deep in (tree, {"a": field}):
        with pytest.raises(FilterError, match="deeper"):
            parse_filter(deep)


def test_a_long_value_is_shortened_in_the_message():
    with pytest.raises(InputError) as caught:
        parse_filter({"a": ["x" * 10_000]})
    assert len(str(caught.value)) < 300


scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5, -2.0]) | st.sampled_from("ab")
)
values = scalars | st.lists(scalars, max_size=3)
metadatas = st.dictionaries(st.sampled_from("ab"), values | st.dictionaries(st.sampled_from("ab"), values, max_size=2))
fields = st.sampled_from(["a", "b", "a.a", "a.b"])


@given(metadatas, fields, scalars, st.lists(scalars, max_size=3), st.integers(-3, 3))
def test_negations_are_exact_and_operators_agree(metadata, field, value, several, bound):
    def holds(condition):
        return admits({field: condition}, metadata)

    assert holds({"$ne": value}) is not holds({"$eq": value}) is not holds({"$not": {"$eq": value}})
    assert holds({"$nin": several}) is not holds({"$in": several})
    assert holds({"$in": several}) is any(map(holds, several))
    assert admits({"$not": {field: value}}, metadata) is holds({"$ne": value})
    assert holds({"$gte": bound}) is (holds({"$gt": bound}) or holds(bound))
    assert holds({"$lte": bound}) is (holds({"$lt": bound}) or holds(bound))


@given(metadatas, fields, scalars, fields, scalars)
def test_de_morgan(metadata, field, value, other, second):
    a, b = {field: value}, {other: second}
    assert admits({"$not": {"$or": [a, b]}}, metadata) is admits({"$and": [{"$not": a}, {"$not": b}]}, metadata)
    assert admits({"$not": {"$and": [a, b]}}, metadata) is admits({"$or": [{"$not": a}, {"$not": b}]}, metadata)


any_scalar = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()


@given(any_scalar, any_scalar)
def test_equality_keys_agree_with_python_except_for_booleans(one, other):
    alike = one == other and isinstance(one, bool) is isinstance(other, bool)
    assert (equality_key(one) == equality_key(other)) is alike
