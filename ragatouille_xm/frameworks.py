"""`RAGPretrainedModel` inside a framework: the wrappers live in distributions of their own, in ``integrations/``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import MissingExtraError

LANGCHAIN = ("langchain_ragatouille_xm", "langchain")
LLAMA_INDEX = ("llama_index.retrievers.ragatouille_xm", "llama-index")


class FrameworkMethods:
    """The methods that hand a model over to LangChain or LlamaIndex."""

    def as_langchain_retriever(self, **kwargs: Any) -> Any:
        """Return a LangChain ``BaseRetriever``; `kwargs` are its fields: ``k``, ``filter``, ``index_name``, ….

        Raises
        ------
        MissingExtraError
            If ``langchain-ragatouille-xm`` is not installed.
        """
        return _wrapper("The LangChain retriever", *LANGCHAIN).RagatouilleXMRetriever(model=self, **kwargs)

    def as_langchain_document_compressor(self, k: int = 5, **kwargs: Any) -> Any:
        """Return a LangChain document compressor that keeps the best `k` documents.

        Raises
        ------
        MissingExtraError
            If ``langchain-ragatouille-xm`` is not installed.
        """
        return _wrapper("The LangChain compressor", *LANGCHAIN).RagatouilleXMCompressor(model=self, k=k, **kwargs)

    def as_llama_index_retriever(self, **kwargs: Any) -> Any:
        """Return a LlamaIndex ``BaseRetriever``; `kwargs` are its parameters: ``similarity_top_k``, ``filters``, ….

        Raises
        ------
        MissingExtraError
            If ``llama-index-retrievers-ragatouille-xm`` is not installed.
        """
        return _wrapper("The LlamaIndex retriever", *LLAMA_INDEX).RagatouilleXMRetriever(model=self, **kwargs)


def _wrapper(feature: str, module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, extra) from error
