"""`FoundDocument`: a result of the retriever, equal for every query."""

from __future__ import annotations

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langchain_core.documents import Document

OWN_KEYS = ("score", "rank", "document_id", "passage_id", "language", "relevance")
QUERY_KEYS = {"score", "rank", "relevance", "relevance_score"}


class FoundDocument(Document):
    """A passage found by a search, equal to the same passage found for another query.

    LangChain merges equal documents, for instance in `MultiQueryRetriever`, so equality ignores what depends on the
    query: ``score``, ``rank`` and ``relevance`` in the metadata, and a compressor's ``relevance_score``. It is
    serialised as a plain `Document`.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        return _comparable(self) == _comparable(other)

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the serialised name of a plain `Document`."""
        return Document.lc_id()


def found_document(result: dict[str, Any]) -> FoundDocument:
    """Return a search result as a document with a stable id."""
    what = [result["document_id"], result["passage_id"], result["content"]]
    own = {key: result[key] for key in OWN_KEYS}
    return FoundDocument(
        id=str(uuid5(NAMESPACE_URL, f"ragatouille_xm:{json.dumps(what)}")),
        page_content=result["content"],
        metadata={**own, **result.get("document_metadata", {})},
    )


def _comparable(document: Document) -> tuple[str | None, str, dict[str, Any]]:
    metadata = {key: value for key, value in document.metadata.items() if key not in QUERY_KEYS}
    return document.id, document.page_content, metadata
