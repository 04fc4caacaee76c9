"""Ranking without an index on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .corpus.passages import read_documents
from .corpus.splitting import whole
from .encoder import Encoder
from .errors import InputError
from .evidence import Evidence
from .index.exact import ExactIndex
from .indexing import Indexer
from .queries import check_k, check_queries
from .relevance import Gauge, neutral_gauge
from .results import Result
from .retriever import Retriever
from .types import Languages


class EncodedDocuments:
    """Documents in memory, each a single passage, identified by position.

    Parameters
    ----------
    encoder : Encoder
    lexical : bool
        Keep the pieces of the texts, for hybrid search.
    """

    def __init__(self, encoder: Encoder, *, lexical: bool = False) -> None:
        self._encoder = encoder
        self._index = ExactIndex(encoder.dim, device=encoder.model.device, lexical=lexical)
        self._count = 0  # of all documents, also of blank ones, which have no passage

    def add(
        self,
        documents: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        languages: Languages = None,
        *,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> None:
        """Encode documents and append them; each is truncated to `max_length` tokens. A blank one is never found."""
        if isinstance(documents, Mapping):
            raise InputError("The documents are a mapping, but results name positions: give list(documents.values()).")
        given = read_documents(documents, None, metadatas, languages, self._encoder.adapters.resolve)
        checked = [replace(document, document_id=str(i)) for i, document in enumerate(given, self._count)]
        length = self._encoder.tokenizer.max_tokens if max_length is None else max_length
        indexer = Indexer(
            self._encoder, whole, length, batch_tokens, len(checked), progress, lexical=self._index.lexical
        )
        Retriever(self._encoder, self._index, length).add(checked, indexer)
        self._count += len(checked)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        *,
        languages: Languages = None,
        filter: Mapping[str, Any] | None = None,
        min_relevance: float | None = None,
        explain: bool = False,
        lexical_weight: float | None = None,
        gauge: Gauge | None = None,
    ) -> list[list[Result]]:
        """Return the best documents for each query, as `Retriever.search` does, with their ``result_index``.

        Documents that were found already do not tell what a query scores by chance, so their relevance is measured by a
        `gauge` of other passages, by default the neutral one.
        """
        gauge = gauge or neutral_gauge(self._encoder)
        retriever = Retriever(self._encoder, self._index, self._encoder.tokenizer.max_tokens, gauge=gauge)
        options: dict[str, Any] = {"filter": filter, "min_relevance": min_relevance, "explain": explain}
        found = retriever.search(queries, k, languages=languages, lexical_weight=lexical_weight, **options)
        return [[_by_position(result) for result in results] for results in found]


def rerank(
    encoder: Encoder,
    queries: Sequence[str],
    documents: Iterable[str],
    k: int,
    *,
    languages: Languages = None,
    document_languages: Languages = None,
    batch_tokens: int | None = None,
    min_relevance: float | None = None,
    gauge: Gauge | None = None,
) -> list[list[Result]]:
    """Rank documents by how well they answer each query."""
    check_k(k)
    check_queries(queries)
    encoded = EncodedDocuments(encoder)
    encoded.add(documents, None, document_languages, batch_tokens=batch_tokens)
    return encoded.search(queries, k, languages=languages, min_relevance=min_relevance, gauge=gauge)


def explain(
    encoder: Encoder, query: str, text: str, language: str | None = None, text_language: str | None = None
) -> Evidence:
    """Say which words of a text the words of a query match."""
    check_queries([query])
    encoded = EncodedDocuments(encoder)
    encoded.add([text], None, text_language)
    [found] = encoded.search([query], 1, languages=language, explain=True)
    if not found:
        raise InputError("The text is blank: there is nothing to explain.")
    evidence: Evidence = found[0]["evidence"]
    return evidence


def _by_position(result: Result) -> Result:
    """Replace the ids of a result by ``result_index``, the position of its document."""
    kept = {key: value for key, value in result.items() if key not in ("document_id", "passage_id")}
    return {**kept, "result_index": int(result["document_id"])}
