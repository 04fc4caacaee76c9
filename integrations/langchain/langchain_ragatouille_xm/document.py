"""Documents of LangChain: those that come, and search results as those that go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langchain_core.documents import Document

from ragatouille_xm.errors import InputError
from ragatouille_xm.grouping import with_context

OWN_KEYS = ("document_id", "passage_id", "language")
SCORE_KEYS = ("score", "rank", "relevance", "query_language")


def listed(name: str, values: object) -> list[Any]:
    """Return one value for each text, in their order."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise InputError(f"{name} is a {type(values).__name__}; give a list, with one entry for each text.")
    return list(values)


def list_of_documents(documents: object) -> list[Document]:
    """Return documents as a list. Raise `InputError` for anything else."""
    given = listed("documents", documents)
    for i, document in enumerate(given):
        if not isinstance(document, Document):
            raise InputError(f"documents[{i}] is a {type(document).__name__}; give Document(page_content=…).")
    return given


def check_query(query: object) -> None:
    """Raise `InputError` unless `query` is a single string."""
    if not isinstance(query, str):
        raise InputError(f"The query is a {type(query).__name__}; give a string.")


def found_document(result: dict[str, Any], with_scores: bool) -> Document:
    """Return a search result as a document with a stable id; without scores it is the same for every query.

    Its content is the passage with its context, if the result has one; the passage alone is in the metadata then.
    Evidence and other passages, if the result has some, go into the metadata too; they depend on the query.
    """
    what = [result["document_id"], result["passage_id"], result["content"]]
    own = {key: result[key] for key in (OWN_KEYS + SCORE_KEYS if with_scores else OWN_KEYS)}
    if "evidence" in result:
        own["evidence"] = result["evidence"].as_dict()
    if "context_before" in result:
        own["passage"] = result["content"]
    if "other_passages" in result:
        own["other_passages"] = [each["content"] for each in result["other_passages"]]
    return Document(
        id=str(uuid5(NAMESPACE_URL, f"ragatouille_xm:{json.dumps(what)}")),
        page_content=with_context(result),
        metadata={**own, **result.get("document_metadata", {})},
    )
