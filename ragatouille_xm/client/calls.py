"""Requests to a service, and what its answers mean. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

from ..corpus.filters import parse_filter
from ..corpus.passages import read_documents, texts_and_ids
from ..corpus.scalars import iso_text, simplified
from ..errors import IndexNotFoundError, InputError
from ..queries import check_context, check_k, list_of_queries
from ..results import Result, Results, unwrap_single
from ..text.detect import list_of_strings
from ..types import DetectedLanguage, Languages


@dataclass(frozen=True)
class Call:
    """A request, and what to make of its answer.

    Attributes
    ----------
    method, path : str
    read : callable
        Makes the result of the answer's JSON.
    json : dict, optional
        Body.
    """

    method: str
    path: str
    read: Callable[[Any], Any]
    json: dict[str, Any] | None = None


def search(
    index: str,
    query: str | list[str],
    zero_index_ranks: bool,
    language: Languages,
    filter: Mapping[str, Any] | None,
    doc_ids: str | Iterable[str] | None,
    **options: Any,
) -> Call:
    """Search an index for one query or several; parameters as for `RAGPretrainedModel.search`."""
    queries = list_of_queries(query)
    check_k(options["k"])
    check_context(options["context"])
    parse_filter(filter)
    asked = {
        "queries": queries,
        "language": plain(language),
        "filter": plain(filter),
        "doc_ids": None if doc_ids is None else list_of_strings(doc_ids, "doc_ids"),
        **{name: simplified(value) for name, value in options.items()},
    }

    def read(answer: Any) -> Results:
        found = [[_with_evidence(result) for result in results] for results in answer["results"]]
        return unwrap_single(found, query, zero_index_ranks)

    return Call("POST", f"{_index(index)}/search/batch", read, asked)


def store(
    index: str,
    collection: Iterable[str] | Mapping[str, str],
    ids: Iterable[str] | None,
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    languages: Languages,
    split_documents: bool,
    *,
    replace: bool,
) -> Call:
    """Add documents, or replace those of the same ids."""
    texts, ids = texts_and_ids(collection, ids)
    if replace and ids is None:
        raise InputError("update_in_index knows documents by their ids: give document_ids, or a mapping {id: text}.")
    documents = [
        {"text": each.text, "document_id": each.document_id, "metadata": each.metadata, "language": each.language}
        for each in read_documents(texts, ids, metadatas, languages)
    ]
    body = {"documents": documents, "split_documents": split_documents}
    return Call("PUT" if replace else "POST", f"{_index(index)}/documents", lambda answer: None, body)


def delete(index: str, document_ids: str | Iterable[str]) -> Call:
    """Delete documents."""
    ids = list_of_strings(document_ids, "document_ids")
    return Call(
        "POST", f"{_index(index)}/documents/delete", lambda answer: answer["passages_deleted"], {"document_ids": ids}
    )


def passages(index: str, document_ids: str | Iterable[str]) -> Call:
    """Return the passages of documents."""
    ids = list_of_strings(document_ids, "document_ids")
    return Call("POST", f"{_index(index)}/passages", lambda answer: answer["passages"], {"document_ids": ids})


def rerank(
    query: str | list[str],
    documents: Iterable[str],
    k: int,
    language: Languages,
    languages: Languages,
    min_relevance: float | None,
) -> Call:
    """Rank documents for one query or several."""
    check_k(k)
    asked = {
        "queries": list_of_queries(query),
        "documents": list_of_strings(documents, "documents", in_order=True),
        "k": simplified(k),
        "language": plain(language),
        "min_relevance": simplified(min_relevance),
        "languages": plain(languages),
    }
    return Call("POST", "/v1/rank", lambda answer: unwrap_single(answer["results"], query, False), asked)


def detect_languages(texts: str | list[str]) -> Call:
    """Detect the language of each text."""
    listed = list_of_strings(texts, "texts", in_order=True)

    def read(answer: Any) -> list[DetectedLanguage]:
        return [DetectedLanguage(**each) for each in answer["languages"]]

    return Call("POST", "/v1/detect-languages", read, {"texts": listed})


def indexes() -> Call:
    """Return the indexes of the service, the default first."""
    return Call("GET", "/v1/indexes", lambda answer: answer["indexes"])


def default_index() -> Call:
    """Return the name of the service's default index."""
    return Call("GET", "/v1/indexes", lambda answer: str(answer["indexes"][0]["name"]))


def plain(value: Any) -> Any:
    """Return a filter or languages as JSON has them: dates as ISO 8601, sets and arrays as lists.

    Examples
    --------
    >>> plain({"day": {"$gte": date(2024, 5, 1)}, "topic": {"$in": ("a", "b")}})
    {'day': {'$gte': '2024-05-01'}, 'topic': {'$in': ['a', 'b']}}
    """
    value = simplified(value)
    if isinstance(value, date):
        return iso_text(value)
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(each) for each in value]
    return value


def _index(name: str) -> str:
    if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
        raise IndexNotFoundError(f"index_name={name!r} is no name of an index. Give one of those in indexes().")
    return f"/v1/indexes/{quote(name, safe='')}"


def _with_evidence(result: Result) -> Result:
    found = dict(result)
    if "evidence" in found:
        from ..evidence import Evidence

        found["evidence"] = Evidence.from_dict(found["evidence"], found["content"])
    if "other_passages" in found:
        found["other_passages"] = [_with_evidence(each) for each in found["other_passages"]]
    return found
