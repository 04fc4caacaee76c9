"""MaxSim against loops over rows, and the best of many scores against sorting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragatouille_xm.scoring import maxsim, top_k


def by_loops(queries, vectors, lengths):
    """Follow the definition: for each query row the best row of the passage, added up, in double precision."""
    passages = vectors.double().split(lengths.tolist())
    return torch.tensor(
        [[sum(max(float(q @ d) for d in p) for q in query) for p in passages] for query in queries.double()]
    )


def unit(generator, *shape):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(0, 2**16),
)
def test_maxsim_follows_the_definition_whatever_the_block(lengths, count, rows, block, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    vectors, queries = unit(generator, int(lengths.sum()), 8), unit(generator, count, rows, 8)
    queries[:, rows // 2 + 1 :] = 0
    scores = maxsim(queries, vectors, lengths, block=block)
    assert scores.dtype == torch.float32
    assert scores.shape == (count, len(lengths))
    torch.testing.assert_close(scores, by_loops(queries, vectors, lengths), atol=1e-5, rtol=0)


def test_rows_of_zeros_add_nothing_even_where_all_similarities_are_negative():
    vectors, lengths = torch.tensor([[-1.0, 0.0], [-0.5, 0.0]]), torch.tensor([2])
    assert maxsim(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), vectors, lengths).tolist() == [[-0.5]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_vectors_are_summed_in_float32(dtype):
    generator = torch.Generator().manual_seed(0)
    vectors, queries, lengths = unit(generator, 40, 128).to(dtype), unit(generator, 2, 32, 128), torch.tensor([10, 30])
    torch.testing.assert_close(
        maxsim(queries, vectors, lengths), by_loops(queries, vectors.float(), lengths), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("starts", [None, [0, 3], [3]])
def test_scales_multiply_the_vectors_and_leave_them_as_they_are(starts):
    generator = torch.Generator().manual_seed(0)
    vectors, scales, queries = unit(generator, 5, 8), torch.rand(5, generator=generator), unit(generator, 2, 3, 8)
    lengths = torch.tensor([2] if starts == [3] else [3, 2])
    before = vectors.clone()
    where = None if starts is None else torch.tensor(starts)
    found = maxsim(queries, vectors, lengths, starts=where, scales=scales)
    chosen = slice(3, 5) if starts == [3] else slice(None)
    torch.testing.assert_close(
        found, by_loops(queries, (before * scales[:, None])[chosen], lengths), atol=1e-5, rtol=0, check_dtype=False
    )
    assert torch.equal(vectors, before)


def test_no_passages_and_no_queries():
    nothing = torch.empty(0, dtype=torch.int64)
    assert maxsim(torch.ones(2, 3, 4), torch.empty(0, 4), nothing).shape == (2, 0)
    assert maxsim(torch.ones(0, 3, 4), torch.ones(5, 4), torch.tensor([2, 3])).shape == (0, 2)
    assert maxsim(torch.ones(1, 0, 4), torch.ones(5, 4), torch.tensor([2, 3])).tolist() == [[0.0, 0.0]]


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0]), min_size=5, max_size=5), min_size=1, max_size=3),
    st.permutations(range(3, 8)),
    st.integers(1, 9),
)
def test_top_k_is_a_sort_by_score_then_pid(scores, pids, k):
    hits = top_k(torch.tensor(scores), torch.tensor(pids), k)
    for row, got_pids, got_scores in zip(scores, hits.pids.tolist(), hits.scores.tolist(), strict=True):
        expected = sorted(zip(row, pids, strict=True), key=lambda pair: (-pair[0], pair[1]))[:k]
        expected += [(-np.inf, -1)] * (k - len(expected))
        assert list(zip(got_scores, got_pids, strict=True)) == expected
    assert hits.pids.dtype == np.int64
    assert hits.scores.dtype == np.float32


def test_top_k_of_many_ties_takes_the_smallest_pids():
    pids = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))
    assert top_k(torch.ones(1, 10_000), pids, 4).pids.tolist() == [[0, 1, 2, 3]]


def test_top_k_of_nothing():
    hits = top_k(torch.empty(2, 0), torch.empty(0, dtype=torch.int64), 3)
    assert hits.pids.tolist() == [[-1] * 3] * 2
    assert np.isneginf(hits.scores).all()
