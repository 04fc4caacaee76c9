"""A commit in PostgreSQL: what a transaction has changed in a folder's database, and its new files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from ...errors import IndexLockedError
from ...files import open_regular
from ..local.state import read_state
from .rows import COLUMNS, blocks_of, server_columns, to_server
from .schema import Connection

BLOCK = 2**20  # bytes of a file in a row
REPLICA_TABLE = """
CREATE TABLE IF NOT EXISTS replica (
    id INTEGER PRIMARY KEY CHECK (id = 1), serial INTEGER NOT NULL, token TEXT NOT NULL
)
"""


class Position(NamedTuple):
    """A commit of an index in a server.

    Attributes
    ----------
    serial : int
        Grows by 1 with each.
    token : str
        Random: tells it from another one that a server had in its place before a failover.
    """

    serial: int
    token: str

    def following(self) -> Position:
        """Return the position of a commit after this one."""
        return Position(self.serial + 1, uuid4().hex)


NOWHERE = Position(0, "")


def read_position(connection: sqlite3.Connection) -> Position:
    """Return which commit a replica has."""
    found = connection.execute("SELECT serial, token FROM replica").fetchone()
    return Position(*found) if found else NOWHERE


def write_position(connection: sqlite3.Connection, position: Position) -> None:
    """Note which commit a replica has once its transaction ends."""
    connection.execute("INSERT OR REPLACE INTO replica VALUES (1, ?, ?)", position)


@dataclass
class Changes:
    """What a write transaction on a replica changes, noted by triggers.

    Attributes
    ----------
    connection : sqlite3.Connection
        In the transaction.
    before : str
        Checksum of the state that it begins with.
    """

    connection: sqlite3.Connection
    before: str = field(init=False)

    def __post_init__(self) -> None:
        self.before = self._checksum()
        for table, key in (("passage", "pid"), ("buffer", "pid"), ("segment", "rowid")):
            self.connection.execute(f"CREATE TEMP TABLE touched_{table} (key INTEGER PRIMARY KEY)")
            for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
                self.connection.execute(
                    f"CREATE TEMP TRIGGER touched_{table}_{event} AFTER {event} ON main.{table} "
                    f"BEGIN INSERT OR IGNORE INTO touched_{table} VALUES ({row}.{key}); END"
                )

    def are_there(self) -> bool:
        """Return whether there is anything to publish."""
        return self._checksum() != self.before

    def touched(self, table: str) -> list[int]:
        """Return the keys of all rows that were inserted, changed or deleted."""
        return [key for (key,) in self.connection.execute(f"SELECT key FROM touched_{table} ORDER BY key")]

    def forget(self) -> None:
        """Remove what noted them."""
        for table in COLUMNS:
            for event in ("INSERT", "UPDATE", "DELETE"):
                self.connection.execute(f"DROP TRIGGER temp.touched_{table}_{event}")
            self.connection.execute(f"DROP TABLE temp.touched_{table}")

    def _checksum(self) -> str:
        [found] = self.connection.execute("SELECT checksum FROM state").fetchone()
        return str(found)


def _upload(session: Connection, index: int, folder: Path, names: Iterable[str]) -> None:
    """Send files. Each is there as a whole or not at all, and counts once a commit names it."""
    session.execute("SET synchronous_commit = off")  # that commit waits for all that was written before
    for name in names:
        with open_regular(folder / name) as content, session.transaction(), session.cursor() as cursor:
            blocks = ((index, name, number, block) for number, block in enumerate(blocks_of(content, BLOCK)))
            cursor.executemany("INSERT INTO ragatouille_xm.block VALUES (%s, %s, %s, %b)", blocks)
    session.execute("RESET synchronous_commit")


def publish(
    session: Connection,
    index: int,
    sqlite: sqlite3.Connection,
    folder: Path,
    base: Position,
    changes: Changes | None = None,
) -> Position:
    """Bring an index in the server to the state of a folder's database; all but the last word, ``COMMIT``, is said.

    Parameters
    ----------
    session : psycopg.Connection
        That holds the right to write.
    index : int
        Its id in the server.
    sqlite : sqlite3.Connection
    folder : Path
        Has the files.
    base : Position
        The commit that this one follows.
    changes : Changes, optional
        All that differs from that commit; by default everything does.

    Returns
    -------
    Position
        Of the new commit.

    Raises
    ------
    IndexLockedError
        If somebody else has committed after `base`.
    """
    state, position = read_state(sqlite), base.following()
    files = session.execute("SELECT DISTINCT file FROM ragatouille_xm.block WHERE id = %s", [index])
    there = {name for (name,) in files}
    if new := sorted(state.files.keys() - there):  # what a push that was broken off has sent is there
        _upload(session, index, folder, new)
    session.execute("BEGIN")
    found = session.execute(
        "SELECT serial, token FROM ragatouille_xm.state WHERE id = %s FOR UPDATE", [index]
    ).fetchone()
    if found != base:
        raise IndexLockedError(
            "Another process has written to the index meanwhile: the connection that kept it from doing so was lost. "
            "Nothing of this change was stored; repeat it."
        )
    if unnamed := sorted(there - state.files.keys()):
        session.execute("DELETE FROM ragatouille_xm.block WHERE id = %s AND file = ANY(%s)", [index, unnamed])
    removed: list[int] = []
    if changes is None:
        session.execute("DELETE FROM ragatouille_xm.change WHERE id = %s", [index])
    for table in COLUMNS:
        touched = None if changes is None else changes.touched(table)
        if touched == []:
            continue
        left = _replace_rows(session, index, sqlite, table, touched, position.serial)
        if table == "passage" and touched is not None:
            removed = sorted(set(touched) - left)
    session.execute(
        "UPDATE ragatouille_xm.state SET (serial, token, build, generation, content, checksum) "
        "= (%s, %s, %s, %s, %s, %s) WHERE id = %s",
        [*position, *sqlite.execute("SELECT build, generation, content, checksum FROM state").fetchone(), index],
    )
    session.execute("INSERT INTO ragatouille_xm.change VALUES (%s, %s, %s, %s)", [index, *position, removed])
    return position


def _replace_rows(
    session: Connection, index: int, sqlite: sqlite3.Connection, table: str, touched: list[int] | None, serial: int
) -> set[object]:
    """Put rows of SQLite, those touched or all, in the place of the server's; return the keys of those touched here."""
    key, columns = COLUMNS[table][0], ", ".join(COLUMNS[table])
    server_key = server_columns(table).partition(",")[0]
    delete = f"DELETE FROM ragatouille_xm.{table} WHERE id = %s"
    rows: Iterable[tuple[object, ...]]
    if touched is None:
        session.execute(delete, [index])
        rows = sqlite.execute(f"SELECT {columns} FROM {table} ORDER BY {key}")
    else:
        session.execute(f"{delete} AND {server_key} = ANY(%s)", [index, touched])
        rows = sqlite.execute(
            f"SELECT {columns} FROM {table} WHERE {key} IN (SELECT key FROM touched_{table}) ORDER BY {key}"
        )
    there: set[object] = set()

    def sent() -> Iterator[tuple[object, ...]]:
        for row in rows:
            there.add(row[0])
            yield index, serial, *to_server(table, row)

    marks = ", ".join(["%s"] * (len(COLUMNS[table]) + 2))
    with session.cursor() as cursor:  # row-level security admits no COPY
        cursor.executemany(
            f"INSERT INTO ragatouille_xm.{table} (id, serial, {server_columns(table)}) VALUES ({marks})", sent()
        )
    return there
