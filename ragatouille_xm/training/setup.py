"""Setup of a run: devices and processes, and a checkpoint with a head."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from ..errors import InputError
from ..extras import import_extra
from ..model.backbone import hidden_size
from ..model.checkpoint import Checkpoint
from ..model.formats.layout import Dense
from ..model.weights import Weights
from .config import TrainingConfig

logger = logging.getLogger(__name__)

HEAD = "linear.weight"  # its name in colbert-ai's format, which a trained checkpoint is written in
PAPER_DIM = 128
Item = TypeVar("Item")


class WeightsWithHead(Weights):
    """Weights of an encoder, with a head under another name than its own, or with a new one."""

    def __init__(self, weights: Weights, head: torch.Tensor, own_name: str | None = None) -> None:
        self._weights = weights
        self._head = head
        self._own_name = own_name

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return (*(name for name in self._weights.names if name != self._own_name), HEAD)

    def get(self, name: str, shape: Sequence[int] | None = None) -> torch.Tensor:
        """Read a tensor onto the CPU in its stored dtype."""
        return self._head if name == HEAD else self._weights.get(name, shape)

    def release(self) -> None:
        """Release the encoder's files."""
        self._weights.release()

    def prefix_of(self, suffix: str) -> str:
        """Return the part before `suffix` of the only tensor name that ends with it."""
        return self._weights.prefix_of(suffix)


def make_accelerator(precision: str | None, device: str | None) -> Any:
    """Return accelerate's `Accelerator`: processes, devices, mixed precision.

    Raises
    ------
    MissingExtraError
        If accelerate is not installed.
    InputError
        If there is no such device.
    """
    accelerate = import_extra("accelerate", "Training", "train")
    if device not in (None, "cpu", "cuda"):
        raise InputError(f'device={device!r} cannot be used here. Give "cpu" or "cuda", or set CUDA_VISIBLE_DEVICES.')
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError('device="cuda" cannot be used here: torch sees no GPU. Give "cpu".')
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    # Its settings are global; a second run in the same process may need others.
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return accelerate.Accelerator(cpu=on_cpu, mixed_precision=precision or ("no" if on_cpu else "bf16"))


def share_of_process(items: list[Item], accelerator: Any) -> list[Item]:
    """Return this process's share of a batch."""
    n = accelerator.num_processes
    if len(items) % n:
        raise InputError(f"A batch of {len(items)} cannot be shared by {n} processes. Give a multiple of {n}.")
    return items[accelerator.process_index :: n]


def as_colbert_ai(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint of any format with the one layer of its head named as in colbert-ai's.

    Raises
    ------
    InputError
        If its head is more than a matrix, which that format has no place for.
    """
    if checkpoint.head == (Dense(),):
        return checkpoint
    if len(checkpoint.head) != 1 or checkpoint.head[0] != Dense(checkpoint.head[0].name):
        raise InputError(
            f"{checkpoint.name!r} cannot be trained here: its head is more than one matrix, and what is trained is "
            "written in colbert-ai's format, which has place for one. Train it where it comes from."
        )
    name = f"{checkpoint.head[0].name}linear.weight"
    head = checkpoint.weights.get(name)
    return replace(checkpoint, head=(Dense(),), weights=WeightsWithHead(checkpoint.weights, head, name))


def prepare_checkpoint(checkpoint: Checkpoint, config: TrainingConfig) -> Checkpoint:
    """Return the checkpoint with the run's text lengths, and with a new head if it has none.

    Raises
    ------
    InputError
        If it has a head of another width than ``config.dim``, or one that cannot be trained.
    """
    checkpoint = as_colbert_ai(checkpoint)
    settings = replace(checkpoint.settings, query_maxlen=config.query_maxlen, doc_maxlen=config.doc_maxlen)
    if not checkpoint.settings_file.is_file():  # an encoder that was never a ColBERT: as in the paper
        settings = replace(settings, attend_to_mask_tokens=True, marker="insert")
    checkpoint = replace(checkpoint, settings=settings)
    if HEAD not in checkpoint.weights.names:
        hidden = hidden_size(checkpoint)
        logger.info("%s has no head: starting from a random one", checkpoint.name)
        generator = torch.Generator().manual_seed(config.seed)
        head = torch.randn(config.dim or PAPER_DIM, hidden, generator=generator) * 0.02  # BERT's initialisation
        return replace(checkpoint, weights=WeightsWithHead(checkpoint.weights, head))
    dim = checkpoint.weights.get(HEAD).shape[0]
    if config.dim not in (None, dim):
        raise InputError(
            f"dim={config.dim} is not the width {dim} of the head that {checkpoint.name!r} has. Leave dim out, or "
            "start from a checkpoint without a head."
        )
    return checkpoint
