"""Connections to PostgreSQL: kept, watched, under the right to write, and failing in our own words."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ...errors import DatabaseError, IndexLockedError, InputError
from ..local.lock import PATIENCE
from .schema import SCHEMA_LOCK, Connection

IDLE_CONNECTIONS = 16
LIVELY: dict[str, Any] = {  # notices within half a minute that the other side has gone, unless the address says other
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "ragatouille-xm",
    "client_encoding": "UTF8",
}
WATCHED = """
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 30000; SET idle_session_timeout = 0
"""  # the server does, too: the lock of a machine that is cut off ends
RIGHTS = "docs/guide/postgresql.md has the rights that readers and writers need"


class Connections:
    """Connections to one database. Safe to use from many threads, and in a forked process.

    Parameters
    ----------
    url : str

    Attributes
    ----------
    url : str
        Its address, without secrets.

    Raises
    ------
    InputError
        If `url` is no address of PostgreSQL's.
    """

    def __init__(self, url: str) -> None:
        try:
            given = conninfo_to_dict(url)
            if not all(port.isdecimal() for port in str(given.get("port") or 0).split(",")):
                raise psycopg.ProgrammingError  # libpq says so once it connects, and quotes it
        except psycopg.Error:
            raise InputError(
                "index_url= is not an address of PostgreSQL's: give postgresql://user@host/database, with %XX for "
                "special characters in a password."
            ) from None  # its message quotes parts of the address, which may be the password's
        self._parameters = LIVELY | given
        self.url = _shown(given)
        self._secrets = [str(given[name]) for name in ("password", "sslpassword") if given.get(name)]
        self._start()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _start(self) -> None:
        self._process = os.getpid()
        self._idle: deque[Connection] = deque()

    def ask(self, sql: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
        """Return the row that a query finds, over a connection that is kept; a broken one is replaced once."""
        self._check_process()
        with self.failures():
            while True:
                kept = self._borrow()
                connection = kept or self._connect()
                try:
                    found = connection.execute(sql, parameters).fetchone()
                except BaseException as error:
                    connection.close()
                    if kept is None or not isinstance(error, psycopg.OperationalError):
                        raise
                    continue  # the server was started again, maybe
                self._give_back(connection)
                return found

    def _borrow(self) -> Connection | None:
        with suppress(IndexError):
            return self._idle.pop()
        return None

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Lend a connection, in which each command is a transaction unless it says otherwise.

        Raises
        ------
        DatabaseError
            If the server cannot be reached, refuses, or fails.
        """
        self.ask("SELECT 1", [])  # of the connections that are kept, those that are broken go
        with self.failures():
            connection = self._borrow() or self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)

    @contextmanager
    def writing(self, index: int, patience: float = PATIENCE) -> Iterator[Connection]:
        """Lend a connection that holds the right to write to an index. The right ends with it, however it ends.

        Raises
        ------
        IndexLockedError
            If somebody else keeps it.
        DatabaseError
            If the server cannot be reached, refuses, or fails.
        """
        with self.session() as session:
            session.execute(WATCHED)
            give_up = time.monotonic() + patience
            while session.execute("SELECT pg_try_advisory_lock(%s, %s)", [SCHEMA_LOCK, index]).fetchone() != (True,):
                if time.monotonic() > give_up:
                    raise IndexLockedError(
                        f"The index at {self.url} is being written to by another process. It can be searched "
                        "meanwhile; write when the other is done."
                    )
                time.sleep(0.02)
            yield session
            try:
                session.execute("SELECT pg_advisory_unlock(%s, %s)", [SCHEMA_LOCK, index])
            except psycopg.Error:  # what was committed stays so
                session.close()

    def _connect(self) -> Connection:
        return psycopg.connect(**self._parameters, autocommit=True)

    def _give_back(self, connection: Connection) -> None:
        if connection.closed or len(self._idle) >= IDLE_CONNECTIONS:
            connection.close()
        else:
            self._idle.append(connection)

    def _check_process(self) -> None:
        if self._process != os.getpid():  # connections of the parent are left alone: psycopg does not close them here
            self._start()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise what psycopg says as an error of our own, in one sentence without secrets."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseError(f"{self.url} refuses: {self._reason(error)}; {RIGHTS}.") from None
        except psycopg.OperationalError as error:
            raise DatabaseError(
                f"{self.url} cannot be reached, or broke off: {self._reason(error)}. Check its address, user and "
                "password, and that it is running."
            ) from None
        except psycopg.Error as error:
            raise DatabaseError(f"{self.url} has failed: {self._reason(error)}.") from None

    def _reason(self, error: psycopg.Error) -> str:
        reason = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".?")
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        return reason

    def close(self) -> None:
        """Release connections. Closing twice is allowed; they open again when they are used."""
        self._check_process()
        while self._idle:
            self._idle.pop().close()


def _shown(given: dict[str, Any]) -> str:
    """Return the address without secrets."""
    host = given.get("host") or os.environ.get("PGHOST") or "localhost"
    port = given.get("port") or os.environ.get("PGPORT")
    hosts = str(host).split(",")
    ports = str(port).split(",") if port else []
    places = [f"{each}:{ports[min(i, len(ports) - 1)]}" if ports else each for i, each in enumerate(hosts)]
    database = given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user") or ""
    return f"postgresql://{','.join(places)}/{database}"
