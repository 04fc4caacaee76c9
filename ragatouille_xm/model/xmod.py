"""X-MOD for inference: an encoder in which each row of a batch uses the adapters of its language.

Tested against ``transformers.XmodModel`` for every language and setting (``tests/model/test_xmod.py``), which loops
over all languages in every layer and holds all of them in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError
from .adapters import Adapter, AdapterBank
from .linear import Int8Linear, PackedAdapter, PackedLinear, pack, pack_adapter
from .settings import read_fields
from .weights import Weights

# Adapters of all layers, first row, end row (exclusive; None for the last one)
Segment = tuple[tuple[Adapter, ...], int, int | None]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass(frozen=True, slots=True)
class XmodConfig:
    """The settings in ``config.json`` that the encoder needs, named as in transformers' ``XmodConfig``."""

    languages: tuple[str, ...]
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 1
    pre_norm: bool = False
    adapter_reduction_factor: float = 2
    adapter_layer_norm: bool = False
    adapter_reuse_layer_norm: bool = True
    ln_before_adapter: bool = True

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> XmodConfig:
        """Read a ``config.json``; raise `CheckpointError` if a value is invalid."""
        languages = config.get("languages") or ["en_XX"]
        if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
            raise CheckpointError(
                f"languages={str(languages)[:80]!r} is not a list of strings: config.json is damaged."
            )
        if len(set(languages)) != len(languages):
            raise CheckpointError("languages has the same adapter twice: config.json is damaged.")
        result = cls(**read_fields(cls, config) | {"languages": tuple(languages)})
        if result.hidden_act not in ACTIVATIONS:
            raise CheckpointError(f"hidden_act={result.hidden_act!r} is not known. Known: {', '.join(ACTIVATIONS)}.")
        if result.adapter_reduction_factor <= 0 or not 1 <= result.bottleneck_size <= result.hidden_size:
            raise CheckpointError(
                f"adapter_reduction_factor={result.adapter_reduction_factor} leaves an adapter no usable width: "
                "config.json is damaged."
            )
        if not result.pad_token_id < result.vocab_size or result.max_tokens < 1:
            raise CheckpointError(
                f"pad_token_id={result.pad_token_id} does not belong to vocab_size={result.vocab_size} and "
                f"max_position_embeddings={result.max_position_embeddings}: config.json is damaged."
            )
        if result.hidden_size % result.num_attention_heads:
            raise CheckpointError(
                f"hidden_size={result.hidden_size} is not a multiple of num_attention_heads="
                f"{result.num_attention_heads}: config.json is damaged."
            )
        return result

    @property
    def max_tokens(self) -> int:
        """Maximum tokens per text; positions start after the padding's."""
        return self.max_position_embeddings - self.pad_token_id - 1

    @property
    def bottleneck_size(self) -> int:
        """Width of an adapter's bottleneck."""
        return int(self.hidden_size // self.adapter_reduction_factor)


WORDS = "words.weight"
# Our names, and a checkpoint's tensor names (after its prefix); several are stacked along the first axis.
ENCODER_KEYS: dict[str, tuple[str, ...]] = {
    WORDS: ("embeddings.word_embeddings.weight",),
    "positions.weight": ("embeddings.position_embeddings.weight",),
    "types.weight": ("embeddings.token_type_embeddings.weight",),
    "norm.weight": ("embeddings.LayerNorm.weight",),
    "norm.bias": ("embeddings.LayerNorm.bias",),
}
LAYER_KEYS: dict[str, tuple[str, ...]] = {
    f"{ours}.{part}": tuple(f"{theirs}.{part}" for theirs in sources)
    for ours, sources in {
        "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention_output": ("attention.output.dense",),
        "attention_norm": ("attention.output.LayerNorm",),
        "up": ("intermediate.dense",),
        "down": ("output.dense",),
        "output_norm": ("output.LayerNorm",),
    }.items()
    for part in ("weight", "bias")
}
ADAPTER_NORM_KEYS = {f"adapter_norm.{part}": (f"output.adapter_layer_norm.{part}",) for part in ("weight", "bias")}
FINAL_NORM_KEYS = {f"final_norm.{part}": (f"encoder.LayerNorm.{part}",) for part in ("weight", "bias")}


def tensor_names(config: XmodConfig) -> dict[str, tuple[str, ...]]:
    """Return the checkpoint's tensor names for every parameter of `XmodEncoder`, without adapters."""
    table = dict(ENCODER_KEYS)
    layer_keys = LAYER_KEYS | (ADAPTER_NORM_KEYS if config.adapter_layer_norm else {})
    for i in range(config.num_hidden_layers):
        table |= {
            f"layers.{i}.{ours}": tuple(f"encoder.layer.{i}.{name}" for name in theirs)
            for ours, theirs in layer_keys.items()
        }
    return table | (FINAL_NORM_KEYS if config.pre_norm else {})


class XmodLayer(nn.Module):
    """A transformer layer, whose feed-forward part is followed by the adapter of each row's language."""

    def __init__(self, config: XmodConfig) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.layer_norm_eps
        self.config = config
        self.activation = ACTIVATIONS[config.hidden_act]
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps)
        self.up = nn.Linear(hidden, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps)
        self.adapter_norm = nn.LayerNorm(hidden, eps) if config.adapter_layer_norm else None

    def forward(self, x: Tensor, mask: Tensor | None, adapters: Sequence[tuple[Adapter, int, int | None]]) -> Tensor:
        """Map (b, L, hidden) to the same shape; `mask` is (b, 1, 1, L), true for tokens that may be attended to."""
        pre_norm = self.config.pre_norm
        x = x + self._attend(self.attention_norm(x) if pre_norm else x, mask)
        if not pre_norm:
            x = self.attention_norm(x)
        fed = self.down(self.activation(self.up(self.output_norm(x) if pre_norm else x)))
        x = self._adapt(x + fed, adapters)
        return x if pre_norm else self.output_norm(x)

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, length, hidden = x.shape
        heads = self.config.num_attention_heads
        q, k, v = self.qkv(x).view(b, length, 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        output: Tensor = self.attention_output(attended.transpose(1, 2).reshape(b, length, hidden))
        return output

    def _adapt(self, x: Tensor, adapters: Sequence[tuple[Adapter, int, int | None]]) -> Tensor:
        residual = x
        if self.adapter_norm is not None:
            x = self.adapter_norm(x)
        elif self.config.adapter_reuse_layer_norm:
            x = self.output_norm(x)
        if self.config.ln_before_adapter:
            residual = x
        adapted = [a.up(self.activation(a.down(x[start:end]))) for a, start, end in adapters]
        return residual + (adapted[0] if len(adapted) == 1 else torch.cat(adapted))


class XmodEncoder(nn.Module):
    """X-MOD (Pfeiffer et al. 2022, section 3): XLM-R with one adapter per language in every layer.

    Parameters
    ----------
    config : XmodConfig
    bank : AdapterBank
        The adapters.
    prefix : str
        What the checkpoint's names of its tensors begin with.
    """

    def __init__(self, config: XmodConfig, bank: AdapterBank, prefix: str = "") -> None:
        super().__init__()
        self.config = config
        self.bank = bank
        self.prefix = prefix
        self.words = _embedding(config.vocab_size, config.hidden_size)
        self.positions = _embedding(config.max_position_embeddings, config.hidden_size)
        self.types = _embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(XmodLayer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps) if config.pre_norm else None

    @classmethod
    def load(cls, config: dict[str, Any], weights: Weights, device: torch.device, dtype: torch.dtype) -> XmodEncoder:
        """Read everything except the adapters, which are read on first use.

        Raises
        ------
        CheckpointError
            If a tensor is missing or has another shape; the message names both.
        """
        parsed = XmodConfig.from_dict(config)
        prefix = weights.prefix_of("embeddings.word_embeddings.weight")

        def read_adapters(name: str) -> tuple[Adapter, ...]:
            adapters = tuple(read_adapter(i, name) for i in range(parsed.num_hidden_layers))
            weights.release()
            return adapters

        def read_adapter(i: int, name: str) -> Adapter:
            hidden, narrow = parsed.hidden_size, parsed.bottleneck_size
            shapes = {
                "dense1.weight": (narrow, hidden),
                "dense1.bias": (narrow,),
                "dense2.weight": (hidden, narrow),
                "dense2.bias": (hidden,),
            }
            path = f"{prefix}encoder.layer.{i}.output.adapter_modules.{name}."
            return Adapter(*(weights.get(path + part, shape).to(device, dtype) for part, shape in shapes.items()))

        with torch.device("meta"):
            encoder = cls(parsed, AdapterBank(parsed.languages, read_adapters), prefix)
        shapes = {name: value.shape for name, value in encoder.state_dict().items()}
        state = {}
        # Layer by layer, not tensor by tensor: the file of a checkpoint takes milliseconds to open again.
        for _, names in groupby(tensor_names(parsed).items(), key=lambda item: item[0].split(".")[1:-2]):
            for ours, theirs in names:
                rows, *rest = shapes[ours]
                parts = [weights.get(prefix + name, (rows // len(theirs), *rest)) for name in theirs]
                whole = parts[0] if len(parts) == 1 else torch.cat(parts)
                # On a CPU the word embeddings stay memory-mapped; only the rows of words that occur are read.
                state[ours] = whole if ours == WORDS and device.type == "cpu" else whole.to(device, dtype)
            weights.release()
        encoder.load_state_dict(state, assign=True)
        return encoder.requires_grad_(False).eval()

    def pack(self, kind: type[PackedLinear | Int8Linear]) -> None:
        """Convert all linear layers, and adapters when they are read, to `kind`: faster, for inference only."""
        for layer in self.layers:
            pack(layer, kind)
        plain = self.bank

        def read(name: str) -> tuple[PackedAdapter, ...]:
            return tuple(pack_adapter(each, kind) for each in plain.read(name))

        # Only `_adapt` uses a packed model's adapters, and it handles both kinds.
        self.bank = AdapterBank(plain.names, cast("Callable[[str], tuple[Adapter, ...]]", read))

    @property
    def max_tokens(self) -> int:
        """Maximum tokens per text."""
        return self.config.max_tokens

    @property
    def hidden_size(self) -> int:
        """Width of a hidden state."""
        return self.config.hidden_size

    @property
    def vocab_size(self) -> int:
        """Number of ids that it knows."""
        return self.config.vocab_size

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, adapters: Sequence[str]) -> Tensor:
        """Encode a batch.

        Parameters
        ----------
        input_ids : torch.Tensor
            Shape ``(b, L)``, int64.
        attention_mask : torch.Tensor or None
            Shape ``(b, L)``, 1 for tokens that may be attended to; None, which is faster, for all tokens.
        adapters : sequence of str
            Adapter of each row. Adjacent rows with the same adapter share a matrix product.

        Returns
        -------
        torch.Tensor
            Shape ``(b, L, hidden_size)``.
        """
        return self.encode(input_ids, attention_mask, list(self._segments(adapters)))

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None, segments: Sequence[Segment]) -> Tensor:
        """Encode a batch whose adapters are at hand, as `forward` does."""
        pad = self.config.pad_token_id
        real = input_ids.ne(pad).long()
        positions = real.cumsum(1) * real + pad
        x: Tensor = self.norm(
            self.words(input_ids).to(self.types.weight.dtype) + self.positions(positions) + self.types.weight[0]
        )
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        for i, layer in enumerate(self.layers):
            x = layer(x, mask, [(each[i], start, end) for each, start, end in segments])
        return x if self.final_norm is None else self.final_norm(x)

    def _segments(self, adapters: Sequence[str]) -> list[Segment]:
        segments: list[Segment] = []
        start = 0
        for name, rows in groupby(adapters):
            end = start + sum(1 for _ in rows)
            segments.append((self.bank[name], start, end))
            start = end
        return segments


def _embedding(rows: int, width: int) -> nn.Embedding:
    """Create an uninitialised table: initialising one on the meta device makes torch import 800 modules."""
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)
    return table
