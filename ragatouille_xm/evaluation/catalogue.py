"""Public retrieval sets: ids of ir_datasets, and short names of the multilingual benchmarks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..corpus.passages import Document
from ..errors import InputError
from ..extras import import_extra
from .dataset import MS_MARCO_MEASURES, PYSERINI_BM25, Dataset, Query, keep_judged, language_of


class Family(NamedTuple):
    """A benchmark in several languages.

    Attributes
    ----------
    ids : dict
        Id in ir_datasets by language.
    measures : tuple of str
        Its official measures.
    bm25 : tuple of float
        k1 and b of its published BM25 row.
    """

    ids: dict[str, str]
    measures: tuple[str, ...]
    bm25: tuple[float, float] = PYSERINI_BM25


def _ids(form: str, languages: str) -> dict[str, str]:
    return {language: form.format("dt" if language == "nl" else language) for language in languages.split()}


_MMARCO = _ids("mmarco/v2/{}/dev/small", "es fr it pt id de ru zh ja nl vi hi ar")

FAMILIES: dict[str, Family] = {
    # k1 and b: the mMARCO repository's recipe for its BM25 runs, "the same used for any language"
    "mmarco": Family({"en": "msmarco-passage/dev/small"} | _MMARCO, MS_MARCO_MEASURES, (0.82, 0.68)),
    "mr-tydi": Family(_ids("mr-tydi/{}/test", "ar bn en fi id ja ko ru sw te th"), ("MRR@100", "R@100")),
    "miracl": Family(
        _ids("miracl/{}/dev", "ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh"), ("nDCG@10", "R@100")
    ),
}
"""Benchmarks named ``<family>/<language>``, with languages in the order of the published tables."""


def load_from_catalogue(name: str) -> Dataset:
    """Open ``mmarco/<language>`` and the like, or any id of ir_datasets. Nothing is downloaded before it is read.

    Raises
    ------
    InputError
        If there is no such dataset, it has no queries or judgements, or it cannot be downloaded.
    MissingExtraError
        If ir_datasets is not installed.
    """
    ir_datasets = import_extra("ir_datasets", f"The dataset {name!r}", "evaluate")
    short, family, identifier = _resolve(name)
    try:
        source = ir_datasets.load(identifier)
    except KeyError as error:
        raise InputError(_unknown(name, ir_datasets.registry)) from error
    if not (source.has_docs() and source.has_queries() and source.has_qrels()):
        raise InputError(f"The dataset {name!r} lacks documents, queries or judgements. {_WAY_OUT}")
    return _Source(source, identifier, short).dataset(FAMILIES.get(family), family)


_WAY_OUT = "Give mmarco/fr, mr-tydi/sw, miracl/de, another id of ir_datasets.com, or a folder of tsv files."


def _resolve(name: str) -> tuple[str, str, str]:
    """Return a dataset's name, family and id in ir_datasets."""
    family, _, language = name.partition("/")
    if family in FAMILIES and language and "/" not in language:
        ids = FAMILIES[family].ids
        known = language_of(language)
        if known not in ids and language not in ids:
            raise InputError(f"{family} has no language {language!r}. It has: {', '.join(ids)}.")
        key = language if language in ids else str(known)
        return f"{family}/{key}", family, ids[key]
    return name, name, name


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no dataset {name!r}, neither a folder nor in ir_datasets.{hint} {_WAY_OUT}"


class _Source:
    """Adapts a dataset of ir_datasets."""

    def __init__(self, source: Any, identifier: str, name: str) -> None:
        self.source = source
        self.identifier = identifier
        self.name = name
        self.language = _language(source.docs_lang())

    def dataset(self, family: Family | None, family_name: str) -> Dataset:
        language = _language(self.source.queries_lang())
        try:
            found = [Query(str(q.query_id), _text(q), language) for q in self.source.queries_iter()]
            grades: dict[str, dict[str, int]] = {}
            for each in self.source.qrels_iter():
                grades.setdefault(str(each.query_id), {})[str(each.doc_id)] = int(each.relevance)
        except Exception as error:
            raise self._unreadable(error) from error
        queries, qrels = keep_judged(found, grades, self.name)
        english_msmarco = self.identifier.startswith("msmarco-passage")  # its BM25 row uses Pyserini's settings
        return Dataset(
            name=self.name,
            family=family_name,
            queries=queries,
            qrels=qrels,
            documents=self.documents,
            texts=self.texts,
            identity={"ir_datasets": self.identifier},
            measures=family.measures if family else MS_MARCO_MEASURES,
            bm25=family.bm25 if family and not english_msmarco else PYSERINI_BM25,
            total=(self.source.docs_metadata() or {}).get("count"),
        )

    def documents(self) -> Iterator[Document]:
        try:
            for each in self.source.docs_iter():
                yield Document(str(each.doc_id), _text(each), None, self.language)
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise self._unreadable(error) from error

    def texts(self, ids: Sequence[str]) -> list[Document]:
        try:
            found = self.source.docs_store().get_many(list(dict.fromkeys(ids)))
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise self._unreadable(error) from error
        return [Document(each, _text(found[each]), None, self.language) for each in ids]

    def _unreadable(self, error: BaseException) -> InputError:
        return InputError(
            f"The dataset {self.name!r} ({self.identifier} of ir_datasets) could not be downloaded or read: "
            f"{type(error).__name__}: {str(error)[:200]}. Check the connection and $IR_DATASETS_HOME."
        )


def _language(code: str | None) -> str | None:
    """Return the language of an ir_datasets code, even if it has no adapter."""
    return language_of(code) or code


def _text(record: Any) -> str:
    """Return the text of a document or query on one line: title, if any, and body."""
    return " ".join(record.default_text().split())
