"""Shares and curves: what relevance is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.relevance import DEFAULT, Curve, Gauge, index_gauge
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import Calibration, Passage, TokenVectors

DIM = 16
seeds = st.integers(0, 2**32 - 1)


def vectors(source: torch.Generator, *shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, DIM, generator=source), dim=-1)


def background(source: torch.Generator, passages: int = 20) -> TokenVectors:
    lengths = torch.randint(1, 9, (passages,), generator=source)
    return TokenVectors(vectors(source, int(lengths.sum())), lengths)


@given(seeds, st.integers(1, 40), st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=20))
def test_relevance_is_a_probability_that_grows_with_the_score(seed, rows, scores):
    source = torch.Generator().manual_seed(seed)
    gauge, query = Gauge(background(source), DEFAULT), vectors(source, rows)
    scores = sorted(scores)
    found = gauge.relevance(query, scores)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()


@given(seeds, st.integers(1, 40), st.integers(0, 5))
def test_rows_of_zeros_change_nothing(seed, rows, padding):
    source = torch.Generator().manual_seed(seed)
    gauge, query = Gauge(background(source), DEFAULT), vectors(source, rows)
    padded = torch.cat([query, torch.zeros(padding, DIM)])
    assert gauge.relevance(padded, [rows / 2]).tolist() == gauge.relevance(query, [rows / 2]).tolist()


@given(seeds, st.integers(1, 40))
def test_chance_is_the_mean_score_of_the_background(seed, rows):
    source = torch.Generator().manual_seed(seed)
    passages, query = background(source), vectors(source, rows)
    expected = float(maxsim(query[None], passages.vectors, passages.lengths).mean())
    assert Gauge(passages, DEFAULT).chance(query) == pytest.approx(expected, abs=0.02 * rows)


def test_shares_of_chance_and_of_a_perfect_match():
    source = torch.Generator().manual_seed(0)
    gauge, query = Gauge(background(source), DEFAULT), vectors(source, 12)
    assert gauge.shares(query, [gauge.chance(query), 12.0]).tolist() == pytest.approx([0, 1])


def test_a_query_of_nothing_or_that_everything_matches():
    gauge = Gauge(TokenVectors(torch.eye(DIM)[[0, 0]], torch.tensor([1, 1])), DEFAULT)
    for query in (torch.zeros(3, DIM), torch.empty(0, DIM), torch.eye(DIM)[[0, 0, 0]]):
        assert np.isfinite(gauge.relevance(query, [0.0, 3.0])).all()


@pytest.mark.parametrize("true", [Curve(8.0, 0.5), Curve(20.0, 0.4), Curve(5.0, 0.8)])
def test_a_curve_is_found_again(true):
    random = np.random.default_rng(0)
    shares = random.uniform(0, 1, 5000)
    found = Curve.fit(shares, random.uniform(size=5000) < true(shares))
    at = np.linspace(0.2, 0.9, 8)
    assert np.abs(found(at) - true(at)).max() < 0.05


def test_a_few_queries_do_not_bend_the_curve_much():
    shares = np.array([0.3, 0.5])
    assert np.abs(Curve.fit(shares, np.array([True, False]))(shares) - DEFAULT(shares)).max() < 0.25


def test_where_answers_score_less_the_curve_is_the_default():
    shares = np.linspace(0, 1, 400)
    assert Curve.fit(shares, shares < 0.5) == DEFAULT


@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), max_size=50))
def test_more_is_never_less(hits):
    curve = Curve.fit(np.array([share for share, _ in hits]), np.array([answer for _, answer in hits], np.bool_))
    assert (np.diff(curve(np.linspace(-2, 2, 50))) >= 0).all()


def test_deleted_passages_leave_the_background():
    source = torch.Generator().manual_seed(0)
    passages = background(source, 10)
    index = ExactIndex(DIM)
    index.add([Passage(i, f"d{i}", "text", "en") for i in range(10)], passages)
    calibration = Calibration(10, tuple(range(6)), 9.0, 0.5)
    index.delete(["d1", "d4"])
    gauge = index_gauge(index, calibration)
    assert gauge is not None
    left = index.vectors([0, 2, 3, 5])
    query = vectors(source, 8)
    assert gauge.chance(query) == Gauge(left, DEFAULT).chance(query)
    assert gauge.curve == Curve(9.0, 0.5)
    index.delete([f"d{i}" for i in range(6)])
    assert index_gauge(index, calibration) is None
