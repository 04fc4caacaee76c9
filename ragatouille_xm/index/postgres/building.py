"""Building an index for PostgreSQL: in the folder of its replica, from where it goes to the server as a whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import PassageIndexError
from ..files import storage_errors
from ..local.build import LocalBuild
from ..local.database import Database
from ..local.folder import BUILD_DATABASE
from ..local.install import building, install
from ..local.lock import write_lock
from ..local.state import State, read_meta
from ..meta import IndexMeta, new_meta
from .cache import replica_folder
from .publish import REPLICA_TABLE, Position, publish, write_position
from .replica import commit, replica_lock
from .schema import Connection
from .server import PostgresServer

logger = logging.getLogger(__name__)


@contextmanager
def build(
    server: PostgresServer, name: str, *, resume: bool = False, keep: bool = True, **description: Any
) -> Iterator[LocalBuild]:
    """Build an index from nothing, in the place of the one that may be there, all or nothing.

    Parameters as for `ragatouille_xm.index.local.index.LocalIndex.build`; `description` is that of
    `ragatouille_xm.index.meta.new_meta`. A build that is broken off is kept on this
    machine, and resumed there.

    Raises
    ------
    InputError, IndexLockedError, StorageError
        As there.
    DatabaseError
        If the server cannot be reached, refuses, or fails.
    """
    meta = new_meta(**description)
    index = server.register(name)
    folder = replica_folder(server.find(name)[0], index)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with write_lock(folder), server.writing(index) as session:
            base, old = newest(session, index)
            first = old.next_pid if old else 0
            wanted = State(replace(meta, first_pid=first, next_pid=first), complete=False)
            send = partial(_send, server, session, index, base)
            with building(folder, wanted, resume=resume, keep=keep, install=send) as draft:
                yield draft
    except BaseException:
        if not keep:
            with suppress(PassageIndexError), server.session() as session:
                session.execute("DELETE FROM ragatouille_xm.state WHERE id = %s AND content IS NULL", [index])
        raise


def newest(session: Connection, index: int) -> tuple[Position, IndexMeta | None]:
    """Return the newest commit of an index, and what it says of itself then; nothing if it is not built yet."""
    sql = "SELECT serial, token, content FROM ragatouille_xm.state WHERE id = %s"
    [serial, token, content] = session.execute(sql, [index]).fetchone() or (0, "", None)
    return Position(serial, token), None if content is None else read_meta(content)


def _send(server: PostgresServer, session: Connection, index: int, base: Position, folder: Path) -> None:
    """Put a complete build into the server, and then in the place of the replica."""
    with closing(Database(folder / BUILD_DATABASE)) as database, database.transaction() as sqlite:
        sqlite.execute(REPLICA_TABLE)
        position = publish(session, index, sqlite, folder, base)
        write_position(sqlite, position)
    commit(server, session, index, position)
    try:
        with replica_lock(folder):
            install(folder)
    except PassageIndexError as error:
        logger.warning("the index is in %s, and not in the replica here yet: %s", server.url, error)
