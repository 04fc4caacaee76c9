from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragatouille_xm.scoring import maxsim
from ragatouille_xm.training.losses import (
    distillation_loss,
    in_batch_softmax_loss,
    late_interaction_scores,
    own_scores,
    pairwise_softmax_loss,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "reference" / "training.json").read_text(encoding="utf-8"))["cases"]
SIZES = st.integers(1, 5)


def tensors(case: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    b, n, q, length = case["shape"]
    queries = torch.tensor(case["queries"]).reshape(b, q, -1)
    passages = torch.tensor(case["passages"]).reshape(b * n, length, -1)
    return queries, passages, torch.tensor(case["scored"]).reshape(b * n, length).bool()


@pytest.mark.parametrize("case", list(GOLDEN.values()), ids=list(GOLDEN))
def test_losses_are_colbert_ais(case: dict[str, Any]) -> None:
    b, n = case["shape"][:2]
    scores = late_interaction_scores(*tensors(case))
    own = own_scores(scores)
    assert torch.allclose(own.flatten(), torch.tensor(case["own"]), atol=1e-5)
    assert in_batch_softmax_loss(scores).item() == pytest.approx(case["in_batch"], abs=1e-5)
    assert pairwise_softmax_loss(own).item() == pytest.approx(case["pairwise"], abs=1e-5)
    teacher = torch.tensor(case["teacher"]).reshape(b, n)
    assert distillation_loss(own, teacher).item() == pytest.approx(case["distillation"], abs=1e-5)


def test_pairwise_by_hand() -> None:
    scores = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert pairwise_softmax_loss(scores).item() == pytest.approx(expected)


def test_in_batch_by_hand_counts_every_passage_of_others_and_none_of_its_own_negatives() -> None:
    scores = torch.tensor([[1.0, 50.0, 0.5, 0.25], [0.0, 2.0, 4.0, 50.0]])
    first = math.log(sum(map(math.exp, (1.0, 0.5, 0.25)))) - 1.0
    second = math.log(sum(map(math.exp, (0.0, 2.0, 4.0)))) - 4.0
    assert in_batch_softmax_loss(scores).item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_in_batch_leaves_out_what_is_known_to_answer() -> None:
    scores = torch.tensor([[1.0, 0.0, 9.0, 0.5], [0.0, 2.0, 4.0, 0.0]])
    relevant = torch.tensor([[True, False, True, False], [False, False, True, False]])
    first = math.log(math.exp(1.0) + math.exp(0.5)) - 1.0
    second = math.log(sum(map(math.exp, (0.0, 2.0, 4.0)))) - 4.0
    assert in_batch_softmax_loss(scores, relevant).item() == pytest.approx((first + second) / 2, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 7.5])
def test_distillation_sees_differences_only(shift: float) -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0]])
    assert distillation_loss(scores, scores + shift).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(scores, torch.tensor([[2.0, 1.0, 0.0]])).item() > 0.1


@settings(max_examples=30)
@given(SIZES, SIZES, SIZES, SIZES, st.integers(0, 2**31))
def test_scores_are_those_of_searching(b: int, n: int, q: int, length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(b, q, 4, generator=generator)
    passages = torch.randn(n, length, 4, generator=generator)
    lengths = torch.randint(1, length + 1, (n,), generator=generator)
    scored = torch.arange(length)[None] < lengths[:, None]
    found = late_interaction_scores(queries, passages, scored)
    assert torch.allclose(found, maxsim(queries, passages[scored], lengths), atol=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_gradients_push_the_positive_up_and_everything_else_down(b: int, n: int, seed: int) -> None:
    scores = torch.randn(b, b * n, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    (in_batch_softmax_loss(scores) + pairwise_softmax_loss(own_scores(scores))).backward()
    assert scores.grad is not None
    positive = torch.zeros(b, b * n, dtype=torch.bool)
    positive[torch.arange(b), torch.arange(b) * n] = True
    assert (scores.grad[positive] <= 1e-7).all()
    assert (scores.grad[~positive] >= 0).all()
    assert scores.grad.sum().item() == pytest.approx(0, abs=1e-5)  # a softmax does not see a common shift
