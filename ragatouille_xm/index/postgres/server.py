"""A PostgreSQL server that keeps indexes."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any

from ...errors import IndexNotFoundError
from ..base import IndexBuild
from ..local.index import LocalIndex
from .connections import Connections
from .schema import has_tables, make_tables


class PostgresServer(Connections):
    """Indexes in a database of a PostgreSQL server. Safe to use from many threads.

    Implements `ragatouille_xm.index.servers.IndexServer`.

    Parameters
    ----------
    url : str
        ``"postgresql://user@host/database"``, with any parameter of libpq's; what is not in it, such as the password,
        is taken from its environment variables and files.

    Raises
    ------
    InputError
        If `url` is no such address.

    Examples
    --------
    >>> PostgresServer("postgresql://me:secret@db.example:5433/texts?sslmode=verify-full").url
    'postgresql://db.example:5433/texts'
    """

    lexical = True

    def names(self) -> Collection[str]:
        """Return the names of its indexes.

        Raises
        ------
        DatabaseError
            If the server cannot be reached, refuses, or fails.
        """
        with self.session() as session:
            if not has_tables(session):
                return []
            sql = "SELECT name FROM ragatouille_xm.state WHERE content IS NOT NULL ORDER BY name"
            return [name for (name,) in session.execute(sql)]

    def open(self, name: str) -> LocalIndex:
        """Open an index, for searching, and for writing if the role may.

        Raises
        ------
        IndexNotFoundError, IndexDamagedError, IndexFormatError, DatabaseError
            If there is no usable index of that name.
        """
        from .replica import open_replica

        if name not in (names := self.names()):
            raise IndexNotFoundError(
                f"There is no index {name!r} at {self.url}. There are: {', '.join(names) or 'none'}."
            )
        return open_replica(self, name)

    def build(self, name: str, **description: Any) -> AbstractContextManager[IndexBuild]:
        """Build an index from nothing, in the place of the one that may be there, all or nothing.

        Parameters as for `ragatouille_xm.index.local.index.LocalIndex.build`.

        Raises
        ------
        InputError, IndexLockedError, StorageError
            As there.
        DatabaseError
            If the server cannot be reached, refuses, or fails.
        """
        from .building import build

        return build(self, name, **description)

    def register(self, name: str) -> int:
        """Return the id of an index; one that is not there yet gets it, and nothing else."""
        with self.session() as session:
            make_tables(session, self.url)
            row = "(name, serial, token) VALUES (%s, 0, '') ON CONFLICT (name) DO NOTHING"
            session.execute(f"INSERT INTO ragatouille_xm.state {row}", [name])
        return self.find(name)[1]

    def find(self, name: str) -> tuple[str, int]:
        """Return what tells this database from any other, and the id of an index."""
        sql = "SELECT server.id::text, state.id FROM ragatouille_xm.server, ragatouille_xm.state WHERE name = %s"
        found = self.ask(sql, [name])
        if found is None:
            raise IndexNotFoundError(f"There is no index {name!r} at {self.url}.")
        return found[0], found[1]
