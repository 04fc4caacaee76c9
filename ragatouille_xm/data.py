"""RAGatouille's names for cutting documents into passages beforehand; `RAGPretrainedModel.index` does so by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from .corpus.passages import read_documents
from .extras import import_extra
from .queries import check_k
from .text.hooks import apply_preprocessing, apply_splitter_fn


def llama_index_sentence_splitter(
    documents: Sequence[str], document_ids: Sequence[str], chunk_size: int = 256
) -> list[dict[str, str]]:
    """Split documents as RAGatouille does by default: with llama-index's sentence splitter.

    It counts the tokens of another model, and a quarter of a chunk, 64 tokens at most, is in its neighbour as well.
    ``document_splitter_fn="sentences"``, the default of `RAGPretrainedModel.index`, counts the checkpoint's own.

    Parameters
    ----------
    documents, document_ids : sequence of str
        Of equal length.
    chunk_size : int
        Tokens per chunk.

    Returns
    -------
    list of dict
        ``{"document_id": …, "content": …}`` for each chunk.

    Raises
    ------
    MissingExtraError
        If llama-index is not installed.
    InputError
        If a document is not a string, has no id or that of another, or `chunk_size` is not a positive whole number.
    """
    check_k(chunk_size, "chunk_size")
    given = list(read_documents(documents, document_ids))
    parser = import_extra("llama_index.core.node_parser", "llama_index_sentence_splitter", "llama-index")
    splitter = parser.SentenceSplitter(chunk_size=chunk_size, chunk_overlap=min(chunk_size // 4, 64))
    return [
        {"document_id": document.document_id, "content": chunk}
        for document in given
        for chunk in splitter.split_text(document.text)
    ]


class CorpusProcessor:
    r"""Splits documents into passages, and transforms these.

    Parameters
    ----------
    document_splitter_fn : callable or None
        A splitter, in either form of `ragatouille_xm.text.hooks`; None keeps each document whole.
    preprocessing_fn : callable or list of callables, optional
        Likewise, applied in turn to the passages.

    Examples
    --------
    >>> CorpusProcessor(str.splitlines, str.lower).process_corpus(["One\nTwo", "Three"], ["a", "b"])[1:]
    [{'document_id': 'a', 'content': 'two'}, {'document_id': 'b', 'content': 'three'}]
    """

    def __init__(
        self,
        document_splitter_fn: Callable[..., Any] | None = llama_index_sentence_splitter,
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None = None,
    ) -> None:
        self.document_splitter_fn = document_splitter_fn
        self.preprocessing_fn = preprocessing_fn

    def process_corpus(
        self, documents: Iterable[str], document_ids: Iterable[str] | None = None, **splitter_kwargs: Any
    ) -> list[dict[str, str]] | list[str]:
        """Return the passages of documents.

        Parameters
        ----------
        documents : iterable of str
        document_ids : iterable of str, optional
            By default random.
        **splitter_kwargs
            Passed to the splitter: ``chunk_size=200``.

        Returns
        -------
        list of dict or list of str
            ``{"document_id": …, "content": …}`` for each passage; without a splitter only texts.

        Raises
        ------
        InputError
            If a document is not a string, an id is used twice, or a function returns something else than passages of
            these documents.
        TypeError
            If the splitter does not take one of `splitter_kwargs`.
        """
        given = list(read_documents(documents, document_ids))
        texts, ids = [each.text for each in given], [each.document_id for each in given]
        splitter = self.document_splitter_fn
        chunks = list(enumerate(texts))
        if splitter is not None:
            chunks = apply_splitter_fn(partial(splitter, **splitter_kwargs), texts, ids)
        if self.preprocessing_fn is not None:
            chunks = apply_preprocessing(self.preprocessing_fn, chunks, ids, split=splitter is not None)
        if splitter is None:
            return [text for _, text in chunks]
        return [{"document_id": ids[i], "content": text} for i, text in chunks]
