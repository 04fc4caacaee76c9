"""What users see of a passage that was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from .types import Passage

Result: TypeAlias = dict[str, Any]
Results: TypeAlias = list[Result] | list[list[Result]]


def make_result(passage: Passage, score: float, rank: int, relevance: float, parts: Sequence[float] = ()) -> Result:
    """Return a result. The `score` of a hybrid search is made of two `parts`, MaxSim and BM25, which it has as well."""
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


def json_values(result: Result) -> Result:
    """Return a result with its evidence as JSON values, and so of the other passages of its document."""
    values = dict(result)
    if "evidence" in values:
        values["evidence"] = values["evidence"].as_dict()
    if "other_passages" in values:
        values["other_passages"] = [json_values(each) for each in values["other_passages"]]
    return values


def unwrap_single(found: list[list[Result]], query: object, zero_index_ranks: bool) -> Results:
    """Return one list of results for a single query, a list of lists for several."""
    if zero_index_ranks:
        for results in found:
            for result in results:
                for each in (result, *result.get("other_passages", ())):
                    each["rank"] -= 1
    return found[0] if isinstance(query, str) else found
