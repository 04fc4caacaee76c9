"""A replica: an ordinary index folder in the cache that has what an index in PostgreSQL has."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psycopg
from filelock import FileLock, Timeout

from ...errors import DatabaseError, IndexDamagedError, IndexLockedError, PassageIndexError
from ..files import storage_errors
from ..local.database import Database, create_database
from ..local.folder import DATABASE, LOCK
from ..local.index import LocalIndex
from ..local.install import SCHEMA, clean, remove_database
from .cache import make_room, note_use, replica_folder
from .publish import REPLICA_TABLE, Changes, Position, publish, read_position, write_position
from .pull import pull, removed
from .schema import Connection
from .server import PostgresServer

T = TypeVar("T")

logger = logging.getLogger(__name__)

REPLICA_LOCK = "replica.lock"
WAIT = 600.0  # seconds, for another process of this machine that fetches what this one wants too
OUTCOME_PATIENCE = 60.0  # seconds, for a server to notice that a connection has gone
NEWEST = "SELECT serial, token FROM ragatouille_xm.state WHERE id = %s AND content IS NOT NULL"


def open_replica(server: PostgresServer, name: str) -> LocalIndex:
    """Open an index of a server: its replica, which every call brings up to date."""
    database, index = server.find(name)
    folder = replica_folder(database, index)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        opened = LocalIndex(folder, ReplicaDatabase(server, index, folder))
    except IndexDamagedError:  # here or there
        logger.warning("the replica at %s is damaged, and fetched again", folder)
        remove_replica(folder)
        opened = LocalIndex(folder, ReplicaDatabase(server, index, folder))
    make_room(folder)
    return opened


def remove_replica(folder: Path) -> None:
    """Remove what a replica holds. Nothing is lost."""
    with replica_lock(folder):
        remove_database(folder / DATABASE)


@contextmanager
def replica_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from changing a replica.

    Raises
    ------
    IndexLockedError
        If one of them keeps doing so.
    """
    lock = FileLock(folder / REPLICA_LOCK, timeout=WAIT)
    with storage_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(poll_interval=0.005)
        except Timeout as error:
            raise IndexLockedError(
                f"The replica at {str(folder)!r} is being written to by another process, and is not up to date."
            ) from error
    try:
        yield
    finally:
        lock.release()


class ReplicaDatabase(Database):
    """The database of a replica. Whoever reads it reads the newest commit of the server; who writes writes there first.

    Parameters
    ----------
    server : PostgresServer
    index : int
        Its id there.
    folder : Path
        Of the replica.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError, DatabaseError
        If it cannot be read.
    """

    def __init__(self, server: PostgresServer, index: int, folder: Path) -> None:
        self.server = server
        self.index = index
        super().__init__(folder / DATABASE)

    def _start(self) -> None:
        super()._start()
        self._changing = threading.RLock()
        self._writer_thread: int | None = None
        self._this_thread = threading.local()
        self._has: Position | None = None  # as far as this object knows
        self._used = -60.0

    # ---- reading

    def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `function` reads of the newest commit."""
        self.refresh()
        return super().read(function)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Ask for the newest commit now, and not again for what this thread reads in the context."""
        self.refresh()
        outer, self._this_thread.has_asked = self._has_asked, True
        try:
            yield
        finally:
            self._this_thread.has_asked = outer

    @property
    def _has_asked(self) -> bool:
        return getattr(self._this_thread, "has_asked", False)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that reads the newest commit, however long that takes."""
        self.refresh()
        with super().snapshot() as connection:
            yield connection

    def refresh(self) -> None:
        """Fetch what the server has and the replica has not.

        Raises
        ------
        IndexNotFoundError, IndexDamagedError, IndexLockedError, StorageError, DatabaseError
            If that is not possible. Nothing older is read in its place.
        """
        self._check_usable()
        if self._writer_thread == threading.get_ident():  # it reads what it builds upon
            return
        if self._has_asked and self.path.exists():
            return
        newest = self.server.ask(NEWEST, [self.index])
        if newest is None:
            raise removed()
        if newest != self._has or not self.path.exists():
            with self._changing, replica_lock(self.path.parent):
                if newest != self._has or not self.path.exists():
                    with self.server.session() as session:
                        self._catch_up(session)
        if time.monotonic() - self._used > 60:
            self._used = time.monotonic()
            note_use(self.path.parent)

    def _catch_up(self, session: Connection) -> None:
        """Bring the replica, which nobody else changes meanwhile, to the newest commit."""
        if not self.path.exists():
            remove_database(self.path)
            create_database(self.path, f"{SCHEMA};{REPLICA_TABLE}", lambda _: None)
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with super().transaction() as sqlite:
            state = pull(session, self.index, sqlite, self.path.parent)
            has = read_position(sqlite)
        session.execute("COMMIT")
        self._has = has
        with suppress(Timeout, OSError, PassageIndexError), FileLock(self.path.parent / LOCK, timeout=0):
            clean(self.path.parent, state)  # unless a build writes files that nothing names yet

    # ---- writing

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Begin a write transaction: once the context has ended the server has it, or nothing changed.

        Raises
        ------
        IndexLockedError
            If somebody else is writing.
        DatabaseError
            If the server cannot be reached, refuses, or fails.
        """
        self._check_usable()
        published: Position | None = None
        with self._changing, replica_lock(self.path.parent), self.server.writing(self.index) as session:
            self._catch_up(session)
            base = self._has
            self._writer_thread = threading.get_ident()
            try:
                with super().transaction() as sqlite:
                    changes = Changes(sqlite)
                    yield sqlite
                    if changes.are_there() and base is not None:
                        position = publish(session, self.index, sqlite, self.path.parent, base, changes)
                        changes.forget()
                        write_position(sqlite, position)
                        commit(self.server, session, self.index, position)
                        published = position
                    else:
                        changes.forget()
                self._has = published or base
            except PassageIndexError as error:
                if published is None:
                    raise
                logger.warning("the commit is in %s, and not in the replica here yet: %s", self.server.url, error)
            finally:
                self._writer_thread = None


def commit(server: PostgresServer, session: Connection, index: int, position: Position) -> None:
    """End the transaction of a session for good; if the connection breaks meanwhile, find out what has become of it.

    Raises
    ------
    DatabaseError
        If it was not stored, or if the server does not say whether it was.
    """
    try:
        session.execute("COMMIT")
    except psycopg.Error as error:
        session.close()
        if not _was_committed(server, index, position):
            raise DatabaseError(
                f"{server.url} broke off before the change was stored. The index is as it was; try again."
            ) from error


def _was_committed(server: PostgresServer, index: int, position: Position) -> bool:
    """Return whether a commit is there. Who has the right to write knows that it will not come later."""
    try:
        with server.writing(index, OUTCOME_PATIENCE) as session:
            sql = "SELECT 1 FROM ragatouille_xm.change WHERE id = %s AND serial = %s AND token = %s"
            return session.execute(sql, [index, *position]).fetchone() is not None
    except PassageIndexError as error:
        raise DatabaseError(
            f"{server.url} broke off while the change was being stored, and does not say whether it was: {error} "
            "Look whether it is there before you repeat it."
        ) from error
