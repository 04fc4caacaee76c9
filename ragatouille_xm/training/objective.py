"""What a run trains, on which batches, and by which loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from ..encoder import Encoder
from .batches import Batch, Collator
from .config import TrainingConfig
from .data import TrainingExample
from .gradients import batch_loss
from .module import TrainableColBERT

Example_contra = TypeVar("Example_contra", contravariant=True)


class Objective(Protocol[Example_contra]):
    """What `Trainer` needs to know of the examples and the model.

    Attributes
    ----------
    module : TrainableColBERT
        With the parts that train.
    start_counts : bool
        Whether the start is validated too, and kept if no step is better.
    config, metadata : mapping
        Changes to the written checkpoints' ``config.json`` and ``artifact.metadata``.
    """

    module: TrainableColBERT
    start_counts: bool
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def collate(self, examples: Sequence[Example_contra]) -> Batch:
        """Make one batch."""
        ...

    def loss(self, queries: Tensor, passages: Tensor, batch: Batch) -> Tensor:
        """Return the loss ``()`` of a batch from the vectors of all its tokens."""
        ...


class Retrieval:
    """Queries and their passages: everything but embeddings and adapters is trained."""

    start_counts = False

    def __init__(self, encoder: Encoder, config: TrainingConfig, language: str | None) -> None:
        self.module = TrainableColBERT(encoder)
        self.config: Mapping[str, Any] = {}
        self.metadata: Mapping[str, Any] = {"dim": self.module.head.dim, "nbits": config.nbits}
        self._config = config
        self._collator = Collator(encoder, config.negatives, config.distillation, language)

    def collate(self, examples: Sequence[TrainingExample]) -> Batch:
        """Make one batch; see `Collator`."""
        return self._collator(examples)

    def loss(self, queries: Tensor, passages: Tensor, batch: Batch) -> Tensor:
        """Return the loss ``()``; see `batch_loss`."""
        return batch_loss(queries, passages, batch, self._config)
