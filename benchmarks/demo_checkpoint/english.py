"""The second stage: late interaction on English pairs, resumable at its checks, ending with the best of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from halves import Halves
from optimiser import contrast, draw_places, make_optimizer, optimise
from record import Record
from text import Section
from torch import Tensor

STEPS, BATCH, NEAR, RATE, HEAD_RATE = 480, 24, 8, 2e-5, 1e-4
EVERY = 60  # steps between checks
PATIENCE = 3  # checks without a better one, after which it ends


def train_english(
    model: Halves, sections: Sequence[Section], check: Callable[[int], float], record: Record, state: Path, seed: int
) -> None:
    """Train the upper layers and the head on titles and their sections; end with the tensors that were best by `check`.

    Parameters
    ----------
    state : Path
        File that a killed stage resumes from, written at every check.
    """
    titles = Counter(section.title for section in sections)
    pairs = [s for s in sections if titles[s.title] == 1 and len(s.title) > 6]
    adapter = model.encoder.adapters.adapter_for("en") or ""
    queries = model.queries([s.title for s in pairs], adapter)
    passages = model.passages([s.body for s in pairs], adapter)
    rng, tokens = random.Random(seed), 0

    def loss() -> Tensor:
        nonlocal tokens
        places = draw_places(len(pairs), BATCH, NEAR, rng)
        tokens += sum(len(half[i].states) for half in (queries, passages) for i in places)
        return contrast(model, [queries[i] for i in places], [passages[i] for i in places], adapter, adapter)

    free = model.free_encoder()
    optimizer = make_optimizer([(free[:-1], RATE), (free[-1:], HEAD_RATE)])
    kept = torch.load(state, weights_only=False) if state.is_file() else None
    done = -1 if kept is None else kept["step"]
    record.drop(lambda e: "english" in (e["stage"], e.get("of")) and e["step"] > done)
    if kept is None:
        best, best_step, tensors = check(0), 0, [tensor.detach().clone() for tensor in free]
    else:
        copy(kept["tensors"], free)
        optimizer.load_state_dict(kept["optimizer"])
        rng.setstate(kept["random"])
        tokens, best, best_step, tensors = (kept[name] for name in ("tokens", "best", "best_step", "best_tensors"))
    for step, value in optimise(optimizer, STEPS, loss, max(done, 0)):
        if step - 1 - best_step >= PATIENCE * EVERY:
            break
        record.add(stage="english", step=step, loss=value, tokens=tokens, pairs=len(pairs))
        if step % EVERY:
            continue
        if (found := check(step)) > best:
            best, best_step, tensors = found, step, [tensor.detach().clone() for tensor in free]
        record.keep()
        save(state, tensors=[t.detach() for t in free], optimizer=optimizer.state_dict(), random=rng.getstate(),
             step=step, tokens=tokens, best=best, best_step=best_step, best_tensors=tensors)  # fmt: skip
    copy(tensors, free)
    for tensor in free:
        tensor.requires_grad_(False)


@torch.no_grad()
def copy(values: Sequence[Tensor], into: Sequence[Tensor]) -> None:
    for tensor, value in zip(into, values, strict=True):
        tensor.copy_(value)


def save(path: Path, **state: Any) -> None:
    aside = path.with_suffix(".part")
    torch.save(state, aside)
    aside.replace(path)
