"""`RagatouilleXMVectorStore`: an index of ragatouille_xm as a LangChain vector store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, cast
from uuid import uuid4

import torch
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.corpus.filters import METADATA_FIRST, Compare, rename_fields
from ragatouille_xm.errors import IndexNotFoundError, InputError
from ragatouille_xm.queries import check_k, check_share

from .diversity import maximal_marginal_relevance, similarities
from .document import check_query, list_of_documents, listed

logger = logging.getLogger(__name__)

INDEX_NAME = "langchain"


class RagatouilleXMVectorStore(VectorStore):
    """Documents in an index on disk, searched by late interaction, each encoded through its own language's adapter.

    The store computes its own token vectors, so LangChain's ``embedding`` is not used. A document is one passage and is
    returned unchanged. Only the first `max_document_length` tokens are searched (longer texts are logged), so split
    long documents first, as for any vector store. Copies share the model and the index.

    Parameters
    ----------
    model : RAGPretrainedModel
    index_name : str
        An index of the model; created empty if there is none.
    max_document_length : int, optional
        Maximum tokens per document in a new index; by default what the checkpoint accepts.

    Raises
    ------
    ragatouille_xm.errors.InputError
        If the index exists with another `max_document_length`.

    Examples
    --------
    >>> store = RagatouilleXMVectorStore(RAG, "news")  # doctest: +SKIP
    >>> store.add_texts(["La gare est derrière le marché."], [{"year": 2024}], ids=["gare"])  # doctest: +SKIP
    ['gare']
    >>> store.similarity_search("Where is the station?", k=1, filter={"year": {"$gte": 2020}})  # doctest: +SKIP
    [Document(id='gare', metadata={'year': 2024}, page_content='La gare est derrière le marché.')]
    """

    def __init__(
        self, model: RAGPretrainedModel, index_name: str = INDEX_NAME, *, max_document_length: int | None = None
    ) -> None:
        if not isinstance(model, RAGPretrainedModel):
            raise InputError(f"model is a {type(model).__name__}; give a ragatouille_xm.RAGPretrainedModel.")
        self.model = model
        self.index_name = index_name
        try:
            length = model.catalog.get(index_name).max_document_length
        except IndexNotFoundError:
            length = max_document_length or model.encoder.tokenizer.max_tokens
            model.index([], index_name=index_name, max_document_length=length)
        if max_document_length not in (None, length):
            raise InputError(
                f"The index {index_name!r} has max_document_length={length}, not {max_document_length}. Leave it out, "
                "or give another index_name."
            )

    # ---- writing

    def add_texts(  # type: ignore[override]  # no **kwargs: a misspelt option is an error
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        languages: str | Iterable[str | None] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Add texts, replacing those of the same id; of several with the same id, the last one is kept.

        Parameters
        ----------
        texts : iterable of str
        metadatas : iterable of dict, optional
            Stored as JSON: a date comes back as its ISO 8601 string.
        ids : iterable of (str or None), optional
            A random UUID for None.
        languages : str or iterable of (str or None), optional
            Language of all texts, or of each (BCP-47 code or adapter id); by default detected.
        batch_size : int, optional
            Accepted for `langchain_core.indexing.index`; batches are sized by tokens here.

        Returns
        -------
        list of str
            The ids.

        Raises
        ------
        ragatouille_xm.errors.InputError
            A `ValueError`: if something is invalid; nothing is added then.
        """
        columns: dict[str, list[Any]] = {"texts": listed("texts", texts)}
        n = len(columns["texts"])
        one = languages is None or isinstance(languages, str)
        columns["ids"] = [None] * n if ids is None else listed("ids", ids)
        columns["metadatas"] = ([] if metadatas is None else listed("metadatas", metadatas)) or [{}] * n
        columns["languages"] = [languages] * n if one else listed("languages", languages)
        for name, column in columns.items():
            if len(column) != n:
                raise InputError(f"{name} has {len(column)} entries for {n} texts; give one for each text.")
        filled = [str(uuid4()) if each is None else each for each in columns["ids"]]
        last = {each: i for i, each in enumerate(filled)}.values()
        self.model.update_in_index(
            [columns["texts"][i] for i in last],
            [filled[i] for i in last],
            [columns["metadatas"][i] for i in last],
            index_name=self.index_name,
            split_documents=False,
            languages=[columns["languages"][i] for i in last],
        )
        return filled

    def add_documents(self, documents: Iterable[Document], **options: Any) -> list[str]:
        """Add documents under their ids, or ``ids=``; `options` as for `add_texts`."""
        return super().add_documents(list_of_documents(documents), **options)

    def delete(  # type: ignore[override]  # as for add_texts
        self, ids: str | Sequence[str] | None = None
    ) -> bool:
        """Delete documents by id, or all of them if `ids` is None; unknown ids are ignored."""
        retriever = self.model.catalog.get(self.index_name)
        if ids is None:
            present = {passage.document_id for passages, _ in retriever.index.scroll() for passage in passages}
        else:
            present = {each["document_id"] for each in retriever.passages_of(ids)}
        if present:
            retriever.delete(sorted(present))
        return True

    # ---- reading

    def get_by_ids(self, ids: str | Sequence[str], /) -> list[Document]:
        """Return documents by id, in the order of `ids`; unknown ids are ignored."""
        return [_document(each) for each in self.model.get_passages(ids, index_name=self.index_name)]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the best `k` documents.

        `options` are ``filter, language, doc_ids, min_score, min_relevance, prefer_language, language_weight, exact,
        force_fast, hybrid, lexical_weight, explain``. In a filter every bare name is a metadata key;
        ``passage.language`` is the language the document has here. With ``explain=True`` the metadata have
        ``evidence``, as `RagatouilleXMRetriever` has it.

        Raises
        ------
        ragatouille_xm.errors.InputError
            A `ValueError`: if the query is blank, or `k` or the filter is invalid.
        """
        return [_document(result) for result in self._search(query, k, options)]

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> list[tuple[Document, float]]:
        """Return the best `k` documents with their scores, higher is better; see `similarity_search`."""
        return [(_document(result), result["score"]) for result in self._search(query, k, options)]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        return [(_document(result), result["relevance"]) for result in self._search(query, k, options)]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        return await run_in_executor(None, self._similarity_search_with_relevance_scores, query, k, **options)

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return `k` of the best `fetch_k` documents, chosen for relevance and diversity.

        Parameters
        ----------
        lambda_mult : float
            1 means relevance alone, 0 diversity alone.
        options
            As for `similarity_search`.
        """
        check_share(lambda_mult, "lambda_mult")
        check_k(k)
        check_k(fetch_k, "fetch_k")
        found = {result["passage_id"]: result for result in self._search(query, max(fetch_k, k), options)}
        among = Compare("document_id", "$in", tuple({result["document_id"] for result in found.values()}))
        vectors = {
            passage.pid: block
            for passages, blocks in self.model.catalog.get(self.index_name).index.scroll(among, with_vectors=True)
            for passage, block in zip(passages, blocks or (), strict=True)
        }
        pids = [pid for pid in found if pid in vectors]  # best first; without documents deleted meanwhile
        scores = torch.tensor([found[pid]["score"] for pid in pids])
        relevance = scores / scores.max().clamp_min(1e-9) if pids else scores  # on the scale of similarities
        chosen = maximal_marginal_relevance(relevance, similarities([vectors[pid] for pid in pids]), k, lambda_mult)
        return [_document(found[pids[i]]) for i in chosen]

    def _search(self, query: str, k: int, options: dict[str, Any]) -> list[dict[str, Any]]:
        check_query(query)
        options["filter"] = rename_fields(options.get("filter"), METADATA_FIRST)
        return cast("list[dict[str, Any]]", self.model.search(query, index_name=self.index_name, k=k, **options))

    @classmethod
    def from_texts(  # type: ignore[override]  # as for add_texts
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        model: RAGPretrainedModel,
        index_name: str = INDEX_NAME,
        max_document_length: int | None = None,
        languages: str | Iterable[str | None] | None = None,
    ) -> RagatouilleXMVectorStore:
        """Create a store, or open the one of that name, and add texts to it.

        Parameters
        ----------
        texts, metadatas, ids, languages
            As for `add_texts`.
        embedding : optional
            Has no effect: `model` computes the token vectors.
        model, index_name, max_document_length
            As for the class.
        """
        if embedding is not None:
            logger.warning("embedding=%s has no effect: model= computes the token vectors", type(embedding).__name__)
        store = cls(model, index_name, max_document_length=max_document_length)
        store.add_texts(texts, metadatas, ids=ids, languages=languages)
        return store

    @classmethod
    async def afrom_texts(
        cls, texts: Iterable[str], embedding: Embeddings | None = None, *args: Any, **options: Any
    ) -> RagatouilleXMVectorStore:
        """Run `from_texts` in a thread."""
        return await run_in_executor(None, cls.from_texts, texts, embedding, *args, **options)

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **options: Any
    ) -> RagatouilleXMVectorStore:
        """Create a store, or open the one of that name, and add documents to it; `options` as for `from_texts`."""
        return super().from_documents(list_of_documents(documents), embedding, **options)  # type: ignore[arg-type]

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **options: Any
    ) -> RagatouilleXMVectorStore:
        """Run `from_documents` in a thread."""
        return await run_in_executor(None, cls.from_documents, documents, embedding, **options)


def _document(stored: dict[str, Any]) -> Document:
    evidence = {"evidence": stored["evidence"].as_dict()} if "evidence" in stored else {}
    return Document(
        id=stored["document_id"],
        page_content=stored["content"],
        metadata={**evidence, **stored.get("document_metadata", {})},
    )
