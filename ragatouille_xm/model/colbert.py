"""ColBERT: a backbone, a head and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .backbone import TransformersBackbone
from .checkpoint import Checkpoint
from .head import Head
from .linear import pack, packing
from .xmod import XmodEncoder


class Backbone(Protocol):
    """Maps token ids to hidden states."""

    @property
    def max_tokens(self) -> int:
        """Maximum tokens per text."""
        ...

    @property
    def hidden_size(self) -> int:
        """Width of a hidden state."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids that it knows."""
        ...

    @property
    def prefix(self) -> str:
        """What the checkpoint's names of its tensors begin with."""
        ...

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None, adapters: Sequence[str]) -> Tensor:
        """Map ``(b, L)`` ids and mask to ``(b, L, hidden)``.

        The mask is None if all tokens may be attended to; `adapters` names one per row, or is empty.
        """
        ...


class ColBERT:
    """Late-interaction encoder (Khattab & Zaharia 2020, section 3.2): one unit vector per token.

    Parameters
    ----------
    backbone : Backbone
    head : Head
    """

    def __init__(self, backbone: Backbone, head: Head) -> None:
        self.backbone = backbone
        self.head = head

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> ColBERT:
        """Load the backbone and head of a checkpoint.

        Raises
        ------
        CheckpointError
            If a tensor is missing or of another shape, or the backbone is unknown.
        """
        backbone: Backbone
        if checkpoint.model_type == "xmod":
            backbone = XmodEncoder.load(checkpoint.config, checkpoint.weights, device, dtype)
        else:
            backbone = TransformersBackbone(checkpoint, device, dtype)
        return cls(backbone, Head.load(checkpoint.head, checkpoint.weights, backbone.hidden_size, device, dtype))

    def pack(self, quantize: str | None = None) -> None:
        """Pack the linear layers for inference on the CPU; they cannot be trained afterwards.

        Parameters
        ----------
        quantize : "int8" or None, optional
            Compute with 8-bit integers; by default without loss of precision.

        Raises
        ------
        InputError
            If `quantize` is unknown, or not supported by the device, dtype or torch.
        """
        kind = packing(quantize, self.device, self.head.dtype)
        if kind is not None and isinstance(self.backbone, XmodEncoder):
            self.backbone.pack(kind)
        elif kind is not None and isinstance(self.backbone, TransformersBackbone):
            pack(self.backbone.model, kind)

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.head.dim

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.head.device

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
        return F.normalize(self.head(hidden).float(), dim=-1)
