"""DPR-XM: one vector per text from an X-MOD, each text through the adapters of its language."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...corpus.passages import Document
from ...model.devices import chosen_device
from ..dataset import Query
from .base import Settings
from .batches import run_batched
from .recipe import Recipe, normalise, pool, tokenise
from .xmod import XmodCheckpoint


class XmodTextEncoder:
    """Encodes each text as one vector.

    Parameters
    ----------
    settings : Settings
    recipe : Recipe
    pooling : str
    """

    def __init__(self, settings: Settings, recipe: Recipe, pooling: str) -> None:
        self.settings = settings
        self.recipe = recipe
        self.pooling = pooling
        self.model = XmodCheckpoint(str(settings.checkpoint), chosen_device(settings.device))

    def documents(self, documents: Sequence[Document]) -> tuple[torch.Tensor, list[str]]:
        """Return vectors (n, dim), float32, on the CPU, and the language of each document."""
        texts = [document.text for document in documents]
        own = [document.language for document in documents]
        languages = self.model.languages_of(texts, own, self.settings.document_language)
        return self._encode([self.recipe.document_prefix + text for text in texts], languages), languages

    def queries(self, queries: Sequence[Query], languages: Sequence[str]) -> torch.Tensor:
        """Return vectors (n, dim), float32, on the CPU; a language is detected among `languages`."""
        texts = [query.text for query in queries]
        own = [query.language for query in queries]
        chosen = self.model.languages_of(texts, own, self.settings.query_language, languages)
        return self._encode([self.recipe.query_prefix + text for text in texts], chosen)

    def _encode(self, texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        adapters = self.model.adapters_for(languages)

        def forward(ids: torch.Tensor, mask: torch.Tensor, positions: list[int]) -> torch.Tensor:
            return pool(self.model.encoder(ids, mask, [adapters[i] for i in positions]), mask, self.pooling)

        tokenizer = self.model.tokenizer
        rows = tokenise(tokenizer, texts, min(self.recipe.max_length, self.model.encoder.max_tokens))
        vectors = run_batched(rows, adapters, tokenizer.pad_token_id, self.model.device, forward)
        return normalise(vectors, self.recipe)
