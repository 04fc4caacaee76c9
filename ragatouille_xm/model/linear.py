"""Linear layers for inference on a CPU: float32 weights in oneDNN's layout, or 8-bit integers.

torch's float32 `linear` uses MKL, which does not use AVX-512 on CPUs of other makers, and packs the weights again in
every call. oneDNN, which torch includes too, does better in both respects: see ``benchmarks/encode.py``.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .adapters import Adapter

_U8_ZERO = 128
_I8_MOST = 127


class PackedLinear(nn.Module):
    """``x @ weight.T + bias`` in float32, with the weight in oneDNN's layout.

    Parameters
    ----------
    weight : torch.Tensor
        Shape ``(out, in)``, float32, on the CPU.
    bias : torch.Tensor, optional
        Shape ``(out,)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return result


class Int8Linear(nn.Module):
    """``x @ weight.T + bias`` with 8-bit integers, a scale for each row of the weight, and one for each token.

    A token's scale depends on that token alone, so its vector does not depend on the batch. Products are summed in 32
    bits. Vector-wise scales: Dettmers et al. 2022, "LLM.int8()", section 2.

    Parameters
    ----------
    weight : torch.Tensor
        Shape ``(out, in)``, on the CPU.
    bias : torch.Tensor, optional
        Shape ``(out,)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # Without VNNI, pairs of products are added in 16 bits; 7-bit weights prevent overflow.
        most = _I8_MOST if _has_vnni() else _I8_MOST // 2
        scale = weight.detach().float().abs().amax(1).clamp_min(1e-12) / most
        whole = (weight.detach().float() / scale[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self.weight_scale = scale
        self.weight_zero = torch.zeros(len(scale), dtype=torch.int64)
        self.bias = None if bias is None else bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        rows = x.reshape(-1, x.shape[-1])
        # Two reductions and in-place sums, since `vector_norm` and `addcmul` took a third of the time.
        scale = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True)).clamp_min_(1e-12).div_(_I8_MOST)
        whole = (rows / scale).add_(_U8_ZERO + 0.5).to(torch.uint8)  # truncation after adding 0.5 rounds
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, _U8_ZERO, self.weight, self.weight_scale, self.weight_zero, None, 1.0, 0, torch.float32,
            "none", [], "",
        )  # fmt: skip
        product.mul_(scale)
        return (product if self.bias is None else product.add_(self.bias)).view(*x.shape[:-1], -1)


class PackedAdapter(NamedTuple):
    """An `Adapter` whose two linear layers are packed."""

    down: nn.Module
    up: nn.Module


def packing(quantize: str | None, device: torch.device, dtype: torch.dtype) -> type[PackedLinear | Int8Linear] | None:
    """Return the suitable kind of linear layer, or None to keep torch's own.

    Raises
    ------
    InputError
        If `quantize` is unknown or not supported.
    """
    if quantize is None:
        return PackedLinear if device.type == "cpu" and dtype == torch.float32 and _works(PackedLinear) else None
    if quantize != "int8":
        raise InputError(f'quantize={quantize!r} is not known. Give "int8", or None for full precision.')
    if device.type != "cpu" or dtype != torch.float32:
        raise InputError(
            f'quantize="int8" needs float32 on the CPU, but the model is {dtype} on {device}. Give device="cpu" and '
            "no dtype, or leave quantize out."
        )
    if not _works(Int8Linear):
        raise InputError('quantize="int8" needs a torch with oneDNN for x86; this one has none. Leave quantize out.')
    return Int8Linear


def pack(module: nn.Module, kind: type[PackedLinear | Int8Linear]) -> None:
    """Replace every `nn.Linear` of `module` by a packed layer, one at a time, to save memory."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, kind(child.weight, child.bias))
        else:
            pack(child, kind)


def pack_adapter(adapter: Adapter, kind: type[PackedLinear | Int8Linear]) -> PackedAdapter:
    """Pack one layer's adapter."""
    return PackedAdapter(kind(adapter.down_weight, adapter.down_bias), kind(adapter.up_weight, adapter.up_bias))


def _has_vnni() -> bool:
    probe = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(probe is not None and probe())


@cache
def _works(kind: type[PackedLinear | Int8Linear]) -> bool:
    """Return whether this works with this torch and CPU: the operators are not in torch's stable interface."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(*shape, generator=generator) for shape in ((8, 16), (8,), (4, 16)))
    try:
        with torch.no_grad():
            found = kind(weight, bias)(x)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((found - F.linear(x, weight, bias)).abs().max() < 0.3)
