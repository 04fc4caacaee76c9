"""The head: the dense layers after the backbone, which project hidden states to token vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .formats import looked_for
from .formats.layout import ACTIVATIONS, Dense
from .weights import Weights


class HeadLayer(nn.Module):
    """``activation(x @ weight.T + bias) + residual(x)``; shapes as of `torch.nn.functional.linear`.

    Parameters
    ----------
    dense : Dense
    weight : torch.Tensor
        Shape ``(out, in)``.
    bias : torch.Tensor, optional
        Shape ``(out,)``.
    residual : torch.Tensor, optional
        Shape ``(out, in)``: what the input goes through before it is added, where the widths differ.
    """

    def __init__(self, dense: Dense, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> None:
        super().__init__()
        self.dense = dense
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.residual = None if residual is None else nn.Parameter(residual, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        projected = nn.functional.linear(x, self.weight, self.bias)
        activated = ACTIVATIONS[self.dense.activation](projected)
        if not self.dense.residual:
            return activated
        return activated + (x if self.residual is None else nn.functional.linear(x, self.residual))


class Head(nn.Module):
    """The layers, one after the other.

    Parameters
    ----------
    layers : sequence of HeadLayer
        May be none: then hidden states are the token vectors.
    dim : int
        Width of a token vector.
    device : torch.device
    dtype : torch.dtype
    """

    def __init__(self, layers: Sequence[HeadLayer], dim: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dim, self.device, self.dtype = dim, device, dtype

    @classmethod
    def load(
        cls, head: Sequence[Dense], weights: Weights, hidden: int, device: torch.device, dtype: torch.dtype
    ) -> Head:
        """Read the layers of a checkpoint whose backbone has states of width `hidden`.

        Raises
        ------
        CheckpointError
            If a tensor is missing, or has not the shape that those before it require.
        """
        layers = []
        for dense in head:
            if dense == Dense() and "linear.weight" not in weights.names:
                raise CheckpointError(
                    "The checkpoint has no tensor 'linear.weight': its encoder has no head that makes token vectors, "
                    f"and no file of another format has one. Looked for: {looked_for()}."
                )
            weight = weights.get(f"{dense.name}linear.weight")
            if weight.ndim != 2 or weight.shape[1] != hidden or not len(weight) or not weight.is_floating_point():
                raise CheckpointError(
                    f"Tensor '{dense.name}linear.weight' has shape {tuple(weight.shape)} and type {weight.dtype}, but "
                    f"the model (config.json) requires (dim, {hidden}) and floating-point numbers."
                )
            dim = len(weight)
            bias = weights.get(f"{dense.name}linear.bias", (dim,)) if dense.bias else None
            wider = dense.residual and dim != hidden
            residual = weights.get(f"{dense.name}residual.weight", (dim, hidden)) if wider else None
            parts = (None if each is None else each.to(device, dtype) for each in (bias, residual))
            layers.append(HeadLayer(dense, weight.to(device, dtype), *parts))
            hidden = dim
        return cls(layers, hidden, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., hidden)`` to ``(..., dim)``."""
        for layer in self.layers:
            x = layer(x)
        return x

    def stored(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all parameters under the names that they have in the checkpoint."""
        for layer in self.layers:
            assert isinstance(layer, HeadLayer)
            names = {"weight": "linear.weight", "bias": "linear.bias", "residual": "residual.weight"}
            for name, value in layer.named_parameters():
                yield layer.dense.name + names[name], value
