"""Batches of texts of similar length, for models with one output per text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...errors import CheckpointError
from ...files import lacks_memory
from ...text.batching import plan_batches

TOKEN_BATCH = {"cpu": 4096, "cuda": 65536}

Forward = Callable[[torch.Tensor, torch.Tensor, list[int]], torch.Tensor]
"""From ids (b, L), mask (b, L) and the positions of the texts to one row for each, (b, …)."""


def load_pretrained(auto: Any, name: str, **options: Any) -> Any:
    """Load a model or tokeniser with transformers.

    Raises
    ------
    CheckpointError
        If it cannot be found, or has another type.
    """
    try:
        return auto.from_pretrained(name, **options)
    except Exception as error:  # from transformers, the hub client or safetensors
        if lacks_memory(error):
            raise
        raise CheckpointError(
            f"The checkpoint {name!r} cannot be loaded as {auto.__name__} ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:200] if str(error).strip() else 'no reason given'}). Check the hub "
            "id and the connection, or give a local folder."
        ) from error


@torch.inference_mode()
def run_batched(
    rows: Sequence[list[int]], groups: Sequence[str], pad: int, device: torch.device, forward: Forward
) -> torch.Tensor:
    """Run `forward` on all texts; return float32 rows in their order, on the CPU.

    Parameters
    ----------
    rows : sequence of list of int
        Token ids of each text.
    groups : sequence of str
        The group of each text, which is its adapter; groups are adjacent.
    pad : int
        Padding id, not attended to.
    device : torch.device
    forward : callable
    """
    outputs: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    budget = TOKEN_BATCH.get(device.type, TOKEN_BATCH["cuda"])
    for positions in plan_batches([len(row) for row in rows], groups, budget):
        width = max(len(rows[i]) for i in positions)
        gaps = [width - len(rows[i]) for i in positions]
        ids = torch.tensor([rows[i] + [pad] * gap for i, gap in zip(positions, gaps, strict=True)])
        mask = torch.tensor([[1] * len(rows[i]) + [0] * gap for i, gap in zip(positions, gaps, strict=True)])
        for position, output in zip(
            positions, forward(ids.to(device), mask.to(device), positions).float().cpu(), strict=True
        ):
            outputs[position] = output
    return torch.stack(outputs) if outputs else torch.empty(0)
