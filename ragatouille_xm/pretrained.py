"""`RAGPretrainedModel`: RAGatouille's names over `Retriever`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .catalog import IndexCatalog, checkpoint_of, connect, open_in_cluster, open_index
from .config import DEFAULT_ROOT, ClusterConfig, SearchConfig
from .encoder import Devices, Encoder
from .errors import InputError
from .filling import FillingMethods
from .frameworks import FrameworkMethods
from .in_memory import InMemoryMethods, Languages, Results, list_of_queries, shaped
from .text.detect import list_of_strings
from .types import DetectedLanguage

if TYPE_CHECKING:
    import torch
    from qdrant_client import QdrantClient

    from .text.detect import LanguageDetector


class RAGPretrainedModel(FillingMethods, InMemoryMethods, FrameworkMethods):
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

    def __init__(
        self,
        encoder: Encoder,
        index_root: str | Path | None = None,
        verbose: int = 1,
        search_device: str | torch.device | None = None,
    ) -> None:
        super().__init__(encoder, verbose)
        self.catalog = IndexCatalog(encoder, index_root if index_root is not None else DEFAULT_ROOT, search_device)

    def __deepcopy__(self, memo: dict[int, Any]) -> RAGPretrainedModel:
        return self  # an open index cannot be copied, and weights need not be

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
            Hub id, local folder, or ``"demo"`` for the small stand-in that is made on this machine (``"./demo"`` for a
            folder of that name).
        n_gpu : int
            0 keeps to the CPU. `device` says more.
        verbose : int
            0 shows no progress bars.
        index_root : str, optional
            Where indexes are, by default ``.ragatouille/``.
        device : str, torch.device or sequence of them, optional
            ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default a GPU when there is one. ``["cuda:0", "cuda:1"]`` encodes on
            both: each holds the model, and batches go to whichever is free.
        dtype : str or torch.dtype, optional
            By default float32 on the CPU and bfloat16 on a GPU.
        language_detector : str, callable or LanguageDetector
            ``"py3langid"`` (the default), ``"langdetect"``, or a function from a text to a language code.
        quantize : {"int8"}, optional
            Encode in 8-bit integers, on the CPU: faster, a little less exact. Indexes and queries need not agree on it.
        search_device : str or torch.device, optional
            Hold the token vectors of indexes (of ours, in a folder) in the memory of this device, say ``"cuda"``, from
            the first search on, and score every passage there (with ``force_fast``, candidates of the first stage,
            which the CPU finds). Where the device is not there or has no room, the index is searched as without it.

        Raises
        ------
        CheckpointError
            If the checkpoint cannot be found or is damaged.
        InputError
            If an option is not usable.
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
        cluster: ClusterConfig | None = None,
    ) -> RAGPretrainedModel:
        """Open an index together with the checkpoint that filled it; other parameters as for `from_pretrained`.

        Parameters
        ----------
        index_path : str or Path
            An index of ours, or of colbert-ai or RAGatouille, which is searched as it is and not changed.
        checkpoint : str or Path, optional
            Where the checkpoint is now, if it has moved.
        language, collection : optional
            Of a colbert-ai folder: the language of all passages, by default the checkpoint's default adapter's; the
            texts (a list, or a ``.tsv`` or ``.json`` file), if the folder has none.
        index_url, api_key, cluster : optional
            Open the index of the name `index_path` in the Qdrant cluster at ``"http://host:6333"``: see `index`.

        Raises
        ------
        IndexNotFoundError, IndexDamagedError, IndexFormatError
            If there is no usable index at `index_path`.
        CheckpointError
            If its checkpoint is no longer to be found.
        InputError
            If an option is not usable.
        """
        check_index_path(index_path)
        path, place = Path(index_path), connect(index_url, api_key, cluster)
        index = open_index(path, collection) if place is None else open_in_cluster(place, str(index_path))
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
            model.catalog.register(path.name, index, language)
        except BaseException:
            index.close()
            raise
        return model

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
        exact: bool = False,
    ) -> Results:
        """Search an index.

        Parameters
        ----------
        query : str or list of str
            Several are encoded in one pass.
        index_name : str, optional
            By default the one that was built, opened or named last.
        k : int
            How many results to return; fewer only where fewer passages qualify.
        force_fast : bool
            Look at fewer candidates: faster, and some of the best passages are missed.
        zero_index_ranks : bool
            Count ranks from 0 instead of 1.
        doc_ids : str or list of str, optional
            Search only in this document, or in these.
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
        found = self.catalog.get(index_name).search(
            list_of_queries(query),
            k,
            languages=language,
            filter=_with_ids(filter, doc_ids),
            min_score=min_score,
            config=SearchConfig(exact=exact, fast=force_fast),
        )
        return shaped(found, query, zero_index_ranks)

    async def asearch(self, query: str | list[str], *arguments: Any, **options: Any) -> Results:
        """Search in a thread, without blocking the event loop; parameters as for `search`."""
        return await asyncio.to_thread(self.search, query, *arguments, **options)

    def get_passages(self, document_ids: str | Iterable[str], index_name: str | None = None) -> list[dict[str, Any]]:
        """Return what the index holds of documents, by their ids, as it is stored.

        Parameters
        ----------
        document_ids : str or list of str
            Ids that the index does not have are passed over.
        index_name : str, optional
            By default the one that was built, opened or named last.

        Returns
        -------
        list of dict
            Each with ``content, document_id, passage_id, language``, and ``document_metadata`` where the document has
            some; documents in the order of `document_ids`, the passages of each in the order of its text.
        """
        return self.catalog.get(index_name).passages_of(document_ids)

    def detect_languages(self, texts: str | list[str]) -> list[DetectedLanguage]:
        """Return the language, adapter and confidence (0 to 1) that each text would be encoded with."""
        found = self.encoder.detect(list_of_strings(texts, "texts"))
        adapter_for = self.encoder.adapters.adapter_for
        return [DetectedLanguage(each.language, adapter_for(each.language), each.confidence) for each in found]

    def close(self) -> None:
        """Release all indexes; they open again when they are used."""
        self.catalog.close()


def check_index_path(path: object) -> None:
    """Raise `InputError` unless `path` may say where an index is."""
    if not isinstance(path, (str, Path)) or not str(path).strip():
        raise InputError(f"The index is {path!r}. Give its folder, or its name.")


def _with_ids(filter: Mapping[str, Any] | None, doc_ids: str | Iterable[str] | None) -> Mapping[str, Any] | None:
    if doc_ids is None:
        return filter
    among = {"document_id": {"$in": list_of_strings(doc_ids, "doc_ids")}}
    return {"$and": [filter, among]} if filter else among
