"""Filling and changing the indexes of a model: RAGatouille's names over `IndexCatalog` and `Retriever`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .catalog import IndexCatalog, connect, open_in_cluster
from .config import ClusterConfig
from .corpus.passages import read_documents
from .corpus.splitting import Splitter, make_splitter
from .encoder import Encoder
from .errors import InputError
from .in_memory import Languages, tokens_at_once

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from .index.cluster.client import Cluster

OVERWRITE = (True, False, "reuse", "resume", "force_silent_overwrite")  # colbert-ai's


class FillingMethods:
    """The methods that build an index and change it."""

    encoder: Encoder
    catalog: IndexCatalog
    verbose: int

    def index(
        self,
        collection: Iterable[str],
        document_ids: Iterable[str] | None = None,
        document_metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        index_name: str | None = None,
        overwrite_index: bool | str = True,
        max_document_length: int = 256,
        split_documents: bool = True,
        document_splitter_fn: Callable[..., Any] | Literal["sentences"] | None = "sentences",
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None = None,
        bsize: int = 32,
        use_faiss: bool = False,
        *,
        languages: Languages = None,
        storage: str = "int16",
        index_url: str | QdrantClient | None = None,
        api_key: str | None = None,
        cluster: ClusterConfig | None = None,
    ) -> str:
        """Build an index; one of the same name is replaced in one step, once the new one is complete.

        Parameters
        ----------
        collection : iterable of str
            The documents. They are streamed: memory does not grow with their number.
        document_ids : iterable of str, optional
            Unique; by default random UUIDs.
        document_metadatas : iterable of dict, optional
            JSON values, returned with results and usable in filters.
        index_name : str, optional
            By default made from the checkpoint's name.
        overwrite_index : bool or str
            False refuses to replace an index. ``"resume"`` goes on with a build of that name that was broken off:
            documents that it has already, by their ids, are not encoded again. ``"reuse"`` leaves an index of that name
            as it is, and nothing is encoded. ``"force_silent_overwrite"`` is True.
        max_document_length : int
            Most tokens of a passage, specials included; longer documents are split.
        split_documents : bool
            False cuts documents off at `max_document_length` instead of splitting them.
        document_splitter_fn : callable, "sentences" or None
            RAGatouille's hook, ``fn(documents, document_ids, chunk_size=…) -> [{"document_id", "content"}]``, or
            ``fn(text) -> [chunk]``; None does not split. By default whole sentences are packed, in every script.
        preprocessing_fn : callable or list of callables, optional
            RAGatouille's hook, called after splitting.
        bsize : int
            Most passages of full length that go through the model at once.
        use_faiss : bool
            Fit the codebooks of the index by faiss's k-means (extra ``[faiss]``), on GPUs if it is a build for these,
            instead of ours, which takes a fraction of the time: `benchmarks/codebooks.py` compares what they find.
        languages : str or sequence of (str or None), optional
            Language of all documents, or of each (BCP-47 code or adapter id); by default detected.
        storage : str
            How token vectors are stored: ``"int16"``, or ``"int8"`` in half the space, a little less exactly.
        index_url : str or qdrant_client.QdrantClient, optional
            Keep the index in the Qdrant cluster at ``"http://host:6333"``.
        api_key : str, optional
            Of the cluster.
        cluster : ClusterConfig, optional
            Shards, replicas and more: see `ragatouille_xm.config.ClusterConfig`.

        Returns
        -------
        str
            The index's folder, or its address in the cluster.
        """
        name = index_name if index_name is not None else f"{Path(self.encoder.checkpoint.name).name}_new_index"
        if overwrite_index not in OVERWRITE:
            raise InputError(
                f'overwrite_index={overwrite_index!r} is not known. Use True (or "force_silent_overwrite"), False, '
                '"reuse" or "resume".'
            )
        if overwrite_index == "resume" and document_ids is None:
            raise InputError('overwrite_index="resume" knows documents by their ids: give document_ids.')
        place = connect(index_url, api_key, cluster)
        if overwrite_index in (False, "reuse") and self.catalog.has(name, place):
            if overwrite_index == "reuse":
                return self._reuse(name, place)
            raise InputError(f"There is an index {name!r} already. Give overwrite_index=True, or another index_name.")
        path = self.catalog.build(
            name,
            read_documents(collection, document_ids, document_metadatas, languages),
            split=self._splitter(max_document_length, split_documents, document_splitter_fn, preprocessing_fn),
            max_document_length=max_document_length,
            batch_tokens=tokens_at_once(bsize, max_document_length),
            total=length_hint(collection) or None,
            progress=self.verbose > 0,
            storage=storage,
            use_faiss=use_faiss,
            resume=overwrite_index == "resume",
            cluster=place,
        )
        return str(path)

    def _reuse(self, name: str, place: Cluster | None) -> str:
        """Make an index that is there the one used last; return its folder, or its address in the cluster."""
        if place is not None:
            index = open_in_cluster(place, name)
            self.catalog.register(name, index)
            return index.folder
        self.catalog.get(name)
        return str(self.catalog.path(name))

    def add_to_index(
        self,
        new_collection: list[str],
        new_document_ids: list[str] | None = None,
        new_document_metadatas: list[dict[str, Any]] | None = None,
        index_name: str | None = None,
        split_documents: bool = True,
        document_splitter_fn: Callable[..., Any] | Literal["sentences"] | None = "sentences",
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None = None,
        bsize: int = 32,
        use_faiss: bool = False,
        *,
        languages: Languages = None,
    ) -> None:
        """Add documents to an index; parameters as for `index`. They are found as soon as it returns.

        A codebook that has to be fitted anew is so as when the index was built, whatever `use_faiss` is.

        Raises
        ------
        DuplicateDocumentError
            If the index has one of the documents already; nothing is added then.
        """
        self._add(
            new_collection, new_document_ids, new_document_metadatas, languages, index_name, split_documents,
            document_splitter_fn, preprocessing_fn, bsize, replace=False,
        )  # fmt: skip

    def update_in_index(
        self,
        collection: list[str],
        document_ids: list[str],
        document_metadatas: list[dict[str, Any]] | None = None,
        index_name: str | None = None,
        split_documents: bool = True,
        document_splitter_fn: Callable[..., Any] | Literal["sentences"] | None = "sentences",
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None = None,
        bsize: int = 32,
        *,
        languages: Languages = None,
    ) -> None:
        """Replace documents by id, and add those that the index does not have; parameters as for `index`."""
        self._add(
            collection, document_ids, document_metadatas, languages, index_name, split_documents,
            document_splitter_fn, preprocessing_fn, bsize, replace=True,
        )  # fmt: skip

    def _add(
        self,
        texts: Iterable[str],
        ids: Iterable[str] | None,
        metadatas: Iterable[Mapping[str, Any] | None] | None,
        languages: Languages,
        index_name: str | None,
        split_documents: bool,
        splitter_fn: Callable[..., Any] | Literal["sentences"] | None,
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None,
        bsize: int,
        replace: bool,
    ) -> None:
        retriever = self.catalog.get(index_name)
        length = retriever.max_document_length
        documents = list(read_documents(texts, ids, metadatas, languages))  # all are checked before any is added
        retriever.add(
            documents,
            split=self._splitter(length, split_documents, splitter_fn, preprocessing_fn),
            replace=replace,
            total=len(documents),
            progress=self.verbose > 0,
            batch_tokens=tokens_at_once(bsize, length),
        )

    def _splitter(
        self,
        max_document_length: int,
        split_documents: bool,
        splitter_fn: Callable[..., Any] | Literal["sentences"] | None,
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None,
    ) -> Splitter:
        tokenizer = self.encoder.tokenizer
        return make_splitter(
            tokenizer.count,
            max_document_length,
            tokenizer.room(max_document_length),
            splitter_fn if split_documents else None,
            preprocessing_fn,
        )

    def delete_from_index(self, document_ids: str | Iterable[str], index_name: str | None = None) -> int:
        """Delete documents by id; return how many passages went. Unknown ids are warned of through `logging`."""
        return self.catalog.get(index_name).delete(document_ids)

    def optimize_index(self, index_name: str | None = None) -> None:
        """Merge what was added to an index, free the room of what was deleted, and fit its first stage anew.

        Large changes do this by themselves; after many small ones it makes searches faster. Nothing is encoded again,
        searches go on meanwhile, and if the process dies the index is as it was.

        Raises
        ------
        IndexLockedError
            If another process is writing to the index.
        """
        self.catalog.get(index_name).index.optimize(refit=True)
