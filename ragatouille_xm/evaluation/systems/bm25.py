"""BM25 (Robertson et al. 1994) with Lucene's formula, from bm25s."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...errors import InputError
from ...extras import import_extra
from ..dataset import Dataset, Query
from ..measure import Ranking
from .base import Found, Settings, System
from .words import words

_IDS = "documents.txt"


class BM25:
    """A bag of words; only documents that share a word with the query are found.

    Parameters
    ----------
    name : str
    settings : Settings
        ``k1`` and ``b``: see `ragatouille_xm.evaluation.dataset.Dataset.bm25`.
    """

    first_stage: System | None = None
    query_batch = 500

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings

    def parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return k1, b and the definition of words."""
        k1, b = dataset.bm25
        return {
            "k1": k1 if self.settings.k1 is None else self.settings.k1,
            "b": b if self.settings.b is None else self.settings.b,
            "words": "letters and digits, lower case; pairs of characters in scripts without blanks, and in Hangul",
        }

    def index_parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return all parameters: bm25s stores the scores of terms."""
        return self.parameters(dataset)

    def prepare(self, dataset: Dataset, folder: Path, first: Ranking) -> BM25Searcher:
        """Open the index in `folder`, or build it there in one step."""
        if not (folder / _IDS).is_file():
            parameters = self.parameters(dataset)
            _build(dataset, folder, parameters["k1"], parameters["b"], self.settings.progress)
        return BM25Searcher(folder)


class BM25Searcher:
    """A built index.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        bm25s = import_extra("bm25s", "BM25", "evaluate")
        self._index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        self._ids = (folder / _IDS).read_text(encoding="utf-8").split("\n")[:-1]

    def search(self, queries: Sequence[Query], k: int) -> list[Found]:
        """Return the best `k` documents for each query; ties stay in the collection's order."""
        return [self._best(words(query.text), k) for query in queries]

    def _best(self, terms: list[str], k: int) -> Found:
        known = [term for term in terms if term in self._index.vocab_dict]
        if not known:
            return []
        scores = self._index.get_scores(known)
        found = np.flatnonzero(scores > 0)
        if len(found) > k:
            least = np.partition(scores[found], len(found) - k)[len(found) - k]
            found = found[scores[found] >= least]
        best = found[np.lexsort((found, -scores[found]))][:k]
        return [(self._ids[i], float(scores[i])) for i in best]

    def close(self) -> None:
        """Do nothing: the index is memory-mapped."""


def _build(dataset: Dataset, folder: Path, k1: float, b: float, progress: bool) -> None:
    bm25s = import_extra("bm25s", "BM25", "evaluate")
    vocabulary: dict[str, int] = {}
    ids: list[str] = []
    terms: list[array[int]] = []  # four bytes per word: there may be half a billion
    stream = tqdm(
        dataset.documents(),
        desc="indexing for BM25",
        unit="document",
        total=dataset.total,
        disable=None if progress else True,
    )
    for document in stream:
        ids.append(document.document_id)
        terms.append(array("i", (vocabulary.setdefault(word, len(vocabulary)) for word in words(document.text))))
    if not vocabulary:
        raise InputError(f"The documents of {dataset.name!r} have no words.")
    index = bm25s.BM25(method="lucene", k1=k1, b=b)
    index.index((terms, vocabulary), show_progress=False)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    index.save(temporary, show_progress=False)
    (temporary / _IDS).write_text("".join(f"{each}\n" for each in ids), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
