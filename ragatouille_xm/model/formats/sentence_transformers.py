"""sentence-transformers' ``MultiVectorEncoder``: ``modules.json``, and settings with the module that they concern."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from ...text.token_settings import WHOLE, TokenSettings
from .layout import Layout, parse_fields, read_object
from .modules import SETTINGS, MaskConfig, Stack, prompt_of, read_stack, similarity_of, unsupported

MODEL_TYPE = "MultiVectorEncoder"


@dataclass(frozen=True)
class Config:
    """``config_sentence_transformers.json``."""

    __version__: object = None
    model_type: str = "SentenceTransformer"
    prompts: dict[str, Any] | None = None
    default_prompt_name: str = ""
    similarity_fn_name: str = "maxsim"


@dataclass(frozen=True)
class Expansion:
    """How queries are filled."""

    strategy: str = "fixed"  # or "min", which differs for queries that are too long to be filled
    attend: bool = False
    token: str = ""
    length: int = 32


def owns(folder: Path) -> bool:
    """Return whether a folder with ``modules.json`` has a late-interaction model, and not one vector a text."""
    file = folder / SETTINGS
    return os.path.lexists(file) and read_object(file)[0].get("model_type") == MODEL_TYPE


def read(folder: Path) -> Layout:
    """Read a folder. Markers are text here: a prompt such as ``"[Q] "``, which may be a token of the vocabulary."""
    file = folder / SETTINGS
    stored, raw = read_object(file)
    config: Config = parse_fields(Config, stored, file)
    similarity_of(config.similarity_fn_name, file)
    stack = read_stack(folder)
    if not stack.normalized:
        raise CheckpointError(f"{folder} has no module Normalize, but vectors must have unit length here.")
    settings = _token_settings(stack, config, file)
    return Layout(
        "sentence-transformers", stack.backbone, settings, file, raw + stack.raw, tuple(stack.head), stack.head_weights
    )


def _token_settings(stack: Stack, config: Config, file: Path) -> TokenSettings:
    transformer, mask = stack.transformer, stack.mask or MaskConfig()
    expansion = None
    if transformer.query_expansion is not None:
        place = stack.backbone / "sentence_bert_config.json"
        expansion = parse_fields(Expansion, transformer.query_expansion, place)
        if expansion.strategy not in ("fixed", "min"):
            raise unsupported(place, "query_expansion strategy", expansion.strategy)
        if stack.mask is None:
            raise CheckpointError(f"{file.parent} fills queries, but no module MultiVectorMask scores what fills them.")
    return TokenSettings(
        query_maxlen=expansion.length if expansion else transformer.query_length or TokenSettings().query_maxlen,
        doc_maxlen=transformer.document_length or _longest(stack),
        query_token_id="",
        doc_token_id="",
        mask_punctuation=False,
        attend_to_mask_tokens=expansion is not None and expansion.attend,
        marker="insert",
        query_prefix=prompt_of(config.prompts, config.default_prompt_name, ["query"], file),
        doc_prefix=prompt_of(config.prompts, config.default_prompt_name, ["document", "passage", "corpus"], file),
        expand_queries=expansion is not None,
        fill_token=expansion.token if expansion else "",
        skiplist=tuple(mask.skiplist_words) if "document" in mask.skiplist_tasks else (),
        skip_in_queries="query" in mask.skiplist_tasks,
        lowercase=transformer.do_lower_case,
    )


def _longest(stack: Stack) -> int:
    """Return the most tokens of a passage where only the tokeniser says so, or nothing but the model limits them."""
    file = stack.backbone / "tokenizer_config.json"
    said = read_object(file)[0].get("model_max_length") if os.path.lexists(file) else None
    lengths = [stack.transformer.max_seq_length, int(said) if isinstance(said, (int, float)) else 0]
    length = min((length for length in lengths if length > 0), default=WHOLE)
    positions = read_object(stack.backbone / "config.json")[0].get("max_position_embeddings")
    return WHOLE if isinstance(positions, int) and length >= positions else length
