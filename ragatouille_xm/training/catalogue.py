"""Training data from ir_datasets, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..errors import InputError
from ..extras import import_extra
from .data import TrainingExample


class IrDatasetsTriples:
    """Passage pairs of a dataset in ir_datasets, such as ``"msmarco-passage/train/triples-small"``.

    They keep the dataset's order, which for MS MARCO is random. Texts are looked up one by one, so only the queries are
    in memory.

    Parameters
    ----------
    name : str
        Name of a dataset with docpairs.
    language : str, optional
        Language of all texts.

    Raises
    ------
    MissingExtraError
        If ir_datasets is not installed.
    InputError
        If there is no such dataset, or it has no docpairs.
    """

    def __init__(self, name: str, *, language: str | None = None) -> None:
        self._language = language
        catalogue = import_extra("ir_datasets", "Training data of ir_datasets", "evaluate")
        try:
            self._dataset: Any = catalogue.load(name)
        except KeyError as error:
            raise InputError(f"ir_datasets has no dataset {name!r}. See https://ir-datasets.com.") from error
        if not self._dataset.has_docpairs():
            raise InputError(
                f"{name!r} has no docpairs. Give one with docpairs, such as 'msmarco-passage/train/triples-small'."
            )
        self._queries = {each.query_id: each.default_text() for each in self._dataset.queries_iter()}

    def stream(self, start: int = 0) -> Iterator[TrainingExample]:
        """Yield examples endlessly, from position `start`.

        Raises
        ------
        InputError
            If the dataset has no pairs.
        """
        texts = self._dataset.docs_store()
        start %= self._dataset.docpairs_count() or max(start, 1)
        while True:
            pair = None
            for pair in islice(self._dataset.docpairs_iter(), start, None):
                positive, negative = (texts.get(each).default_text() for each in (pair.doc_id_a, pair.doc_id_b))
                query = self._queries[pair.query_id]
                yield TrainingExample(query, positive, (negative,), None, self._language, self._language)
            if pair is None and start == 0:
                raise InputError("The dataset has no pairs to train on.")
            start = 0
