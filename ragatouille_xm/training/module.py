"""A checkpoint's model as a torch module, with trained and frozen parts, and its tensors under their stored names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..encoder import Encoder
from ..errors import InputError, LanguageError
from ..model.adapters import Adapter, AdapterBank
from ..model.xmod import XmodEncoder, tensor_names

ADAPTER_PARTS = ("dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias")  # in the order of `Adapter`


class TrainingBank(AdapterBank):
    """Adapters, some of them trained; all can take part in a gradient, whenever they are first used.

    Parameters
    ----------
    bank : AdapterBank
        Source of their values.
    trained : mapping of str to tuple of Adapter
        Those whose tensors are parameters.
    """

    def __init__(self, bank: AdapterBank, trained: dict[str, tuple[Adapter, ...]]) -> None:
        def read(name: str) -> tuple[Adapter, ...]:
            if name in trained:
                return trained[name]
            with torch.inference_mode(False):  # a search during training may load it first
                return bank[name]

        super().__init__((*bank.names, *(name for name in trained if name not in bank.names)), read)


class TrainableColBERT(nn.Module):
    """An `Encoder`'s model with gradients. The encoder shares its tensors, and so follows every step.

    Parameters
    ----------
    encoder : Encoder
        In float32.
    adapters : mapping of str to tuple of Adapter, optional
        Train only these adapters (one `Adapter` per layer). By default everything except the embeddings and the
        adapters is trained, as in Louis et al. 2024 (arXiv 2402.15059), section 3.1, and Pfeiffer et al. 2022, so that
        what is learnt in one language transfers to all.

    Raises
    ------
    InputError
        If the encoder is on several devices.
    """

    def __init__(self, encoder: Encoder, adapters: dict[str, tuple[Adapter, ...]] | None = None) -> None:
        super().__init__()
        if len(encoder.replicas) > 1:
            raise InputError(
                f"Training uses one device, but the encoder has {len(encoder.replicas)}: create it with one."
            )
        backbone = encoder.model.backbone
        self._run = [backbone]  # in a list, so that it is not registered twice
        self.backbone: nn.Module = backbone if isinstance(backbone, XmodEncoder) else backbone.model  # type: ignore[attr-defined]
        self.head = encoder.model.head
        for parameter in self.head.parameters():
            parameter.data = parameter.data.clone()  # a file's pages are not written to
        self.adapters = nn.ParameterDict()
        self._freeze(only_adapters=adapters is not None)
        if isinstance(backbone, XmodEncoder):
            backbone.bank = TrainingBank(backbone.bank, self._register(adapters or {}))
        elif adapters:
            raise LanguageError(f"A {encoder.checkpoint.model_type!r} checkpoint has no language adapters to train.")

    def _freeze(self, *, only_adapters: bool) -> None:
        self.requires_grad_(not only_adapters)
        if isinstance(self.backbone, XmodEncoder):
            frozen: list[nn.Module | None] = [self.backbone.words, self.backbone.positions, self.backbone.types]
            frozen += [self.backbone.norm, *(layer.adapter_norm for layer in self.backbone.layers)]  # type: ignore[list-item]
            for part in frozen:
                if part is not None:
                    part.requires_grad_(False)
        else:
            self.backbone.embeddings.requires_grad_(False)

    def _register(self, adapters: dict[str, tuple[Adapter, ...]]) -> dict[str, tuple[Adapter, ...]]:
        result = {}
        for name, layers in adapters.items():
            made = []
            for i, adapter in enumerate(layers):
                parameters = [
                    nn.Parameter(value.detach().clone().to(self.head.device, self.head.dtype)) for value in adapter
                ]
                for part, parameter in zip(ADAPTER_PARTS, parameters, strict=True):
                    self.adapters[f"{i}/{name}/{part}".replace(".", "/")] = parameter
                made.append(Adapter(*parameters))
            result[name] = tuple(made)
        return result

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, adapters: Sequence[str]) -> Tensor:
        """Return the last states: ``(b, L)`` → ``(b, L, hidden)``; `adapters` names one per row, or is empty."""
        device = self.head.device
        return self._run[0](input_ids.to(device), attention_mask.to(device), adapters)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, adapters: Sequence[str]) -> Tensor:
        """Return unit token vectors: ``(b, L)`` → ``(b, L, dim)``, float32."""
        hidden = self.hidden(input_ids, attention_mask, adapters)
        return F.normalize(self.head(hidden).float(), dim=-1)

    def stored_tensors(self) -> dict[str, Tensor]:
        """Return the trained tensors under the names that the checkpoint stores them with, on the CPU."""
        prefix = self._run[0].prefix
        trained = {name: value for name, value in self.backbone.named_parameters() if value.requires_grad}
        result: dict[str, Tensor] = {}
        if isinstance(self.backbone, XmodEncoder):
            table = tensor_names(self.backbone.config)
            for name, value in trained.items():
                stored = [prefix + each for each in table[name]]
                result |= dict(zip(stored, value.chunk(len(stored)), strict=True))
        else:
            result = {prefix + name: value for name, value in trained.items()}
        for key, value in self.adapters.items():
            layer, name, module, part = key.split("/")
            result[f"{prefix}encoder.layer.{layer}.output.adapter_modules.{name}.{module}.{part}"] = value
        result |= {name: value for name, value in self.head.stored() if value.requires_grad}
        return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in result.items()}
