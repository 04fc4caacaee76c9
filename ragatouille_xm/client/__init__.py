"""A service as if it were the model: `RAGClient` and `AsyncRAGClient` (extra ``[client]``)."""

from .asynchronous import AsyncRAGClient
from .blocking import RAGClient

__all__ = ["AsyncRAGClient", "RAGClient"]
