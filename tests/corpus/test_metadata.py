"""What metadata may hold."""

from __future__ import annotations

import enum
import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.corpus.metadata import check_metadata, instant
from ragatouille_xm.errors import InputError

text = st.text(st.characters(codec="utf-8"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)


@given(st.dictionaries(text, json_values))
def test_json_values_pass_unchanged_as_a_copy(metadata):
    checked = check_metadata(metadata)
    assert json.dumps(checked) == json.dumps(metadata)  # types too: 1 is not 1.0
    checked["new"] = 1
    assert check_metadata(metadata) != checked or metadata.get("new") == 1


def test_nothing_is_shared_with_what_was_given():
    given_ = {"a": {"b": [1]}}
    checked = check_metadata(given_)
    given_["a"]["b"].append(2)
    assert checked == {"a": {"b": [1]}}


def test_none_is_empty():
    assert check_metadata(None) == {}


def test_subclasses_become_plain():
    class Size(int, enum.Enum):
        BIG = 3

    class Colour(str, enum.Enum):  # noqa: UP042 - as users have it
        RED = "red"

    checked = check_metadata({"size": Size.BIG, Colour.RED: Colour.RED, "real": np.float64(0.5)})
    assert checked == {"size": 3, "red": "red", "real": 0.5}
    assert {type(value) for value in checked.values()} == {int, str, float}
    assert {type(key) for key in checked} == {str}


class Kind(enum.Enum):
    NEWS = "news"
    PAIR = (1, 2)


BERLIN = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (torch.tensor(3), 3),
        (pd.Series([3], dtype="Int64")[0], 3),
        (pd.Series([True], dtype="boolean")[0], True),
        (pd.Series(["a"], dtype="string")[0], "a"),
        (pd.Series(["a"], dtype="category")[0], "a"),
        (float("nan"), None),
        (np.float32("nan"), None),
        (np.datetime64("NaT"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (Decimal("NaN"), None),
        (date(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 9, 30), "2024-05-01T09:30:00"),
        (datetime(2024, 5, 1, 9, 30, 0, 5, BERLIN), "2024-05-01T09:30:00.000005+02:00"),
        (datetime(2024, 5, 1, tzinfo=timezone(timedelta(seconds=3208))), "2024-04-30T23:06:32+00:00"),
        (pd.Timestamp("2024-05-01T09:30:00.123456789", tz="UTC"), "2024-05-01T09:30:00.123456+00:00"),
        (np.datetime64("2024-05-01"), "2024-05-01"),
        (np.datetime64("2024-05-01T09:30:00.123456789"), "2024-05-01T09:30:00.123456"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ((1, (2, None)), [1, [2, None]]),
        (Kind.NEWS, "news"),
        (Kind.PAIR, [1, 2]),
        (Decimal("19.90"), 19.9),
        (Decimal("5.00"), 5.0),
        (Decimal(5), 5),
        (
            {"inner": [{"when": date(2024, 5, 1), "rating": np.nan}]},
            {"inner": [{"when": "2024-05-01", "rating": None}]},
        ),
    ],
)
def test_other_values_are_stored_in_one_plain_form(value, stored):
    checked = check_metadata({"a": value})["a"]
    assert json.dumps(checked) == json.dumps(stored)  # types too
    assert json.loads(json.dumps(checked)) == checked
    assert check_metadata({"a": checked}) == {"a": checked}


def test_stored_moments_are_moments_for_filters():
    for moment in (
        datetime(2024, 5, 1, 9, 30, 0, 5, BERLIN),
        datetime(2024, 5, 1, tzinfo=timezone(timedelta(seconds=3208))),
        date(2024, 5, 1),
    ):
        assert instant(check_metadata({"a": moment})["a"]) == instant(moment)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ([1], "mapping.*list"),
        ("a", "mapping.*str"),
        ({1: 2}, "key 1 .int.*strings"),
        ({"a": {None: 2}}, "'a' has the key None"),
        ({"a": {"b": [0, {1, 2}]}}, r"'a\.b\[1\]'.*set.*list"),
        (pd.Series([1]), r"mapping.*to_dict\(\).*Series"),
        ({"a": datetime(1, 1, 1, tzinfo=timezone(timedelta(seconds=561)))}, "'a': .* before the year 1 in UTC"),
        ({"a": float("-inf")}, "finite"),
        ({"a": np.float32("inf")}, "finite"),
        ({"a": Decimal("Infinity")}, "finite"),
        ({"a": 2**63}, "'a'.*64 bits"),
        ({"a": np.uint64(2**63)}, "'a'.*64 bits"),
        ({"a": Decimal(2**63)}, "'a'.*64 bits"),
        ({"a": Decimal("1e1000000000")}, "'a'.*digits.*string"),
        ({"a": Decimal("0.12345678901234567890")}, "'a'.*digits.*string"),
        ({"a": b"x"}, r"'a'.*bytes.*decode\(\)"),
        ({"a": np.bytes_(b"x")}, r"'a'.*bytes.*decode\(\)"),
        ({"a": frozenset("x")}, "'a'.*frozenset.*no order.*list"),
        ({"a": timedelta(1)}, r"'a'.*timedelta.*total_seconds\(\)"),
        ({"a": pd.Timedelta(1, "s")}, r"'a'.*Timedelta.*total_seconds\(\)"),
        ({"a": np.timedelta64(5, "ns")}, "'a'.*timedelta64"),
        ({"a": time(9, 30)}, r"'a'.*time.*isoformat\(\)"),
        ({"a": np.zeros(3)}, r"'a'.*ndarray.*tolist\(\)"),
        ({"a": pd.Series([1])}, r"'a'.*Series.*tolist\(\)"),
        ({"a": 1j}, "'a'.*complex"),
        ({"a": object()}, "'a'.*object"),
        ({"a": "x\ud800"}, "'a'.*lone surrogate"),
        ({"\udfff": 1}, "key.*Unicode"),
    ],
)
def test_what_is_refused(metadata, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        check_metadata(metadata)


def test_deep_and_endless_nesting_is_refused():
    endless = {}
    endless["self"] = endless
    with pytest.raises(InputError, match="deeper"):
        check_metadata(endless)
