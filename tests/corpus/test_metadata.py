"""What metadata may hold."""

from __future__ import annotations

import enum
import json
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.corpus.metadata import check_metadata
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


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ([1], "mapping.*list"),
        ("a", "mapping.*str"),
        ({1: 2}, "key 1 .int.*strings"),
        ({"a": {None: 2}}, "'a' has the key None"),
        ({"a": {"b": [0, {1, 2}]}}, r"'a\.b\[1\]'.*set.*list"),
        ({"a": (1, 2)}, "'a'.*tuple.*list"),
        ({"a": datetime(2024, 1, 1)}, r"'a'.*datetime.*isoformat\(\)"),
        ({"a": float("nan")}, "'a'.*nan.*finite"),
        ({"a": float("-inf")}, "finite"),
        ({"a": 2**63}, "'a'.*64 bits"),
        ({"a": b"x"}, "'a'.*bytes"),
        ({"a": np.int64(3)}, r"'a'.*int64.*item\(\)"),
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
