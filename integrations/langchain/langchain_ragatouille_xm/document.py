"""Search results as LangChain documents."""

from __future__ import annotations

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langchain_core.documents import Document

OWN_KEYS = ("document_id", "passage_id", "language")
SCORE_KEYS = ("score", "rank", "relevance", "query_language")


def found_document(result: dict[str, Any], with_scores: bool) -> Document:
    """Return a search result as a document with a stable id; without scores it is the same for every query.

    Evidence, if the result has some, goes into the metadata as plain values; it depends on the query too.
    """
    what = [result["document_id"], result["passage_id"], result["content"]]
    own = {key: result[key] for key in (OWN_KEYS + SCORE_KEYS if with_scores else OWN_KEYS)}
    if "evidence" in result:
        own["evidence"] = result["evidence"].as_dict()
    return Document(
        id=str(uuid5(NAMESPACE_URL, f"ragatouille_xm:{json.dumps(what)}")),
        page_content=result["content"],
        metadata={**own, **result.get("document_metadata", {})},
    )
