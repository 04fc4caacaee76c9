"""colbert-ai's usage, with every text through its own language's adapter.

Code written for colbert-ai runs when ``colbert`` becomes ``ragatouille_xm.colbert`` in its imports; the names are in
the same places (`infra`, `data`), and all of them here too. ``docs/migration.md`` says what each option does.
"""

from __future__ import annotations

from .data import Collection, Queries, Ranking
from .indexer import Indexer
from .infra import ColBERTConfig, Run, RunConfig
from .searcher import Searcher

__all__ = ["ColBERTConfig", "Collection", "Indexer", "Queries", "Ranking", "Run", "RunConfig", "Searcher"]
