"""An index in memory that scores every passage with torch."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch

from ...config import SearchConfig
from ...corpus.fields import Field, summarize_fields
from ...corpus.filters import Condition
from ...corpus.metadata import with_own_metadata
from ...scoring import top_k
from ...types import Calibration, Hits, Passage, TokenVectors
from ..base import IndexWriter
from ..hits import join_hits, near
from ..lexical import HybridHits, PieceCounts, fuse, listed, scan, to_hybrid_hits
from ..validation import PidSequence, check_add, check_batch_size, check_hybrid, check_pieces, check_search
from .chunks import Chunk, compacted, merged, scroll
from .writer import ExactWriter

QUERY_BLOCK = 64


class ExactIndex:
    """Passages and their token vectors in memory, searched exhaustively.

    Implements `ragatouille_xm.index.base.PassageIndex`; the other engines are held to its answers.

    Parameters
    ----------
    dim : int
        Width of a token vector.
    device : str or torch.device
        Where the vectors are kept and compared.
    dtype : torch.dtype
        How the vectors are kept; scores are float32 either way.
    lexical : bool
        Keep the pieces of passages, for `search_hybrid`.

    Examples
    --------
    >>> index = ExactIndex(2)
    >>> vectors = TokenVectors(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([2, 1]))
    >>> index.add([Passage(0, "a", "one two", "en"), Passage(1, "b", "three", "en")], vectors)
    >>> index.search(torch.tensor([[[0.0, 1.0]]]), k=1).pids.tolist()
    [[1]]
    """

    def __init__(
        self,
        dim: int,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        lexical: bool = False,
    ) -> None:
        self._dim = dim
        self.lexical = lexical
        self._device = torch.device(device)
        self._dtype = dtype
        self._lock = threading.RLock()
        self._write_lock = threading.RLock()  # held for as long as a write transaction takes
        self._next_pid = 0
        self._calibration: Calibration | None = None
        self._clear()

    def _clear(self) -> None:
        self._chunks: tuple[Chunk, ...] = ()
        self._passages: dict[int, Passage] = {}
        self._documents: dict[str, set[int]] = {}
        self._languages: Counter[str] = Counter()

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self._dim

    def __len__(self) -> int:
        return len(self._passages)

    def languages(self) -> dict[str, int]:
        """Return the number of passages of each language, most frequent first, ties by code."""
        with self._lock:
            return dict(sorted(self._languages.items(), key=lambda pair: (-pair[1], pair[0])))

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages here."""
        with self._lock:
            return {document_id for document_id in document_ids if document_id in self._documents}

    @property
    def calibration(self) -> Calibration | None:
        """What `calibrate` kept last."""
        return self._calibration

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration. What a search finds does not change."""
        self._calibration = calibration

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        with self._write_lock, self._lock:
            pids = PidSequence(self._next_pid)
            first = pids.reserve(n)
            self._next_pid = pids.next_pid
            return first

    def add(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, all others of their documents are deleted.

        Raises
        ------
        InputError
            If a pid is given twice or is not an int of 0 or more, or if the vectors do not fit; nothing was changed.
        """
        check_add(passages, vectors, self._dim)
        check_pieces(pieces, len(passages), expected=self.lexical)
        if passages:
            self._store(passages, vectors, pieces, replace)

    def _store(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None,
        replace: bool,
        deleted: Collection[str] = (),
    ) -> None:
        chunk = Chunk.of(passages, vectors, pieces, self._device, self._dtype)
        with self._lock:
            documents = {passage.document_id for passage in passages if replace} | set(deleted)
            self._commit([passage.pid for passage in passages] + self._pids_of(documents), chunk)

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[IndexWriter]:
        """Open a write transaction: one `add` in several calls."""
        with self._write_lock:
            writer = ExactWriter(self._dim, self._next_pid, self.lexical)
            yield writer
            with self._lock:
                self._next_pid = max(self._next_pid, writer.pids.next_pid)
                if writer.passages:
                    self._store(writer.passages, writer.vectors(), writer.pieces(), replace, writer.deleted)
                elif writer.deleted:
                    self._commit(self._pids_of(writer.deleted))

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many were removed. Unknown ids are passed over."""
        with self._lock:
            pids = self._pids_of(set(document_ids))
            self._commit(pids)
            return len(pids)

    def reading(self) -> AbstractContextManager[None]:
        """Return a context without effect: each call reads what there is."""
        return nullcontext()

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits. There is no first stage."""
        check_search(queries, k, self._dim)
        chunks = self._chunks  # never changed in place: later writes make another tuple
        masks = [chunk.admitted(filter) for chunk in chunks]
        selected = [chunk.pids[mask] for chunk, mask in zip(chunks, masks, strict=True)]
        pids = torch.cat([torch.empty(0, dtype=torch.int64), *selected])
        hits = []
        for block in torch.split(queries, QUERY_BLOCK):
            scores = [chunk.scores(block, mask) for chunk, mask in zip(chunks, masks, strict=True)]
            hits.append(top_k(torch.cat([torch.empty(len(block), 0, device=self._device), *scores], 1), pids, k))
        return join_hits(hits, k)

    def search_hybrid(
        self,
        queries: torch.Tensor,
        pieces: PieceCounts,
        k: int,
        *,
        weight: float,
        filter: Condition | None = None,
        config: SearchConfig = SearchConfig(),
    ) -> HybridHits:
        """Return the best `k` passages by MaxSim and BM25 together; parameters as for the contract."""
        check_search(queries, k, self._dim)
        check_hybrid(pieces, len(queries), weight, lexical=self.lexical)
        chunks = self._chunks
        parts = [(chunk.pieces, chunk.live.numpy()) for chunk in chunks if chunk.pieces is not None]
        mask = torch.cat([torch.empty(0, dtype=torch.bool), *(chunk.admitted(filter) for chunk in chunks)]).numpy()
        pids = np.concatenate([np.empty(0, np.int64), *(chunk.pids.numpy() for chunk in chunks)])[mask]
        found = []
        for query, terms in zip(queries, pieces, strict=True):
            scores = [chunk.scores(query[None])[0].cpu() for chunk in chunks]
            maxsim = torch.cat([torch.empty(0), *scores]).numpy()[mask]
            lexical = np.concatenate([np.empty(0), *scan(parts, terms)])[mask]
            named = [np.lexsort((pids, -each))[: listed(k)] for each in (maxsim, lexical)]
            chosen = np.union1d(named[0], named[1][lexical[named[1]] > 0])
            found.append(fuse(pids[chosen], maxsim[chosen], lexical[chosen], weight, k))
        return to_hybrid_hits(found, k)

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        with self._lock:
            return [with_own_metadata(self._passages[pid]) for pid in pids]

    def vectors(self, pids: Sequence[int]) -> TokenVectors:
        """Return the token vectors of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        found: dict[int, torch.Tensor] = {}
        for chunk in self._chunks:
            wanted = chunk.select(torch.isin(chunk.pids, torch.tensor(list(pids), dtype=torch.int64)) & chunk.live)
            found |= zip(wanted.pids.tolist(), torch.split(wanted.vectors, wanted.lengths.tolist()), strict=True)
        return TokenVectors.of_blocks([found[pid] for pid in pids], self._dim)

    def fields(self) -> list[Field]:
        """Return the metadata fields and what they hold, by name."""
        with self._lock:
            return summarize_fields(self._passages.values())

    def around(self, pids: Sequence[int], n: int) -> dict[int, list[Passage]]:
        """Return, for each of `pids` that is here, the passages of its document from `n` before to `n` after it."""
        with self._lock:
            documents = {pid: self._passages[pid].document_id for pid in pids if pid in self._passages}
            growing = {document_id: sorted(self._documents[document_id]) for document_id in set(documents.values())}
            return {
                pid: [with_own_metadata(self._passages[each]) for each in near(growing[document_id], pid, n)]
                for pid, document_id in documents.items()
            }

    def scroll(
        self, filter: Condition | None = None, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, as it was at the call, in batches, by growing pid."""
        check_batch_size(batch_size)
        return scroll(self._chunks, filter, with_vectors, batch_size)

    def optimize(self, *, refit: bool = False) -> None:
        """Free the memory of deleted passages."""
        with self._lock:
            self._chunks = compacted(self._chunks)

    def close(self) -> None:
        """Release the memory; the index is empty afterwards. Closing twice is allowed."""
        with self._lock:
            self._clear()

    def _pids_of(self, document_ids: Collection[str]) -> list[int]:
        return [pid for document_id in document_ids for pid in self._documents.get(document_id, ())]

    def _commit(self, deleted: Sequence[int], chunk: Chunk | None = None) -> None:
        """Delete those of the pids that are here, then store `chunk`. What may fail comes first."""
        removed = [self._passages[pid] for pid in set(deleted) if pid in self._passages]
        added = chunk.passages if chunk else ()
        pids = torch.tensor([passage.pid for passage in removed])
        chunks = tuple(old.without(pids) for old in self._chunks) if removed else self._chunks
        chunks = merged((*chunks, chunk)) if chunk else chunks
        if sum(len(c.pids) for c in chunks) > 2 * (len(self) - len(removed) + len(added)):
            chunks = compacted(chunks)
        self._chunks = chunks
        for passage in removed:
            del self._passages[passage.pid]
            self._documents[passage.document_id].discard(passage.pid)
            if not self._documents[passage.document_id]:
                del self._documents[passage.document_id]
        for passage in added:
            self._passages[passage.pid] = passage
            self._documents.setdefault(passage.document_id, set()).add(passage.pid)
        self._languages.subtract(passage.language for passage in removed)
        self._languages.update(passage.language for passage in added)
        self._languages = +self._languages  # without zeros
        self._next_pid = max([self._next_pid, *(passage.pid + 1 for passage in added)])
