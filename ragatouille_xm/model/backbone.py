"""Backbones without language adapters, run by transformers. What differs between them is read from the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..files import lacks_memory
from .checkpoint import Checkpoint

_PROBE = 3  # tokens of a text of which a position table shows itself
_UNLIMITED = 1_000_000  # tokens that a model takes which has neither a position table nor a limit in config.json


class TransformersBackbone:
    """A backbone without language adapters (BERT, XLM-R, ModernBERT, …).

    Parameters
    ----------
    checkpoint : Checkpoint
    device : torch.device
    dtype : torch.dtype

    Attributes
    ----------
    prefix : str
        What the checkpoint's names of its tensors begin with.
    hidden_size, vocab_size, max_tokens : int
        Width of its states, number of its word embeddings, and the most tokens of a text.

    Raises
    ------
    CheckpointError
        If transformers does not know it, it needs code of its own, or a tensor is missing or of another shape.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        with _needing_code(checkpoint):
            model, self.prefix = _load(checkpoint)
        for parameter in model.parameters():  # buffers, such as the frequencies of rotary positions, stay exact
            parameter.data = parameter.data.to(dtype)
        self.model = model.to(device).requires_grad_(False).eval()
        words = model.get_input_embeddings()
        self.vocab_size: int = words.num_embeddings
        with _backbone_errors(checkpoint):
            self.hidden_size, self.max_tokens = _probe(model, words)

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None, adapters: Sequence[str]) -> Tensor:
        """Map ``(b, L)`` ids and mask to ``(b, L, hidden)``."""
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def hidden_size(checkpoint: Checkpoint) -> int:
    """Return the width of a backbone's hidden states, whatever its ``config.json`` calls it."""
    from transformers import AutoConfig

    with _backbone_errors(checkpoint):
        return int(AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False).hidden_size)


def _load(checkpoint: Checkpoint) -> tuple[Any, str]:
    """Return the model with its weights, and the prefix of their names."""
    from transformers import AutoConfig, AutoModel

    weights = checkpoint.weights
    with _backbone_errors(checkpoint):
        config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
        with torch.device("meta"):  # takes no memory, whatever config.json says
            empty = AutoModel.from_config(config, trust_remote_code=False)
        shapes, words = empty.state_dict(), empty.get_input_embeddings()
        table = next(name for name, module in empty.named_modules() if module is words)
    prefix = weights.prefix_of(f"{table}.weight")
    # The pooler is unused, and may be missing in ColBERT checkpoints.
    wanted = {name: value.shape for name, value in shapes.items() if not name.startswith("pooler.")}
    state = {name: weights.get(prefix + name, shape) for name, shape in wanted.items()}
    with _backbone_errors(checkpoint):
        model = AutoModel.from_config(config, trust_remote_code=False)
    model.load_state_dict(state, strict=False)
    if hasattr(model, "pooler"):
        model.pooler = None
    return model, prefix


def _probe(model: Any, words: nn.Embedding) -> tuple[int, int]:
    """Return the width of a model's states, and the most tokens that it takes, found by encoding a short text.

    A table of absolute positions is one that is asked for consecutive rows. The first of them is not 0 in models that
    count after the padding's id, as RoBERTa and MPNet do, so that these take fewer tokens than the table has rows.
    """
    asked: dict[nn.Embedding, Tensor] = {}

    def note(module: nn.Embedding, args: tuple[Tensor, ...]) -> None:
        asked[module] = args[0].reshape(-1).cpu()

    tables = [module for module in model.modules() if isinstance(module, nn.Embedding) and module is not words]
    hooks = [table.register_forward_pre_hook(note) for table in tables]
    try:
        with torch.inference_mode():
            ids = torch.full((1, _PROBE), int(words.padding_idx == 0), device=words.weight.device)
            hidden = model(input_ids=ids).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    limits = [
        table.num_embeddings - int(rows[0])
        for table, rows in asked.items()
        if rows.tolist() == list(range(int(rows[0]), int(rows[0]) + _PROBE))
    ]
    said = getattr(model.config, "max_position_embeddings", None)
    if not limits:
        limits = [said if isinstance(said, int) and said > 0 else _UNLIMITED]
    return hidden.shape[-1], min(limits)


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


@contextmanager
def _needing_code(checkpoint: Checkpoint) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        if "auto_map" not in checkpoint.config:
            raise
        raise CheckpointError(
            f"The backbone {checkpoint.model_type!r} of {checkpoint.name!r} needs Python code of its own (auto_map in "
            "config.json), and code of a checkpoint is never run. Use one whose backbone transformers has."
        ) from error
