"""What retrievers search: a model, or a client of a service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .results import Results


class Searchable(ABC):
    """Finds passages by the names of `RAGPretrainedModel`, on this machine or on another."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """What traces call it."""

    @property
    @abstractmethod
    def current_index(self) -> str | None:
        """The index that is used where none is named."""

    @abstractmethod
    def search(self, *arguments: Any, **options: Any) -> Results:
        """Search an index: see `RAGPretrainedModel.search`."""
