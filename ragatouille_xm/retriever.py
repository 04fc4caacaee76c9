"""Encoder + index: add, update, delete, search, rerank. What every facade calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from math import isnan
from numbers import Real
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from .config import SearchConfig
from .corpus.filters import And, Compare, Condition, Not, Or, parse_filter
from .corpus.metadata import check_unicode
from .corpus.passages import Document, check_language
from .corpus.splitting import Splitter
from .encoder import Encoder
from .errors import DuplicateDocumentError, InputError
from .index.base import IndexWriter, PassageIndex
from .text.ahead import map_ahead
from .text.detect import list_of_strings
from .text.tokenizer import Tokens
from .types import Hits, Passage

logger = logging.getLogger(__name__)

DOCUMENT_BATCH = 512  # for each device: enough to sort by length, little enough to keep in memory

Result = dict[str, Any]


class Prepared(NamedTuple):
    """Documents on their way into an index, as far as neither model nor index is needed.

    Attributes
    ----------
    documents : list of Document
    languages : list of str
        Of each document.
    chunks : list of (int, str)
        Position in `documents` and text of each passage.
    tokens : list of Tokens
        Of each passage.
    """

    documents: list[Document]
    languages: list[str]
    chunks: list[tuple[int, str]]
    tokens: list[Tokens]


class Retriever:
    """Finds the passages of an index that answer a query, in whatever language either is.

    Parameters
    ----------
    encoder : Encoder
    index : PassageIndex
        Filled by an encoder of the same checkpoint.
    max_document_length : int
        Most tokens of a passage, specials included.
    """

    def __init__(self, encoder: Encoder, index: PassageIndex, max_document_length: int) -> None:
        self.encoder = encoder
        self.index = index
        self.max_document_length = max_document_length

    def add(
        self,
        documents: Iterable[Document],
        *,
        split: Splitter,
        replace: bool = False,
        skip_known: bool = False,
        total: int | None = None,
        progress: bool = False,
        batch_tokens: int | None = None,
    ) -> int:
        """Encode and store documents, streaming; return how many passages they became.

        All of them count at the end, or nothing has changed; nobody else can write to the index meanwhile. To an index
        that is being built, what was added before a failure stays added.

        Parameters
        ----------
        documents : iterable of Document
        split : callable
            Splits a batch of documents: see `ragatouille_xm.corpus.splitting.Splitter`.
        replace : bool
            Replace documents that the index has, instead of refusing them.
        skip_known : bool
            Pass over documents that the index has.
        total : int, optional
            Number of documents, for the progress bar.

        Raises
        ------
        DuplicateDocumentError
            If the index has one of the documents and `replace` is off.
        """
        n_passages = 0
        began = time.monotonic()
        with (
            self.index.writer(replace=replace) as addition,
            tqdm(total=total, desc="indexing", unit="document", disable=None if progress else True) as bar,
        ):
            work = partial(self._prepare, split)
            batches = self._batches(documents, skip_known, bar)
            for prepared in (map_ahead if self.encoder.works_ahead else map)(work, batches):
                n_passages += self._add_batch(addition, prepared, replace, batch_tokens, bar)
                bar.set_postfix_str(f"{n_passages / (time.monotonic() - began):.0f} passages/s")
        self.index.optimize()
        return n_passages

    def _batches(self, documents: Iterable[Document], skip_known: bool, bar: tqdm[Any]) -> Iterator[list[Document]]:
        stream = iter(documents)
        while batch := list(islice(stream, DOCUMENT_BATCH * len(self.encoder.replicas))):
            if skip_known:
                known = self.index.contains([document.document_id for document in batch])
                batch = [document for document in batch if document.document_id not in known]
                bar.update(len(known))
            if batch:
                yield batch

    def _prepare(self, split: Splitter, documents: list[Document]) -> Prepared:
        """Detect, split and tokenise a batch, while the model encodes the one before."""
        languages = self._languages_of(documents)
        chunks = split(documents)
        tokens = self.encoder.tokenise([text for _, text in chunks], self.max_document_length)
        return Prepared(documents, languages, chunks, tokens)

    def _add_batch(
        self, addition: IndexWriter, prepared: Prepared, replace: bool, batch_tokens: int | None, bar: tqdm[Any]
    ) -> int:
        documents, languages, chunks, tokens = prepared
        ids = [document.document_id for document in documents]
        if not replace and (known := self.index.contains(ids)):
            raise DuplicateDocumentError(
                f"The index already has {_some(known)}. Use update_in_index to replace documents, or delete them first."
            )
        first = addition.reserve(len(chunks))
        passages = [
            Passage(first + i, documents[position].document_id, text, languages[position], documents[position].metadata)
            for i, (position, text) in enumerate(chunks)
        ]
        before, encoded = bar.n, 0

        def advance(n: int) -> None:
            nonlocal encoded
            encoded += n
            bar.update(before + len(documents) * encoded // len(passages) - bar.n)

        vectors = self.encoder.encode_documents(
            [passage.text for passage in passages],
            [passage.language for passage in passages],
            max_length=self.max_document_length,
            batch_tokens=batch_tokens,
            on_batch=advance,
            tokens=tokens,
        )
        addition.add(passages, vectors)
        return len(passages)

    def _languages_of(self, documents: Sequence[Document]) -> list[str]:
        """Return each document's language: the user's, or detected once for all its passages."""
        unknown = [i for i, document in enumerate(documents) if document.language is None]
        detected = self.encoder.detect([documents[i].text for i in unknown])
        found = dict(zip(unknown, detected, strict=True))
        return [
            found[i].language if document.language is None else self.encoder.adapters.resolve(document.language)
            for i, document in enumerate(documents)
        ]

    def search(
        self,
        queries: Sequence[str] | torch.Tensor,
        k: int = 10,
        *,
        languages: str | Iterable[str | None] | None = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        config: SearchConfig = SearchConfig(),
    ) -> list[list[Result]]:
        """Return the best `k` passages for each query, best first.

        Parameters
        ----------
        queries : sequence of str or torch.Tensor
            Texts, or what `encode` made of them.
        k : int
        languages : str or sequence of (str or None), optional
            Of all queries, or of each; where None, detected among the languages that the index has.
        filter : mapping, optional
            See `ragatouille_xm.corpus.filters`; applied before the best `k` are taken.
        min_score : float, optional
            Leave out what scores less.

        Raises
        ------
        InputError
            If a query is not usable, `k` is not a positive integer, or `min_score` is not a number.
        """
        check_k(k)
        _check_score(min_score)
        parsed = parse_filter(filter)
        condition = None if parsed is None else self._normalise(parsed)
        vectors = queries if isinstance(queries, torch.Tensor) else self.encode(queries, languages)
        n_passages = len(self.index)
        if not len(vectors) or not n_passages:
            return [[] for _ in vectors]
        counts = vectors.any(dim=2).sum(dim=1).tolist()
        hits, passages = self._find(vectors, min(k, n_passages), condition, config)  # engines make room for k
        return [
            [
                _result(passages[pid], score, rank, count)
                for rank, (pid, score) in enumerate(zip(pids, scores, strict=True), start=1)
                if pid >= 0 and (min_score is None or score >= min_score)
            ]
            for pids, scores, count in zip(hits.pids.tolist(), hits.scores.tolist(), counts, strict=True)
        ]

    def _find(
        self, vectors: torch.Tensor, k: int, condition: Condition | None, config: SearchConfig
    ) -> tuple[Hits, dict[int, Passage]]:
        while True:
            hits = self.index.search(vectors, k, filter=condition, config=config)
            pids = sorted(set(hits.pids[hits.pids >= 0].tolist()))
            try:
                return hits, dict(zip(pids, self.index.fetch(pids), strict=True))
            except KeyError:  # deleted by another thread since the search: search again
                continue

    def encode(self, queries: Sequence[str], languages: str | Iterable[str | None] | None = None) -> torch.Tensor:
        """Encode queries in one pass, each through its own language's adapter: see `Encoder.encode_queries`."""
        _check_queries(queries)
        return self.encoder.encode_queries(queries, self.query_languages(queries, languages))

    def query_languages(self, queries: Sequence[str], languages: str | Iterable[str | None] | None = None) -> list[str]:
        """Return the language whose adapter each query goes through; parameters as for `search`."""
        if isinstance(languages, str) or not isinstance(languages, Iterable):
            languages = [languages] * len(queries)
        given = list(languages)
        for language in given:
            check_language(language, "language")
        if len(given) != len(queries):
            raise InputError(f"{len(queries)} queries came with {len(given)} languages; give one for each, or one.")
        present = list(self.index.languages())
        unknown = [query for query, language in zip(queries, given, strict=True) if language is None]
        detected = iter(self.encoder.detect(unknown, present, present[0] if present else None))
        return [next(detected).language if each is None else self.encoder.adapters.resolve(each) for each in given]

    def _normalise(self, condition: Condition) -> Condition:
        """Write the languages of a filter as the index does: ``pt-BR`` is ``pt`` there."""
        resolve = self.encoder.adapters.resolve
        if isinstance(condition, (And, Or)):
            return type(condition)(tuple(self._normalise(part) for part in condition.parts))
        if isinstance(condition, Not):
            return Not(self._normalise(condition.part))
        if condition.field != "language":
            return condition
        if isinstance(condition.value, str):
            return Compare("language", condition.op, resolve(condition.value))
        if isinstance(condition.value, tuple):
            return Compare(
                "language", condition.op, tuple(resolve(v) if isinstance(v, str) else v for v in condition.value)
            )
        return condition

    def passages_of(self, document_ids: str | Iterable[str]) -> list[Result]:
        """Return all passages of documents, in the order of the ids and of the text; unknown ids are passed over."""
        ids = list_of_strings(document_ids, "document_ids")
        if not ids:
            return []
        found: dict[str, list[Passage]] = {}
        for passages, _ in self.index.scroll(Compare("document_id", "$in", tuple(ids))):
            for passage in passages:
                found.setdefault(passage.document_id, []).append(passage)
        return [_described(passage) for document_id in dict.fromkeys(ids) for passage in found.get(document_id, ())]

    def delete(self, document_ids: str | Iterable[str]) -> int:
        """Remove documents; return how many passages went. Ids that the index does not have are warned of."""
        ids = list_of_strings(document_ids, "document_ids")
        missing = set(ids) - self.index.contains(ids)
        if missing:
            logger.warning("nothing to delete for %s: not in the index", _some(missing))
        removed = self.index.delete(ids)
        self.index.optimize()
        return removed

    def close(self) -> None:
        """Release the index."""
        self.index.close()


