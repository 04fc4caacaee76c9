"""ColBERT: a backbone, a linear head and normalisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import CheckpointError
from ..files import lacks_memory
from .checkpoint import Checkpoint
from .linear import pack, packing
from .xmod import XmodEncoder


class Backbone(Protocol):
    """Maps token ids to hidden states."""

    @property
    def max_tokens(self) -> int:
        """Maximum tokens per text."""
        ...

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None, adapters: Sequence[str]) -> Tensor:
        """Map ``(b, L)`` ids and mask to ``(b, L, hidden)``.

        The mask is None if all tokens may be attended to; `adapters` names one per row, or is empty.
        """
        ...


class TransformersBackbone:
    """A backbone without language adapters (BERT, XLM-R, …), run by transformers.

    Parameters
    ----------
    checkpoint : Checkpoint
    device : torch.device
    dtype : torch.dtype
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoConfig, AutoModel

        weights = checkpoint.weights
        with _backbone_errors(checkpoint):
            config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
            with torch.device("meta"):  # takes no memory, whatever config.json says
                shapes = AutoModel.from_config(config, trust_remote_code=False).state_dict()
        prefix = weights.prefix_of("embeddings.word_embeddings.weight")
        # The pooler is unused, and may be missing in ColBERT checkpoints.
        wanted = {name: value.shape for name, value in shapes.items() if not name.startswith("pooler.")}
        state = {name: weights.get(prefix + name, shape) for name, shape in wanted.items()}
        with _backbone_errors(checkpoint):
            model = AutoModel.from_config(config, trust_remote_code=False)
            offset = config.pad_token_id + 1 if "roberta" in checkpoint.model_type else 0
            self.max_tokens = int(config.max_position_embeddings) - offset
        model.load_state_dict(state, strict=False)
        model.pooler = None
        self.model = model.to(device, dtype).requires_grad_(False).eval()

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None, adapters: Sequence[str]) -> Tensor:
        """Map ``(b, L)`` ids and mask to ``(b, L, hidden)``."""
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


@contextmanager
def _backbone_errors(checkpoint: Checkpoint) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each kind of backbone raises its own
        if lacks_memory(error):
            raise
        raise CheckpointError(
            f"The backbone {checkpoint.model_type!r} of {checkpoint.name!r} is not an encoder that transformers knows, "
            f"or its config.json is damaged ({type(error).__name__}: {str(error)[:200]}). ColBERT checkpoints on "
            "X-MOD, BERT, XLM-R and the like can be loaded."
        ) from error


class ColBERT:
    """Late-interaction encoder (Khattab & Zaharia 2020, section 3.2): one unit vector per token.

    Parameters
    ----------
    backbone : Backbone
    linear : torch.Tensor
        Shape ``(dim, hidden)``: the head, without a bias.
    """

    def __init__(self, backbone: Backbone, linear: Tensor) -> None:
        self.backbone = backbone
        self.linear = linear

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> ColBERT:
        """Load the backbone and head of a checkpoint.

        Raises
        ------
        CheckpointError
            If a tensor is missing or of another shape, or the backbone is unknown.
        """
        linear = checkpoint.linear
        backbone: Backbone
        if checkpoint.model_type == "xmod":
            backbone = XmodEncoder.load(checkpoint.config, checkpoint.weights, device, dtype)
        else:
            backbone = TransformersBackbone(checkpoint, device, dtype)
        return cls(backbone, linear.to(device, dtype))

    def pack(self, quantize: str | None = None) -> None:
        """Pack the linear layers for inference on the CPU; they cannot be trained afterwards.

        Parameters
        ----------
        quantize : {"int8"}, optional
            Compute with 8-bit integers; by default without loss of precision.

        Raises
        ------
        InputError
            If `quantize` is unknown, or not supported by the device, dtype or torch.
        """
        kind = packing(quantize, self.device, self.linear.dtype)
        if kind is not None and isinstance(self.backbone, XmodEncoder):
            self.backbone.pack(kind)
        elif kind is not None and isinstance(self.backbone, TransformersBackbone):
            pack(self.backbone.model, kind)

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.linear.shape[0]

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.linear.device

    @torch.inference_mode()
    def __call__(self, input_ids: Tensor, attention_mask: Tensor, adapters: Sequence[str]) -> Tensor:
        """Encode a batch.

        Parameters
        ----------
        input_ids, attention_mask : torch.Tensor
            Shape ``(b, L)``, int64, preferably on the CPU.
        adapters : sequence of str
            Adapter of each row; empty for a backbone without adapters.

        Returns
        -------
        torch.Tensor
            Shape ``(b, L, dim)``, float32, rows of unit length, on the model's device.
        """
        # Checked before the transfer: on a GPU, the host would wait for the result.
        mask = None if bool(attention_mask.all()) else attention_mask.to(self.device, non_blocking=True)
        hidden = self.backbone(input_ids.to(self.device, non_blocking=True), mask, adapters)
        return self.project(hidden)

    def project(self, hidden: Tensor) -> Tensor:
        """Map hidden states ``(b, L, hidden)`` to token vectors ``(b, L, dim)``, float32, of unit length."""
        return F.normalize((hidden @ self.linear.T).float(), dim=-1)
