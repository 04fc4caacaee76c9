"""The demo checkpoint cut in two: the lower layers stay as they are, so that each text passes them once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.model.adapters import Adapter
from ragatouille_xm.model.xmod import tensor_names
from ragatouille_xm.text.tokenizer import Tokens

FROZEN_LAYERS = 6  # of 11
QUERY_TOKENS, PASSAGE_TOKENS = 32, 112  # in training; a longer passage is cut
AT_ONCE = 16


class Half(NamedTuple):
    """What comes out of the lower layers for one text: states (L, hidden), and which are attended to and scored."""

    states: Tensor
    attended: Tensor
    scored: Tensor


class Halves:
    """A model whose upper layers, head and upper adapters can train; products are in bfloat16.

    Parameters
    ----------
    encoder : Encoder
        On the CPU, in float32. It is changed in place.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.tokenizer = encoder.tokenizer
        self.backbone = encoder.model.backbone
        encoder.model.linear = encoder.model.linear.clone()

    def queries(self, texts: Sequence[str], adapter: str) -> list[Half]:
        return self._lower([_cut(each) for each in self.tokenizer.queries(texts)], adapter)

    def passages(self, texts: Sequence[str], adapter: str) -> list[Half]:
        return self._lower(self.tokenizer.documents(texts, PASSAGE_TOKENS), adapter)

    @torch.no_grad()
    def _lower(self, tokens: Sequence[Tokens], adapter: str) -> list[Half]:
        layers, bank = self.backbone.layers, self.backbone.bank[adapter]
        result: dict[int, Half] = {}
        order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i].ids))
        for start in range(0, len(order), AT_ONCE):
            rows = order[start : start + AT_ONCE]
            batch = self.tokenizer.pad([tokens[i] for i in rows])
            attended, pad = batch.attention_mask.bool(), self.backbone.config.pad_token_id
            real = batch.input_ids.ne(pad).long()
            with torch.autocast("cpu", torch.bfloat16):
                x = self.backbone.words(batch.input_ids) + self.backbone.positions(real.cumsum(1) * real + pad)
                x = self.backbone.norm(x + self.backbone.types.weight[0])
                for i in range(FROZEN_LAYERS):
                    x = layers[i](x, attended[:, None, None, :], [(bank[i], 0, len(rows))])
            for row, i in enumerate(rows):
                length = len(tokens[i].ids)
                half = (x[row, :length].bfloat16(), attended[row, :length], batch.scoring_mask[row, :length])
                result[i] = Half(*(part.clone() for part in half))
        return [result[i] for i in range(len(tokens))]

    def upper(self, halves: Sequence[Half], adapter: str) -> tuple[Tensor, Tensor]:
        """Return unit vectors (b, L, dim) and which of them count (b, L)."""
        bank = self.backbone.bank[adapter]
        x, attended, scored = (
            torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*halves, strict=True)
        )
        x = x.float()
        with torch.autocast("cpu", torch.bfloat16):
            for i in range(FROZEN_LAYERS, len(self.backbone.layers)):
                x = self.backbone.layers[i](x, attended[:, None, None, :], [(bank[i], 0, len(x))])
            x = x @ self.encoder.model.linear.T
        return F.normalize(x.float(), dim=-1), scored

    def free_adapter(self, name: str) -> list[Tensor]:
        """Let an adapter's upper layers train; return their tensors."""
        bank = self.backbone.bank
        own = tuple(Adapter(*(tensor.clone() for tensor in layer)) for layer in bank[name])
        bank._resident[name] = own
        return [tensor.requires_grad_() for layer in own[FROZEN_LAYERS:] for tensor in layer]

    def free_encoder(self) -> list[Tensor]:
        """Let the upper layers and the head train; return their tensors, the head last."""
        upper = [p.requires_grad_() for layer in self.backbone.layers[FROZEN_LAYERS:] for p in layer.parameters()]
        return [*upper, self.encoder.model.linear.requires_grad_()]

    def trained(self, adapters: Sequence[str]) -> dict[str, Tensor]:
        """Return every tensor that may have trained by its name in the checkpoint."""
        result = {"linear.weight": self.encoder.model.linear}
        state = self.backbone.state_dict()
        for ours, theirs in tensor_names(self.backbone.config).items():
            if ours.startswith("layers.") and int(ours.split(".")[1]) >= FROZEN_LAYERS:
                result |= {f"roberta.{n}": part for n, part in zip(theirs, state[ours].chunk(len(theirs)), strict=True)}
        for name in adapters:
            for i, layer in list(enumerate(self.backbone.bank[name]))[FROZEN_LAYERS:]:
                prefix = f"roberta.encoder.layer.{i}.output.adapter_modules.{name}"
                parts = ("dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias")
                result |= {f"{prefix}.{part}": tensor for part, tensor in zip(parts, layer, strict=True)}
        return {name: tensor.detach() for name, tensor in result.items()}


def _cut(tokens: Tokens) -> Tokens:
    return Tokens(*(part[:QUERY_TOKENS] for part in tokens))
