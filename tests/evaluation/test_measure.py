"""Measures against values computed by hand."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.errors import InputError, MissingExtraError
from ragatouille_xm.evaluation.measure import check_measures, mean, measure
from ragatouille_xm.evaluation.significance import compare, holm, paired_test

pytest.importorskip("ir_measures")

QRELS = {"1": {"a": 1, "b": 2, "z": 0}, "2": {"c": 1}, "3": {"a": 1}}
RANKING = {"1": ["z", "b", "x", "a"], "2": [*(f"x{i}" for i in range(10)), "c"], "elsewhere": ["a"]}


def test_values_computed_by_hand() -> None:
    values = measure(RANKING, QRELS, ["MRR@10", "MRR@100", "R@2", "R@100", "nDCG@10"])
    assert values["MRR@10"] == {"1": 1 / 2, "2": 0.0, "3": 0.0}
    assert values["MRR@100"] == pytest.approx({"1": 1 / 2, "2": 1 / 11, "3": 0.0})
    assert values["R@2"] == {"1": 1 / 2, "2": 0.0, "3": 0.0}
    assert values["R@100"] == {"1": 1.0, "2": 1.0, "3": 0.0}
    gain = 2 / math.log2(3) + 1 / math.log2(5)
    assert values["nDCG@10"]["1"] == pytest.approx(gain / (2 / math.log2(2) + 1 / math.log2(3)))


def test_the_order_counts_not_the_ids() -> None:
    for order in (["a", "b"], ["b", "a"]):
        assert measure({"q": order}, {"q": {"a": 1}}, ["MRR@10"])["MRR@10"]["q"] == 1 / (order.index("a") + 1)


def test_a_query_that_found_nothing_counts_as_zero() -> None:
    values = measure({"1": [], "2": ["c"]}, QRELS, ["MRR@10"])["MRR@10"]
    assert values == {"1": 0.0, "2": 1.0, "3": 0.0}
    assert mean(values) == pytest.approx(1 / 3)
    assert measure({}, QRELS, ["R@10"])["R@10"] == {"1": 0.0, "2": 0.0, "3": 0.0}


def test_both_names_of_one_measure() -> None:
    values = measure(RANKING, QRELS, ["MRR@10", "RR@10", "mrr@10"])
    assert values["MRR@10"] == values["RR@10"] == values["mrr@10"]


@pytest.mark.parametrize("name", ["MRR10", "recall", "", "R@", "nDCG@x", "__import__('os')"])
def test_an_unknown_measure(name: str) -> None:
    with pytest.raises(InputError, match="is not a measure"):
        check_measures([name])


def test_without_ir_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[evaluate\]"'):
        check_measures(["MRR@10"])


# Significance


def test_the_test_counts_all_sign_flips() -> None:
    # Four differences of one sign: of the 16 ways to flip them, 2 are as far from 0
    p = paired_test(np.array([0.1, 0.2, 0.3, 0.4]), np.zeros(4), flips=20_000)
    assert p == pytest.approx(2 / 16, abs=0.01)


def test_the_test_agrees_with_exact_enumeration() -> None:
    differences = np.array([0.5, -0.2, 0.1, 0.3, 0.0, -0.1, 0.4, 0.2])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1).T
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    assert paired_test(differences, np.zeros(8), flips=40_000) == pytest.approx(exact, abs=0.01)


def test_the_test_is_seeded() -> None:
    values = np.random.default_rng(0).random((2, 50))
    assert paired_test(*values, seed=1) == paired_test(*values, seed=1)
    assert paired_test(*values, seed=1) != paired_test(*values, seed=2)


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=8))
def test_holm_is_ordered_and_never_smaller(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(c >= p and c <= 1 for c, p in zip(corrected, p_values, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [corrected[i] for i in order] == sorted(corrected)
    assert corrected[order[0]] == min(1.0, len(p_values) * p_values[order[0]])


def test_compare_pairs_queries_by_id() -> None:
    good = {str(i): 1.0 for i in range(30)}
    bad = {str(i): 0.0 for i in reversed(range(30))}
    first, second, third = compare({"good": good, "bad": bad, "same": good})
    assert (first.first, first.second, first.difference, first.significant) == ("good", "bad", 1.0, True)
    assert (second.first, second.second, second.p, second.significant) == ("good", "same", 1.0, False)
    assert third.difference == -1.0
    assert first.corrected == pytest.approx(3 * first.p)
    with pytest.raises(InputError, match="not measured on the same queries: good, fewer"):
        compare({"good": good, "fewer": {"1": 1.0}})
