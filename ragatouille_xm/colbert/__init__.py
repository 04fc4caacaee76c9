"""colbert-ai's interface, with every text encoded through its own language's adapter.

Code written for colbert-ai runs once its imports say ``ragatouille_xm.colbert`` instead of ``colbert``. The names are
in the same modules (`infra`, `data`), and all of them here too. ``docs/migration.md`` explains each option.
"""

from __future__ import annotations

from .data import Collection, Queries, Ranking
from .indexer import Indexer
from .infra import ColBERTConfig, Run, RunConfig
from .modeling.checkpoint import Checkpoint
from .searcher import Searcher

__all__ = [
    "Checkpoint",
    "ColBERTConfig",
    "Collection",
    "Indexer",
    "Queries",
    "Ranking",
    "Run",
    "RunConfig",
    "Searcher",
]
