"""ragatouille_xm for LangChain: late interaction, with each text encoded through its own language's adapter."""

from __future__ import annotations

from .compressor import RagatouilleXMCompressor
from .retriever import RagatouilleXMRetriever
from .self_query import RagatouilleXMTranslator
from .vectorstore import RagatouilleXMVectorStore

__all__ = [
    "RagatouilleXMCompressor",
    "RagatouilleXMRetriever",
    "RagatouilleXMTranslator",
    "RagatouilleXMVectorStore",
]
