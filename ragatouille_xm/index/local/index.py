"""The index in a folder: searched by any number of processes, written by one at a time."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import STORAGES
from ...errors import IndexLockedError, IndexNotFoundError, InputError, PassageIndexError
from ...types import Calibration, Passage, TokenVectors
from ..files import storage_errors
from ..lexical import PieceCounts
from ..meta import check_smaller, new_meta
from .build import LocalBuild
from .database import Database
from .folder import DATABASE
from .install import building, clean, describe_missing, install, next_pid
from .lock import remove_lock, write_lock
from .merge import codebook_is_due, convert, find_merge, has_changed, merge_segments, refit
from .reader import LocalReader
from .snapshot import Snapshot
from .state import State, read_state, write_state
from .writer import LocalWriter

logger = logging.getLogger(__name__)


class LocalIndex(LocalReader):
    """Passages in a folder: a SQLite database, and flat files for token vectors and postings.

    Implements `ragatouille_xm.index.base.PassageIndex`. Make one with `open`, `create` or `build`. Any number of
    processes and threads may search; each call sees the newest commit. One at a time may write; each call is a commit
    of its own: durable when it returns, and nothing of it is there if it fails or its process dies.
    ``docs/index_format.md`` describes the files.

    Parameters
    ----------
    path : Path
        Folder of an index.
    database : Database, optional
        Its database; by default the file in the folder.

    Examples
    --------
    >>> import tempfile, torch
    >>> folder = tempfile.mkdtemp()
    >>> index = LocalIndex.create(folder, dim=2, checkpoint="demo", fingerprint="0", settings={})
    >>> vectors = TokenVectors(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([2, 1]))
    >>> index.add([Passage(0, "a", "one two", "en"), Passage(1, "b", "three", "en")], vectors)
    >>> LocalIndex.open(folder).search(torch.tensor([[[0.0, 1.0]]]), k=1).pids.tolist()
    [[1]]
    """

    _in_transaction: bool

    def __init__(self, path: Path, database: Database | None = None) -> None:
        super().__init__(path, database or Database(path / DATABASE))

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Return whether there is an index at `path`, whole or not."""
        return os.path.lexists(Path(path) / DATABASE)

    @classmethod
    def open(cls, path: str | Path) -> LocalIndex:
        """Open an index, for searching and for writing.

        Raises
        ------
        IndexNotFoundError
            If there is none at `path`; the message says so if there is a build that has not come to its end.
        IndexDamagedError
            If a file of it is missing or damaged.
        IndexFormatError
            If a newer version wrote it.
        """
        folder = Path(path).absolute()
        if not cls.exists(folder):
            raise IndexNotFoundError(describe_missing(folder))
        return cls(folder)

    @classmethod
    def create(cls, path: str | Path, **description: Any) -> LocalIndex:
        """Make an empty index, where there is none, and open it. Parameters as for `build`.

        Raises
        ------
        InputError
            If there is one already.
        """
        if cls.exists(path):
            raise InputError(f"There is an index at {str(path)!r} already. Open it, or replace it with build().")
        with cls.build(path, **description):
            pass
        return cls.open(path)

    @classmethod
    @contextmanager
    def build(
        cls,
        path: str | Path,
        *,
        dim: int,
        checkpoint: str,
        fingerprint: str,
        settings: Mapping[str, Any],
        storage: str = STORAGES[0],
        lexical: bool = False,
        resume: bool = False,
        keep: bool = True,
    ) -> Iterator[LocalBuild]:
        """Build an index from nothing, in the place of the one that may be at `path`.

        The new one is there as a whole once the context ends; until then, and if it ends with an exception, the old
        one serves on. Nobody else can write meanwhile.

        Parameters
        ----------
        path : str or Path
        dim : int
            Width of a token vector.
        checkpoint : str
            Name of the checkpoint that fills the index.
        fingerprint : str
            Hash of its weights.
        settings : mapping
            JSON values to keep with the index.
        storage : str
            How token vectors are stored: ``"int16"``, ``"int8"`` in about half the space, or ``"int4"`` in a quarter.
        lexical : bool
            Keep the pieces of the passages, which are given with them, for `search_hybrid`.
        resume : bool
            Go on with a build of the same checkpoint and settings that was broken off.
        keep : bool
            Keep what is stored if the build fails, for another one with `resume`.

        Yields
        ------
        LocalBuild
            To be filled.

        Raises
        ------
        InputError
            If the build to resume is of another checkpoint or has other settings.
        IndexLockedError
            If somebody is writing to the index at `path`.
        StorageError
            If it cannot be written.
        """
        folder = Path(path).absolute()
        meta = new_meta(dim, checkpoint, fingerprint, settings, storage, lexical)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with write_lock(folder):
                first = next_pid(folder)
                wanted = State(replace(meta, first_pid=first, next_pid=first), complete=False)
                try:
                    with building(folder, wanted, resume=resume, keep=keep, install=install) as build:
                        yield build
                finally:
                    remove_lock(folder)
        finally:
            with suppress(OSError):
                folder.rmdir()  # of a failed first build; any other folder is not empty

    # ---- writing

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, Snapshot]]:
        """Hold the right to write; yield the snapshot to build upon. What a failure leaves behind is removed."""
        self._check_process()
        with self._writing:
            if self._in_transaction:
                raise IndexLockedError(f"The index at {str(self.folder)!r} is being written to by this thread already.")
            self._in_transaction = True
            try:
                with write_lock(self.folder):
                    try:
                        with self._database.transaction() as connection:
                            state = read_state(connection)
                            clean(self.folder, state)
                            # The number of the next pid changes without a new generation.
                            yield connection, replace(self._load(connection, state.meta.state), state=state)
                    finally:
                        with suppress(PassageIndexError):
                            clean(self.folder, self._database.read(read_state))
            finally:
                self._in_transaction = False

    def _start(self) -> None:
        super()._start()
        self._writing, self._in_transaction = threading.RLock(), False

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[LocalWriter]:
        """Begin a write transaction, which commits when its context ends; if that fails, nothing changed.

        Nobody else can write meanwhile.

        Parameters
        ----------
        replace : bool
            Every addition replaces the documents it is given.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        StorageError
            If writing fails.
        """
        with self._transaction() as (connection, snapshot):
            writer = LocalWriter(self.folder, connection, snapshot, replace=replace)
            try:
                yield writer
                writer.commit()
            except BaseException:
                writer.discard()
                raise

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again.

        Raises
        ------
        IndexLockedError, StorageError
            As for `writer`.
        """
        with self.writer() as writer:
            return writer.reserve(n)

    def add(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, the rest of their documents is removed.

        All of it in one commit: durable on return, or nothing changed.

        Raises
        ------
        InputError
            If they cannot be stored.
        IndexLockedError, StorageError
            As for `writer`.
        """
        with self.writer(replace=replace) as writer:
            writer.add(passages, vectors, pieces)

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many were removed. Unknown ids are ignored.

        Raises
        ------
        IndexLockedError, StorageError
            As for `writer`.
        """
        with self.writer() as writer:
            return writer.delete(document_ids)

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration with the index. What a search finds does not change.

        Raises
        ------
        IndexLockedError, StorageError
            As for `writer`.
        """
        with self._transaction() as (connection, snapshot):
            before = snapshot.state
            calibrated = replace(before, meta=replace(before.meta, calibration=calibration))
            write_state(connection, calibrated.committed(), before)

    # ---- keeping it fast

    def optimize(self, *, refit: bool = False) -> None:
        """Merge small segments, drop deleted passages from the disk, and fit the codebook to what the index has become.

        Does only what has become due; while another process is writing, nothing. With `refit`, an index that has
        changed since its codebook was fitted becomes one segment with a new one. Searches go on meanwhile, and if the
        process dies the index is as it was.

        Raises
        ------
        IndexLockedError
            With `refit`, if another process is writing.
        StorageError
            If writing fails; what the index finds has not changed.
        """
        try:
            self._merge(everything=refit and has_changed(self.state))
            if codebook_is_due(self.state) or (refit and has_changed(self.state) and self.state.codebook):
                self._refit()
        except IndexLockedError:
            if refit:
                raise
            logger.info("%s is being written to: not optimized now", self.folder)

    def convert(self, storage: str) -> None:
        """Store the token vectors in a smaller form, in one commit; nothing is encoded again. Searches go on meanwhile.

        Raises
        ------
        InputError
            If there is no such storage, or it is larger than the present one: what rounding took is lost.
        IndexLockedError
            If another process is writing.
        StorageError
            If writing fails; the index has not changed.
        """
        with self._transaction() as (connection, snapshot):
            if check_smaller(snapshot.state.meta.storage, storage):
                write_state(connection, convert(self.folder, connection, snapshot, storage), snapshot.state)

    def _merge(self, *, everything: bool) -> None:
        def due(state: State) -> list[Any]:
            several = len(state.segments) > 1 or any(segment.deleted for segment in state.segments)
            return list(state.segments) if everything and several else find_merge(state.segments)

        if due(self.state):
            with self._transaction() as (connection, snapshot):
                if chosen := due(snapshot.state):
                    write_state(connection, merge_segments(self.folder, snapshot, chosen), snapshot.state)

    def _refit(self) -> None:
        with self._transaction() as (connection, snapshot):
            if snapshot.passages:
                write_state(connection, refit(self.folder, snapshot), snapshot.state)

    def close(self) -> None:
        """Release files and memory. Closing twice is allowed."""
        self._check_process()
        with self._writing:
            super().close()
