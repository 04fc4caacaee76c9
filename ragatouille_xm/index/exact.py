"""An index in memory that scores every passage with torch: on the CPU, or on a GPU while the corpus fits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..config import SearchConfig
from ..corpus.filters import Condition, matches
from ..errors import InputError
from ..scoring import maxsim, top_k
from ..types import Hits, Passage, TokenVectors
from .local.writer import Collected, checked_number
from .validation import check_add, check_search

QUERIES_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Passages that were stored together. Never changed, so that a search may read it while others write."""

    passages: tuple[Passage, ...]
    pids: torch.Tensor  # (n,) int64
    vectors: torch.Tensor  # (T, dim)
    lengths: torch.Tensor  # (n,) int64, on the CPU
    alive: torch.Tensor  # (n,) bool, on the CPU: False where a passage was deleted or overwritten

    def without(self, pids: torch.Tensor) -> _Chunk:
        gone = torch.isin(self.pids, pids) & self.alive
        return replace(self, alive=self.alive & ~gone) if gone.any() else self

    def kept(self, keep: torch.Tensor) -> _Chunk:
        """Return a chunk of only those passages that `keep` (n,) bool marks; they are alive in it."""
        if keep.all():
            return self
        rows = torch.repeat_interleave(keep, self.lengths).to(self.vectors.device)
        passages = tuple(self.passages[i] for i in keep.nonzero().squeeze(1).tolist())
        return _Chunk(passages, self.pids[keep], self.vectors[rows], self.lengths[keep], self.alive[keep])


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

    Examples
    --------
    >>> index = ExactIndex(2)
    >>> vectors = TokenVectors(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([2, 1]))
    >>> index.add([Passage(0, "a", "one two", "en"), Passage(1, "b", "three", "en")], vectors)
    >>> index.search(torch.tensor([[[0.0, 1.0]]]), k=1).pids.tolist()
    [[1]]
    """

    def __init__(self, dim: int, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self._dim = dim
        self._device = torch.device(device)
        self._dtype = dtype
        self._lock = threading.RLock()
        self._writer = threading.RLock()  # held for as long as an addition takes
        self._next_pid = 0
        self._clear()

    def _clear(self) -> None:
        self._chunks: tuple[_Chunk, ...] = ()
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

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        with self._writer, self._lock:
            first, self._next_pid = self._next_pid, self._next_pid + checked_number(n)
            return first

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, *, replace: bool = False) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, the rest of their documents goes.

        Raises
        ------
        InputError
            If a pid is given twice or is not an int of 0 or more, or if the vectors do not fit; nothing was changed.
        """
        check_add(passages, vectors, self._dim)
        if passages:
            self._store(passages, vectors, replace)

    def _store(self, passages: Sequence[Passage], vectors: TokenVectors, replace: bool) -> None:
        chunk = _Chunk(
            tuple(_copy(passage) for passage in passages),
            torch.tensor([passage.pid for passage in passages]),
            vectors.vectors.detach().to(self._device, self._dtype, copy=True),
            vectors.lengths.to("cpu", torch.int64, copy=True),
            torch.ones(len(passages), dtype=torch.bool),
        )
        with self._lock:
            documents = {passage.document_id for passage in passages} if replace else ()
            self._commit([passage.pid for passage in passages] + self._pids_of(documents), chunk)

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[Collected]:
        """Add in several steps, which are one `add` once the context ends; if it fails, nothing changed."""
        with self._writer:
            collected = Collected(self._dim, self._next_pid)
            yield collected
            if collected.passages:
                self._store(collected.passages, collected.vectors(), replace)

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many went. Unknown ids are passed over."""
        with self._lock:
            pids = self._pids_of(set(document_ids))
            self._commit(pids)
            return len(pids)

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits. There is no first stage."""
        check_search(queries, k, self._dim)
        chunks = self._chunks  # never changed in place: later writes make another tuple
        keeps = [_admitted(chunk, filter) for chunk in chunks]
        pids = torch.cat(
            [torch.empty(0, dtype=torch.int64), *(c.pids[keep] for c, keep in zip(chunks, keeps, strict=True))]
        )
        parts = []
        for some in torch.split(queries, QUERIES_AT_ONCE):
            scores = [_score(some, chunk, keep) for chunk, keep in zip(chunks, keeps, strict=True)]
            parts.append(top_k(torch.cat([torch.empty(len(some), 0, device=self._device), *scores], 1), pids, k))
        return Hits(np.concatenate([part.pids for part in parts]), np.concatenate([part.scores for part in parts]))

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        with self._lock:
            return [_copy(self._passages[pid]) for pid in pids]

    def scroll(
        self, filter: Condition | None = None, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, as it was at the call, in batches, by growing pid."""
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, not {batch_size}.")
        return _scroll(self._chunks, filter, with_vectors, batch_size)

    def optimize(self, *, refit: bool = False) -> None:
        """Free the room of deleted passages."""
        with self._lock:
            self._chunks = _compacted(self._chunks)

    def close(self) -> None:
        """Release the memory; the index is empty afterwards. Closing twice is allowed."""
        with self._lock:
            self._clear()

    def _pids_of(self, document_ids: set[str] | tuple[()]) -> list[int]:
        return [pid for document_id in document_ids for pid in self._documents.get(document_id, ())]

    def _commit(self, gone: Sequence[int], chunk: _Chunk | None = None) -> None:
        """Forget those of the pids `gone` that are here, then store `chunk`. What may fail comes first."""
        removed = [self._passages[pid] for pid in set(gone) if pid in self._passages]
        added = chunk.passages if chunk else ()
        pids = torch.tensor([passage.pid for passage in removed])
        chunks = tuple(old.without(pids) for old in self._chunks) if removed else self._chunks
        chunks = _merged((*chunks, chunk)) if chunk else chunks
        if sum(len(c.pids) for c in chunks) > 2 * (len(self) - len(removed) + len(added)):
            chunks = _compacted(chunks)
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
        self._languages = +self._languages  # only what is left
        self._next_pid = max([self._next_pid, *(passage.pid + 1 for passage in added)])


def _copy(passage: Passage) -> Passage:
    """Return `passage` with metadata of its own, so that nobody can change what is stored."""
    return replace(passage, metadata=deepcopy(passage.metadata)) if passage.metadata else passage


def _admitted(chunk: _Chunk, filter: Condition | None) -> torch.Tensor:
    if filter is None:
        return chunk.alive
    pairs = zip(chunk.passages, chunk.alive.tolist(), strict=True)
    return torch.tensor([alive and matches(filter, passage) for passage, alive in pairs], dtype=torch.bool)


def _score(queries: torch.Tensor, chunk: _Chunk, keep: torch.Tensor) -> torch.Tensor:
    """Return the scores (Q, kept) of the passages that `keep` marks."""
    if 2 * int(keep.sum()) < len(keep):  # copying a few is cheaper than scoring many
        chunk = chunk.kept(keep)
        return maxsim(queries, chunk.vectors, chunk.lengths)
    return maxsim(queries, chunk.vectors, chunk.lengths)[:, keep.to(chunk.vectors.device)]


def _compacted(chunks: tuple[_Chunk, ...]) -> tuple[_Chunk, ...]:
    return _joined(tuple(chunk.kept(chunk.alive) for chunk in chunks if chunk.alive.any()))


def _merged(chunks: tuple[_Chunk, ...]) -> tuple[_Chunk, ...]:
    """Join the last chunks until each is more than twice its successor.

    So there are at most log2(T) chunks however small the additions are, and a vector is copied at most that often.
    """
    first = len(chunks) - 1
    tokens = len(chunks[first].vectors)
    while first > 0 and len(chunks[first - 1].vectors) <= 2 * tokens:
        first -= 1
        tokens += len(chunks[first].vectors)
    return chunks[:first] + _joined(chunks[first:])


def _joined(chunks: tuple[_Chunk, ...]) -> tuple[_Chunk, ...]:
    """Return one chunk of all, or none of none."""
    if len(chunks) < 2:
        return chunks
    passages = tuple(passage for chunk in chunks for passage in chunk.passages)
    columns = zip(*((chunk.pids, chunk.vectors, chunk.lengths, chunk.alive) for chunk in chunks), strict=True)
    return (_Chunk(passages, *(torch.cat(column) for column in columns)),)


def _scroll(
    chunks: tuple[_Chunk, ...], filter: Condition | None, with_vectors: bool, batch_size: int
) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
    blocks = [torch.split(chunk.vectors, chunk.lengths.tolist()) for chunk in chunks]
    found = sorted(
        (int(chunk.pids[i]), c, int(i))
        for c, chunk in enumerate(chunks)
        for i in _admitted(chunk, filter).nonzero().squeeze(1)
    )
    for start in range(0, len(found), batch_size):
        batch = found[start : start + batch_size]
        passages = [_copy(chunks[c].passages[i]) for _, c, i in batch]
        if not with_vectors:
            yield passages, None
            continue
        vectors = [blocks[c][i] for _, c, i in batch]
        yield passages, TokenVectors(torch.cat(vectors), torch.tensor([len(v) for v in vectors]))
