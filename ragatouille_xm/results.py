"""What users see of a passage that was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from .types import Passage

Result: TypeAlias = dict[str, Any]


def make_result(passage: Passage, score: float, rank: int, query_tokens: int, parts: Sequence[float] = ()) -> Result:
    """Return a result; its relevance is MaxSim over the number of the query's rows, from 0 to 1.

    The `score` of a hybrid search is made of two `parts`, MaxSim and BM25, which the result has as well.
    """
    relevance = min(max((parts[0] if parts else score) / max(query_tokens, 1), 0.0), 1.0)
    shown = {"content": passage.text, "score": score, "rank": rank, **described(passage), "relevance": relevance}
    return shown | dict(zip(("maxsim_score", "lexical_score"), parts, strict=False))


def described(passage: Passage) -> Result:
    """Return what users see of a passage."""
    shown: Result = {
        "content": passage.text,
        "document_id": passage.document_id,
        "passage_id": passage.pid,
        "language": passage.language,
    }
    if passage.metadata is not None:
        shown["document_metadata"] = dict(passage.metadata)
    return shown
