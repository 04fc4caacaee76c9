"""`RagatouilleXMVectorStore`: an index of ragatouille_xm where LlamaIndex wants a vector store."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from llama_index.core.bridge.pydantic import ConfigDict, Field, WithJsonSchema
from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.config import LEXICAL_WEIGHT
from ragatouille_xm.errors import IndexNotFoundError, InputError
from ragatouille_xm.queries import check_k, check_share, with_ids
from ragatouille_xm.text.detect import list_of_strings

from .filters import Filters, compile_filters
from .nodes import NAMES, REF_DOC_ID, Language, best_nodes, columns_of, last_of_each
from .retriever import at_least, cannot_be_pickled

logger = logging.getLogger(__name__)

INDEX_NAME = "llama_index_store"
MAX_DOCUMENT_LENGTH = 256
NODE = "_node_content"
NODE_ID = "passage.document_id"


class RagatouilleXMVectorStore(BasePydanticVectorStore):
    """Nodes in an index on disk, searched by late interaction, each encoded through its own language's adapter.

    For what takes a vector store: `IngestionPipeline`, `VectorStoreIndex`, `VectorIndexAutoRetriever`. The store makes
    token vectors itself and searches by the text of a query; but LlamaIndex hands a vector store only nodes that have
    an embedding, so give it ``MockEmbedding(embed_dim=1)``. Nodes come back as they went in, without it; a `Document`
    as a `TextNode`. One longer than `max_document_length` is searched by passages and returned once. Everything is
    written immediately; there is nothing to persist. Copies share the model and the index.

    Parameters
    ----------
    model : RAGPretrainedModel
    index_name : str
        An index that a store of this kind filled; created empty if there is none.
    max_document_length : int, optional
        Maximum tokens per passage in a new index, including special tokens; by default 256.
    language : str or callable, optional
        Language of all nodes, or a function from a node to its language, or to None to detect it (the default).
    metadata_mode : MetadataMode
        What to encode of a node: by default its text; ``MetadataMode.EMBED`` prepends the metadata that the node does
        not exclude.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: if a field is invalid, or the index exists with another `max_document_length`.

    Examples
    --------
    >>> from llama_index.core import MockEmbedding
    >>> from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    >>> from llama_index.core.storage.docstore import SimpleDocumentStore
    >>> IngestionPipeline(  # doctest: +SKIP
    ...     transformations=[SentenceSplitter(), MockEmbedding(embed_dim=1)],
    ...     vector_store=RagatouilleXMVectorStore(model=RAG, index_name="news"),
    ...     docstore=SimpleDocumentStore(),
    ...     docstore_strategy=DocstoreStrategy.UPSERTS,
    ... ).run(documents=documents)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    stores_text: bool = True
    is_embedding_query: bool = False
    model: Annotated[RAGPretrainedModel, WithJsonSchema(None)] = Field(exclude=True, repr=False)
    index_name: str = INDEX_NAME
    max_document_length: int | None = None
    language: Annotated[Language, WithJsonSchema(None)] = Field(default=None, exclude=True)
    metadata_mode: MetadataMode = MetadataMode.NONE

    def model_post_init(self, context: Any) -> None:
        """Open the index, or make an empty one."""
        super().model_post_init(context)
        try:
            length = self.model.catalog.get(self.index_name).max_document_length
        except IndexNotFoundError:
            length = MAX_DOCUMENT_LENGTH if self.max_document_length is None else self.max_document_length
            self.model.index([], index_name=self.index_name, max_document_length=length)
        if self.max_document_length not in (None, length):
            raise InputError(
                f"The index {self.index_name!r} has max_document_length={length}, not {self.max_document_length}. "
                "Leave it out, or give another index_name."
            )

    @classmethod
    def class_name(cls) -> str:
        """Return the name in serialised settings."""
        return "RagatouilleXMVectorStore"

    def __getstate__(self) -> dict[str, Any]:
        raise cannot_be_pickled(self)  # the base class would leave out the model

    @property
    def client(self) -> RAGPretrainedModel:
        """The model, whose methods see the index too."""
        return self.model

    # ---- writing

    def add(self, nodes: Sequence[BaseNode]) -> list[str]:  # type: ignore[override]  # no option is ignored
        """Add nodes, replacing those of the same id; return all ids. Embeddings are not kept.

        Nodes without text are left out, since they could not be found; what was stored under their ids goes.

        Raises
        ------
        ragatouille_xm.errors.InputError
            A `ValueError`: if something is invalid; nothing is added then.
        """
        last = last_of_each(nodes)
        columns = columns_of(self.model, last, self.language, self.metadata_mode, self.index_name)
        without = {node.node_id for node in last}.difference(columns.ids)
        if without:
            logger.warning("%d nodes have no text and are left out", len(without))
        if columns.nodes:
            metadatas = [_stored(node) for node in columns.nodes]
            self.model.update_in_index(
                columns.texts, columns.ids, metadatas, index_name=self.index_name, languages=columns.languages
            )
        if without:
            self.delete_nodes(list(without))
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode]) -> list[str]:  # type: ignore[override]
        """Add nodes in a thread, without blocking the event loop."""
        return await asyncio.to_thread(self.add, nodes)

    def delete(self, ref_doc_id: str) -> None:  # type: ignore[override]
        """Delete the nodes of a document; unknown ones are ignored."""
        self.delete_nodes(filters={"ref_doc_id": ref_doc_id})

    async def adelete(self, ref_doc_id: str) -> None:  # type: ignore[override]
        """Delete the nodes of a document in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id)

    def delete_nodes(  # type: ignore[override]
        self, node_ids: str | Sequence[str] | None = None, filters: Filters = None
    ) -> None:
        """Delete nodes that have one of `node_ids`, if given, and pass `filters`, if given; not all: see `clear`."""
        if node_ids is None and filters is None:
            raise InputError("Give delete_nodes node_ids= or filters=. To delete all nodes, call clear().")
        self._delete(node_ids, filters)

    def _delete(self, node_ids: str | Sequence[str] | None, filters: Filters) -> None:
        if found := list(self._metadata(node_ids, filters)):
            self.model.delete_from_index(found, index_name=self.index_name)

    async def adelete_nodes(  # type: ignore[override]
        self, node_ids: str | Sequence[str] | None = None, filters: Filters = None
    ) -> None:
        """Delete nodes in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters)

    def clear(self) -> None:
        """Delete all nodes; the index keeps its settings, and stays where it is."""
        self._delete(None, None)

    async def aclear(self) -> None:
        """Delete all nodes in a thread."""
        await asyncio.to_thread(self.clear)

    # ---- reading

    def get_nodes(self, node_ids: str | Sequence[str] | None = None, filters: Filters = None) -> list[BaseNode]:
        """Return the nodes that have one of `node_ids`, if given, and pass `filters`, if given; unknown are ignored."""
        found = self._metadata(node_ids, filters)
        wanted = found if node_ids is None else dict.fromkeys(list_of_strings(node_ids, "node_ids"))
        return [_node(found[each]) for each in wanted if each in found]

    async def aget_nodes(self, node_ids: str | Sequence[str] | None = None, filters: Filters = None) -> list[BaseNode]:
        """Return nodes from a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def query(  # type: ignore[override]
        self,
        query: VectorStoreQuery,
        *,
        language: str | None = None,
        min_score: float | None = None,
        exact: bool = False,
    ) -> VectorStoreQueryResult:
        """Return the best nodes for the text of a query, with their relevance, 0 to 1, or the score of a hybrid search.

        Parameters
        ----------
        query : VectorStoreQuery
            Its ``query_str``, ``similarity_top_k``, ``filters``, ``doc_ids`` and ``node_ids`` count. The ``mode`` is
            the default one or ``HYBRID``, in which MaxSim has the weight ``alpha``.
        language, min_score, exact
            As for `RagatouilleXMRetriever`; a `VectorIndexRetriever` passes ``vector_store_kwargs``.

        Raises
        ------
        ragatouille_xm.errors.InputError
            A `ValueError`: if the query has no text, or wants another mode.
        """
        if query.mode not in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.HYBRID):
            raise InputError(
                f"The mode {VectorStoreQueryMode(query.mode).value!r} is not offered. Use VectorStoreQueryMode.DEFAULT "
                "or HYBRID, and QueryFusionRetriever to combine retrievers."
            )
        hybrid = query.mode == VectorStoreQueryMode.HYBRID
        if query.alpha is not None:
            check_share(query.alpha, "alpha")
        weight = LEXICAL_WEIGHT if query.alpha is None else 1 - query.alpha
        score = "score" if hybrid else "relevance"
        text = query.query_str
        if text is None:
            raise InputError("The query has no query_str: this store searches by text, not by an embedding.")
        check_k(query.similarity_top_k, "similarity_top_k")
        if min_score is not None:
            check_share(min_score, "min_score")
        restricted = with_ids(compile_filters(query.filters, NAMES), query.doc_ids, field=REF_DOC_ID)
        restricted = with_ids(restricted, query.node_ids or None, "node_ids", NODE_ID)  # a VectorStoreIndex gives []

        def search(k: int) -> list[dict[str, Any]]:
            found = self.model.search(
                text,
                self.index_name,
                k,
                language=language,
                filter=restricted,
                exact=exact,
                hybrid=hybrid,
                lexical_weight=weight,
            )
            return at_least(min_score, cast("list[dict[str, Any]]", found), score)

        found = best_nodes(
            search,
            lambda best: [_node(each.get("document_metadata")) for each in best.values()],
            query.similarity_top_k,
            score,
        )
        return VectorStoreQueryResult(
            nodes=[each.node for each in found],
            similarities=[each.get_score() for each in found],
            ids=[each.node_id for each in found],
        )

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """Search as `query` does, in a thread."""
        return await asyncio.to_thread(self.query, query, **options)

    def _metadata(self, node_ids: str | Sequence[str] | None, filters: Filters) -> dict[str, Mapping[str, Any] | None]:
        """Return the metadata of the nodes that have one of `node_ids` and pass `filters`, by their ids."""
        restricted = with_ids(compile_filters(filters, NAMES), node_ids, "node_ids", NODE_ID)
        retriever = self.model.catalog.get(self.index_name)
        return {
            passage.document_id: passage.metadata
            for passages, _ in retriever.index.scroll(retriever.condition(restricted))
            for passage in passages
        }


def _stored(node: BaseNode) -> dict[str, Any]:
    """Return the metadata of a node's passages: its own, for filters, and the whole node."""
    whole = node.model_copy(update={"embedding": None})
    if type(whole) is Document:  # which has no .text, as what is found should
        whole = TextNode.from_dict(whole.to_dict())
        whole.set_content(node.get_content())
    content = json.dumps(doc_to_json(whole), ensure_ascii=False)
    return {**node.metadata, "ref_doc_id": node.ref_doc_id or node.node_id, NODE: content}


def _node(metadata: Mapping[str, Any] | None) -> BaseNode:
    """Return the node that `_stored` wrote."""
    if metadata is None or NODE not in metadata:
        raise InputError(
            "The index has passages that no RagatouilleXMVectorStore wrote. Search it with RagatouilleXMRetriever or "
            "RagatouilleXMIndex, or give the store another index_name."
        )
    return json_to_doc(json.loads(metadata[NODE]))
