from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ragatouille_xm.index.local.vectors import CODES, PASSAGES, TokenStore
from ragatouille_xm.index.quantization.query import Query
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import TokenVectors

DIM = 8


def batch(n: int, seed: int = 0) -> TokenVectors:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (n,), generator=generator)
    vectors = torch.randn(int(lengths.sum()), DIM, generator=generator)
    return TokenVectors(torch.nn.functional.normalize(vectors, dim=1), lengths)


@pytest.fixture(params=[True, False], ids=["16 bits", "8 bits"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path, DIM, fine=request.param)


def again(store: TokenStore) -> TokenStore:
    return TokenStore(store._folder, DIM, fine=store.fine)


def check(store: TokenStore, expected: dict[int, torch.Tensor]) -> None:
    table = store.table
    assert table.pids.tolist() == sorted(expected)
    rows = table.rows_of(sorted(expected))
    for pid, vectors in zip(sorted(expected), store.vectors_of(rows), strict=True):
        torch.testing.assert_close(vectors, expected[pid], atol=1e-4 if store.fine else 6e-3, rtol=0)


def test_what_was_appended_is_there_the_newest_of_a_pid(store):
    first, second = batch(10), batch(4, seed=1)
    store.append(range(20, 30), first)
    store.append([25, 3, 28, 40], second)
    expected = dict(zip(range(20, 30), first, strict=True)) | dict(zip([25, 3, 28, 40], second, strict=True))
    check(store, expected)
    store.remove([3, 22])
    expected.pop(3), expected.pop(22)
    check(store, expected)
    store.append([22], (one := batch(1, seed=2)))
    check(store, expected | {22: one.vectors})
    store.seal()
    check(again(store), expected | {22: one.vectors})


def test_rows_of_pids_that_are_not_here_are_left_out(store):
    assert store.table.rows_of([1]).tolist() == []
    store.append([2, 4, 6], batch(3))
    assert store.table.rows_of([1, 2, 3, 6, 7]).tolist() == [0, 2]


@pytest.mark.parametrize("at_once", [1, 10, 10_000])
def test_passages_are_scored_wherever_they_lie(store, at_once, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.vectors.TOKENS_AT_ONCE", at_once)
    vectors = batch(50)
    store.append(np.random.default_rng(0).permutation(50).tolist(), vectors)
    rows = torch.nn.functional.normalize(torch.randn(5, DIM, generator=torch.Generator().manual_seed(9)), dim=1)
    order = np.argsort(np.argsort(store.table.starts))
    exact = maxsim(rows[None], vectors.vectors, vectors.lengths)[0].numpy()[order]
    query = Query(rows.numpy())
    for chosen in (np.arange(50), np.array([7]), np.array([30, 2, 41]), np.array([], np.int64)):
        assert store.score(query, chosen) == pytest.approx(exact[chosen], abs=1e-3 if store.fine else 0.1)
        assert store.approximate_scores(query, chosen) == pytest.approx(exact[chosen], abs=0.2)


@pytest.mark.parametrize("at_once", [1, 900, 10_000])
def test_a_pass_over_everything_leaves_it_as_it_is(store, at_once):
    vectors = batch(3000)
    store.append(np.random.default_rng(0).permutation(3000).tolist(), vectors)
    for rows in (None, np.arange(5, 2000, 7), np.array([], np.int64)):
        before = store.take(np.arange(3000) if rows is None else rows, fine=True)
        taken = [store.take(some, fine=True) for some in store.once(rows, at_once)]
        assert np.concatenate([each.codes for each in taken] or [before.codes]).tolist() == before.codes.tolist()
        assert store.take(np.arange(3000), fine=True).codes.any(1).all()


def test_what_another_process_left_unfinished_is_cut_off(store, tmp_path):
    """It died within an append: the last vectors, or the last record, are there in part."""
    first = batch(6)
    store.append(range(6), first)
    store.close()
    for name in (CODES, PASSAGES):
        with open(tmp_path / name, "ab") as file:
            file.write(b"???")
    late = again(store)
    assert late.recover(list(range(6)))
    late.append([6], (one := batch(1, seed=3)))
    check(late, dict(enumerate(first)) | {6: one.vectors})


def test_only_what_is_wanted_is_recovered(store):
    first = batch(6)
    store.append(range(6), first)
    late = again(store)
    assert late.recover([1, 2])
    check(late, {1: list(first)[1], 2: list(first)[2]})
    assert not late.recover([1, 7])


def test_records_without_their_vectors_do_not_count(store, tmp_path):
    store.append(range(6), batch(6))
    store.close()
    with open(tmp_path / CODES, "r+b") as file:
        file.truncate(3 * DIM)
    assert not again(store).recover(list(range(6)))
