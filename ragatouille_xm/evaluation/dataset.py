"""A retrieval set: documents, queries and judgements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..corpus.passages import Document
from ..errors import InputError
from ..languages import LANGUAGES, match

MS_MARCO_MEASURES = ("MRR@10", "R@10", "R@100", "R@1000")
PYSERINI_BM25 = (0.9, 0.4)
"""BM25's k1 and b as Pyserini has them by default."""

_TAG = re.compile(r"[A-Za-z]{2}([-_][A-Za-z]{2,4})?")
_DUTCH = "dt"  # mMARCO's own name for it


class Query(NamedTuple):
    """A query of a dataset.

    Attributes
    ----------
    query_id : str
    text : str
    language : str or None
        BCP-47 code, if the dataset states it.
    """

    query_id: str
    text: str
    language: str | None


@dataclass(frozen=True)
class Dataset:
    """Documents, queries, and which documents answer which query.

    Attributes
    ----------
    name : str
        ``"mmarco/nl"``, or a folder's path.
    family : str
        The group it belongs to (``"mmarco"``; for a folder, its parent): datasets of one family share a table.
    queries : tuple of Query
        Only those with a relevant document, since the others cannot be measured.
    qrels : mapping
        Grades by query id and document id; above 0 means relevant.
    documents : callable
        Returns an iterator over all documents, each with its language if the dataset states it.
    texts : callable
        From document ids to their documents, in the same order.
    identity : mapping
        JSON values that identify the documents: a run is only resumed if they are unchanged.
    measures : tuple of str
        The family's official measures.
    bm25 : tuple of float
        k1 and b of the published BM25 row, else Pyserini's.
    total : int or None
        Number of documents, if known without reading them.
    """

    name: str
    family: str
    queries: tuple[Query, ...]
    qrels: Mapping[str, Mapping[str, int]]
    documents: Callable[[], Iterator[Document]]
    texts: Callable[[Sequence[str]], list[Document]]
    identity: Mapping[str, Any]
    measures: tuple[str, ...] = MS_MARCO_MEASURES
    bm25: tuple[float, float] = PYSERINI_BM25
    total: int | None = None

    @property
    def languages(self) -> tuple[str | None, ...]:
        """Languages of the queries, each once, in order of appearance."""
        return tuple(dict.fromkeys(query.language for query in self.queries))

    def limited(self, n: int | None) -> Dataset:
        """Return the dataset with only its first `n` queries.

        Raises
        ------
        InputError
            If `n` is less than 1.
        """
        if n is None:
            return self
        if n < 1:
            raise InputError(f"A limit of {n} queries leaves none: give 1 or more.")
        kept = self.queries[:n]
        return replace(self, queries=kept, qrels={query.query_id: self.qrels[query.query_id] for query in kept})


def language_of(name: str | None) -> str | None:
    """Return the language meant by a folder's name or a dataset's code; None if it is not a language.

    Examples
    --------
    >>> language_of("fr"), language_of("dt"), language_of("zh-TW"), language_of("docs"), language_of(None)
    ('fr', 'nl', 'zh-TW', None, None)
    """
    if name is None or not _TAG.fullmatch(name):
        return None
    return match("nl" if name == _DUTCH else name, LANGUAGES, nearest=False)


def keep_judged(
    queries: Sequence[Query], qrels: Mapping[str, Mapping[str, int]], name: str
) -> tuple[tuple[Query, ...], dict[str, Mapping[str, int]]]:
    """Return the queries with a relevant document, and their judgements.

    Raises
    ------
    InputError
        If there are none.
    """
    kept = tuple(query for query in queries if any(grade > 0 for grade in qrels.get(query.query_id, {}).values()))
    if not kept:
        raise InputError(f"No query of {name!r} has a relevant document: its queries and qrels do not match.")
    return kept, {query.query_id: qrels[query.query_id] for query in kept}
