"""`RagatouilleXMIndex`: LlamaIndex nodes in an index of ragatouille_xm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from copy import copy
from threading import RLock
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.data_structs import IndexDict
from llama_index.core.indices.base import BaseIndex
from llama_index.core.ingestion import arun_transformations, run_transformations
from llama_index.core.schema import BaseNode, Document, MetadataMode
from llama_index.core.storage.docstore.types import RefDocInfo
from llama_index.core.storage.storage_context import StorageContext

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError
from ragatouille_xm.text.detect import list_of_strings

from .index_retriever import RETRIEVER_OPTIONS, RagatouilleXMIndexRetriever
from .nodes import Language, columns_of, has_text, last_of_each

logger = logging.getLogger(__name__)

INDEX_NAME = "llama_index"


class RagatouilleXMIndex(BaseIndex[IndexDict]):
    """LlamaIndex nodes, searched by late interaction, each encoded through its own language's adapter.

    Insert, update, delete and refresh documents as in any LlamaIndex index. The index has two parts: token vectors in
    the model's index folder, which is written immediately, and nodes in the document store, which is written by
    ``index.storage_context.persist(persist_dir)``. `load` opens both. Nodes are returned unchanged. One longer than
    `max_document_length` is searched by passages and returned once, with its best passage's score. Of several nodes
    with the same id, the last one is kept. Copies share the folder and the document store.

    Parameters
    ----------
    nodes : list of BaseNode, optional
        Nodes without text are stored, but not searchable.
    model : RAGPretrainedModel
    index_name : str
        Name of the index folder, and the `index_id`.
    overwrite : bool
        Replace an existing index of that name instead of refusing to.
    max_document_length : int
        Maximum tokens per passage, including special tokens.
    language : str or callable, optional
        Language of all nodes, or a function from a node to its language, or to None to detect it (the default).
    metadata_mode : MetadataMode
        What to encode of a node: by default its text; ``MetadataMode.EMBED`` prepends the metadata that the node does
        not exclude. The language is always that of the text.
    **options
        As for any index: ``objects, storage_context, transformations, callback_manager, …``.

    Raises
    ------
    ragatouille_xm.errors.InputError
        A `ValueError`: if something is invalid; nothing is stored then.

    Examples
    --------
    >>> index = RagatouilleXMIndex.from_documents(documents, model=RAG, index_name="news")  # doctest: +SKIP
    >>> index.as_query_engine(similarity_top_k=3).query("Où est la gare ?")  # doctest: +SKIP
    >>> index.storage_context.persist("storage")  # doctest: +SKIP
    >>> RagatouilleXMIndex.load(StorageContext.from_defaults(persist_dir="storage"), model=RAG)  # doctest: +SKIP
    """

    index_struct_cls = IndexDict

    def __init__(
        self,
        nodes: Sequence[BaseNode] | None = None,
        *,
        model: RAGPretrainedModel,
        index_name: str = INDEX_NAME,
        overwrite: bool = False,
        max_document_length: int = 256,
        language: Language = None,
        metadata_mode: MetadataMode = MetadataMode.NONE,
        index_struct: IndexDict | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(model, RAGPretrainedModel):
            raise InputError(f"model is a {type(model).__name__}; give a ragatouille_xm.RAGPretrainedModel.")
        self._model = model
        self._index_name = index_name if index_struct is None else index_struct.index_id
        self._max_document_length = max_document_length
        self._language = language
        self._metadata_mode = metadata_mode
        self._lock = RLock()
        if index_struct is not None:
            self._leave_out_deleted(index_struct)
        elif not overwrite and model.catalog.has(index_name):
            raise InputError(
                f"There is an index {index_name!r} already. Open it with RagatouilleXMIndex.load, or give "
                "overwrite=True or another index_name."
            )
        super().__init__(nodes=nodes, index_struct=index_struct, **options)

    def _leave_out_deleted(self, stored: IndexDict) -> None:
        """Take from what was persisted the nodes that were deleted from the folder since."""
        gone = set(stored.nodes_dict) - self._in_folder(list(stored.nodes_dict))
        if gone:
            logger.warning("%d nodes were deleted since the index was persisted", len(gone))
        for node_id in gone:
            del stored.nodes_dict[node_id]

    def _in_folder(self, node_ids: Sequence[str]) -> set[str]:
        return self._model.catalog.get(self._index_name).index.contains(node_ids)

    @classmethod
    def load(
        cls,
        storage_context: StorageContext,
        *,
        model: RAGPretrainedModel,
        index_name: str = INDEX_NAME,
        **options: Any,
    ) -> RagatouilleXMIndex:
        """Open an index stored by ``index.storage_context.persist(persist_dir)``.

        Parameters
        ----------
        storage_context : StorageContext
            From ``StorageContext.from_defaults(persist_dir=…)``.
        model, index_name, **options
            As for the class.

        Raises
        ------
        ragatouille_xm.errors.InputError
            A `ValueError`: if the storage or the model has no such index.
        """
        struct = storage_context.index_store.get_index_struct(index_name)
        if not isinstance(struct, IndexDict):
            known = [each.index_id for each in storage_context.index_store.index_structs()]
            raise InputError(f"The storage has no index {index_name!r}; it has {known}. Give index_name=.")
        return cls(model=model, index_struct=struct, storage_context=storage_context, **options)

    @property
    def model(self) -> RAGPretrainedModel:
        """The model that encodes nodes and queries."""
        return self._model

    def set_index_id(self, index_id: str) -> None:
        """Refuse: the id is the name of the index folder."""
        raise InputError(f"The index cannot become {index_id!r}: its id is the name of its folder. Give index_name=.")

    def __deepcopy__(self, memo: dict[int, Any]) -> RagatouilleXMIndex:
        return copy(self)  # the folder is shared, and must agree with the document store

    # ---- writing: first to the folder, so that the document store never has what the folder refused

    def build_index_from_nodes(self, nodes: Sequence[BaseNode], **build_kwargs: Any) -> IndexDict:
        """Build the index folder and fill the document store, or neither."""
        if build_kwargs:  # the base class passes on unknown options
            raise InputError(f"RagatouilleXMIndex has no options {sorted(build_kwargs)}. Leave them out.")
        with self._lock:
            nodes = last_of_each(nodes)
            for node in nodes:
                node.to_dict()  # fails before the folder is written, if the document store would refuse it
            texts, ids, metadatas, languages = self._columns(nodes, None)
            self._model.index(
                texts,
                ids,
                metadatas,
                index_name=self._index_name,
                max_document_length=self._max_document_length,
                languages=languages,
            )
            return super().build_index_from_nodes(nodes)

    def insert_nodes(self, nodes: Sequence[BaseNode], **insert_kwargs: Any) -> None:
        """Insert nodes, replacing those of the same id; if one is invalid, none is inserted."""
        with self._lock:
            nodes = last_of_each(nodes)
            self._write(nodes)
            super().insert_nodes(nodes, **insert_kwargs)

    async def ainsert_nodes(self, nodes: Sequence[BaseNode], **insert_kwargs: Any) -> None:
        """Insert nodes in a thread, without blocking the event loop."""
        await asyncio.to_thread(self.insert_nodes, nodes, **insert_kwargs)

    def refresh_ref_docs(self, documents: Sequence[Document], **update_kwargs: Any) -> list[bool]:
        """Insert or update the documents that changed, or that the index has lost; return which these were.

        A document is lost if it was deleted and the document store still has it, as when that was not persisted.
        """
        self._mark_lost(documents)
        return super().refresh_ref_docs(documents, **update_kwargs)

    async def arefresh_ref_docs(self, documents: Sequence[Document], **update_kwargs: Any) -> list[bool]:
        """Refresh documents as `refresh_ref_docs` does, without blocking the event loop."""
        self._mark_lost(documents)
        return await super().arefresh_ref_docs(documents, **update_kwargs)

    def _mark_lost(self, documents: Sequence[Document]) -> None:
        """Take from the documents that the index has lost the hash by which they look unchanged."""
        infos = {document.id_: self._docstore.get_ref_doc_info(document.id_) for document in documents}
        node_ids = [node_id for info in infos.values() if info is not None for node_id in info.node_ids]
        missing = set(node_ids) - self._in_folder(node_ids)
        lost = [node for node in self._docstore.get_nodes(list(missing), raise_error=False) if has_text(node)]
        for document_id in {node.ref_doc_id for node in lost if node.ref_doc_id is not None}:
            self._docstore.set_document_hash(document_id, "")

    def update_ref_doc(self, document: Document, **update_kwargs: Any) -> None:
        """Replace a document; if the new one is invalid, the old one stays.

        Parameters
        ----------
        document : Document
        **update_kwargs
            ``insert_kwargs``, a dict: options of the transformations. Others are ignored.
        """
        options = update_kwargs.get("insert_kwargs", {})
        with self._callback_manager.as_trace("update_ref_doc"):
            nodes = run_transformations([document], self._transformations, show_progress=self._show_progress, **options)
            self._replace(document, nodes)

    async def aupdate_ref_doc(self, document: Document, **update_kwargs: Any) -> None:
        """Replace a document as `update_ref_doc` does, without blocking the event loop."""
        options = update_kwargs.get("insert_kwargs", {})
        with self._callback_manager.as_trace("aupdate_ref_doc"):
            nodes = await arun_transformations(
                [document], self._transformations, show_progress=self._show_progress, **options
            )
            await asyncio.to_thread(self._replace, document, nodes)

    def _replace(self, document: Document, nodes: Sequence[BaseNode]) -> None:
        with self._lock:
            nodes = last_of_each(nodes)
            self._write(nodes)
            known = self._docstore.get_ref_doc_info(document.id_)
            if known is not None:
                self._remove(set(known.node_ids).difference(node.node_id for node in nodes))
                self._docstore.delete_ref_doc(document.id_)
            super().insert_nodes(nodes)
            self._docstore.set_document_hash(document.id_, document.hash)

    def _write(self, nodes: Sequence[BaseNode]) -> None:
        texts, ids, metadatas, languages = self._columns(nodes, self._index_name)
        if ids:
            self._model.update_in_index(texts, ids, metadatas, index_name=self._index_name, languages=languages)

    def _build_index_from_nodes(self, nodes: Sequence[BaseNode], **build_kwargs: Any) -> IndexDict:
        ids = [node.node_id for node in nodes if has_text(node)]
        return IndexDict(index_id=self._index_name, nodes_dict=dict(zip(ids, ids, strict=True)))

    def _insert(self, nodes: Sequence[BaseNode], **insert_kwargs: Any) -> None:
        ids = [node.node_id for node in nodes if has_text(node)]
        self._remove({node.node_id for node in nodes}.difference(ids))
        self._index_struct.nodes_dict.update(zip(ids, ids, strict=True))

    def _columns(
        self, nodes: Sequence[BaseNode], index_name: str | None
    ) -> tuple[list[str], list[str], list[dict[str, Any]], list[str | None] | None]:
        """Return texts, ids, metadatas and languages of the nodes that have text, for that index, if it is there."""
        columns = columns_of(self._model, nodes, self._language, self._metadata_mode, index_name)
        if n_without := len(nodes) - len(columns.nodes):
            logger.warning("%d nodes have no text: they are stored, but not searchable", n_without)
        source = [{} if node.ref_doc_id is None else {"ref_doc_id": node.ref_doc_id} for node in columns.nodes]
        metadatas = [{**node.metadata, **its} for node, its in zip(columns.nodes, source, strict=True)]
        return columns.texts, columns.ids, metadatas, columns.languages

    # ---- deleting

    def delete_nodes(self, node_ids: str | list[str], delete_from_docstore: bool = False, **delete_kwargs: Any) -> None:
        """Delete nodes atomically; unknown ones are ignored."""
        node_ids = list_of_strings(node_ids, "node_ids")
        with self._lock:
            self._remove(node_ids)
            if delete_from_docstore:
                for node_id in node_ids:
                    self._docstore.delete_document(node_id, raise_error=False)
            self._storage_context.index_store.add_index_struct(self._index_struct)

    async def adelete_nodes(
        self, node_ids: str | list[str], delete_from_docstore: bool = False, **delete_kwargs: Any
    ) -> None:
        """Delete nodes in a thread, without blocking the event loop."""
        await asyncio.to_thread(self.delete_nodes, node_ids, delete_from_docstore, **delete_kwargs)

    def _delete_node(self, node_id: str, **delete_kwargs: Any) -> None:
        self._remove([node_id])

    def _remove(self, node_ids: Iterable[str]) -> None:
        known = [node_id for node_id in node_ids if node_id in self._index_struct.nodes_dict]
        if known:
            self._model.delete_from_index(known, index_name=self._index_name)
        for node_id in known:
            del self._index_struct.nodes_dict[node_id]

    # ---- reading

    @property
    def ref_doc_info(self) -> dict[str, RefDocInfo]:
        """The nodes and metadata of each document, by its id."""
        nodes = self._docstore.get_nodes(list(self._index_struct.nodes_dict), raise_error=False)
        ids = dict.fromkeys(node.ref_doc_id for node in nodes if node.ref_doc_id is not None)
        found = {each: self._docstore.get_ref_doc_info(each) for each in ids}
        return {each: info for each, info in found.items() if info is not None}

    def as_retriever(self, **kwargs: Any) -> BaseRetriever:
        """Return a retriever of this index's nodes.

        Parameters
        ----------
        **kwargs
            ``similarity_top_k, filters, doc_ids, language, min_score, prefer_language, language_weight, exact, hybrid,
            lexical_weight, callback_manager, verbose`` as for `RagatouilleXMRetriever`; ``explain``, ``context`` and
            ``group_by_document`` are refused, since they are about passages. Others are ignored: query and chat
            engines pass theirs too.
        """
        options = {"callback_manager": self._callback_manager, "object_map": self._object_map}
        options |= {name: kwargs[name] for name in RETRIEVER_OPTIONS if name in kwargs}
        return RagatouilleXMIndexRetriever(self._model, self._index_name, docstore=self._docstore, **options)
