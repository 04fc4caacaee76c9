"""colbert-ai's configuration: what holds for a run, and what for indexing and searching."""

from __future__ import annotations

from .config import ColBERTConfig, RunConfig
from .run import Run

__all__ = ["ColBERTConfig", "Run", "RunConfig"]
