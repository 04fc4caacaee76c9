"""Searches a folder of colbert-ai or RAGatouille as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import torch

from ...config import SearchConfig
from ...corpus.fields import Field, summarize_fields
from ...corpus.filters import Condition, matches
from ...corpus.metadata import with_own_metadata
from ...errors import PassageIndexError, ReadOnlyIndexError
from ...scoring import maxsim, top_k
from ...types import Calibration, Hits, Passage, TokenVectors
from ..hits import join_hits, near
from ..lexical import PieceCounts
from ..validation import check_batch_size, check_search
from .folder import PlaidFolder

TOKENS_BLOCK = 2**14  # decoded in one go
SCORES_BLOCK = 2**24


class PlaidIndex:
    """Passages in an index folder of colbert-ai or RAGatouille, which is only read.

    Implements `ragatouille_xm.index.base.PassageIndex`; what would change it raises `ReadOnlyIndexError`. Codes and
    residuals stay on disk and are decoded for the passages that are scored. Safe to search from many threads.

    Parameters
    ----------
    folder : PlaidFolder
    default : str
        Language of the passages. The format stores none: colbert-ai sends all texts through one adapter.
    language : str, optional
        Language of all passages, whatever a folder written by `export_plaid` says of them.

    Notes
    -----
    Scores are exact over the decoded vectors. The first stage is PLAID's: the centroids nearest to each query row
    give candidates, and the best by the similarities of their centroids alone are decoded. Santhanam et al., "PLAID:
    An Efficient Engine for Late Interaction Retrieval", CIKM 2022.
    """

    def __init__(self, folder: PlaidFolder, default: str, language: str | None = None) -> None:
        self.folder = folder.folder
        self.checkpoint = folder.checkpoint
        self.settings: Mapping[str, Any] = {"max_document_length": folder.doc_maxlen}
        self._opened: PlaidFolder | None = folder
        self._dim = folder.codec.dim
        self._calibration: Calibration | None = None
        self._passages = folder.passages(language, default)
        if language is not None or not any(record and record.language for record in folder.records):
            self.settings = {**self.settings, "query_language": language or default}
        self._living = torch.tensor([p is not None for p in self._passages], dtype=torch.bool)
        self._languages = Counter(p.language for p in self._passages if p is not None)
        self._documents: dict[str, list[int]] = {}
        for passage in self._passages:
            if passage is not None:
                self._documents.setdefault(passage.document_id, []).append(passage.pid)

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self._dim

    def __len__(self) -> int:
        return self._languages.total()

    def languages(self) -> dict[str, int]:
        """Return the number of passages of each language, most frequent first, ties by code."""
        return dict(sorted(self._languages.items(), key=lambda pair: (-pair[1], pair[0])))

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages here."""
        return {document_id for document_id in document_ids if document_id in self._documents}

    @property
    def calibration(self) -> Calibration | None:
        """What `calibrate` kept last."""
        return self._calibration

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration for as long as this is open: the format has no place for it."""
        self._calibration = calibration

    def reserve(self, n: int) -> NoReturn:
        """Raise `ReadOnlyIndexError`."""
        self._refuse()

    def add(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None = None,
        *,
        replace: bool = False,
    ) -> NoReturn:
        """Raise `ReadOnlyIndexError`."""
        self._refuse()

    def writer(self, *, replace: bool = False) -> NoReturn:
        """Raise `ReadOnlyIndexError`."""
        self._refuse()

    def delete(self, document_ids: Sequence[str]) -> NoReturn:
        """Raise `ReadOnlyIndexError`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ReadOnlyIndexError(
            f"The index at {str(self.folder)!r} is of colbert-ai's format, which is searched here, but not changed. "
            f"Move it into our format: ragatouille-xm convert {self.folder} --name NAME"
        )

    def reading(self) -> AbstractContextManager[None]:
        """Return a context without effect: each call reads what there is."""
        return nullcontext()

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits."""
        check_search(queries, k, self._dim)
        opened, queries = self._open(), queries.detach().float().cpu()
        admitted = self._living if filter is None else self._admitted_by(filter)
        pids = admitted.nonzero().squeeze(1)
        if config.exact or len(pids) <= config.candidates_for(k, len(admitted)):
            batch = max(SCORES_BLOCK // max(len(pids), 1), 1)
            parts = [top_k(_score(opened, some, pids), pids, k) for some in queries.split(batch)]
        else:
            parts = [self._search_one(opened, query, k, admitted, config) for query in queries]
        return join_hits(parts, k)

    def _admitted_by(self, filter: Condition) -> torch.Tensor:
        return torch.tensor([p is not None and matches(filter, p) for p in self._passages], dtype=torch.bool)

    def _search_one(
        self, opened: PlaidFolder, query: torch.Tensor, k: int, admitted: torch.Tensor, config: SearchConfig
    ) -> Hits:
        """Search for one query ``(q, dim)`` among the passages that `admitted` (n,) marks."""
        similarities = query @ opened.codec.centroids.T
        cells = similarities.topk(min(config.probes_for(len(self)), similarities.shape[1])).indices.unique()
        reached = torch.zeros_like(admitted)
        for cell in cells.tolist():
            start = int(opened.ends[cell - 1]) if cell else 0
            reached[opened.inverted[start : int(opened.ends[cell])].long()] = True
        pids = (reached & admitted).nonzero().squeeze(1)
        if len(pids) < k:  # passages that share no centroid with the query may qualify
            pids = admitted.nonzero().squeeze(1)
        limit = config.candidates_for(k, len(admitted))
        if len(pids) > limit:
            pids = pids[_score_by_centroids(opened, similarities.T, pids).topk(limit).indices].sort().values
        return top_k(_score(opened, query[None], pids), pids, k)

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        self._open()
        found = [self._passages[pid] if 0 <= pid < len(self._passages) else None for pid in pids]
        for pid, passage in zip(pids, found, strict=True):
            if passage is None:
                raise KeyError(pid)
        return [with_own_metadata(passage) for passage in found if passage is not None]

    def vectors(self, pids: Sequence[int]) -> TokenVectors:
        """Return the decoded token vectors of `pids`, in that order. Raise `KeyError` as `fetch` does."""
        opened = self._open()
        self.fetch(pids)
        growing = sorted(set(pids))
        found = dict(zip(growing, opened.vectors(torch.tensor(growing, dtype=torch.int64)), strict=True))
        return TokenVectors.of_blocks([found[pid] for pid in pids], self._dim)

    def fields(self) -> list[Field]:
        """Return the metadata fields and what they hold, by name."""
        self._open()
        return summarize_fields(passage for passage in self._passages if passage is not None)

    def around(self, pids: Sequence[int], n: int) -> dict[int, list[Passage]]:
        """Return, for each of `pids` that is here, the passages of its document from `n` before to `n` after it."""
        self._open()
        here = [self._passages[pid] for pid in pids if 0 <= pid < len(self._passages)]
        return {
            passage.pid: self.fetch(near(self._documents[passage.document_id], passage.pid, n))
            for passage in here
            if passage is not None
        }

    def scroll(
        self, filter: Condition | None = None, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, in batches, by growing pid."""
        check_batch_size(batch_size)
        opened = self._open()
        found = [passage for passage in self._passages if passage is not None and matches(filter, passage)]
        for start in range(0, len(found), batch_size):
            batch = [with_own_metadata(passage) for passage in found[start : start + batch_size]]
            yield batch, opened.vectors(torch.tensor([passage.pid for passage in batch])) if with_vectors else None

    def optimize(self, *, refit: bool = False) -> None:
        """Do nothing: the folder stays as it is."""

    def close(self) -> None:
        """Let go of the files. Closing twice is allowed."""
        self._opened = None

    def _open(self) -> PlaidFolder:
        if (opened := self._opened) is None:
            raise PassageIndexError(f"The index at {str(self.folder)!r} was closed. Open it again.")
        return opened


