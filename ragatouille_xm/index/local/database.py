"""The SQLite file of an index: connections, transactions, and failures in our own words.

Write-ahead logging lets any number of processes read while one writes, and each transaction reads one state of the
index. A folder that cannot be written to is read without touching it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

from ...errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    PassageIndexError,
    StorageError,
)
from .folder import WAY_OUT
from .network import is_on_network

T = TypeVar("T")

APPLICATION_ID, FORMAT_VERSION = 0x52584D49, 1  # "RXMI"
WAL_PAGES = 256  # 1 MiB: the log is copied into the database from this size on
LOG_BYTES = 2**20  # that stay of it afterwards
BUSY_MS = 10_000  # wait so long for another process's checkpoint
IDLE_CONNECTIONS = 16
READ_ATTEMPTS = 20

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Raise what SQLite says of the database at `path` as an error of our own. Lack of memory stays a `MemoryError`."""
    try:
        yield
    except UnicodeDecodeError as error:  # of a message of SQLite's that quotes noise
        raise damaged(path, error) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _LOCKED:
            raise IndexLockedError(f"{str(path)!r} is in use by another process: {error}. Try again.") from error
        if code in _CORRUPT:
            raise damaged(path, error) from error
        raise StorageError(
            f"{str(path)!r} cannot be read or written: {error}. The index is as it was. Free some disk space, or check "
            "the permissions, and try again."
        ) from error


def damaged(path: Path, what: object) -> IndexDamagedError:
    """Return the error for a file of an index that does not hold what it should."""
    return IndexDamagedError(f"{str(path)!r} is damaged: {what}. {WAY_OUT}")


class _Connection(sqlite3.Connection):
    """A connection that knows which file it has open, and the files as it found them if it takes no locks."""

    file: tuple[int, int] = (0, 0)
    files: tuple[object, ...] | None = None


