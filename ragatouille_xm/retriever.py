"""Encoder + index: add, update, delete, search, rerank. What every facade calls."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch

from .config import LANGUAGE_WEIGHT, SearchConfig
from .corpus.filters import Compare, Condition, parse_filter
from .corpus.passages import Document, check_language, check_order, is_blank
from .corpus.scalars import is_missing, simplified
from .encoder import Encoder
from .errors import InputError, PassageIndexError
from .evidence import Explainer
from .grouping import add_context, by_document, down_to_document, down_to_passage
from .index.base import LexicalIndex, PassageIndex
from .indexing import Indexer, pieces_of, preview
from .queries import check_context, check_k, check_queries, check_score, check_share, lexical_index, with_languages
from .ranking import EncodedQueries, Ranking, RankingOptions
from .relevance import Gauge, calibrate, index_gauge, is_due, neutral_gauge
from .results import Result, described, make_result
from .text.detect import list_of_strings
from .types import Calibration, Detection, Passage

logger = logging.getLogger(__name__)

OF_QUERY = "query"  # the language that is preferred, if it is that of each query


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
    gauge : Gauge, optional
        What relevance is measured by; by default what suits the index.
    """

    def __init__(
        self,
        encoder: Encoder,
        index: PassageIndex,
        max_document_length: int,
        query_language: str | None = None,
        pooling: int = 1,
        gauge: Gauge | None = None,
    ) -> None:
        self.encoder = encoder
        self.index = index
        self.max_document_length = max_document_length
        self.query_language = query_language
        self.pooling = pooling
        self._given_gauge = gauge
        self._loaded_gauge: tuple[Calibration, Gauge | None] | None = None

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
            self.calibrate()
        except PassageIndexError as error:
            logger.warning("the index was changed, and could not be optimized: %s", error)

    def calibrate(self, *, refit: bool = False) -> None:
        """Calibrate the relevance of hits if that is due; with `refit`, after any change of size."""
        if is_due(self.index.calibration, len(self.index), refit=refit):
            found = calibrate(self.encoder, self.index)
            if found is not None:
                self.index.calibrate(found)

    def gauge(self) -> Gauge:
        """Return what the relevance of hits is measured by: see `ragatouille_xm.relevance`."""
        if self._given_gauge is not None:
            return self._given_gauge
        calibration = self.index.calibration
        if calibration is None:
            return neutral_gauge(self.encoder)
        loaded = self._loaded_gauge
        if loaded is None or loaded[0] != calibration:
            loaded = self._loaded_gauge = calibration, index_gauge(self.index, calibration)
        return loaded[1] or neutral_gauge(self.encoder)

    def search(
        self,
        queries: Sequence[str] | torch.Tensor,
        k: int = 10,
        *,
        languages: str | Iterable[str | None] | None = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        min_relevance: float | None = None,
        prefer_language: str | None = None,
        language_weight: float = LANGUAGE_WEIGHT,
        explain: bool = False,
        lexical_weight: float | None = None,
        group_by_document: bool = False,
        context: int = 0,
        config: SearchConfig = SearchConfig(),
    ) -> list[list[Result]]:
        """Return the best `k` passages for each query, best first.

        A result's ``score`` is MaxSim, and its ``relevance`` the probability, as far as that tells, that it answers the
        query: see `ragatouille_xm.relevance`. Of the results of one query, the better MaxSim has the higher relevance.

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
        min_relevance : float, optional
            Leave out what is less relevant, 0 to 1.
        prefer_language : str, optional
            Put passages in this language first; with ``"query"``, in the language of each query. Results are then in
            the order of their relevance, times ``1 - language_weight`` where they are in another language; in hybrid
            search, of their score.
        language_weight : float
            0 prefers nothing, 1 puts all passages in the language first.
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
            If a query is not usable, `k` is not a positive integer, another number is not one, or not in its range, or
            the index has no pieces.
        LanguageError
            If a language is unknown.
        """
        check_k(k)
        check_context(context)
        condition = self.condition(filter)
        options = RankingOptions(condition, min_score, min_relevance, lexical_weight, language_weight, config)
        with self.index.reading():
            self._check(options)
            found = self._search(queries, int(k), options, languages, prefer_language, explain, group_by_document)
            return self._shown(found, group_by_document, int(context))

    def _search(
        self,
        queries: Sequence[str] | torch.Tensor,
        k: int,
        options: RankingOptions,
        languages: str | Iterable[str | None] | None,
        prefer_language: str | None,
        explain: bool,
        group_by_document: bool,
    ) -> list[list[Result]]:
        """Return the results of each query, best first; parameters as for `search`."""
        condition, lexical_weight = options.condition, options.lexical_weight
        ranking = Ranking(self.index, self.gauge(), options)
        down_to = down_to_document if group_by_document else down_to_passage

        def ranked(encoded: EncodedQueries) -> list[list[Result]]:
            def best(positions: Sequence[int], depth: int) -> list[list[Result]]:
                return ranking.best(encoded.select(positions), depth)

            return down_to(best, len(encoded), k, len(self.index))  # engines make room for what is asked for

        if isinstance(queries, torch.Tensor):
            if explain or lexical_weight is not None:
                named = "explain" if explain else "hybrid"
                raise InputError(f"{named}=True needs the texts of the queries: the words of vectors are not known.")
            preferred = self._preferred(prefer_language, options.language_weight, [None] * len(queries))
            return ranked(EncodedQueries(queries, preferred))
        check_queries(queries, filtered=condition is not None)
        chosen = self.query_languages(queries, languages)
        asked = [i for i, query in enumerate(queries) if not is_blank(query)]
        vectors = self.encoder.encode_queries([queries[i] for i in asked], [chosen[i] for i in asked])
        preferred = self._preferred(prefer_language, options.language_weight, [chosen[i] for i in asked])
        pieces = None if lexical_weight is None else pieces_of(self.encoder, [queries[i] for i in asked])
        found = dict(zip(asked, ranked(EncodedQueries(vectors, preferred, pieces)), strict=True))
        if explain:
            for i, rows in zip(asked, vectors, strict=True):
                found[i] = self._explained(queries[i], rows, found[i])
        blank = [i for i in range(len(queries)) if i not in found]
        if blank:
            first = partial(self._unranked, options)
            found |= dict(zip(blank, down_to(first, len(blank), k, len(self.index)), strict=True))
            if condition is None:
                numbers = preview(blank)
                logger.warning("%d of %d queries are blank and find nothing: %s", len(blank), len(queries), numbers)
        used = {i: chosen[i] for i in asked}  # a blank query went through no adapter
        return [[{**result, "query_language": used.get(i)} for result in found[i]] for i in range(len(queries))]

    def _shown(self, found: list[list[Result]], grouped: bool, context: int) -> list[list[Result]]:
        """Return the results of queries in the form that was asked for."""
        if context:
            add_context([result for results in found for result in results], self.index, context)
        return [by_document(results) for results in found] if grouped else found

    def _check(self, options: RankingOptions) -> None:
        check_score(options.min_score)
        check_share(0.0 if options.min_relevance is None else options.min_relevance, "min_relevance")
        check_share(options.language_weight, "language_weight")
        if options.lexical_weight is not None:
            check_share(options.lexical_weight, "lexical_weight")
            lexical_index(self.index)

    def _preferred(
        self, prefer_language: str | None, weight: float, languages: Sequence[str | None]
    ) -> list[str | None]:
        """Return the language that is preferred for each query, given the queries' own; None if there is none."""
        check_language(prefer_language, "prefer_language")
        if prefer_language is None or not weight:
            return [None] * len(languages)
        if prefer_language != OF_QUERY:
            return [self.encoder.adapters.resolve(prefer_language)] * len(languages)
        if None in languages:
            raise InputError('prefer_language="query" needs the texts of the queries: give the language itself.')
        return list(languages)

    def _explained(self, query: str, rows: torch.Tensor, results: list[Result]) -> list[Result]:
        """Return results with their evidence."""
        try:
            stored = list(self.index.vectors([result["passage_id"] for result in results]))
        except KeyError:  # one was deleted since the search: they are explained by their texts
            stored = [rows[:0]] * len(results)
        texts, languages = ([result[key] for result in results] for key in ("content", "language"))
        found = Explainer(self.encoder, self.max_document_length).explain(query, rows, texts, languages, stored)
        return [{**result, "evidence": evidence} for result, evidence in zip(results, found, strict=True)]

    def _unranked(self, options: RankingOptions, queries: Sequence[int], k: int) -> list[list[Result]]:
        """Return the results of blank queries: the first passages that the filter admits."""
        if options.condition is None or not options.admits(0.0, 0.0):
            return [[] for _ in queries]
        admitted = (passage for passages, _ in self.index.scroll(options.condition) for passage in passages)
        first = list(islice(admitted, k))
        return [[make_result(passage, 0.0, rank, 0.0) for rank, passage in enumerate(first, start=1)] for _ in queries]

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
