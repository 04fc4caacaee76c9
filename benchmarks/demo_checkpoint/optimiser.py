"""What both stages share: batches, a step, and the loss."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import torch
from halves import Half, Halves
from torch import Tensor

from ragatouille_xm.training.losses import in_batch_softmax_loss, late_interaction_scores

TEMPERATURE = 0.25  # where the untrained scores are best calibrated


def draw_places(n: int, size: int, near: int, rng: random.Random) -> list[int]:
    """Draw places of a batch: `near` neighbours, the rest from anywhere."""
    start = rng.randrange(n - near)
    neighbours = range(start, start + near)
    return [*neighbours, *(i for i in rng.sample(range(n), size) if i not in neighbours)][:size]


def make_optimizer(groups: Sequence[tuple[Sequence[Tensor], float]]) -> torch.optim.AdamW:
    """Return AdamW over groups of tensors, each with its highest learning rate."""
    return torch.optim.AdamW([{"params": list(p), "lr": rate, "peak": rate} for p, rate in groups], weight_decay=0.01)


def optimise(
    optimizer: torch.optim.Optimizer, steps: int, loss_of: Callable[[], Tensor], done: int = 0
) -> Iterator[tuple[int, float]]:
    """Take the steps after those `done`, with a linear warm-up over a tenth of all and a linear decay.

    Yields each step's number and loss.
    """
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for step in range(done + 1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(10 * step / steps, (steps + 1 - step) / (0.9 * steps), 1)
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors, 1.0)
        optimizer.step()
        yield step, loss.item()


def contrast(model: Halves, queries: Sequence[Half], passages: Sequence[Half], asked: str, found: str) -> Tensor:
    """Return the loss of queries through the adapter `asked`, each among all passages through `found`."""
    vectors, scored = model.upper(passages, found)
    scores = late_interaction_scores(model.upper(queries, asked)[0], vectors, scored)
    return in_batch_softmax_loss(scores / TEMPERATURE)
