"""Ranking without an index on disk: the same pipe, over the exact engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Literal

from .corpus.passages import read_documents
from .corpus.splitting import whole
from .encoder import Encoder
from .errors import InputError
from .index.exact import ExactIndex
from .retriever import Result, Retriever

Languages = str | Iterable[str | None] | None
Results = list[Result] | list[list[Result]]


class EncodedDocuments:
    """Documents in memory, each one passage, found by their position.

    Parameters
    ----------
    encoder : Encoder
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._index = ExactIndex(encoder.dim, device=encoder.model.device)

    def add(
        self,
        documents: Sequence[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        languages: Languages = None,
        *,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        progress: bool = False,
    ) -> None:
        """Encode documents after those that are here; each is cut off at `max_length` tokens."""
        ids = map(str, count(len(self._index)))
        checked = list(read_documents(documents, ids, metadatas, languages))
        length = self._encoder.tokenizer.max_tokens if max_length is None else max_length
        Retriever(self._encoder, self._index, length).add(
            checked, split=whole, total=len(checked), progress=progress, batch_tokens=batch_tokens
        )

    def search(
        self, queries: Sequence[str], k: int, *, languages: Languages = None, filter: Mapping[str, Any] | None = None
    ) -> list[list[Result]]:
        """Return the best documents for each query, as `Retriever.search` does, by ``result_index``."""
        retriever = Retriever(self._encoder, self._index, self._encoder.tokenizer.max_tokens)
        found = retriever.search(queries, k, languages=languages, filter=filter)
        return [[_by_position(result) for result in results] for results in found]


def rerank(
    encoder: Encoder,
    queries: Sequence[str],
    documents: Sequence[str],
    k: int,
    *,
    languages: Languages = None,
    document_languages: Languages = None,
    batch_tokens: int | None = None,
) -> list[list[Result]]:
    """Order documents by how well they answer each query; nothing is kept."""
    encoded = EncodedDocuments(encoder)
    encoded.add(documents, None, document_languages, batch_tokens=batch_tokens)
    return encoded.search(queries, k, languages=languages)


def _by_position(result: Result) -> Result:
    """Replace the ids of a result by ``result_index``, the position of a document among those given."""
    kept = {key: value for key, value in result.items() if key not in ("document_id", "passage_id")}
    return {**kept, "result_index": int(result["document_id"])}


class InMemoryMethods:
    """`RAGPretrainedModel`'s methods that need no index.

    Parameters
    ----------
    encoder : Encoder
    verbose : int
        0 shows no progress bars.
    """

    def __init__(self, encoder: Encoder, verbose: int = 1) -> None:
        self.encoder = encoder
        self.verbose = verbose
        self._encoded: EncodedDocuments | None = None

    def rerank(
        self,
        query: str | list[str],
        documents: list[str],
        k: int = 10,
        zero_index_ranks: bool = False,
        bsize: Literal["auto"] | int = "auto",
        *,
        language: Languages = None,
        languages: Languages = None,
    ) -> Results:
        """Order documents by how well they answer a query, without an index.

        Parameters
        ----------
        query : str or list of str
        documents : list of str
            Each is cut off at what the model takes.
        k : int
            How many to return; all where there are fewer.
        language, languages : optional
            Of the queries, and of the documents; by default detected.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            As for `search`, with ``result_index``, the position in `documents`, in place of ids.
        """
        found = rerank(
            self.encoder,
            list_of_queries(query),
            documents,
            k,
            languages=language,
            document_languages=languages,
            batch_tokens=tokens_at_once(bsize),
        )
        return shaped(found, query, zero_index_ranks)

    def encode(
        self,
        documents: list[str],
        bsize: Literal["auto"] | int = "auto",
        document_metadatas: list[dict[str, Any]] | None = None,
        verbose: bool = True,
        max_document_length: Literal["auto"] | int = "auto",
        *,
        languages: Languages = None,
    ) -> None:
        """Encode documents into memory, after those of earlier calls, for `search_encoded_docs`.

        Parameters
        ----------
        max_document_length : "auto" or int
            Tokens at which documents are cut off; by default what the model takes.
        languages : optional
            Of all documents, or of each; by default detected.
        """
        encoded = self._encoded or EncodedDocuments(self.encoder)
        encoded.add(
            documents,
            document_metadatas,
            languages,
            max_length=None if max_document_length == "auto" else max_document_length,
            batch_tokens=tokens_at_once(bsize),
            progress=verbose and self.verbose > 0,
        )
        self._encoded = encoded

    def search_encoded_docs(
        self,
        query: str | list[str],
        k: int = 10,
        bsize: int = 32,
        *,
        language: Languages = None,
        filter: Mapping[str, Any] | None = None,
    ) -> Results:
        """Search the documents that `encode` holds in memory.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            As for `rerank`, with ``document_metadata`` where the document has some.

        Raises
        ------
        InputError
            If nothing is encoded.
        """
        if self._encoded is None:
            raise InputError("No documents are encoded. Call encode(documents) first.")
        found = self._encoded.search(list_of_queries(query), k, languages=language, filter=filter)
        return shaped(found, query, False)

    def clear_encoded_docs(self, force: bool = False) -> None:
        """Forget the documents that `encode` holds in memory, at once; `force` is accepted for compatibility."""
        self._encoded = None


def tokens_at_once(bsize: Literal["auto"] | int, max_length: int = 256) -> int | None:
    """Return the most tokens of a batch of `bsize` passages of full length; None leaves it to the device."""
    if bsize == "auto":
        return None
    if isinstance(bsize, bool) or not isinstance(bsize, int) or bsize < 1:
        raise InputError(f'bsize={bsize!r} is not usable: give a whole number of at least 1, or "auto".')
    return bsize * max_length


def list_of_queries(queries: object) -> list[str]:
    """Return a list of what may be one query or several."""
    if isinstance(queries, str):
        return [queries]
    if not isinstance(queries, Sequence):
        raise InputError(f"The query is a {type(queries).__name__}; give a string, or a list of strings.")
    return list(queries)


def shaped(found: list[list[Result]], query: object, zero_index_ranks: bool) -> Results:
    """Return one list of results for one query, a list of lists for a list."""
    if zero_index_ranks:
        for results in found:
            for result in results:
                result["rank"] -= 1
    return found[0] if isinstance(query, str) else found
