"""ragatouille_xm for LlamaIndex: late interaction, with each text encoded through its own language's adapter."""

from __future__ import annotations

from .index import RagatouilleXMIndex
from .rerank import RagatouilleXMRerank
from .retriever import RagatouilleXMRetriever
from .vector_store import RagatouilleXMVectorStore

__all__ = ["RagatouilleXMIndex", "RagatouilleXMRerank", "RagatouilleXMRetriever", "RagatouilleXMVectorStore"]
