"""`FoundDocument`: what the retriever returns, one document whatever the query was."""

from __future__ import annotations

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langchain_core.documents import Document

OWN_KEYS = ("score", "rank", "document_id", "passage_id", "language", "relevance")
OF_THE_QUERY = {"score", "rank", "relevance", "relevance_score"}


class FoundDocument(Document):
    """A passage that a search found, equal to the same passage found for another query.

    LangChain takes equal documents for one, in `MultiQueryRetriever` for instance, so what the query decides does not
    count: ``score``, ``rank`` and ``relevance`` in the metadata, and a compressor's ``relevance_score``. Serialised, it
    is a plain `Document`.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        return _lasting(self) == _lasting(other)

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the name that a plain `Document` is serialised by."""
        return Document.lc_id()


def found_document(result: dict[str, Any]) -> FoundDocument:
    """Return a result of a search as a document, with an id that is the same every time."""
    what = [result["document_id"], result["passage_id"], result["content"]]
    own = {key: result[key] for key in OWN_KEYS}
    return FoundDocument(
        id=str(uuid5(NAMESPACE_URL, f"ragatouille_xm:{json.dumps(what)}")),
        page_content=result["content"],
        metadata={**own, **result.get("document_metadata", {})},
    )


def _lasting(document: Document) -> tuple[str | None, str, dict[str, Any]]:
    metadata = {key: value for key, value in document.metadata.items() if key not in OF_THE_QUERY}
    return document.id, document.page_content, metadata
