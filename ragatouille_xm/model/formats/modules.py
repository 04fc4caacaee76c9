"""``modules.json``: the modules of a folder that PyLate or sentence-transformers saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from ...files import is_file_name
from ..weights import Weights
from .layout import ACTIVATIONS, Dense, parse_fields, read_json, read_object

MARK = "modules.json"
SETTINGS = "config_sentence_transformers.json"
TOKENS = "token_embeddings"
_OWNERS = ("sentence_transformers.", "pylate.")
_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
_SIMILARITIES = ("maxsim", "meanmaxsim", "cosine")  # "cosine": what PyLate wrote before it had a name for it


@dataclass(frozen=True)
class TransformerConfig:
    """``sentence_bert_config.json``, where 0 is what is not there."""

    max_seq_length: int = 0
    do_lower_case: bool = False
    transformer_task: str = "feature-extraction"
    modality_config: dict[str, Any] | None = None
    module_output_name: str = TOKENS
    query_length: int = 0
    document_length: int = 0
    query_expansion: dict[str, Any] | None = None
    unpad_inputs: object = None  # how it is computed
    processing_kwargs: object = None
    model_args: object = None
    model_kwargs: object = None
    tokenizer_args: object = None
    processor_kwargs: object = None
    config_args: object = None
    config_kwargs: object = None


_MUST_BE: dict[str, tuple[object, ...]] = {
    "transformer_task": ("feature-extraction",),
    "module_output_name": (TOKENS,),
    "modality_config": (None, {"text": _FORWARD}),
    "processing_kwargs": (None, {}),
    "model_args": (None, {}),
    "model_kwargs": (None, {}),
    "tokenizer_args": (None, {}),
    "processor_kwargs": (None, {}),
    "config_args": (None, {}),
    "config_kwargs": (None, {}),
}


@dataclass(frozen=True)
class DenseConfig:
    """``config.json`` of a dense layer."""

    in_features: int = 0
    out_features: int = 0
    bias: bool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"
    use_residual: bool = False
    module_input_name: str = TOKENS
    module_output_name: str = TOKENS


@dataclass(frozen=True)
class MaskConfig:
    """``config.json`` of the module that says which tokens are scored."""

    skiplist_words: Sequence[str] = ()
    skiplist_tasks: Sequence[str] = ("document",)
    keep_only_token_ids: object = None


@dataclass(frozen=True)
class NormalizeConfig:
    """``config.json`` of the module that gives vectors unit length."""

    module_input_name: str = "sentence_embedding"
    module_output_name: str = "sentence_embedding"


@dataclass
class Stack:
    """The modules of a folder, in the order of `READERS`."""

    backbone: Path
    transformer: TransformerConfig = TransformerConfig()
    head: list[Dense] = field(default_factory=list)
    head_weights: dict[str, Weights] = field(default_factory=dict)
    mask: MaskConfig | None = None
    normalized: bool = False
    raw: bytes = b""

    def config(self, kind: type, file: Path, *, needed: bool = True) -> Any:
        """Read a module's settings; a missing file that is not `needed` is one without any."""
        stored, raw = read_object(file) if needed or os.path.lexists(file) else ({}, b"")
        self.raw += raw
        return parse_fields(kind, stored, file)


def _transformer(stack: Stack, folder: Path) -> None:
    file = folder / "sentence_bert_config.json"
    config: TransformerConfig = stack.config(TransformerConfig, file, needed=False)
    for name, values in _MUST_BE.items():
        if getattr(config, name) not in values:
            raise unsupported(file, name, getattr(config, name))
    stack.backbone, stack.transformer = folder, config


def _dense(stack: Stack, folder: Path) -> None:
    file = folder / "config.json"
    config: DenseConfig = stack.config(DenseConfig, file)
    library, _, activation = config.activation_function.rpartition(".")
    if not f"{library}.".startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{file}: activation_function={config.activation_function[:80]!r} is not known. Known: torch.nn's "
            f"{', '.join(ACTIVATIONS)}."
        )
    for name in ("module_input_name", "module_output_name"):
        if getattr(config, name) != TOKENS:
            raise unsupported(file, name, getattr(config, name))
    prefix = f"{folder.name}/"
    stack.head_weights[prefix] = Weights.open(folder)
    stack.head.append(Dense(prefix, config.bias, activation, config.use_residual))


def _mask(stack: Stack, folder: Path) -> None:
    file = folder / "config.json"
    stack.mask = stack.config(MaskConfig, file)
    if stack.mask.keep_only_token_ids:
        raise unsupported(file, "keep_only_token_ids", stack.mask.keep_only_token_ids)
    if set(stack.mask.skiplist_tasks) not in ({"document"}, {"document", "query"}, set()):
        raise unsupported(file, "skiplist_tasks", stack.mask.skiplist_tasks)


def _normalize(stack: Stack, folder: Path) -> None:
    file = folder / "config.json"
    config: NormalizeConfig = stack.config(NormalizeConfig, file)
    if config.module_input_name != TOKENS or config.module_output_name != TOKENS:
        raise unsupported(file, "module_input_name", config.module_input_name)
    stack.normalized = True


# By the last part of a module's class, in the order that they must have; the last two may also change places.
READERS: dict[str, Callable[[Stack, Path], None]] = {
    "Transformer": _transformer, "Dense": _dense, "MultiVectorMask": _mask, "Normalize": _normalize,
}  # fmt: skip


def read_stack(folder: Path) -> Stack:
    """Read the modules of a folder.

    Raises
    ------
    CheckpointError
        If a module, or one of its settings, is unknown or unsupported, or they come in an order that is.
    """
    file = folder / MARK
    listed, raw = read_json(file)
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise CheckpointError(f"{str(file)!r} is not a list of modules. Download the checkpoint again.")
    stack, last = Stack(folder, raw=raw), -1
    for i, module in enumerate(listed):
        kind, path = module.get("type"), module.get("path")
        name = str(kind).rpartition(".")[2]
        if name not in READERS or not str(kind).startswith(_OWNERS):
            raise CheckpointError(
                f"{file}: the module {str(kind)[:80]!r} is not known here, and code of a checkpoint is never run. "
                f"Known: {', '.join(READERS)} of sentence-transformers and PyLate."
            )
        place = min(list(READERS).index(name), 2)
        if (i == 0) != (place == 0) or place < last:
            raise CheckpointError(f"{file}: {name} cannot be module {i}. The order is: {', '.join(READERS)}.")
        if path != "" and not is_file_name(path):
            raise CheckpointError(f"{file}: {str(path)[:80]!r} is not a folder in the checkpoint's folder.")
        last = place
        READERS[name](stack, folder / path)
    return stack


def similarity_of(name: str, file: Path) -> None:
    """Raise `CheckpointError` unless a similarity orders passages as MaxSim of unit vectors does."""
    if name.lower() not in _SIMILARITIES:
        raise unsupported(file, "similarity_fn_name", name)


def prompt_of(prompts: Mapping[str, Any] | None, default: str, names: Sequence[str], file: Path) -> str:
    """Return the text that stands before queries, or before passages: the first of `names` that is there."""
    found = next((name for name in names if name in (prompts or {})), default)
    prompt = (prompts or {}).get(found) or ""
    if not isinstance(prompt, str):
        raise CheckpointError(f"{file}: the prompt {found!r} is {str(prompt)[:80]!r}, which is not text.")
    return prompt


def unsupported(file: Path, name: str, value: object) -> CheckpointError:
    """Return the error for a setting that is known, with a value that is not supported."""
    return CheckpointError(f"{file}: {name}={str(value)[:80]!r} is not supported here: its vectors would be others.")