def _blocks(opened: PlaidFolder, pids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cut pids into runs of not many more than `TOKENS_BLOCK` tokens."""
    runs = opened.lengths[pids].cumsum(0) // TOKENS_BLOCK
    blocks: tuple[torch.Tensor, ...] = pids.split(runs.unique_consecutive(return_counts=True)[1].tolist())
    return blocks


def _score(opened: PlaidFolder, queries: torch.Tensor, pids: torch.Tensor) -> torch.Tensor:
    """Return the scores ``(Q, n)`` of passages ``(n,)``, growing, over their decoded vectors."""
    scores = [torch.empty(len(queries), 0)]
    for block in _blocks(opened, pids):
        decoded = opened.vectors(block)
        scores.append(maxsim(queries, decoded.vectors, decoded.lengths))
    return torch.cat(scores, 1)


def _score_by_centroids(opened: PlaidFolder, similarities: torch.Tensor, pids: torch.Tensor) -> torch.Tensor:
    """Return the scores ``(n,)`` of passages, growing, as if each token were its centroid ``(P, q)``."""
    scores = []
    for block in _blocks(opened, pids):
        owners = torch.repeat_interleave(opened.lengths[block])
        best = torch.full((len(block), similarities.shape[1]), -torch.inf)
        tokens = similarities[opened.codes(block)]
        best.scatter_reduce_(0, owners[:, None].expand_as(tokens), tokens, "amax")
        scores.append(best.sum(1))
    return torch.cat(scores)
