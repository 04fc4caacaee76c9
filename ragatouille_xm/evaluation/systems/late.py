"""Late interaction: a ColBERT checkpoint with our index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...config import SearchConfig
from ...corpus.passages import Document
from ...corpus.splitting import whole
from ...encoder import Encoder
from ...errors import IndexNotFoundError
from ...index.local.index import LocalIndex
from ...indexing import Indexer
from ...retriever import Retriever
from ..dataset import Dataset, Query
from ..measure import Ranking
from .base import Found, Settings, System, route_language
from .weights_id import identity_of

DOCUMENT_BATCH = 8192  # committed together: an interrupted build resumes after them
EXACT_UP_TO = 20_000  # passages: up to this many, all are scored
LEAST_CANDIDATES = 4096  # beyond that: colbert-ai's number for 1,000 results, the depth of the published runs


class LateInteraction:
    """A ColBERT; each document is one passage, truncated to the checkpoint's length.

    Up to 20,000 passages, all are scored; beyond that, the candidates of the index's first stage: the larger of 4,096
    and 4 k, as in colbert-ai.

    Parameters
    ----------
    name : str
    settings : Settings
        With a checkpoint.
    """

    first_stage: System | None = None
    query_batch = 64

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings

    def parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return the checkpoint, the routing and the kind of search."""
        return self.index_parameters(dataset) | {
            "query_language": self.settings.query_language,
            "search": f"exact up to {EXACT_UP_TO} passages, then max({LEAST_CANDIDATES}, 4 k) candidates",
        }

    def index_parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return the parameters of the token vectors."""
        checkpoint = identity_of(str(self.settings.checkpoint))
        return checkpoint | {"document_language": self.settings.document_language}

    def prepare(self, dataset: Dataset, folder: Path, first: Ranking) -> LateInteractionSearcher:
        """Add missing documents to the index in `folder`."""
        encoder = Encoder.from_pretrained(str(self.settings.checkpoint), device=self.settings.device)
        length = encoder.checkpoint.settings.doc_maxlen
        retriever = Retriever(encoder, _open_index(folder / "index", encoder, length), length)
        if not (folder / "complete").exists():
            self._fill(retriever, dataset)
            (folder / "complete").touch()
        return LateInteractionSearcher(retriever, self.settings)

    def _fill(self, retriever: Retriever, dataset: Dataset) -> None:
        stream: Iterator[Document] = dataset.documents()
        with tqdm(
            desc=f"indexing for {self.name}",
            unit="document",
            total=dataset.total,
            disable=None if self.settings.progress else True,
        ) as bar:
            while batch := list(islice(stream, DOCUMENT_BATCH)):
                stored = retriever.index.contains([document.document_id for document in batch])
                missing = [self._set_language(document) for document in batch if document.document_id not in stored]
                if missing:
                    retriever.add(missing, Indexer(retriever.encoder, whole, retriever.max_document_length))
                bar.update(len(batch))

    def _set_language(self, document: Document) -> Document:
        return replace(document, language=route_language(document.language, self.settings.document_language))


class LateInteractionSearcher:
    """An encoder and its index."""

    def __init__(self, retriever: Retriever, settings: Settings) -> None:
        self._retriever = retriever
        self._settings = settings

    def search(self, queries: Sequence[Query], k: int) -> list[Found]:
        """Return the best `k` documents for each query."""
        index = self._retriever.index
        languages = [route_language(query.language, self._settings.query_language) for query in queries]
        found = self._retriever.search(
            [query.text for query in queries],
            k,
            languages=languages,
            config=SearchConfig(exact=len(index) <= EXACT_UP_TO, candidates=max(LEAST_CANDIDATES, 4 * k)),
        )
        return [[(each["document_id"], float(each["score"])) for each in results] for results in found]

    def close(self) -> None:
        """Release the index."""
        self._retriever.close()


def _open_index(folder: Path, encoder: Encoder, length: int) -> LocalIndex:
    try:
        return LocalIndex.open(folder)
    except IndexNotFoundError:
        return LocalIndex.create(
            folder,
            dim=encoder.dim,
            checkpoint=encoder.checkpoint.name,
            fingerprint=encoder.checkpoint.fingerprint,
            settings={"max_document_length": length},
        )
