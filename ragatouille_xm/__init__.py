"""Multilingual late-interaction retrieval: each text is encoded through its own language's adapter.

Importing this imports neither torch nor any framework; names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pretrained import RAGPretrainedModel
    from .text.detect import detect_languages
    from .trainer import RAGTrainer

__version__ = "0.1.0"

__all__ = ["RAGPretrainedModel", "RAGTrainer", "__version__", "detect_languages"]

_MODULES = {"RAGPretrainedModel": "pretrained", "RAGTrainer": "trainer", "detect_languages": "text.detect"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
