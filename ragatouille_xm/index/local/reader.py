"""The reading half of the index in a folder."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ...config import SearchConfig
from ...corpus.fields import Field
from ...corpus.filters import Condition
from ...errors import IndexDamagedError
from ...types import Hits, Passage, TokenVectors
from ..hits import query_rows, to_hits
from ..lexical import NOTHING, HybridHits, PieceCounts, listed, to_hybrid_hits
from ..meta import Described, IndexMeta
from ..quantization.codebook import Codebook
from ..validation import check_batch_size, check_hybrid, check_search
from .database import Database, PinnedDatabase
from .filters import Pids
from .folder import WAY_OUT
from .gpu import GpuCache, search_device
from .hybrid import HybridSearch
from .passages import count_languages, fetch_passages, field_summaries, known_documents, pids_around
from .search import Search
from .snapshot import Snapshot
from .state import State, read_state, read_version

T = TypeVar("T")

LOAD_ATTEMPTS = 20  # while merges remove the files of the state that is being loaded


class LocalReader(Described):
    """Searches an index in a folder. Safe to use from many threads; each call reads the newest commit.

    Parameters
    ----------
    folder : Path
    database : Database
        Of that folder.
    snapshot : Snapshot, optional
        What is loaded of it already.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index.
    """

    def __init__(self, folder: Path, database: Database, snapshot: Snapshot | None = None) -> None:
        self.folder = folder
        self._database = database
        self._gpu: GpuCache | None = None
        self._start()
        self._snapshot: Snapshot | None = snapshot
        self._dim = self.state.meta.dim

    def _start(self) -> None:
        """Begin with nothing loaded, and with locks that nobody holds."""
        self._process = os.getpid()
        self._snapshot = None
        self._languages: tuple[tuple[str, int], dict[str, int]] | None = None
        self._loader = threading.Lock()

    def _check_process(self) -> None:
        """Begin anew in a forked process: a lock may have been held, and maps are shared."""
        if self._process != os.getpid():
            self._start()
            if self._gpu is not None:
                self._gpu = GpuCache(self._gpu.device)

    # ---- what there is

    @property
    def state(self) -> State:
        """What counts now."""
        return self._read(lambda _, snapshot: snapshot.state)

    @property
    def meta(self) -> IndexMeta:
        """What the index says of itself."""
        return self.state.meta

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self._dim

    def __len__(self) -> int:
        return self.state.passages

    def languages(self) -> dict[str, int]:
        """Return the number of passages of each language, most frequent first, ties by code."""

        def read(connection: sqlite3.Connection, snapshot: Snapshot) -> dict[str, int]:
            version = snapshot.state.meta.state
            if self._languages is None or self._languages[0] != version:
                self._languages = version, count_languages(connection)
            return dict(self._languages[1])

        return self._read(read)

    def fields(self) -> list[Field]:
        """Return the metadata fields and what they hold, by name."""
        return self._database.read(field_summaries)

    def codebook(self) -> tuple[Codebook, int] | None:
        """Return the codebook of the first stage and the number of token vectors it was fitted for, if there is one."""

        def read(_: sqlite3.Connection, snapshot: Snapshot) -> tuple[Codebook, int] | None:
            meta = snapshot.state.codebook
            return None if snapshot.codebook is None or meta is None else (snapshot.codebook, meta.tokens)

        return self._read(read)

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages."""
        return self._database.read(lambda connection: known_documents(connection, document_ids))

    # ---- loading

    def _read(self, function: Callable[[sqlite3.Connection, Snapshot], T]) -> T:
        """Return what `function` reads of the newest commit."""
        return self._load_and(
            lambda load: self._database.read(lambda connection: function(connection, load(connection)))
        )

    def _load_and(self, read: Callable[[Callable[[sqlite3.Connection], Snapshot]], T]) -> T:
        """Return what `read` makes of a function that loads a snapshot; again if a merge has removed its files."""
        self._check_process()
        for _ in range(LOAD_ATTEMPTS):
            seen: list[tuple[str, int]] = []

            def load(connection: sqlite3.Connection, seen: list[tuple[str, int]] = seen) -> Snapshot:
                seen.append(read_version(connection))
                return self._load(connection, seen[-1])

            try:
                return read(load)
            except IndexDamagedError as error:
                damage = error
                if not seen or self._database.read(read_version) == seen[-1]:
                    break
        raise damage

    def _load(self, connection: sqlite3.Connection, version: tuple[str, int]) -> Snapshot:
        """Return the snapshot of the version that a transaction reads, loading what is new in it."""
        snapshot = self._snapshot
        if snapshot is not None and snapshot.state.meta.state == version:
            return snapshot
        with self._loader:
            if self._snapshot is None or self._snapshot.state.meta.state != version:
                loaded = Snapshot.load(self.folder, connection, read_state(connection), self._snapshot)
                self._snapshot = loaded
                return loaded
            return self._snapshot

    # ---- searching and reading

    def reading(self) -> AbstractContextManager[None]:
        """Let the calls of this thread in the context be one reading: see `PassageIndex.reading`."""
        return self._database.reading()

    @contextmanager
    def pinned(self) -> Iterator[LocalReader]:
        """Yield a reader of what counts now, for one thread, whatever is committed meanwhile."""

        def begin(load: Callable[[sqlite3.Connection], Snapshot]) -> tuple[ExitStack, sqlite3.Connection, Snapshot]:
            with ExitStack() as stack:
                connection = stack.enter_context(self._database.snapshot())
                snapshot = load(connection)
                return stack.pop_all(), connection, snapshot

        stack, connection, snapshot = self._load_and(begin)
        with stack:
            yield LocalReader(self.folder, PinnedDatabase(self._database.path, connection), snapshot)

    def to_device(self, device: str | torch.device) -> None:
        """From now on, hold the token vectors in the memory of a device and score them there.

        They are loaded at the next search. A device that is not there, or has no room, is passed over with a warning.

        Raises
        ------
        InputError
            If there is no such kind of device.
        """
        self._gpu = GpuCache(search_device(device))

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits.

        Above 2,000 passages a first stage picks ``config.candidates_for(k, len(self))`` of them by their centroids, and
        MaxSim decides among these; ``config.exact`` scores everything. Scores are those of the vectors as they are
        stored, to about 1e-5 for each row of a query. On a device, everything is scored unless ``config.candidates`` is
        given, or ``config.fast``.

        Parameters
        ----------
        queries : torch.Tensor
            Shape ``(Q, q_len, dim)``; rows of zeros are padding and add nothing to a score.
        k : int
            At least 1. All passages come back where fewer qualify.

        Raises
        ------
        InputError
            If the shape or `k` does not fit.
        IndexDamagedError
            If the index is damaged.
        """
        check_search(queries, k, self._dim)

        def read(connection: sqlite3.Connection, snapshot: Snapshot) -> Hits:
            search = Search(snapshot, connection, k, filter, config)
            if self._gpu is not None and snapshot.passages:
                hits = self._gpu.search(search, snapshot, queries, k, config)
                if hits is not None:
                    return hits
            return to_hits(search.best(query_rows(queries)), k)

        return self._read(read)

    @property
    def lexical(self) -> bool:
        """Whether it has the pieces of its passages, for `search_hybrid`."""
        return self.meta.lexical

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
        """Return the best `k` passages by MaxSim and BM25 together: see `ragatouille_xm.index.lexical`.

        MaxSim is that of `search`, which names `listed(k)` candidates, and BM25 as many. Deleted passages count for
        nothing. On a device, the candidates of `search` are found without it.

        Parameters
        ----------
        queries, k, filter, config
            As for `search`.
        pieces : PieceCounts
            Of the texts of the queries.
        weight : float
            Of BM25, from 0 to 1; the rest is MaxSim's.

        Raises
        ------
        InputError
            If the index has no pieces, or something does not fit.
        IndexDamagedError
            If the index is damaged.
        """
        check_search(queries, k, self._dim)

        def read(connection: sqlite3.Connection, snapshot: Snapshot) -> HybridHits:
            check_hybrid(pieces, len(queries), weight, lexical=snapshot.state.meta.lexical)
            if not snapshot.passages:
                return to_hybrid_hits([NOTHING] * len(queries), k)
            n = listed(k)
            search = HybridSearch(Search(snapshot, connection, n, filter, config), n, snapshot, weight, k)
            return to_hybrid_hits(search.best(query_rows(queries), pieces), k)

        return self._read(read)

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""

        def read(connection: sqlite3.Connection, snapshot: Snapshot) -> dict[int, Passage]:
            found = fetch_passages(connection, pids)
            lost = np.intersect1d([pid for pid in pids if pid not in found], snapshot.pids())
            if len(lost):
                raise _missing_text(int(lost[0]))
            return found

        found = self._database.read(lambda connection: fetch_passages(connection, pids))
        if any(pid not in found for pid in pids):
            found = self._read(read)
        return [found[pid] for pid in pids]

    def vectors(self, pids: Sequence[int]) -> TokenVectors:
        """Return the token vectors of `pids` as they are stored, in that order. Raise `KeyError` as `fetch` does."""
        return self._read(lambda _, snapshot: _vectors_of(snapshot, np.asarray(pids, np.int64)))

    def around(self, pids: Sequence[int], n: int) -> dict[int, list[Passage]]:
        """Return, for each of `pids` that is here, the passages of its document from `n` before to `n` after it."""

        def read(connection: sqlite3.Connection) -> dict[int, list[Passage]]:
            near = {pid: pids_around(connection, pid, n) for pid in set(pids)}
            found = fetch_passages(connection, sorted({each for some in near.values() for each in some}))
            return {pid: [found[each] for each in some] for pid, some in near.items() if some}

        return self._database.read(read)

    def scroll(
        self, filter: Condition | None = None, *, with_vectors: bool = False, batch_size: int = 256
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, as it was at the call, in batches, by growing pid.

        The vectors, float32, are those that are stored.

        Raises
        ------
        InputError
            If `batch_size` is less than 1.
        """
        check_batch_size(batch_size)

        def begin(
            load: Callable[[sqlite3.Connection], Snapshot],
        ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
            with ExitStack() as stack:
                connection = stack.enter_context(self._database.snapshot())
                snapshot = load(connection)
                pids = snapshot.pids(snapshot.masks(connection, filter))
                # The transaction ends with the last batch, or once nobody wants another one.
                return _batches(stack.pop_all(), connection, snapshot, pids, with_vectors, batch_size)

        return self._load_and(begin)

    def close(self) -> None:
        """Release files and memory. Closing twice is allowed."""
        self._check_process()
        self._database.close()
        self._snapshot = self._gpu = None


def _missing_text(pid: int) -> IndexDamagedError:
    return IndexDamagedError(f"The index has token vectors of passage {pid}, and no text. {WAY_OUT}")


def _batches(
    stack: ExitStack, connection: sqlite3.Connection, snapshot: Snapshot, pids: Pids, with_vectors: bool, size: int
) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
    with stack:
        for start in range(0, len(pids), size):
            batch = pids[start : start + size]
            found = fetch_passages(connection, batch.tolist())
            if len(found) < len(batch):
                missing = next(pid for pid in batch.tolist() if pid not in found)
                raise _missing_text(missing)
            passages = [found[pid] for pid in batch.tolist()]
            yield passages, _vectors_of(snapshot, batch) if with_vectors else None


def _vectors_of(snapshot: Snapshot, pids: Pids) -> TokenVectors:
    """Return the token vectors of passages, in the order of `pids`. Raise `KeyError` for one that is not live."""
    found: dict[int, torch.Tensor] = {}
    for view in snapshot.views:
        rows = view.segment.table.rows_of(pids)
        rows = rows if view.live is None else rows[view.live[rows]]
        blocks = iter(view.segment.vectors.vectors_of(rows))
        found |= zip(view.segment.table.pids[rows].tolist(), blocks, strict=True)
    return TokenVectors.of_blocks([found[pid] for pid in pids.tolist()], snapshot.state.meta.dim)
