"""What users see of a passage that was found."""

from __future__ import annotations

from typing import Any, TypeAlias

from .types import Passage

Result: TypeAlias = dict[str, Any]


def make_result(passage: Passage, score: float, rank: int, query_tokens: int) -> Result:
    """Return a result; its relevance is the score over the number of the query's rows, from 0 to 1."""
    relevance = min(max(score / max(query_tokens, 1), 0.0), 1.0)
    return {"content": passage.text, "score": score, "rank": rank, **described(passage), "relevance": relevance}


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
