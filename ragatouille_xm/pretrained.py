"""`RAGPretrainedModel`: RAGatouille's names over `Retriever`."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .config import SearchConfig
from .corpus.passages import Cutter, make_cutter, read_documents, whole
from .encoder import BATCH_TOKENS, Encoder
from .errors import IndexFormatError, InputError, MissingExtraError
from .index.qdrant import EdgeIndex
from .retriever import Result, Retriever, as_position, in_memory, rerank

if TYPE_CHECKING:
    import torch

    from .text.detect import LanguageDetector

logger = logging.getLogger(__name__)

INDEX_ROOT = ".ragatouille/"
FAST = SearchConfig(candidates=64, probes=4)

Languages = str | Sequence[str | None] | None


class RAGPretrainedModel:
    """A pretrained late-interaction model, and the indexes built with it.

    The interface is RAGatouille 0.0.9's; ``docs/parity.md`` lists where this one differs and why. Make one with
    `from_pretrained` or `from_index`. Searching is safe from many threads.

    Examples
    --------
    >>> from ragatouille_xm import RAGPretrainedModel
    >>> RAG = RAGPretrainedModel.from_pretrained("antoinelouis/colbert-xm")  # doctest: +SKIP
    >>> RAG.index(["Ceci est un document.", "这是第二个文档。"], index_name="demo")  # doctest: +SKIP
    '.ragatouille/colbert/indexes/demo'
    >>> RAG.search("Où est le document ?", k=1)[0]["language"]  # doctest: +SKIP
    'fr'
    """

    def __init__(self, encoder: Encoder, index_root: str | Path | None = None, verbose: int = 1) -> None:
        self.encoder = encoder
        self.index_root = Path(index_root if index_root is not None else INDEX_ROOT)
        self.verbose = verbose
        self.index_name: str | None = None
        self._opened: dict[str, Retriever] = {}
        self._encoded: Retriever | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        n_gpu: int = -1,
        verbose: int = 1,
        index_root: str | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        language_detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
    ) -> RAGPretrainedModel:
        """Load a checkpoint.

        Parameters
        ----------
        pretrained_model_name_or_path : str or Path
            Hub id, local folder, or ``"demo"`` for the small stand-in that is made on this machine.
        n_gpu : int
            0 keeps to the CPU. `device` says more.
        verbose : int
            0 shows no progress bars.
        index_root : str, optional
            Where indexes are, by default ``.ragatouille/``.
        device : str or torch.device, optional
            ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default a GPU when there is one.
        dtype : str or torch.dtype, optional
            By default float32 on the CPU and bfloat16 on a GPU.
        language_detector : str, callable or LanguageDetector
            ``"py3langid"`` (the default), ``"langdetect"``, or a function from a text to a language code.

        Raises
        ------
        CheckpointError
            If the checkpoint cannot be found or is damaged.
        """
        encoder = Encoder.from_pretrained(
            pretrained_model_name_or_path,
            device="cpu" if device is None and n_gpu == 0 else device,
            dtype=dtype,
            language_detector=language_detector,
        )
        return cls(encoder, index_root, verbose)

    @classmethod
    def from_index(
        cls,
        index_path: str | Path,
        n_gpu: int = -1,
        verbose: int = 1,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        language_detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
    ) -> RAGPretrainedModel:
        """Open an index together with the checkpoint that filled it; parameters as for `from_pretrained`.

        Raises
        ------
        IndexNotFoundError, IndexDamagedError, IndexFormatError
            If there is no usable index at `index_path`.
        CheckpointError
            If its checkpoint is no longer to be found.
        """
        path = Path(index_path)
        index = EdgeIndex.open(path)
        try:
            model = cls.from_pretrained(
                index.manifest.checkpoint,
                n_gpu,
                verbose,
                str(_root_of(path)),
                device=device,
                dtype=dtype,
                language_detector=language_detector,
            )
            model._register(path.name, index)
        except BaseException:
            index.close()
            raise
        return model

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
            False refuses to replace an index.
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
            Passages of full length that go through the model at once.
        use_faiss : bool
            Accepted for compatibility; the index here is not built by faiss.
        languages : str or sequence of (str or None), optional
            Language of all documents, or of each (BCP-47 code or adapter id); by default detected.

        Returns
        -------
        str
            The index's folder.
        """
        name = index_name if index_name is not None else f"{Path(self.encoder.checkpoint.name).name}_new_index"
        path = self._path(name)
        if overwrite_index not in (True, False, "reuse", "force_silent_overwrite", "resume"):
            raise InputError(f"overwrite_index={overwrite_index!r} is not known. Use True or False.")
        if overwrite_index is False and (path / "manifest.json").exists():
            raise InputError(f"There is an index {name!r} already. Give overwrite_index=True, or another index_name.")
        cut = self._cutter(max_document_length, split_documents, document_splitter_fn, preprocessing_fn)
        with EdgeIndex.build(
            path,
            dim=self.encoder.dim,
            checkpoint=self.encoder.checkpoint.name,
            fingerprint=self.encoder.checkpoint.fingerprint,
            settings={"max_document_length": max_document_length},
        ) as building:
            Retriever(self.encoder, building, max_document_length).add(
                read_documents(collection, document_ids, document_metadatas, languages),
                cut=cut,
                total=len(collection) if isinstance(collection, Sequence) else None,
                progress=self.verbose > 0,
                batch_tokens=bsize * max_document_length,
            )
        self._close(name)
        self._register(name, EdgeIndex.open(path))
        return str(path)

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
        retriever = self.retriever(index_name)
        length = retriever.max_document_length
        documents = list(read_documents(texts, ids, metadatas, languages))  # all are checked before any is added
        retriever.add(
            documents,
            cut=self._cutter(length, split_documents, splitter_fn, preprocessing_fn),
            replace=replace,
            total=len(documents),
            progress=self.verbose > 0,
            batch_tokens=bsize * length,
        )

    def _cutter(
        self,
        max_document_length: int,
        split_documents: bool,
        splitter_fn: Callable[..., Any] | Literal["sentences"] | None,
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None,
    ) -> Cutter:
        tokenizer = self.encoder.tokenizer
        return make_cutter(
            tokenizer.count,
            tokenizer.room(max_document_length),
            splitter_fn if split_documents else None,
            preprocessing_fn,
        )

    def delete_from_index(self, document_ids: str | list[str], index_name: str | None = None) -> int:
        """Delete documents by id; return how many passages went. Unknown ids are warned of through `logging`."""
        ids = [document_ids] if isinstance(document_ids, str) else document_ids
        return self.retriever(index_name).delete(ids)

    def search(
        self,
        query: str | list[str],
        index_name: str | None = None,
        k: int = 10,
        force_fast: bool = False,
        zero_index_ranks: bool = False,
        doc_ids: list[str] | None = None,
        *,
        language: Languages = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        exact: bool = False,
    ) -> list[Result] | list[list[Result]]:
        """Search an index.

        Parameters
        ----------
        query : str or list of str
            Several are encoded in one pass.
        index_name : str, optional
            By default the one that was built or opened last.
        k : int
            How many results to return; fewer only where fewer passages qualify.
        force_fast : bool
            Look at fewer candidates.
        zero_index_ranks : bool
            Count ranks from 0 instead of 1.
        doc_ids : list of str, optional
            Search only in these documents.
        language : str or list of (str or None), optional
            Language of the query, or of each; by default detected among the languages in the index.
        filter : mapping, optional
            ``{"year": {"$gte": 2020}, "language": "fr"}``: see `ragatouille_xm.corpus.filters`.
        min_score : float, optional
            Leave out what scores less.
        exact : bool
            Score every passage.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            Each with ``content, score, rank, document_id, passage_id, language, relevance`` (the score over the
            number of query tokens, 0 to 1), and ``document_metadata`` where the document has some.
        """
        queries = [query] if isinstance(query, str) else query
        found = self.retriever(index_name).search(
            _list_of_queries(queries),
            k,
            languages=language,
            filter=_with_ids(filter, doc_ids),
            min_score=min_score,
            config=SearchConfig(exact=True) if exact else FAST if force_fast else SearchConfig(),
        )
        return _shaped(found, query, zero_index_ranks)

    async def asearch(self, query: str | list[str], **options: Any) -> list[Result] | list[list[Result]]:
        """Search in a thread, without blocking the event loop; parameters as for `search`."""
        return await asyncio.to_thread(self.search, query, **options)

    def rerank(
        self,
        query: str | list[str],
        documents: list[str],
        k: int = 10,
        zero_index_ranks: bool = False,
        bsize: Literal["auto"] | int = "auto",
        *,
        language: Languages = None,
        languages: Languages = None,
    ) -> list[Result] | list[list[Result]]:
        """Order documents by how well they answer a query, without an index.

        Parameters
        ----------
        query : str or list of str
        documents : list of str
            Each is cut off at what the model takes.
        k : int
            How many to return; all where there are fewer.
        language, languages : optional
            Of the queries, and of the documents; by default detected.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            As for `search`, with ``result_index``, the position in `documents`, in place of ids.
        """
        found = rerank(
            self.encoder,
            _list_of_queries([query] if isinstance(query, str) else query),
            documents,
            k,
            languages=language,
            document_languages=languages,
            batch_tokens=self._batch_tokens(bsize),
        )
        return _shaped(found, query, zero_index_ranks)

    def encode(
        self,
        documents: list[str],
        bsize: Literal["auto"] | int = "auto",
        document_metadatas: list[dict[str, Any]] | None = None,
        verbose: bool = True,
        max_document_length: Literal["auto"] | int = "auto",
        *,
        languages: Languages = None,
    ) -> None:
        """Encode documents into memory, after those of earlier calls, for `search_encoded_docs`.

        Parameters
        ----------
        max_document_length : "auto" or int
            Tokens at which documents are cut off; by default what the model takes.
        languages : optional
            Of all documents, or of each; by default detected.
        """
        length = self.encoder.tokenizer.max_tokens if max_document_length == "auto" else max_document_length
        encoded = self._encoded or in_memory(self.encoder)
        encoded.max_document_length = length
        first = len(encoded.index)
        ids = [str(first + i) for i in range(len(documents))]
        encoded.add(
            list(read_documents(documents, ids, document_metadatas, languages)),
            cut=whole,
            total=len(documents),
            progress=verbose and self.verbose > 0,
            batch_tokens=self._batch_tokens(bsize),
        )
        self._encoded = encoded

    def search_encoded_docs(
        self,
        query: str | list[str],
        k: int = 10,
        bsize: int = 32,
        *,
        language: Languages = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[Result] | list[list[Result]]:
        """Search the documents that `encode` holds in memory.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            As for `rerank`, with ``document_metadata`` where the document has some.

        Raises
        ------
        InputError
            If nothing is encoded.
        """
        if self._encoded is None:
            raise InputError("No documents are encoded. Call encode(documents) first.")
        found = self._encoded.search(
            _list_of_queries([query] if isinstance(query, str) else query), k, languages=language, filter=filter
        )
        return _shaped([[as_position(result) for result in results] for results in found], query, False)

    def clear_encoded_docs(self, force: bool = False) -> None:
        """Forget the documents that `encode` holds in memory, at once; `force` is accepted for compatibility."""
        self._encoded = None

    def detect_languages(self, texts: str | list[str]) -> list[dict[str, Any]]:
        """Return the language, adapter and confidence (0 to 1) that each text would be encoded with."""
        found = self.encoder.detect([texts] if isinstance(texts, str) else texts)
        adapter_for = self.encoder.adapters.adapter_for
        return [{**each._asdict(), "adapter": adapter_for(each.language)} for each in found]

    def as_langchain_retriever(self, **kwargs: Any) -> Any:
        """Return a LangChain ``BaseRetriever``; `kwargs` go to `search`.

        Raises
        ------
        MissingExtraError
            If ``langchain-ragatouille-xm`` is not installed.
        """
        return _integration("langchain_ragatouille_xm", "LangChain", "langchain").RagatouilleXMRetriever(
            model=self, **kwargs
        )

    def as_langchain_document_compressor(self, k: int = 5, **kwargs: Any) -> Any:
        """Return a LangChain document compressor that reranks; `kwargs` go to `rerank`.

        Raises
        ------
        MissingExtraError
            If ``langchain-ragatouille-xm`` is not installed.
        """
        return _integration("langchain_ragatouille_xm", "LangChain", "langchain").RagatouilleXMCompressor(
            model=self, k=k, **kwargs
        )

    def retriever(self, index_name: str | None = None) -> Retriever:
        """Return what searches and fills an index, by default the one that was built or opened last.

        Raises
        ------
        InputError
            If no index was built or opened yet and no name is given.
        IndexNotFoundError
            If there is no index of that name.
        """
        name = index_name if index_name is not None else self.index_name
        if name is None:
            raise InputError("No index is open. Call index(), or give index_name=.")
        if name not in self._opened:
            self._register(name, EdgeIndex.open(self._path(name)))
        self.index_name = name
        return self._opened[name]

    def close(self) -> None:
        """Release all indexes."""
        for name in list(self._opened):
            self._close(name)

    def _register(self, name: str, index: EdgeIndex) -> None:
        mine = self.encoder.checkpoint
        if index.manifest.fingerprint != mine.fingerprint:
            theirs = index.manifest.checkpoint
            index.close()
            raise IndexFormatError(
                f"The index {name!r} was filled by the checkpoint {theirs!r}, not by {mine.name!r}, or by other "
                "weights of that name. Open it with from_index, or index the documents again."
            )
        self._opened[name] = Retriever(self.encoder, index, int(index.manifest.settings["max_document_length"]))
        self.index_name = name

    def _close(self, name: str) -> None:
        if (retriever := self._opened.pop(name, None)) is not None:
            retriever.close()

    def _path(self, name: str) -> Path:
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\x00]+", name) or name in (".", ".."):
            raise InputError(f"index_name={name!r} cannot be a folder's name. Use letters, digits, '-' and '_'.")
        return self.index_root / "colbert" / "indexes" / name

    @staticmethod
    def _batch_tokens(bsize: Literal["auto"] | int) -> int:
        return BATCH_TOKENS if bsize == "auto" else bsize * 256


def _root_of(path: Path) -> Path:
    return path.resolve().parents[2]


def _list_of_queries(queries: object) -> list[str]:
    if not isinstance(queries, Sequence):
        raise InputError(f"The query is a {type(queries).__name__}; give a string, or a list of strings.")
    return list(queries)


def _with_ids(filter: Mapping[str, Any] | None, doc_ids: Sequence[str] | None) -> Mapping[str, Any] | None:
    if doc_ids is None:
        return filter
    among = {"document_id": {"$in": list(doc_ids)}}
    return {"$and": [filter, among]} if filter else among


def _shaped(found: list[list[Result]], query: object, zero_index_ranks: bool) -> list[Result] | list[list[Result]]:
    if zero_index_ranks:
        for results in found:
            for result in results:
                result["rank"] -= 1
    return found[0] if isinstance(query, str) else found


def _integration(module: str, framework: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"The {framework} wrapper", extra) from error
