"""PyLate's format: ``modules.json``, dense layers in folders, and the settings of tokens beside the prompts."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...text.token_settings import TokenSettings
from .layout import Layout, parse_fields, read_object
from .modules import SETTINGS, prompt_of, read_stack, similarity_of


@dataclass(frozen=True)
class Config:
    """``config_sentence_transformers.json``, with PyLate's defaults."""

    __version__: object = None
    model_type: str = "ColBERT"
    prompts: dict[str, Any] | None = None
    default_prompt_name: str = ""
    similarity_fn_name: str = "MaxSim"
    query_prefix: str = "[Q] "
    document_prefix: str = "[D] "
    query_length: int = 32
    document_length: int = 180
    attend_to_expansion_tokens: bool = False
    skiplist_words: Sequence[str] = tuple(string.punctuation)
    do_query_expansion: bool = True


def owns(folder: Path) -> bool:
    """Return whether PyLate saved a folder with ``modules.json``: up to its version 1.1 without a `model_type`."""
    file = folder / SETTINGS
    stored = read_object(file)[0] if os.path.lexists(file) else {}
    return stored.get("model_type") == "ColBERT" or ("model_type" not in stored and "query_prefix" in stored)


def read(folder: Path) -> Layout:
    """Read a folder.

    A marker is a token of the vocabulary, which PyLate adds if it is not there, with an embedding of its own. Prompts
    stand after it, as with PyLate's ``prompt_name="query"`` and ``"document"``; one that repeats the marker, for
    sentence-transformers, counts without it.
    """
    stack, file = read_stack(folder), folder / SETTINGS
    stored, raw = read_object(file)
    config: Config = parse_fields(Config, stored, file)
    similarity_of(config.similarity_fn_name, file)

    def prompt(names: list[str]) -> str:
        return prompt_of(config.prompts, config.default_prompt_name, names, file)

    settings = TokenSettings(
        query_maxlen=config.query_length,
        doc_maxlen=config.document_length,
        query_token_id=config.query_prefix,
        doc_token_id=config.document_prefix,
        mask_punctuation=False,
        attend_to_mask_tokens=config.attend_to_expansion_tokens and config.do_query_expansion,
        marker="insert",
        query_prefix=prompt(["query"]).removeprefix(config.query_prefix),
        doc_prefix=prompt(["document", "passage", "corpus"]).removeprefix(config.document_prefix),
        expand_queries=config.do_query_expansion,
        skiplist=tuple(config.skiplist_words),
        skip_unknown=True,
        strip=True,
        lowercase=stack.transformer.do_lower_case,
    )
    return Layout("PyLate", stack.backbone, settings, file, raw + stack.raw, tuple(stack.head), stack.head_weights)
