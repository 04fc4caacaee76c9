"""Servers that keep indexes by name: which one an address means."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from ..config import QdrantConfig
from ..errors import InputError
from .base import IndexBuild

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from .local.index import LocalIndex
    from .qdrant.index import QdrantIndex

POSTGRES = ("postgresql://", "postgres://")


class IndexServer(Protocol):
    """Keeps indexes by name."""

    @property
    def url(self) -> str:
        """Its address, without secrets."""
        ...

    @property
    def lexical(self) -> bool:
        """Whether its indexes can keep the pieces of passages."""
        ...

    def names(self) -> Collection[str]:
        """Return the names of its indexes."""
        ...

    def open(self, name: str) -> LocalIndex | QdrantIndex:
        """Open an index. Raise `IndexNotFoundError` if there is none of that name."""
        ...

    def build(self, name: str, **description: Any) -> AbstractContextManager[IndexBuild]:
        """Build an index from nothing, in the place of the one that may be there, all or nothing."""
        ...

    def close(self) -> None:
        """Release connections. Closing twice is allowed."""
        ...


def connect(
    url: str | QdrantClient | None, api_key: str | None = None, config: QdrantConfig | None = None
) -> IndexServer | None:
    """Return the server that the user names, or nothing if there is none.

    Raises
    ------
    InputError
        If `url` is no address, or the rest is given without it or does not go with it.
    MissingExtraError
        If the package that speaks to it is not installed.
    """
    if url is None:
        if api_key is not None or config is not None:
            raise InputError("api_key= and qdrant= say how to speak to a server: give index_url= as well.")
        return None
    if isinstance(url, str) and url.startswith(POSTGRES):
        if api_key is not None or config is not None:
            raise InputError("api_key= and qdrant= are for Qdrant. What PostgreSQL needs goes into its URL.")
        from .postgres.server import PostgresServer

        return PostgresServer(url)
    from .qdrant.server import QdrantServer

    return QdrantServer(url, api_key, config or QdrantConfig())
