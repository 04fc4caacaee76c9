"""Bringing a replica, an ordinary index folder, to the newest commit of an index in PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ...errors import IndexDamagedError, IndexNotFoundError
from ..files import checksum, storage_errors, sync
from ..local import passages
from ..local.database import execute_script
from ..local.state import FileMeta, State, read_state
from .publish import NOWHERE, Position, read_position, write_position
from .rows import COLUMNS, from_server, select_metadata_as_text, server_columns
from .schema import Connection

ROWS = 1000  # inserted at once
PART = "download.part"


def pull(session: Connection, index: int, sqlite: sqlite3.Connection, folder: Path) -> State:
    """Fetch what is new. Both connections are in a transaction, the server's one reads one commit.

    Parameters
    ----------
    session : psycopg.Connection
    index : int
        Its id in the server.
    sqlite : sqlite3.Connection
        To the replica.
    folder : Path
        Of the replica.

    Returns
    -------
    State
        What the replica is then.

    Raises
    ------
    IndexNotFoundError
        If the index was removed.
    IndexDamagedError
        If the server has something else than what was written.
    StorageError
        If the folder cannot be written.
    """
    row = session.execute(
        "SELECT serial, token, build, generation, content, checksum FROM ragatouille_xm.state "
        "WHERE id = %s AND content IS NOT NULL",
        [index],
    ).fetchone()
    if row is None:
        raise removed()
    if row[:2] == read_position(sqlite):
        return read_state(sqlite)
    has = _files(sqlite)
    since = _known(session, index, read_position(sqlite))
    if since == NOWHERE.serial:
        for table in (*COLUMNS, "attribute", "field"):
            sqlite.execute(f"DELETE FROM {table}")
    else:
        _remove(session, index, sqlite, since)
    field_ids: dict[str, int] = {}
    for table in COLUMNS:
        _insert(session, index, sqlite, table, since, field_ids)
    sqlite.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?)", row[2:])
    write_position(sqlite, Position(*row[:2]))
    execute_script(sqlite, passages.INDEXES)
    state = read_state(sqlite)
    for name, file in state.files.items():
        if has.get(name) != file or not (folder / name).exists():
            _fetch_file(session, index, folder, name, file)
    return state


def removed() -> IndexNotFoundError:
    """Return the error for an index that was open and is no longer there."""
    return IndexNotFoundError("The index was removed from the server. If there is another one of that name, open it.")


def _files(sqlite: sqlite3.Connection) -> Mapping[str, FileMeta]:
    """Return the files that a replica has, whole; of a damaged one, none is known to be so."""
    try:
        return read_state(sqlite).files
    except IndexDamagedError:
        return {}


def _known(session: Connection, index: int, position: Position) -> int:
    """Return the serial of a commit that the server remembers too, or else that of none."""
    sql = "SELECT 1 FROM ragatouille_xm.change WHERE id = %s AND serial = %s AND token = %s"
    return position.serial if session.execute(sql, [index, *position]).fetchone() else NOWHERE.serial


def _remove(session: Connection, index: int, sqlite: sqlite3.Connection, since: int) -> None:
    sql = "SELECT removed FROM ragatouille_xm.change WHERE id = %s AND serial > %s"
    for (removed,) in session.execute(sql, [index, since]):
        passages.delete_passages(sqlite, removed)
    for table, key, server_key in (("buffer", "pid", "pid"), ("segment", "rowid", "position")):  # there are few rows
        there = {
            found
            for (found,) in session.execute(f"SELECT {server_key} FROM ragatouille_xm.{table} WHERE id = %s", [index])
        }
        here = {found for (found,) in sqlite.execute(f"SELECT {key} FROM {table}")}
        sqlite.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(each,) for each in here - there])


def _insert(
    session: Connection, index: int, sqlite: sqlite3.Connection, table: str, since: int, field_ids: dict[str, int]
) -> None:
    """Insert the rows of later commits, over older ones of the same keys."""
    key = server_columns(table).partition(",")[0]
    newer = f"FROM ragatouille_xm.{table} WHERE id = %s AND serial > %s ORDER BY {key}"
    stream = session.cursor().stream(f"SELECT {select_metadata_as_text(table)} {newer}", [index, since])
    columns, marks = ", ".join(COLUMNS[table]), ", ".join("?" * len(COLUMNS[table]))
    for batch in passages.batches(stream, ROWS):
        rows = [from_server(table, row) for row in batch]
        if table == "passage":
            passages.delete_passages(sqlite, [row[0] for row in rows])
            passages.insert_rows(sqlite, rows, field_ids)
        else:
            sqlite.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", rows)


def _fetch_file(session: Connection, index: int, folder: Path, name: str, file: FileMeta) -> None:
    """Fetch a file, unless it is here: a writer that was killed after its commit leaves it."""
    path, part = folder / name, folder / PART
    with storage_errors(path):
        if path.is_file() and path.stat().st_size == file.bytes and checksum(path) == file.sha256:
            return
        digest, size = hashlib.sha256(), 0
        with part.open("wb") as target:
            for (block,) in session.cursor().stream(
                "SELECT data FROM ragatouille_xm.block WHERE id = %s AND file = %s ORDER BY number",
                [index, name],
                binary=True,
            ):
                digest.update(block)
                size += target.write(block)
            target.flush()
            os.fsync(target.fileno())
        if (size, digest.hexdigest()) != (file.bytes, file.sha256):
            raise IndexDamagedError(
                f"The file {name} in the server is damaged: it is not the one that was written. Restore the database "
                "from a backup, or index the documents again."
            )
        os.replace(part, path)
        sync(folder)
