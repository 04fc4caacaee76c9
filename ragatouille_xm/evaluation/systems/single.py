"""Single-vector systems: one vector per text, compared exhaustively by dot product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from ...corpus.passages import Document
from ...errors import InputError
from ...model.devices import chosen_device
from ..dataset import Dataset, Query
from ..measure import Ranking
from .base import Found, Settings, System
from .batches import load_pretrained, run_batched
from .recipe import POOLINGS, Recipe, normalise, pool, tokenise
from .single_xmod import XmodTextEncoder
from .vectors import VectorStore
from .weights_id import identity_of

DOCUMENT_BATCH = 8192


class TextEncoder(Protocol):
    """Encodes each text as one vector."""

    def documents(self, documents: Sequence[Document]) -> tuple[torch.Tensor, list[str]]:
        """Return vectors (n, dim), float32, on the CPU, and the language used for each, or ``""``."""
        ...

    def queries(self, queries: Sequence[Query], languages: Sequence[str]) -> torch.Tensor:
        """Return vectors (n, dim), float32, on the CPU; `languages` are those of the documents."""
        ...


class SingleVector:
    """A bi-encoder with one vector per text.

    Parameters
    ----------
    name : str
    settings : Settings
        With a checkpoint.
    recipe : Recipe
    modular : bool
        Whether the checkpoint is an X-MOD, which encodes each text through its language's adapter.
    """

    first_stage: System | None = None
    query_batch = 8192  # each batch of queries reads all vectors

    def __init__(self, name: str, settings: Settings, recipe: Recipe, modular: bool = False) -> None:
        self.name = name
        self.settings = settings
        self.recipe = recipe
        self.modular = modular
        self.pooling = settings.pooling or recipe.pooling
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling={self.pooling!r} is not known. Use one of: {', '.join(POOLINGS)}.")

    def parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return checkpoint, pooling, lengths, prefixes and, with adapters, the routing."""
        queries = {"query_language": self.settings.query_language} if self.modular else {}
        return self.index_parameters(dataset) | {"query_prefix": self.recipe.query_prefix} | queries

    def index_parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return the parameters of the document vectors."""
        parameters: dict[str, Any] = identity_of(str(self.settings.checkpoint)) | {
            "pooling": self.pooling,
            "normalised": self.recipe.normalised,
            "max_length": self.recipe.max_length,
            "document_prefix": self.recipe.document_prefix,
        }
        return parameters | ({"document_language": self.settings.document_language} if self.modular else {})

    def prepare(self, dataset: Dataset, folder: Path, first: Ranking) -> SingleVectorSearcher:
        """Encode the documents that are not yet in `folder`."""
        encoder = self._encoder()
        store = VectorStore(folder)
        if not store.complete:
            self._fill(store, encoder, dataset)
        return SingleVectorSearcher(encoder, store)

    def _encoder(self) -> TextEncoder:
        if not self.modular:
            return PlainEncoder(self.settings, self.recipe, self.pooling)
        return XmodTextEncoder(self.settings, self.recipe, self.pooling)

    def _fill(self, store: VectorStore, encoder: TextEncoder, dataset: Dataset) -> None:
        stream = islice(dataset.documents(), len(store), None)
        with tqdm(
            desc=f"encoding for {self.name}",
            unit="document",
            total=dataset.total,
            initial=len(store),
            disable=None if self.settings.progress else True,
        ) as bar:
            while batch := list(islice(stream, DOCUMENT_BATCH)):
                store.append([document.document_id for document in batch], *encoder.documents(batch))
                bar.update(len(batch))
        store.finish()


class SingleVectorSearcher:
    """An encoder and the vectors of a collection."""

    def __init__(self, encoder: TextEncoder, store: VectorStore) -> None:
        self._encoder = encoder
        self._store = store

    def search(self, queries: Sequence[Query], k: int) -> list[Found]:
        """Return the best `k` documents for each query."""
        return self._store.search(self._encoder.queries(queries, self._store.languages), k)

    def close(self) -> None:
        """Do nothing: vectors are read on demand."""


class PlainEncoder:
    """An encoder without adapters (XLM-R, BERT, …), run by transformers.

    Parameters
    ----------
    settings : Settings
    recipe : Recipe
    pooling : str
    """

    def __init__(self, settings: Settings, recipe: Recipe, pooling: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        name = str(settings.checkpoint)
        self.recipe = recipe
        self.pooling = pooling
        self.device = chosen_device(settings.device)
        self.tokenizer: Any = load_pretrained(AutoTokenizer, name)
        self.model: Any = load_pretrained(AutoModel, name, dtype=torch.float32).to(self.device).eval()

    def documents(self, documents: Sequence[Document]) -> tuple[torch.Tensor, list[str]]:
        """Return vectors (n, dim), float32, on the CPU, and no languages."""
        texts = [self.recipe.document_prefix + document.text for document in documents]
        return self._encode(texts), [""] * len(texts)

    def queries(self, queries: Sequence[Query], languages: Sequence[str]) -> torch.Tensor:
        """Return vectors (n, dim), float32, on the CPU."""
        return self._encode([self.recipe.query_prefix + query.text for query in queries])

    def _encode(self, texts: Sequence[str]) -> torch.Tensor:
        def forward(ids: torch.Tensor, mask: torch.Tensor, positions: list[int]) -> torch.Tensor:
            return pool(self.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask, self.pooling)

        rows = tokenise(self.tokenizer, texts, self.recipe.max_length)
        vectors = run_batched(rows, [""] * len(rows), self.tokenizer.pad_token_id, self.device, forward)
        return normalise(vectors, self.recipe)