def _result(passage: Passage, score: float, rank: int, query_tokens: int) -> Result:
    relevance = min(max(score / max(query_tokens, 1), 0.0), 1.0)
    return {"content": passage.text, "score": score, "rank": rank, **_described(passage), "relevance": relevance}


def _described(passage: Passage) -> Result:
    """Return what users see of a passage."""
    described: Result = {
        "content": passage.text,
        "document_id": passage.document_id,
        "passage_id": passage.pid,
        "language": passage.language,
    }
    if passage.metadata is not None:
        described["document_metadata"] = dict(passage.metadata)
    return described


def check_k(k: object, name: str = "k") -> None:
    """Raise `InputError` unless `k`, which users know as `name`, is a positive whole number."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"{name}={k!r} is not usable: give a whole number of at least 1.")


def _check_score(min_score: object) -> None:
    if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, Real) or isnan(min_score)):
        raise InputError(f"min_score={min_score!r} is not usable: give a number.")


def _check_queries(queries: Sequence[object]) -> None:
    for query in queries:
        if not isinstance(query, str):
            raise InputError(f"A query is a {type(query).__name__}, not a string: {query!r}.")
        if not query.strip():
            raise InputError("A query is blank. Give at least one word.")
        check_unicode(query, "A query")


def _some(ids: Iterable[str], n: int = 3) -> str:
    """Name a few ids."""
    every = sorted(ids)
    more = f" and {len(every) - n} more" if len(every) > n else ""
    return ", ".join(repr(each) for each in every[:n]) + more