class Database:
    """Connections to one SQLite file. Reading is safe from many threads; one at a time may write.

    Parameters
    ----------
    path : Path
        Of a database made by `create_database`.

    Raises
    ------
    IndexNotFoundError
        If there is no such file.
    IndexDamagedError, IndexFormatError
        If it is not a database of ours, or one of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False
        self._inherited: list[object] = []
        self._start()
        self.read(self._check)

    def _start(self) -> None:
        self._process = os.getpid()
        self._idle: deque[_Connection] = deque()
        self._writer: _Connection | None = None

    def _check(self, connection: sqlite3.Connection) -> None:
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise damaged(self.path, "it is a database of another program, or empty")
        if version != FORMAT_VERSION:
            raise IndexFormatError(
                f"The index at {str(self.path.parent)!r} has format version {version}; this version of ragatouille-xm "
                f"reads {FORMAT_VERSION}. Upgrade it: pip install -U ragatouille-xm"
            )

    # ---- reading

    def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `function` reads in one transaction, that is, of one state of the index."""
        for _ in range(READ_ATTEMPTS):
            connection = self._borrow()
            keep = False
            try:
                with database_errors(self.path):
                    connection.execute("BEGIN")
                    found = function(connection)
                    connection.execute("ROLLBACK")
                    keep = True
            except (PassageIndexError, sqlite3.Error):
                if not self._has_changed(connection):
                    raise
                continue
            finally:
                keep = keep and not self._has_changed(connection)
                if keep:
                    self._give_back(connection)
                else:
                    connection.close()
            if keep:
                return found
        raise IndexLockedError(f"{str(self.path)!r} keeps changing while it is read. Try again.")

    def reading(self) -> AbstractContextManager[None]:
        """Return a context without effect: looking for the newest commit costs next to nothing here."""
        return nullcontext()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that reads one state of the index, however long that takes."""
        connection = self._borrow()
        try:
            with database_errors(self.path):
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM state").fetchone()  # a transaction begins with its first read
                yield connection
        finally:
            connection.close()

    def _has_changed(self, connection: _Connection) -> bool:
        """Return whether the files have changed under a connection that takes no locks."""
        return connection.files is not None and connection.files != self._files()

    def _files(self) -> tuple[object, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return status.st_ino, status.st_mtime_ns, status.st_size, self._log_bytes() > 0

    def _log_bytes(self) -> int:
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return 0

    def _borrow(self) -> _Connection:
        self._check_usable()
        file = self._file()
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                connection = self._idle.pop()
                if connection.file == file:
                    return connection
                connection.close()  # the folder was removed and made again
        return self._connect()

    def _file(self) -> tuple[int, int]:
        """Return what tells the database file from any other."""
        try:
            status = self.path.lstat()
        except OSError as error:
            raise IndexNotFoundError(f"The index at {str(self.path.parent)!r} is no longer there: {error}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise damaged(self.path, "it is a link, or no regular file")
        return status.st_dev, status.st_ino

    def _give_back(self, connection: _Connection) -> None:
        if self._closed or len(self._idle) >= IDLE_CONNECTIONS:
            connection.close()
        else:
            self._idle.append(connection)

    def _connect(self) -> _Connection:
        file, files = self._file(), None
        if os.access(self.path.parent, os.W_OK) and os.access(self.path, os.W_OK):
            mode = "mode=rw"
        elif self._log_bytes():  # somebody has it open, or was killed: its log counts
            mode = "mode=ro"
        else:
            mode, files = "mode=ro&immutable=1", self._files()
        with database_errors(self.path):
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?{mode}",
                timeout=BUSY_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection,
                uri=True,
            )
            connection.file, connection.files = file, files
            connection.execute("PRAGMA query_only = 1")
            return connection

    # ---- writing

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Begin a write transaction: durable once the context has ended, or nothing changed.

        The caller holds the folder's write lock. It may commit earlier by itself and begin again.
        """
        self._check_usable()
        with database_errors(self.path):
            connection, self._writer = self._writer, None  # one that fails is not used again
            if connection is None or connection.file != self._file():
                connection = self._connect()
                prepare_for_writing(connection)
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.rollback()  # closing does not, while the error holds on to a cursor
                with suppress(sqlite3.Error):
                    connection.close()
                raise
            self._writer = connection

    # ---- life

    def _check_usable(self) -> None:
        if self._closed:
            raise PassageIndexError(f"The index at {str(self.path.parent)!r} was closed. Open it again.")
        if self._process != os.getpid():  # a connection must not be used, nor closed, in a forked process
            self._inherited += [*self._idle, self._writer]
            self._start()

    def close(self) -> None:
        """Close all connections. Closing twice is allowed."""
        self._closed = True
        if self._process != os.getpid():
            self._inherited += [*self._idle, self._writer]
            return
        while self._idle:
            self._idle.pop().close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class PinnedDatabase(Database):
    """A database as one transaction reads it, for one thread, whatever is committed meanwhile.

    Parameters
    ----------
    path : Path
    connection : sqlite3.Connection
        Of `Database.snapshot`, which closes it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `function` reads."""
        with database_errors(self.path):
            return function(self._connection)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection."""
        with database_errors(self.path):
            yield self._connection

    def close(self) -> None:
        """Leave the connection to its owner."""


def create_database(path: Path, schema: str, fill: Callable[[sqlite3.Connection], object]) -> None:
    """Make a database where there is none, with what `fill` writes into it, in one transaction.

    On a network file system it keeps a rollback journal in place of the write-ahead log, which needs shared memory: one
    who commits waits for those who read.
    """
    with database_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=_Connection)
        connection.execute(f"PRAGMA journal_mode = {'TRUNCATE' if is_on_network(path) else 'WAL'}")
        prepare_for_writing(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        execute_script(connection, schema)
        fill(connection)
        connection.execute("COMMIT")
    connection.close()


def execute_script(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements in the transaction under way, which `sqlite3.Connection.executescript` would commit."""
    for statement in script.split(";"):
        connection.execute(statement)


def prepare_for_writing(connection: sqlite3.Connection) -> None:
    """Have commits last, and the log stay small."""
    connection.execute("PRAGMA query_only = 0")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
