"""Building an index from nothing: in a database of its own, which takes the place of the index once it is complete."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ...errors import StorageError
from ...types import Passage, TokenVectors
from ..lexical import PieceCounts
from . import passages as rows
from .database import Database, execute_script
from .folder import BUILD_DATABASE
from .merge import codebook_is_due, refit
from .reader import LocalReader
from .segment_writer import SegmentWriter
from .snapshot import Snapshot
from .state import State, write_state
from .writer import LocalWriter

logger = logging.getLogger(__name__)

SAVE_SECONDS = 10.0  # what a build loses at the most if its process is killed, beside the batch in hand


class LocalBuild(LocalWriter):
    """An index under way, which nobody sees. From time to time it commits to a database of its own.

    Implements `ragatouille_xm.index.base.IndexBuild`. Made by `ragatouille_xm.index.local.index.LocalIndex.build`.

    Parameters
    ----------
    folder : Path
    connection : sqlite3.Connection
        To the database of the build, in a write transaction.
    saved : State
        What was committed last.

    Raises
    ------
    IndexDamagedError, ValueError
        If the files of the segment that grows hold less than was committed.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, saved: State) -> None:
        self._written = self._progress = saved
        found = Snapshot.load(folder, connection, saved.finished, None)
        super().__init__(folder, connection, found, replace=saved.passages > 0)
        if self._replace:
            execute_script(connection, rows.DOCUMENT_INDEX)
        for segment in saved.growing:
            self._growing = SegmentWriter(folder, segment.name, saved)
            self._growing.recover(segment)
            self._changed = True
        self._saved_at = time.monotonic()

    def __len__(self) -> int:
        """Return the number of passages."""
        return int(self._connection.execute("SELECT count(*) FROM passage").fetchone()[0])

    @property
    def first_pid(self) -> int:
        """The first pid of the new index."""
        return self._before.meta.first_pid

    def passages_of(self, document_ids: Sequence[str]) -> list[Passage]:
        """Return the passages of the documents, by growing pid. Unknown ids are ignored."""
        return rows.passages_of(self._connection, document_ids) if self._replace else []

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, each once."""
        for (document_id,) in self._connection.execute("SELECT DISTINCT document_id FROM passage").fetchall():
            yield document_id

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, pieces: PieceCounts | None = None) -> None:
        """Store documents, replacing those of them that are here.

        Raises
        ------
        InputError
            If they cannot be stored.
        StorageError
            If writing fails.
        """
        with self._all_or_nothing():
            super().add(passages, vectors, pieces)
            self._note_progress()
        if time.monotonic() > self._saved_at + SAVE_SECONDS:
            self._save()

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many were removed. Unknown ids are ignored."""
        with self._all_or_nothing():
            deleted = super().delete(document_ids)
            self._note_progress()
        return deleted

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Undo in the database what fails halfway: `keep` commits what was done before."""
        written, progress = self._written, self._progress
        self._connection.execute("SAVEPOINT step")
        try:
            yield
        except BaseException:
            self._written, self._progress = written, progress
            if self._connection.in_transaction:  # a full disk may have ended it
                self._connection.execute("ROLLBACK TO step")
            raise
        self._connection.execute("RELEASE step")

    def _note_progress(self) -> None:
        self._progress = self._state([self._growing.unfinished] if self._growing else [])

    def _save(self) -> None:
        """Commit what is stored, so that it outlives this process."""
        if self._growing is not None:
            self._growing.flush()
        self._write(self._progress)
        self._saved_at = time.monotonic()

    def _write(self, state: State) -> None:
        self._put(state)
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN IMMEDIATE")

    def _put(self, state: State) -> None:
        with self._all_or_nothing():
            write_state(self._connection, state, self._written)
            self._written = self._progress = state

    def _settle(self) -> None:
        """Finish the segment that grows, and go on from there."""
        self._check_whole()
        self._note_progress()
        self._save()
        grown = self._finish_segment()
        self._write(self._state([grown] if grown else []))
        self._begin(Snapshot.load(self._folder, self._connection, self._written, self._snapshot))

    def reader(self) -> LocalReader:
        """Return what is stored so far, to be searched and read. The caller closes it."""
        self._settle()
        return LocalReader(self._folder, Database(self._folder / BUILD_DATABASE))

    def finish(self) -> None:
        """Bring the index into its final form, with a codebook if it is large."""
        self._settle()
        execute_script(self._connection, rows.INDEXES)
        if codebook_is_due(self._written):
            self._write(refit(self._folder, self._snapshot))
        self._write(replace(self._written, complete=True))

    def keep(self) -> None:
        """Commit what was stored before a failure, as far as that is possible."""
        with suppress(StorageError, sqlite3.Error):
            if self._connection.in_transaction:
                if self._growing is not None:
                    self._growing.flush()
                self._put(self._progress)
                self._connection.execute("COMMIT")
