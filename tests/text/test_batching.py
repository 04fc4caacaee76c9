from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.text.batching import plan_batches

texts = st.lists(st.tuples(st.integers(1, 600), st.sampled_from(["fr", "de", "zh"])), max_size=80)


@given(texts, st.integers(1, 2000))
def test_every_text_once_within_budget(items: list[tuple[int, str]], budget: int) -> None:
    lengths, groups = [n for n, _ in items], [g for _, g in items]
    batches = plan_batches(lengths, groups, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(items)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget


@given(texts, st.integers(1, 2000))
def test_groups_stand_together_and_lengths_fall(items: list[tuple[int, str]], budget: int) -> None:
    lengths, groups = [n for n, _ in items], [g for _, g in items]
    previous = float("inf")
    for batch in plan_batches(lengths, groups, budget):
        runs = [name for name, _ in groupby(groups[i] for i in batch)]
        assert len(runs) == len(set(runs))
        assert max(lengths[i] for i in batch) <= previous
        previous = min(lengths[i] for i in batch)


def test_a_budget_is_filled() -> None:
    assert len(plan_batches([10] * 100, ["fr"] * 100, 100)) == 10
