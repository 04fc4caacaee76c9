"""What users see of a passage that was found."""

from __future__ import annotations

from typing import Any, TypeAlias

from .types import Passage

Result: TypeAlias = dict[str, Any]


def make_result(passage: Passage, score: float, rank: int, relevance: float) -> Result:
    """Return a result."""
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
