"""`RagatouilleXMCompressor`: late-interaction reranking as a LangChain document compressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.queries import check_k

from .document import check_query, list_of_documents


class RagatouilleXMCompressor(BaseDocumentCompressor):
    """Reranks documents by late interaction, each through its own language's adapter, without an index.

    It returns copies, best first, with the score as ``relevance_score`` in their metadata. Copies of the compressor
    share the model.

    Parameters
    ----------
    model : RAGPretrainedModel
    k : int
        Number of documents to keep.
    language, document_language : str, optional
        Languages of the queries and of the documents; by default detected.
    with_scores : bool
        Without, the metadata has no ``relevance_score``, and a document found for several queries is equal.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: if a field is invalid.

    Examples
    --------
    >>> from langchain_classic.retrievers import ContextualCompressionRetriever  # doctest: +SKIP
    >>> ContextualCompressionRetriever(  # doctest: +SKIP
    ...     base_compressor=RagatouilleXMCompressor(model=RAG, k=3), base_retriever=any_retriever
    ... )
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: SkipJsonSchema[RAGPretrainedModel] = Field(exclude=True, repr=False)
    k: int = 5
    language: str | None = None
    document_language: str | None = None
    with_scores: bool = True

    @field_validator("k", mode="before")
    @classmethod
    def _check_k(cls, k: Any) -> Any:
        check_k(k)
        return k

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None, **options: Any
    ) -> list[Document]:
        """Return the best `k` of `documents`; `options` such as ``k=3`` override fields.

        Raises
        ------
        ragatouille_xm.errors.InputError
            A `ValueError`: if the query is blank, `k` is not a positive whole number, or something else comes as
            documents.
        """
        names = ("k", "language", "document_language", "with_scores")
        fields = {**{name: getattr(self, name) for name in names}, **options}
        with_scores, languages = fields.pop("with_scores"), fields.pop("document_language")
        check_query(query)
        documents = list_of_documents(documents)
        texts = [document.page_content for document in documents]
        results = cast("list[dict[str, Any]]", self.model.rerank(query, texts, languages=languages, **fields))
        return [
            _copy(documents[result["result_index"]], {"relevance_score": result["score"]} if with_scores else {})
            for result in results
        ]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None, **options: Any
    ) -> list[Document]:
        """Run `compress_documents` in a thread."""
        return await run_in_executor(None, self.compress_documents, documents, query, callbacks, **options)


def _copy(document: Document, more: dict[str, float]) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, **more}})
