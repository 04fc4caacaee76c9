"""`Searcher`: searching with colbert-ai's interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import index as whole_number
from pathlib import Path
from typing import Any

import torch

from ..config import SearchConfig
from ..corpus.passages import is_blank
from ..errors import InputError
from ..files import absolute
from ..index.base import PassageIndex
from ..index.local.index import LocalIndex
from ..opening import check_index_path
from ..pretrained import RAGPretrainedModel
from ..queries import check_k, check_queries, list_of_queries
from ..results import Result
from ..types import Languages
from .data import Collection, Queries, Ranking
from .infra.config import ColBERTConfig
from .infra.run import resolve_config
from .modeling.checkpoint import Checkpoint

Filter = Callable[[torch.Tensor], torch.Tensor]


class Searcher:
    """Searches an index of `Indexer`, or any that `ragatouille_xm.RAGPretrainedModel.from_index` opens.

    pids are positions in the collection; for an index not built by `Indexer` they are its passage ids.

    Parameters
    ----------
    index : str or Path
        Name of an index of the current experiment (see `Run`), or a folder.
    checkpoint : str or Path, optional
        By default the index's; needed if that has moved.
    collection : list of str, str, Path or Collection, optional
        Source of the passages ``searcher.collection[pid]``; by default the index. Required for a folder of colbert-ai
        without texts.
    config : ColBERTConfig, optional
    index_root : str or Path, optional
        Folder that the index is in.
    verbose : int
        Accepted for compatibility.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index, or it belongs to another checkpoint.
    CheckpointError
        If its checkpoint cannot be found.
    InputError
        If `config` contradicts the checkpoint.

    Examples
    --------
    >>> from ragatouille_xm.colbert import Run, RunConfig
    >>> with Run().context(RunConfig(experiment="colbert")):  # doctest: +SKIP
    ...     searcher = Searcher(index="mine")
    >>> for pid, rank, score in zip(*searcher.search("Où est le document ?", k=3)):  # doctest: +SKIP
    ...     searcher.collection[pid]
    """

    def __init__(
        self,
        index: str | Path,
        checkpoint: str | Path | None = None,
        collection: Any = None,
        config: ColBERTConfig | None = None,
        index_root: str | Path | None = None,
        verbose: int = 3,
    ) -> None:
        check_index_path(index)
        config = resolve_config(config, index_root=None if index_root is None else str(index_root))
        named = config.index_folder / index
        path = named if named.is_dir() or not Path(index).is_dir() else Path(index)
        self.index = str(absolute(path))
        given = None if collection is None else Collection.cast(collection)
        has_texts = given is None or LocalIndex.exists(path)  # a folder of colbert-ai may have none
        self.model = RAGPretrainedModel.from_index(
            self.index,
            verbose=0,
            device=config.device,
            checkpoint=checkpoint,
            collection=None if has_texts or given is None else list(given),
        )
        self._retriever = self.model.catalog.get()
        self.collection = IndexCollection(self._retriever.index) if given is None else given
        self.checkpoint = Checkpoint(self._retriever.encoder, config)

    @property
    def config(self) -> ColBERTConfig:
        """The configuration of searching."""
        return self.checkpoint.colbert_config

    def configure(self, **options: Any) -> None:
        """Change configuration options."""
        self.checkpoint.configure(**options)

    def encode(
        self, text: str | Sequence[str], full_length_search: bool = False, *, language: Languages = None
    ) -> torch.Tensor:
        """Encode one query or several, for `dense_search`; parameters as for `search`.

        Returns
        -------
        torch.Tensor
            Shape ``(Q, q_len, dim)``, float32, on the CPU; shorter queries are padded with rows of zeros.
        """
        return self._retriever.encode(list_of_queries(text), language).cpu()

    def search(
        self,
        text: str | None = None,
        k: int = 10,
        filter_fn: Filter | None = None,
        full_length_search: bool = False,
        pids: Iterable[int] | None = None,
        *,
        query: str | None = None,
        language: str | None = None,
    ) -> tuple[list[int], list[int], list[float]]:
        """Return pids, ranks and scores of the best passages, best first.

        Parameters
        ----------
        text : str
            The query; also accepted as ``query=``.
        k : int
        filter_fn : callable, optional
            From pids (int32 tensor) to those of them that are admitted.
        full_length_search : bool
            Accepted for compatibility: queries are never truncated here.
        pids : iterable of int, optional
            Search only among these.
        language : str, optional
            Language of the query; by default detected.

        Returns
        -------
        pids : list of int
        ranks : list of int
            1, 2, …, one for each pid.
        scores : list of float
        """
        asked = query if text is None else text
        if asked is None or (text is not None and query is not None):
            raise InputError("Give the query once: search('…', k=10).")
        return self.dense_search(self.encode([asked], language=language), k, filter_fn, pids)

    def dense_search(
        self,
        Q: torch.Tensor,  # noqa: N803 (colbert-ai's name)
        k: int = 10,
        filter_fn: Filter | None = None,
        pids: Iterable[int] | None = None,
    ) -> tuple[list[int], list[int], list[float]]:
        """Search for one query encoded by `encode`, of shape ``(1, q_len, dim)``; otherwise like `search`."""
        if not isinstance(Q, torch.Tensor) or Q.ndim != 3 or len(Q) != 1:
            given = tuple(Q.shape) if isinstance(Q, torch.Tensor) else type(Q).__name__
            raise InputError(f"Q is {given}; give one query as encode(text) makes it, of shape (1, q_len, dim).")
        found = self._search_one(Q, k, filter_fn, pids)
        return [pid for pid, _, _ in found], [rank for _, rank, _ in found], [score for _, _, score in found]

    def search_all(
        self,
        queries: Any,
        k: int = 10,
        filter_fn: Filter | None = None,
        full_length_search: bool = False,
        qid_to_pids: dict[Any, Sequence[int] | None] | None = None,
        *,
        languages: Languages = None,
    ) -> Ranking:
        """Search for several queries.

        Parameters
        ----------
        queries : Queries, mapping, list, str or Path
            Anything that `Queries.cast` accepts.
        qid_to_pids : dict, optional
            The pids to search among for each query id; None for all.
        languages : str or sequence of (str or None), optional
            Of all queries, or of each; by default detected.
        k, filter_fn, full_length_search
            As for `search`.
        """
        asked = Queries.cast(queries)
        texts = list(asked.values())
        origin = {"source": "Searcher.search_all", "index": self.index, "queries": asked.provenance(), "k": k}
        if filter_fn is None and qid_to_pids is None:  # in one pass through the model
            found = self._retriever.search(texts, k, languages=languages, config=self._search_config)
            return Ranking(data=dict(zip(asked.keys(), map(self._triples, found), strict=True)), provenance=origin)
        check_queries(texts)
        chosen = self._retriever.query_languages(texts, languages)
        among = qid_to_pids or {}
        answers = {
            qid: []
            if is_blank(text)
            else self._search_one(self.encode([text], language=language), k, filter_fn, among.get(qid))
            for (qid, text), language in zip(asked.items(), chosen, strict=True)
        }
        return Ranking(data=answers, provenance=origin)

    def close(self) -> None:
        """Release the index."""
        self._retriever.close()

    @property
    def _search_config(self) -> SearchConfig:
        return SearchConfig(candidates=self.config.ndocs, probes=self.config.ncells or None)

    def _search_one(
        self, query: torch.Tensor, k: int, filter_fn: Filter | None, pids: Iterable[int] | None
    ) -> list[tuple[int, int, float]]:
        """Search, widening the search until `k` passages qualify."""
        check_k(k)
        allowed = None if pids is None else _check_pids(pids)
        documents = None if allowed is None else self._documents_of(sorted(allowed))
        n = k if documents is None and filter_fn is None else 10 * max(k, 10)
        while True:
            [results] = self._retriever.search(query, n, filter=documents, config=self._search_config)
            kept = [result for result in results if allowed is None or self._pid(result) in allowed]
            if filter_fn is not None and kept:
                left = set(filter_fn(torch.tensor([self._pid(r) for r in kept], dtype=torch.int32)).tolist())
                kept = [result for result in kept if self._pid(result) in left]
            if len(kept) >= k or len(results) < n:
                return self._triples(kept[:k])
            n *= 10

    def _documents_of(self, pids: Sequence[int]) -> dict[str, Any]:
        """Return a filter that admits the documents of passages."""
        try:
            passages = self._retriever.index.fetch([pid + first_pid(self._retriever.index) for pid in pids])
        except KeyError as error:
            raise InputError(
                f"The index has no passage {error}: pids count from 0, in the order of the collection."
            ) from error
        return {"document_id": {"$in": sorted({passage.document_id for passage in passages})}}

    def _pid(self, result: Result) -> int:
        return int(result["passage_id"]) - first_pid(self._retriever.index)

    def _triples(self, results: Sequence[Result]) -> list[tuple[int, int, float]]:
        return [(self._pid(result), rank, result["score"]) for rank, result in enumerate(results, start=1)]


class IndexCollection:
    """The passages of an index by pid, read on demand."""

    def __init__(self, index: PassageIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, pid: int) -> str:
        try:
            [passage] = self._index.fetch([pid + first_pid(self._index)])
        except KeyError as error:
            raise IndexError(f"The index has no passage {pid}.") from error
        return passage.text

    def __iter__(self) -> Iterator[str]:
        for passages, _ in self._index.scroll():
            for passage in passages:
                yield passage.text


def _check_pids(pids: Iterable[int]) -> set[int]:
    try:
        return {whole_number(pid) for pid in pids}  # NumPy's and torch's too
    except TypeError as error:
        raise InputError(f"pids is {pids!r}; give a list of whole numbers.") from error


def first_pid(index: PassageIndex) -> int:
    """Return the pid of the collection's first passage. Not cached, since an index may be replaced."""
    return int(getattr(index, "first_pid", 0))
