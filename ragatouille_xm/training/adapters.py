"""The adapter of a language that is trained: its name, and what it starts from."""

from __future__ import annotations

import logging

import torch

from ..encoder import Encoder
from ..errors import LanguageError
from ..languages import AdapterTable, match, to_adapter
from ..model.adapters import Adapter
from ..model.xmod import XmodEncoder

logger = logging.getLogger(__name__)

ZEROS = "zeros"


def adapter_name(language: str, adapters: AdapterTable) -> str:
    """Return the name of a language's adapter: the checkpoint's, else XLM-R's, else a new one in its style.

    Examples
    --------
    >>> table = AdapterTable(["en_XX", "fr_XX"], "en_XX")
    >>> [adapter_name(language, table) for language in ("fr-CA", "de", "yo", "yo_NG")]
    ['fr_XX', 'de_DE', 'yo_XX', 'yo_NG']
    """
    if not isinstance(language, str):
        raise _unknown(language)
    if language in adapters.adapters:
        return language
    own = match(language, adapters.languages, nearest=False)
    if own is not None and (name := adapters.adapter_for(own)) is not None:
        return name
    known = to_adapter(language, nearest=False)
    if known is not None:
        return known
    parts = language.replace("_", "-").split("-")
    if not (len(parts) <= 2 and 2 <= len(parts[0]) <= 3 and all(part.isascii() and part.isalnum() for part in parts)):
        raise _unknown(language)
    return f"{parts[0].lower()}_{parts[1].upper() if len(parts) == 2 else 'XX'}"


def _unknown(language: object) -> LanguageError:
    return LanguageError(
        f"{language!r} is not a language. Give a code such as 'yo', or an adapter name such as 'yo_NG'."
    )


def initial_adapter(name: str, encoder: Encoder, start_from: str | None, seed: int) -> tuple[Adapter, ...]:
    """Return the adapter that training starts from: the checkpoint's own, else a copy of another.

    Parameters
    ----------
    start_from : str or None
        Language to copy for a new one, or ``"zeros"``; by default the nearest relative, else the default adapter.

    Raises
    ------
    LanguageError
        If the checkpoint has no adapters, or none for `start_from`.
    """
    backbone, table = encoder.model.backbone, encoder.adapters
    if not isinstance(backbone, XmodEncoder):
        raise LanguageError(
            f"{encoder.checkpoint.name!r} is a {encoder.checkpoint.model_type!r} checkpoint, which has no language "
            "adapters."
        )
    if name in table.adapters:
        return backbone.bank[name]
    if start_from == ZEROS:
        generator = torch.Generator().manual_seed(seed)
        hidden, narrow = backbone.config.hidden_size, backbone.config.bottleneck_size
        return tuple(
            Adapter(
                # not zero, so that the other matrix gets a gradient
                torch.randn(narrow, hidden, generator=generator) * 0.02,
                torch.zeros(narrow),
                torch.zeros(hidden, narrow),
                torch.zeros(hidden),
            )
            for _ in range(backbone.config.num_hidden_layers)
        )
    origin = table.adapter_for(name.replace("_", "-") if start_from is None else start_from)
    if origin is None:
        raise LanguageError(f"The checkpoint has no adapter to start {name!r} from.")
    logger.info("the adapter %s starts as a copy of %s", name, origin)
    return backbone.bank[origin]
