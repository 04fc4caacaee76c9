"""Encoder + index: add, update, delete, search, rerank. What every facade calls."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch

from .config import SearchConfig
from .corpus.filters import Compare, Condition, parse_filter
from .corpus.passages import Document, check_language, check_order, is_blank
from .corpus.scalars import is_missing, simplified
from .encoder import Encoder
from .errors import IndexDamagedError, InputError, PassageIndexError
from .evidence import Explainer
from .grouping import add_context, by_document, down_to_document, down_to_passage
from .index.base import LexicalIndex, PassageIndex
from .index.lexical import HybridHits, PieceCounts
from .indexing import Indexer, pieces_of, preview
from .queries import (
    check_context,
    check_k,
    check_queries,
    check_score,
    check_weight,
    lexical_index,
    with_languages,
)
from .results import Result, described, make_result
from .text.detect import list_of_strings
from .types import Detection, Hits, Passage

logger = logging.getLogger(__name__)

FIND_ATTEMPTS = 20  # while others delete what was found


class Retriever:
    """Finds the passages of an index that answer a query, in whatever language either is.

    Parameters
    ----------
    encoder : Encoder
    index : PassageIndex
        Filled by an encoder of the same checkpoint.
    max_document_length : int
        Most tokens of a passage, specials included.
    query_language : str, optional
        Of all queries, unless the user names one: for an index in which all texts went through one adapter.
    pooling : int
        What the number of a passage's token vectors is divided by.
    """

    def __init__(
        self,
        encoder: Encoder,
        index: PassageIndex,
        max_document_length: int,
        query_language: str | None = None,
        pooling: int = 1,
    ) -> None:
        self.encoder = encoder
        self.index = index
        self.max_document_length = max_document_length
        self.query_language = query_language
        self.pooling = pooling

    @property
    def lexical(self) -> bool:
        """Whether the index keeps the pieces of its texts."""
        return isinstance(self.index, LexicalIndex) and self.index.lexical

    def add(self, documents: Iterable[Document], indexer: Indexer, *, replace: bool = False) -> int:
        """Encode and store documents, streaming; return how many passages they became.

        All of them count at the end, or nothing has changed; nobody else can write to the index meanwhile.

        Parameters
        ----------
        documents : iterable of Document
        indexer : Indexer
        replace : bool
            Replace documents that the index has, instead of refusing them.

        Raises
        ------
        DuplicateDocumentError
            If the index has one of the documents and `replace` is off.
        """
        with self.index.writer(replace=replace) as writer:
            known = None if replace else self.index.contains
            n_passages = indexer.add(writer, documents, known, counts=self.index.languages(), replace=replace)
        self._maintain()
        return n_passages

    def _maintain(self) -> None:
        """Do what has become due. The change is committed: what fails now is tried again after the next one."""
        try:
            self.index.optimize()
        except PassageIndexError as error:
            logger.warning("the index was changed, and could not be optimized: %s", error)

    def search(
        self,
        queries: Sequence[str] | torch.Tensor,
        k: int = 10,
        *,
        languages: str | Iterable[str | None] | None = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        explain: bool = False,
        lexical_weight: float | None = None,
        group_by_document: bool = False,
        context: int = 0,
        config: SearchConfig = SearchConfig(),
    ) -> list[list[Result]]:
        """Return the best `k` passages for each query, best first.

        A blank query finds what the filter admits, by passage id, with a score of 0. Without a filter it finds nothing,
        and is an error if all queries are blank.

        Parameters
        ----------
        queries : sequence of str or torch.Tensor
            Texts, or what `encode` made of them.
        k : int
        languages : str or sequence of (str or None), optional
            Of all queries, or of each; where None, detected: see `query_languages`.
        filter : mapping, optional
            See `ragatouille_xm.corpus.filters`; applied before the best `k` are taken.
        min_score : float, optional
            Leave out what scores less.
        explain : bool
            Give each result its ``evidence``, from the vectors that the index has; queries must be texts.
        lexical_weight : float, optional
            Rank by MaxSim and, with this weight, by BM25 over the pieces of the texts: see
            `ragatouille_xm.index.lexical`. Queries must be texts.
        group_by_document : bool
            Return the best passage of each of the best `k` documents: see `ragatouille_xm.grouping`.
        context : int
            Give each result the texts of so many passages before and after it in its document.

        Raises
        ------
        InputError
            If a query is not usable, `k` is not a positive integer, `min_score`, `context` or `lexical_weight` is no
            such number, or the index has no pieces.
        """
        check_k(k)
        check_score(min_score)
        check_context(context)
        if lexical_weight is not None:
            check_weight(lexical_weight)
            lexical_index(self.index)
        condition = self.condition(filter)
        down_to = down_to_document if group_by_document else down_to_passage

        def ranked(vectors: torch.Tensor, lexical: tuple[PieceCounts, float] | None = None) -> list[list[Result]]:
            def best(rows: Sequence[int], depth: int) -> list[list[Result]]:
                some = None if lexical is None else (lexical[0].select(list(rows)), lexical[1])
                return self._best(vectors[list(rows)], depth, condition, min_score, config, some)

            return down_to(best, len(vectors), int(k), len(self.index))  # engines make room for what is asked for

        if isinstance(queries, torch.Tensor):
            if explain or lexical_weight is not None:
                named = "explain" if explain else "hybrid"
                raise InputError(f"{named}=True needs the texts of the queries: the words of vectors are not known.")
            return self._shown(ranked(queries), group_by_document, int(context))
        check_queries(queries, filtered=condition is not None)
        chosen = self.query_languages(queries, languages)
        asked = [i for i, query in enumerate(queries) if not is_blank(query)]
        vectors = self.encoder.encode_queries([queries[i] for i in asked], [chosen[i] for i in asked])
        lexical = None
        if lexical_weight is not None:
            lexical = pieces_of(self.encoder, [queries[i] for i in asked]), float(lexical_weight)
        found = dict(zip(asked, ranked(vectors, lexical), strict=True))
        if explain:
            for i, rows in zip(asked, vectors, strict=True):
                found[i] = self._explained(queries[i], rows, found[i])
        blank = [i for i in range(len(queries)) if i not in found]
        if blank:
            first = partial(self._unranked, condition=condition, min_score=min_score)
            found |= dict(zip(blank, down_to(first, len(blank), int(k), len(self.index)), strict=True))
            if condition is None:
                numbers = preview(blank)
                logger.warning("%d of %d queries are blank and find nothing: %s", len(blank), len(queries), numbers)
        used = {i: chosen[i] for i in asked}  # a blank query went through no adapter
        every = [[{**result, "query_language": used.get(i)} for result in found[i]] for i in range(len(queries))]
        return self._shown(every, group_by_document, int(context))

    def _shown(self, found: list[list[Result]], grouped: bool, context: int) -> list[list[Result]]:
        """Return the results of queries in the form that was asked for."""
        if context:
            add_context([result for results in found for result in results], self.index, context)
        return [by_document(results) for results in found] if grouped else found

    def _best(
        self,
        vectors: torch.Tensor,
        k: int,
        condition: Condition | None,
        min_score: float | None,
        config: SearchConfig,
        lexical: tuple[PieceCounts, float] | None = None,
    ) -> list[list[Result]]:
        """Return the results of queries that are encoded, and whose pieces are weighed if they are given."""
        if not len(vectors) or not k:
            return [[] for _ in vectors]
        counts = vectors.any(dim=2).sum(dim=1).tolist()
        found, passages = self._find(vectors, k, condition, config, lexical)
        return [
            [
                make_result(passages[pid], score, rank, count, parts)
                for rank, (pid, score, *parts) in enumerate(zip(*columns, strict=True), start=1)
                if pid >= 0 and (min_score is None or score >= min_score)
            ]
            for count, *columns in zip(counts, *(column.tolist() for column in found), strict=True)
        ]

    def _explained(self, query: str, rows: torch.Tensor, results: list[Result]) -> list[Result]:
        """Return results with their evidence."""
        try:
            stored = list(self.index.vectors([result["passage_id"] for result in results]))
        except KeyError:  # one was deleted since the search: they are explained by their texts
            stored = [rows[:0]] * len(results)
        texts, languages = ([result[key] for result in results] for key in ("content", "language"))
        found = Explainer(self.encoder, self.max_document_length).explain(query, rows, texts, languages, stored)
        return [{**result, "evidence": evidence} for result, evidence in zip(results, found, strict=True)]

    def _unranked(
        self, queries: Sequence[int], k: int, *, condition: Condition | None, min_score: float | None
    ) -> list[list[Result]]:
        """Return the results of blank queries: the first passages that the filter admits."""
        if condition is None or (min_score is not None and min_score > 0):
            return [[] for _ in queries]
        admitted = (passage for passages, _ in self.index.scroll(condition) for passage in passages)
        first = list(islice(admitted, k))
        return [[make_result(passage, 0.0, rank, 0) for rank, passage in enumerate(first, start=1)] for _ in queries]

    def _find(
        self,
        vectors: torch.Tensor,
        k: int,
        condition: Condition | None,
        config: SearchConfig,
        lexical: tuple[PieceCounts, float] | None,
    ) -> tuple[Hits | HybridHits, dict[int, Passage]]:
        missing: set[int] = set()
        for _ in range(FIND_ATTEMPTS):
            found: Hits | HybridHits
            if lexical is None:
                found = self.index.search(vectors, k, filter=condition, config=config)
            else:
                pieces, weight = lexical
                index = lexical_index(self.index)
                found = index.search_hybrid(vectors, pieces, k, weight=weight, filter=condition, config=config)
            pids = sorted(set(found.pids[found.pids >= 0].tolist()))
            try:
                return found, dict(zip(pids, self.index.fetch(pids), strict=True))
            except KeyError as error:  # deleted since the search: search again
                [pid] = error.args
                if pid in missing:  # it was found again, so it is not deleted
                    break
                missing.add(pid)
        raise IndexDamagedError(
            f"The index finds the passages {preview(missing)}, and has no text of them. Index the documents again, or "
            "restore the index from a copy."
        )

    def encode(self, queries: Sequence[str], languages: str | Iterable[str | None] | None = None) -> torch.Tensor:
        """Encode queries in one pass, each through its own language's adapter: see `Encoder.encode_queries`."""
        for query in queries:
            check_queries([query])
        return self.encoder.encode_queries(queries, self.query_languages(queries, languages))

    def query_languages(self, queries: Sequence[str], languages: str | Iterable[str | None] | None = None) -> list[str]:
        """Return the language whose adapter each query goes through; parameters as for `search`.

        A query is in its own language, whether or not the index has it. Where its words leave that open, they are taken
        to be in a language that the index has: see `ragatouille_xm.text.prior`.
        """
        if isinstance(languages, str) or not isinstance(languages, Iterable):
            languages = [languages] * len(queries)
        check_order(languages, "language")
        given = [None if is_missing(simplified(language)) else language for language in languages]
        for language in given:
            check_language(language, "language")
        if len(given) != len(queries):
            raise InputError(f"{len(queries)} queries came with {len(given)} languages; give one for each, or one.")
        detected = iter(self.detect([q for q, language in zip(queries, given, strict=True) if language is None]))
        return [next(detected).language if each is None else self.encoder.adapters.resolve(each) for each in given]

    def detect(self, queries: Sequence[str]) -> list[Detection]:
        """Return the language of each query, given what the index holds."""
        if self.query_language is not None:
            return [Detection(self.query_language, 1.0)] * len(queries)
        return self.encoder.detect(queries, self.index.languages()) if queries else []

    def condition(self, filter: Mapping[str, Any] | None) -> Condition | None:
        """Parse a filter for the index; its languages may be written in any way that the encoder knows."""
        parsed = parse_filter(filter)
        return None if parsed is None else with_languages(parsed, self.encoder.adapters.resolve)

    def passages_of(self, document_ids: str | Iterable[str]) -> list[Result]:
        """Return all passages of documents, in the order of the ids and of the text; unknown ids are passed over."""
        ids = list_of_strings(document_ids, "document_ids")
        if not ids:
            return []
        found: dict[str, list[Passage]] = {}
        for passages, _ in self.index.scroll(Compare("document_id", "$in", tuple(ids))):
            for passage in passages:
                found.setdefault(passage.document_id, []).append(passage)
        return [described(passage) for document_id in dict.fromkeys(ids) for passage in found.get(document_id, ())]

    def delete(self, document_ids: str | Iterable[str]) -> int:
        """Remove documents; return how many passages went. Ids that the index does not have are warned of."""
        ids = list_of_strings(document_ids, "document_ids")
        missing = set(ids) - self.index.contains(ids)
        if missing:
            logger.warning("nothing to delete for %s: not in the index", preview(missing))
        removed = self.index.delete(ids)
        self._maintain()
        return removed

    def close(self) -> None:
        """Release the index."""
        self.index.close()
