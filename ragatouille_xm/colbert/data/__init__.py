"""colbert-ai's passages, queries and rankings, and its tab-separated files."""

from __future__ import annotations

from .collection import Collection
from .queries import Queries
from .ranking import Ranking

__all__ = ["Collection", "Queries", "Ranking"]
