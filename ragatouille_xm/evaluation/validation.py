"""Validation during training: MRR@10 on a small retrieval set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from ..encoder import Encoder
from ..errors import InputError
from ..scoring import maxsim
from .folders import load_folder

DEPTH = 10
_PASSAGE_BATCH = 512  # passages encoded and scored at a time


class RankingValidation:
    """Measures an encoder by exact search; a `validation` for `ragatouille_xm.training.train` or `RAGTrainer`.

    Parameters
    ----------
    folder : str or Path
        With ``collection.tsv``, ``queries.tsv`` and ``qrels.tsv``, or subfolders that have them, as for
        ``ragatouille-xm evaluate``. Every validation encodes all passages, so use a few thousand at most.
    language : str, optional
        Language of texts whose folder's name states none; by default detected.

    Raises
    ------
    InputError
        If a file is missing or malformed, there are no passages, or a judged one is missing.

    Examples
    --------
    >>> train("antoinelouis/colbert-xm", examples, "run", validation=RankingValidation("dev/fr"))  # doctest: +SKIP
    """

    name = "MRR@10"

    def __init__(self, folder: str | Path, language: str | None = None) -> None:
        dataset = load_folder(Path(folder).expanduser())
        documents = list(dataset.documents())
        positions = {document.document_id: i for i, document in enumerate(documents)}
        relevant = [[d for d, grade in dataset.qrels[q.query_id].items() if grade > 0] for q in dataset.queries]
        if missing := next((each for ids in relevant for each in ids if each not in positions), None):
            raise InputError(f"{str(folder)!r} judges the passage {missing!r}, which its collection does not have.")
        self._relevant = [torch.tensor([positions[each] for each in ids]) for ids in relevant]
        self._texts = [document.text for document in documents]
        self._queries = [query.text for query in dataset.queries]
        given = [*(document.language for document in documents), *(query.language for query in dataset.queries)]
        self._languages = [each or language for each in given]

    def __call__(self, encoder: Encoder) -> float:
        """Return MRR@10, 0 to 1; of equal scores, the earlier passage of the collection ranks first."""
        languages = iter(_resolve_languages(encoder, [*self._texts, *self._queries], self._languages))
        of_texts = list(islice(languages, len(self._texts)))
        with torch.inference_mode():
            queries = encoder.encode_queries(self._queries, list(languages))
            parts = []
            for start in range(0, len(self._texts), _PASSAGE_BATCH):
                rows = slice(start, start + _PASSAGE_BATCH)
                found = encoder.encode_documents(self._texts[rows], of_texts[rows])
                parts.append(maxsim(queries, found.vectors, found.lengths).cpu())
        scores = torch.cat(parts, 1)
        ranks = [_rank(row, relevant) for row, relevant in zip(scores, self._relevant, strict=True)]
        return sum(1 / rank for rank in ranks if rank <= DEPTH) / len(ranks)


def _rank(scores: torch.Tensor, relevant: torch.Tensor) -> int:
    """Return the rank of the best relevant passage, from 1."""
    best = int(relevant[scores[relevant] == scores[relevant].max()].min())
    return 1 + int((scores > scores[best]).sum()) + int((scores[:best] == scores[best]).sum())


def _resolve_languages(encoder: Encoder, texts: Sequence[str], languages: Sequence[str | None]) -> list[str]:
    """Return languages with an adapter in the checkpoint, detecting those not given."""
    unknown = iter(encoder.detect([text for text, each in zip(texts, languages, strict=True) if each is None]))
    return [next(unknown).language if each is None else encoder.adapters.resolve(each) for each in languages]
