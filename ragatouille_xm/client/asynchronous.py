"""`AsyncRAGClient`: the model's interface, over HTTP, without blocking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2 as httpx

from ..config import LANGUAGE_WEIGHT, LEXICAL_WEIGHT
from ..results import Result, Results
from ..types import DetectedLanguage, Languages
from . import calls, connection


class AsyncRAGClient:
    """`RAGClient` for an event loop: every method is to be awaited.

    Parameters
    ----------
    url, api_key, index_name, timeout
        As for `RAGClient`.
    transport : httpx2.AsyncBaseTransport, optional
        How requests are sent.

    Examples
    --------
    >>> from ragatouille_xm.client import AsyncRAGClient
    >>> async with AsyncRAGClient("http://localhost:8000") as RAG:  # doctest: +SKIP
    ...     found = await RAG.search("Où est la gare ?", k=1)
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        index_name: str | None = None,
        timeout: float = connection.TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._index_name = index_name
        self._http = httpx.AsyncClient(**connection.options(url, api_key, timeout, transport))

    async def current_index(self) -> str:
        """Return the index that is used where none is named.

        Raises
        ------
        ServiceError
            If the service cannot be asked which its default is.
        """
        if self._index_name is None:
            self._index_name = str(await self._send(calls.default_index()))
        return self._index_name

    async def indexes(self) -> list[dict[str, Any]]:
        """Return the indexes of the service, the default first, each with its ``name, passages, languages``."""
        found: list[dict[str, Any]] = await self._send(calls.indexes())
        return found

    async def search(
        self,
        query: str | list[str],
        index_name: str | None = None,
        k: int = 10,
        force_fast: bool = False,
        zero_index_ranks: bool = False,
        doc_ids: str | Iterable[str] | None = None,
        *,
        language: Languages = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        min_relevance: float | None = None,
        prefer_language: str | None = None,
        language_weight: float = LANGUAGE_WEIGHT,
        exact: bool = False,
        explain: bool = False,
        hybrid: bool = False,
        lexical_weight: float = LEXICAL_WEIGHT,
        group_by_document: bool = False,
        context: int = 0,
    ) -> Results:
        """Search an index: see `RAGPretrainedModel.search`."""
        options = {
            "k": k, "force_fast": force_fast, "min_score": min_score, "min_relevance": min_relevance,
            "prefer_language": prefer_language, "language_weight": language_weight, "exact": exact, "explain": explain,
            "hybrid": hybrid, "lexical_weight": lexical_weight,
            "group_by_document": group_by_document, "context": context,
        }  # fmt: skip
        call = calls.search(
            await self._named(index_name), query, zero_index_ranks, language, filter, doc_ids, **options
        )
        found: Results = await self._send(call)
        return found

    async def add_to_index(
        self,
        new_collection: Iterable[str] | Mapping[str, str],
        new_document_ids: Iterable[str] | None = None,
        new_document_metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        index_name: str | None = None,
        split_documents: bool = True,
        *,
        languages: Languages = None,
    ) -> None:
        """Add documents in one request: see `RAGPretrainedModel.add_to_index`. They are on disk once this returns."""
        given = (new_collection, new_document_ids, new_document_metadatas, languages, split_documents)
        await self._send(calls.store(await self._named(index_name), *given, replace=False))

    async def update_in_index(
        self,
        collection: Iterable[str] | Mapping[str, str],
        document_ids: Iterable[str] | None = None,
        document_metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        index_name: str | None = None,
        split_documents: bool = True,
        *,
        languages: Languages = None,
    ) -> None:
        """Replace documents by id in one request: see `RAGPretrainedModel.update_in_index`."""
        given = (collection, document_ids, document_metadatas, languages, split_documents)
        await self._send(calls.store(await self._named(index_name), *given, replace=True))

    async def delete_from_index(self, document_ids: str | Iterable[str], index_name: str | None = None) -> int:
        """Delete documents; return the number of passages deleted."""
        return int(await self._send(calls.delete(await self._named(index_name), document_ids)))

    async def get_passages(self, document_ids: str | Iterable[str], index_name: str | None = None) -> list[Result]:
        """Return the stored passages of documents: see `RAGPretrainedModel.get_passages`."""
        found: list[Result] = await self._send(calls.passages(await self._named(index_name), document_ids))
        return found

    async def rerank(
        self,
        query: str | list[str],
        documents: Iterable[str],
        k: int = 10,
        *,
        language: Languages = None,
        languages: Languages = None,
        min_relevance: float | None = None,
    ) -> Results:
        """Rank documents by how well they answer a query: see `RAGPretrainedModel.rerank`."""
        found: Results = await self._send(calls.rerank(query, documents, k, language, languages, min_relevance))
        return found

    async def detect_languages(self, texts: str | list[str]) -> list[DetectedLanguage]:
        """Return each text's language: see `RAGPretrainedModel.detect_languages`."""
        found: list[DetectedLanguage] = await self._send(calls.detect_languages(texts))
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _named(self, index_name: str | None) -> str:
        return await self.current_index() if index_name is None else index_name

    async def _send(self, call: calls.Call) -> Any:
        try:
            answer = await self._http.request(**connection.request(call))
        except (httpx.HTTPError, UnicodeError) as error:  # of a host's name
            raise connection.unreachable(self.url, error) from error
        return connection.result(call, answer)
