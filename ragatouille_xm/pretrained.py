"""`RAGPretrainedModel`: RAGatouille's interface. It only delegates to the modules below."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from .catalog import IndexCatalog
from .config import DEFAULT_ROOT, LANGUAGE_WEIGHT, LEXICAL_WEIGHT, OVERWRITE, QdrantConfig, SearchConfig
from .corpus.passages import Document, read_documents, texts_and_ids
from .corpus.scalars import simplified
from .corpus.splitting import SplitOptions, make_splitter
from .encoder import Devices, Encoder
from .errors import InputError
from .extras import import_extra
from .files import absolute
from .in_memory import EncodedDocuments, explain, rerank
from .index.servers import connect
from .indexing import Indexer
from .opening import check_index_path, checkpoint_of, open_index, optimize_passages
from .queries import hybrid_weight, list_of_queries, with_ids
from .results import Results, unwrap_single
from .retriever import Retriever
from .searchable import Searchable
from .text.batching import batch_tokens_of
from .text.detect import list_of_strings
from .types import DetectedLanguage, Languages

if TYPE_CHECKING:
    import torch
    from qdrant_client import QdrantClient

    from .evidence import Evidence
    from .text.detect import LanguageDetector

LANGCHAIN, LLAMA_INDEX = "langchain_ragatouille_xm", "llama_index.retrievers.ragatouille_xm"  # of the wrappers


class RAGPretrainedModel(Searchable):
    """A pretrained late-interaction model and its indexes.

    The interface is RAGatouille 0.0.9's; ``docs/parity.md`` lists the differences and the reasons. Create a model with
    `from_pretrained` or `from_index`. Searching is thread-safe. A copy is the model itself, and it cannot be pickled.
    ``docs/guide/inputs.md`` has what may be given as documents, metadata, queries and filters.

    Examples
    --------
    >>> from ragatouille_xm import RAGPretrainedModel
    >>> RAG = RAGPretrainedModel.from_pretrained("antoinelouis/colbert-xm")  # doctest: +SKIP
    >>> RAG.index(["Ceci est un document.", "这是第二个文档。"], index_name="demo")  # doctest: +SKIP
    '/home/me/.ragatouille/colbert/indexes/demo'
    >>> RAG.search("Où est le document ?", k=1)[0]["language"]  # doctest: +SKIP
    'fr'
    """

    def __init__(
        self,
        encoder: Encoder,
        index_root: str | Path | None = None,
        verbose: int = 1,
        search_device: str | torch.device | None = None,
    ) -> None:
        self.encoder = encoder
        self.verbose = verbose
        self.catalog = IndexCatalog(encoder, index_root if index_root is not None else DEFAULT_ROOT, search_device)
        self._encoded: EncodedDocuments | None = None
        self._encoding = threading.RLock()  # one thread adds to them, or discards them

    @property
    def model_name(self) -> str:
        """The checkpoint's name or folder."""
        return self.encoder.checkpoint.name

    @property
    def current_index(self) -> str | None:
        """The index that is used where none is named: the one that was built, opened or named last."""
        return self.catalog.current

    def __copy__(self) -> RAGPretrainedModel:
        return self  # an open index cannot be copied, and weights need not be

    def __deepcopy__(self, memo: dict[int, Any]) -> RAGPretrainedModel:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise InputError(
            "A RAGPretrainedModel cannot be pickled: call from_pretrained() or from_index() in the other process."
        )

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        n_gpu: int = -1,
        verbose: int = 1,
        index_root: str | None = None,
        *,
        device: Devices | None = None,
        dtype: str | torch.dtype | None = None,
        language_detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
        quantize: str | None = None,
        search_device: str | torch.device | None = None,
    ) -> RAGPretrainedModel:
        """Load a checkpoint.

        Parameters
        ----------
        pretrained_model_name_or_path : str or Path
            Hub id, local folder, or ``"demo"`` for a small stand-in that is built on this machine (``"./demo"`` means
            a folder of that name).
        n_gpu : int
            0 uses only the CPU. `device` gives finer control.
        verbose : int
            0 shows no progress bars.
        index_root : str, optional
            Folder for indexes, by default ``.ragatouille/``, in what is the working folder now.
        device : str, torch.device or sequence of them, optional
            ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default a GPU if there is one. ``["cuda:0", "cuda:1"]`` encodes on
            both: each holds the model, and each batch goes to the one that is free.
        dtype : str or torch.dtype, optional
            By default float32 on the CPU and bfloat16 on a GPU.
        language_detector : str, callable or LanguageDetector
            ``"py3langid"`` (the default), ``"langdetect"``, or a function from a text to a language code.
        quantize : "int8" or None, optional
            Encode with 8-bit integers on the CPU: faster, slightly less exact. Indexes and queries may differ in this.
        search_device : str or torch.device, optional
            From the first search on, hold the token vectors of local indexes in the memory of this device, for example
            ``"cuda"``, and score every passage there. With ``force_fast``, only the candidates of the first stage,
            which runs on the CPU, are scored. If the device is missing or full, the index is searched without it.

        Raises
        ------
        CheckpointError
            If the checkpoint cannot be found or is damaged.
        InputError
            If an option is invalid.
        """
        encoder = Encoder.from_pretrained(
            pretrained_model_name_or_path,
            device="cpu" if device is None and n_gpu == 0 else device,
            dtype=dtype,
            language_detector=language_detector,
            quantize=quantize,
        )
        return cls(encoder, index_root, verbose, search_device)

    @classmethod
    def from_index(
        cls,
        index_path: str | Path,
        n_gpu: int = -1,
        verbose: int = 1,
        *,
        device: Devices | None = None,
        dtype: str | torch.dtype | None = None,
        language_detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
        quantize: str | None = None,
        search_device: str | torch.device | None = None,
        checkpoint: str | Path | None = None,
        language: str | None = None,
        collection: str | Path | Sequence[str] | None = None,
        index_url: str | QdrantClient | None = None,
        api_key: str | None = None,
        qdrant: QdrantConfig | None = None,
    ) -> RAGPretrainedModel:
        """Open an index together with its checkpoint; other parameters as for `from_pretrained`.

        Parameters
        ----------
        index_path : str or Path
            An index of ours, or one of colbert-ai or RAGatouille, which is searched in place and never changed.
        checkpoint : str or Path, optional
            The checkpoint's new location, if it has moved.
        language, collection : optional
            For a colbert-ai folder: the language of all passages, by default that of the checkpoint's default adapter;
            and the texts (a list, or a ``.tsv`` or ``.json`` file), if the folder has none.
        index_url, api_key, qdrant : optional
            Open the index named `index_path` in a server: see `index`.

        Raises
        ------
        IndexNotFoundError, IndexDamagedError, IndexFormatError
            If there is no usable index at `index_path`.
        CheckpointError
            If its checkpoint cannot be found.
        InputError
            If an option is invalid.
        """
        check_index_path(index_path)
        path, place = absolute(index_path), connect(index_url, api_key, qdrant)
        index = open_index(path, collection) if place is None else place.open(str(index_path))
        try:
            model = cls.from_pretrained(
                checkpoint_of(index, checkpoint),
                n_gpu,
                verbose,
                str(IndexCatalog.root_of(path)) if place is None else None,
                device=device,
                dtype=dtype,
                language_detector=language_detector,
                quantize=quantize,
                search_device=search_device,
            )
            model.catalog.register(path.name, index, language, place)
        except BaseException:
            index.close()
            raise
        return model

    def index(
        self,
        collection: Iterable[str] | Mapping[str, str],
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
        pooling: int = 1,
        lexical: bool = True,
        workers: int | str | None = None,
        index_url: str | QdrantClient | None = None,
        api_key: str | None = None,
        qdrant: QdrantConfig | None = None,
    ) -> str:
        """Build an index. An existing one of the same name is replaced atomically, once the new one is complete.

        Parameters
        ----------
        collection : iterable of str, or mapping of str to str
            The documents; a mapping has their ids as keys. They are streamed: memory does not grow with their number.
            Lists, mappings and columns are checked before the model runs, what can be read only once as it is read. A
            blank document has no passage, and a warning names it.
        document_ids : iterable of str, optional
            Unique; by default random UUIDs.
        document_metadatas : iterable of dict, optional
            JSON values, dates and other scalars, returned with results and usable in filters:
            `ragatouille_xm.corpus.metadata.check_metadata` says in which form.
        index_name : str, optional
            By default derived from the checkpoint's name.
        overwrite_index : bool or str
            False refuses to replace an index. ``"resume"`` continues an interrupted build of that name: documents that
            it already has, by id, are not encoded again. ``"reuse"`` keeps an existing index of that name unchanged and
            encodes nothing. ``"force_silent_overwrite"`` means True.
        max_document_length : int
            Maximum tokens per passage, including special tokens; longer documents are split.
        split_documents : bool
            False truncates documents at `max_document_length` instead of splitting them.
        document_splitter_fn : callable, "sentences" or None
            RAGatouille's hook, ``fn(documents, document_ids, chunk_size=…) -> [{"document_id", "content"}]``, or
            ``fn(text) -> [chunk]``; None does not split. By default whole sentences are packed, in every script.
        preprocessing_fn : callable or list of callables, optional
            RAGatouille's hook, called after splitting.
        bsize : int
            Maximum number of full-length passages per batch.
        use_faiss : bool
            Fit the index's codebooks with faiss's k-means (extra ``[faiss]``; on GPUs, if that build of it supports
            them) instead of ours, which takes a fraction of the time: `benchmarks/codebooks.py` compares them.
        languages : str or sequence of (str or None), optional
            Language of all documents, or of each (BCP-47 code or adapter id); by default detected.
        storage : str
            How token vectors are stored: ``"int16"``, ``"int8"`` for half the space and slightly less precision, or
            ``"int4"`` for a quarter. ``docs/guide/storage.md`` has a table to choose by.
        pooling : int
            2 keeps half of a passage's token vectors, 3 a third: similar ones are merged into their mean. Documents
            that are added later are pooled alike. ``docs/guide/storage.md`` has what it costs.
        lexical : bool
            Keep the pieces of the texts, for ``search(hybrid=True)``. An index in Qdrant has none.
        workers : int or str, optional
            Encode in so many processes, or on a Ray cluster: ``"ray://host:10001"``, or ``"auto"`` on one of its
            machines. Each needs this package and the checkpoint. Without it, the model of this process encodes.
        index_url : str or qdrant_client.QdrantClient, optional
            Keep the index in PostgreSQL, ``"postgresql://user@host/database"``, or in Qdrant, ``"http://host:6333"``.
        api_key : str, optional
            Key of Qdrant.
        qdrant : QdrantConfig, optional
            Shards, replicas and more: see `ragatouille_xm.config.QdrantConfig`.

        Returns
        -------
        str
            The index's folder, as an absolute path, or its address in the server.

        Raises
        ------
        InputError, DuplicateDocumentError, LanguageError
            For the first document that is not usable, by its position and id; or if an option is invalid.
        WorkerError
            If workers cannot be started, or fail.
        """
        texts, ids = texts_and_ids(collection, document_ids)
        name = index_name if index_name is not None else f"{Path(self.encoder.checkpoint.name).name}_new_index"
        if overwrite_index not in OVERWRITE:
            raise InputError(
                f'overwrite_index={overwrite_index!r} is not known. Use True (or "force_silent_overwrite"), False, '
                '"reuse" or "resume".'
            )
        if overwrite_index == "resume" and ids is None:
            raise InputError('overwrite_index="resume" knows documents by their ids: give document_ids.')
        place = connect(index_url, api_key, qdrant)
        if overwrite_index in (False, "reuse") and self.catalog.has(name, place):
            if overwrite_index == "reuse":
                return self.catalog.reuse(name, place)
            raise InputError(f"There is an index {name!r} already. Give overwrite_index=True, or another index_name.")
        lexical = lexical and (place is None or place.lexical)
        length = simplified(max_document_length)
        options = SplitOptions(length, split_documents, document_splitter_fn, preprocessing_fn)
        indexer = self._indexer(options, simplified(pooling), bsize, length_hint(texts), lexical)
        documents = self._read(texts, ids, document_metadatas, languages)
        with self.encoder.on_workers(workers) as encoder:
            return self.catalog.build(
                name,
                replace(indexer, encoder=encoder),
                documents,
                place,
                storage=storage,
                use_faiss=use_faiss,
                resume=overwrite_index == "resume",
                keep=ids is not None,  # a build is resumed by the ids of its documents
            )

    def add_to_index(
        self,
        new_collection: Iterable[str] | Mapping[str, str],
        new_document_ids: Iterable[str] | None = None,
        new_document_metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        index_name: str | None = None,
        split_documents: bool = True,
        document_splitter_fn: Callable[..., Any] | Literal["sentences"] | None = "sentences",
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None = None,
        bsize: int = 32,
        use_faiss: bool = False,
        *,
        languages: Languages = None,
    ) -> None:
        """Add documents to an index; parameters as for `index`. They are searchable once this returns.

        `use_faiss` has no effect: a codebook is always refitted the way it was fitted when the index was built.

        Raises
        ------
        DuplicateDocumentError
            If the index already has one of the documents; nothing is added then.
        """
        retriever = self.catalog.get(index_name)
        documents = self._read(new_collection, new_document_ids, new_document_metadatas, languages)
        options = SplitOptions(retriever.max_document_length, split_documents, document_splitter_fn, preprocessing_fn)
        self._add(retriever, documents, options, bsize, replace=False)

    def update_in_index(
        self,
        collection: Iterable[str] | Mapping[str, str],
        document_ids: Iterable[str] | None = None,
        document_metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        index_name: str | None = None,
        split_documents: bool = True,
        document_splitter_fn: Callable[..., Any] | Literal["sentences"] | None = "sentences",
        preprocessing_fn: Callable[..., Any] | list[Callable[..., Any]] | None = None,
        bsize: int = 32,
        *,
        languages: Languages = None,
    ) -> None:
        """Replace documents by id, and add those that are new; parameters as for `index`.

        A document that is blank now is removed.

        Raises
        ------
        InputError
            If there are no ids.
        """
        retriever = self.catalog.get(index_name)
        texts, ids = texts_and_ids(collection, document_ids)
        if ids is None:
            raise InputError(
                "update_in_index knows documents by their ids: give document_ids, or a mapping {id: text}."
            )
        documents = self._read(texts, ids, document_metadatas, languages)
        options = SplitOptions(retriever.max_document_length, split_documents, document_splitter_fn, preprocessing_fn)
        self._add(retriever, documents, options, bsize, replace=True)

    def _read(
        self,
        texts: Iterable[str] | Mapping[str, str],
        ids: Iterable[str] | None,
        metadatas: Iterable[Mapping[str, Any] | None] | None,
        languages: Languages,
    ) -> Iterator[Document]:
        return read_documents(texts, ids, metadatas, languages, self.encoder.adapters.resolve)

    def _add(
        self, retriever: Retriever, documents: Iterable[Document], options: SplitOptions, bsize: int, *, replace: bool
    ) -> None:
        checked = list(documents)  # checks all of them before any is added
        indexer = self._indexer(options, retriever.pooling, bsize, len(checked), retriever.lexical)
        retriever.add(checked, indexer, replace=replace)

    def _indexer(self, options: SplitOptions, pooling: int, bsize: int, total: int, lexical: bool) -> Indexer:
        tokenizer, length = self.encoder.tokenizer, options.max_document_length
        split = make_splitter(options, tokenizer.count, tokenizer.room(length))
        batch_tokens = batch_tokens_of(simplified(bsize), length)
        return Indexer(self.encoder, split, length, batch_tokens, total or None, self.verbose > 0, pooling, lexical)

    def delete_from_index(self, document_ids: str | Iterable[str], index_name: str | None = None) -> int:
        """Delete documents by id; return the number of passages deleted. Unknown ids are logged as a warning."""
        return self.catalog.get(index_name).delete(document_ids)

    def optimize_index(self, index_name: str | None = None, *, storage: str | None = None) -> None:
        """Merge additions, reclaim the space of deleted documents, refit the first stage of searches and relevance.

        Large changes do this automatically; after many small ones, calling it makes searches faster. No document is
        encoded again, searches continue meanwhile, and if the process dies the index is unchanged.

        Parameters
        ----------
        index_name : str, optional
        storage : str, optional
            Convert the index to a smaller storage: ``"int8"`` or ``"int4"``.

        Raises
        ------
        InputError
            If the storage is larger than that of the index, or the index is not one of ours in a folder.
        IndexLockedError
            If another process is writing to the index.
        """
        retriever = self.catalog.get(index_name)
        optimize_passages(retriever.index, storage)
        retriever.calibrate(refit=True)

    def search(
        self,
        query: str | list[str],
        index_name: str | None = None,
        k: int = 10,
        force_fast: bool = False,
        zero_index_ranks: bool = False,
        doc_ids: str | Iterable[str] | None = None,
        *,
        language: Languages = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        min_relevance: float | None = None,
        prefer_language: str | None = None,
        language_weight: float = LANGUAGE_WEIGHT,
        exact: bool = False,
        explain: bool = False,
        hybrid: bool = False,
        lexical_weight: float = LEXICAL_WEIGHT,
        group_by_document: bool = False,
        context: int = 0,
    ) -> Results:
        """Search an index.

        Parameters
        ----------
        query : str or list of str
            Several queries are encoded in one pass. A blank query finds the first passages that the filter admits, each
            with a score of 0. Without a filter it is an error; among others it finds nothing, and a warning says so.
        index_name : str, optional
            By default the one that was built, opened or named last.
        k : int
            Number of results; fewer only if fewer passages qualify.
        force_fast : bool
            Score fewer candidates: faster, but some of the best passages are missed.
        zero_index_ranks : bool
            Number ranks from 0 instead of 1.
        doc_ids : str or list of str, optional
            Search only these documents.
        language : str or list of (str or None), optional
            Language of the query, or of each; by default detected.
        filter : mapping, optional
            ``{"year": {"$gte": 2020}, "language": "fr"}``: see `ragatouille_xm.corpus.filters`.
        min_score : float, optional
            Omit results that score less.
        min_relevance : float, optional
            Omit results that are less relevant, 0 to 1.
        prefer_language : str, optional
            Put passages in this language first, or with ``"query"`` those in the language of each query, but not before
            clearly better ones. Results are then in the order of their relevance, times ``1 - language_weight`` where
            they are in another language.
        language_weight : float
            0 prefers nothing, 1 puts all passages in the language first.
        exact : bool
            Score every passage.
        explain : bool
            Say which words matched, from the vectors that the index has.
        hybrid : bool
            Rank by MaxSim and, with the weight `lexical_weight`, by the words that query and passage share (BM25 over
            the checkpoint's own subword pieces, in any language). The score is from 0 to 1 then.
        lexical_weight : float
            0 ranks by MaxSim alone, 1 by shared words alone.
        group_by_document : bool
            Return `k` documents instead of passages: each as its best passage, with its others that rank above the best
            one of the last document.
        context : int
            Give each result the texts of so many passages before and after it in its document.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            Each with ``content, score, rank, document_id, passage_id, language, relevance`` (how likely it answers the
            query, 0 to 1, as far as MaxSim tells: see ``docs/guide/relevance.md``), ``query_language``, whose adapter
            the query went through (None for a blank one), and ``document_metadata`` if the document has any. With
            `explain`, ``evidence``, a `ragatouille_xm.evidence.Evidence`; there is none for a blank query. With
            `hybrid`, ``maxsim_score`` and ``lexical_score``, of which the score is made. With `group_by_document`,
            ``other_passages``, a list of the same. With `context`, ``context_before`` and ``context_after``, lists of
            str in the order of the text; `ragatouille_xm.grouping.with_context` joins them.
        """
        found = self.catalog.get(index_name).search(
            list_of_queries(query),
            k,
            languages=language,
            filter=with_ids(filter, doc_ids),
            min_score=min_score,
            min_relevance=min_relevance,
            prefer_language=prefer_language,
            language_weight=language_weight,
            explain=explain,
            lexical_weight=hybrid_weight(hybrid, lexical_weight),
            group_by_document=group_by_document,
            context=context,
            config=SearchConfig(exact=exact, fast=force_fast),
        )
        return unwrap_single(found, query, zero_index_ranks)

    async def asearch(self, query: str | list[str], *arguments: Any, **options: Any) -> Results:
        """Search in a thread, without blocking the event loop; parameters as for `search`."""
        return await asyncio.to_thread(self.search, query, *arguments, **options)

    def explain(
        self, query: str, text: str, *, language: str | None = None, text_language: str | None = None
    ) -> Evidence:
        """Say which words of a text the words of a query match, and where, without an index.

        `search` with ``explain=True`` says it of what it finds.

        Parameters
        ----------
        query : str
        text : str
            Truncated to what the model accepts.
        language, text_language : str, optional
            By default detected.

        Raises
        ------
        InputError
            If either is blank or not a string.
        LanguageError
            If a language is unknown.

        Examples
        --------
        >>> found = RAG.explain("Where is the station?", "Der Bahnhof ist am Markt.")  # doctest: +SKIP
        >>> [span.text for span in found.highlights]  # doctest: +SKIP
        ['Der Bahnhof']
        """
        return explain(self.encoder, query, text, language, text_language)

    def get_passages(self, document_ids: str | Iterable[str], index_name: str | None = None) -> list[dict[str, Any]]:
        """Return the stored passages of documents, by document id.

        Parameters
        ----------
        document_ids : str or list of str
            Unknown ids are ignored.
        index_name : str, optional
            By default the one that was built, opened or named last.

        Returns
        -------
        list of dict
            Each with ``content, document_id, passage_id, language``, and ``document_metadata`` if the document has any;
            documents in the order of `document_ids`, their passages in the order of the text.
        """
        return self.catalog.get(index_name).passages_of(document_ids)

    def detect_languages(
        self, texts: str | list[str], *, index_name: str | None = None, together: bool = False
    ) -> list[DetectedLanguage]:
        """Return each text's detected language, the adapter it would be encoded with, and the confidence (0 to 1).

        Parameters
        ----------
        texts : str or list of str
        index_name : str, optional
            Detect them as queries to this index: where a text says little, it is in a language that the index has.
        together : bool
            Detect them as documents of one collection: each also by what the others are written in. With `index_name`,
            as documents that are added to that index.
        """
        listed = list_of_strings(texts, "texts", in_order=True)
        if index_name is None or together:
            counts = None if index_name is None else self.catalog.get(index_name).index.languages()
            found = self.encoder.detect(listed, counts, together=together)
        else:
            found = self.catalog.get(index_name).detect(listed)
        adapter_for = self.encoder.adapters.adapter_for
        return [DetectedLanguage(each.language, adapter_for(each.language), each.confidence) for each in found]

    def rerank(
        self,
        query: str | list[str],
        documents: Iterable[str],
        k: int = 10,
        zero_index_ranks: bool = False,
        bsize: Literal["auto"] | int = "auto",
        *,
        language: Languages = None,
        languages: Languages = None,
        min_relevance: float | None = None,
        index_name: str | None = None,
    ) -> Results:
        """Rank documents by how well they answer a query, without an index.

        Parameters
        ----------
        query : str or list of str
        documents : iterable of str
            Each is truncated to what the model accepts. Blank ones are never found.
        k : int
            Number of results; all documents if there are fewer.
        language, languages : optional
            Languages of the queries and of the documents; by default detected.
        min_relevance : float, optional
            Omit results that are less relevant, 0 to 1.
        index_name : str, optional
            Measure relevance as this index does; by default as the one that was built, opened or named last, if it is
            open: see ``docs/guide/relevance.md``.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            As for `search`, with ``result_index``, the position in `documents`, instead of ids.
        """
        found = rerank(
            self.encoder,
            list_of_queries(query),
            documents,
            k,
            languages=language,
            document_languages=languages,
            batch_tokens=batch_tokens_of(simplified(bsize)),
            min_relevance=min_relevance,
            gauge=self.catalog.gauge(index_name),
        )
        return unwrap_single(found, query, zero_index_ranks)

    def encode(
        self,
        documents: Iterable[str],
        bsize: Literal["auto"] | int = "auto",
        document_metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        verbose: bool = True,
        max_document_length: Literal["auto"] | int = "auto",
        *,
        languages: Languages = None,
    ) -> None:
        """Encode documents into memory for `search_encoded_docs`, in addition to those of earlier calls.

        Parameters
        ----------
        max_document_length : "auto" or int
            Maximum tokens per document, the rest is truncated; by default what the model accepts.
        languages : optional
            Language of all documents, or of each; by default detected.
        """
        with self._encoding:
            encoded = self._encoded or EncodedDocuments(self.encoder, lexical=True)
            encoded.add(
                documents,
                document_metadatas,
                languages,
                max_length=None if max_document_length == "auto" else simplified(max_document_length),
                batch_tokens=batch_tokens_of(simplified(bsize)),
                progress=verbose and self.verbose > 0,
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
        min_relevance: float | None = None,
        hybrid: bool = False,
        lexical_weight: float = LEXICAL_WEIGHT,
        index_name: str | None = None,
    ) -> Results:
        """Search the documents that `encode` holds in memory; parameters as for `search`, `index_name` as for `rerank`.

        Returns
        -------
        list of dict, or list of lists for a list of queries
            As for `rerank`, with ``document_metadata`` if the document has any.

        Raises
        ------
        InputError
            If no documents are encoded.
        """
        encoded = self._encoded
        if encoded is None:
            raise InputError("No documents are encoded. Call encode(documents) first.")
        found = encoded.search(
            list_of_queries(query),
            k,
            languages=language,
            filter=filter,
            min_relevance=min_relevance,
            lexical_weight=hybrid_weight(hybrid, lexical_weight),
            gauge=self.catalog.gauge(index_name),
        )
        return unwrap_single(found, query, False)

    def clear_encoded_docs(self, force: bool = False) -> None:
        """Discard the documents that `encode` holds in memory; `force` is accepted for compatibility."""
        with self._encoding:
            self._encoded = None

    def save_pretrained(self, path: str | Path, *, format: str = "colbert-ai", language: str | None = None) -> str:
        """Write the checkpoint into a folder that another library loads, and gets the same vectors.

        ``docs/guide/exporting.md`` has what each library does with it.

        Parameters
        ----------
        path : str or Path
            Folder to make.
        format : str
            ``"colbert-ai"``, which this package loads as well; or ``"sentence-transformers"``, for that library's
            ``MultiVectorEncoder`` and PyLate's ``models.ColBERT``.
        language : str, optional
            The one language whose adapter the other library uses for every text; by default the checkpoint's default.

        Returns
        -------
        str
            The folder.

        Raises
        ------
        InputError
            If `format` is unknown, the folder is not empty, or the checkpoint cannot be had in that form.
        LanguageError
            If `language` is not a language.

        Examples
        --------
        >>> RAG.save_pretrained("for-pylate", format="sentence-transformers", language="fr")  # doctest: +SKIP
        '/home/me/for-pylate'
        """
        from .transfer.checkpoint import write_checkpoint

        return str(write_checkpoint(self.encoder, path, format, language))

    def as_langchain_retriever(self, **kwargs: Any) -> Any:
        """Return a LangChain ``BaseRetriever``; `kwargs` are its fields: ``k``, ``filter``, ``index_name``, ….

        Raises
        ------
        MissingExtraError
            If ``langchain-ragatouille-xm`` is not installed.
        """
        return import_extra(LANGCHAIN, "The LangChain retriever", "langchain").RagatouilleXMRetriever(
            model=self, **kwargs
        )

    def as_langchain_document_compressor(self, k: int = 5, **kwargs: Any) -> Any:
        """Return a LangChain document compressor that keeps the best `k` documents.

        Raises
        ------
        MissingExtraError
            If ``langchain-ragatouille-xm`` is not installed.
        """
        return import_extra(LANGCHAIN, "The LangChain compressor", "langchain").RagatouilleXMCompressor(
            model=self, k=k, **kwargs
        )

    def as_llama_index_retriever(self, **kwargs: Any) -> Any:
        """Return a LlamaIndex ``BaseRetriever``; `kwargs` are its parameters: ``similarity_top_k``, ``filters``, ….

        Raises
        ------
        MissingExtraError
            If ``llama-index-retrievers-ragatouille-xm`` is not installed.
        """
        return import_extra(LLAMA_INDEX, "The LlamaIndex retriever", "llama-index").RagatouilleXMRetriever(
            model=self, **kwargs
        )

    def close(self) -> None:
        """Close all indexes; they reopen when used."""
        self.catalog.close()
