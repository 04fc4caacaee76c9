"""Qdrant as a server of indexes: a name is an alias of a collection, and building one again fills another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal

from ...config import QdrantConfig
from ...errors import DatabaseError, IndexNotFoundError, InputError, PassageIndexError
from ...files import http_parts, without_secrets
from ..meta import IndexMeta, check_resumable, new_meta
from .index import QdrantIndex, state_point
from .points import VECTORS

logger = logging.getLogger(__name__)

PAUSE = 0.2  # seconds before the second attempt, doubled before each further one
TRANSIENT = {0, 408, 429, 500, 502, 503, 504}  # no answer, or one of HTTP: the same request may succeed later
REFUSED = "It refuses the key: give one that may do this as api_key=, or --api-key"
HINTS = {0: "It does not answer: check the address and that it is running", 401: REFUSED, 403: REFUSED}
DATATYPES = {"int16": "float16", "int8": "turbo8", "int4": "turbo4"}  # as the server calls them
DRAFT = ".draft"  # the alias of a collection that is being filled


class QdrantServer:
    """A Qdrant server, or a cluster of them, that keeps indexes by name. Safe to use from many threads.

    Parameters
    ----------
    url : str or qdrant_client.QdrantClient
        ``"http://host:6333"``, or a client of your own, which is left open.
    api_key : str, optional
    config : QdrantConfig

    Examples
    --------
    >>> QdrantServer("localhost")
    Traceback (most recent call last):
        ...
    ragatouille_xm.errors.InputError: 'localhost' is not the address of a Qdrant server: give one as http://host:6333.
    """

    lexical = False  # no pieces of passages are kept

    def __init__(
        self, url: str | QdrantClient, api_key: str | None = None, config: QdrantConfig = QdrantConfig()
    ) -> None:
        self.config = config
        self._given = url, api_key
        self.client = self._connected(url, api_key)
        inner: Any = self.client._client
        self.local = isinstance(inner, QdrantLocal)
        self.url: str = url.rstrip("/") if isinstance(url, str) else inner.location if self.local else inner.rest_uri
        self._turn: Any = threading.RLock() if self.local else nullcontext()  # the local mode is not thread-safe

    def _connected(self, url: str | QdrantClient, api_key: str | None) -> QdrantClient:
        if not isinstance(url, str):
            if not hasattr(url, "_client"):
                raise InputError(f"index_url={url!r} is no address and no QdrantClient: give http://host:6333.")
            return url
        _check_address(url)
        return QdrantClient(url=url, api_key=api_key, timeout=self.config.timeout, check_compatibility=False)

    def call(self, operation: str, **arguments: Any) -> Any:
        """Call a method of the client, again if it fails for the moment: repeating it must be harmless.

        Raise `DatabaseError` if the server cannot be reached, refuses or fails, and `IndexNotFoundError` if the
        collection, or a point that is to be changed, is not there.
        """
        for attempt in range(1, self.config.attempts + 1):
            try:
                with self._turn:
                    return getattr(self.client, operation)(**arguments)
            except (ResponseHandlingException, UnexpectedResponse, ResourceExhaustedResponse) as error:
                status, message = getattr(error, "status_code", 0), _message(error)
                if status == 404:
                    raise IndexNotFoundError(f"{self.url} says that it is not there: {message}.") from error
                if attempt == self.config.attempts or status not in TRANSIENT:
                    hint = HINTS.get(status, "Look at its log, or try again later")
                    raise DatabaseError(
                        f"Qdrant at {self.url} failed in {operation} ({attempt} attempts): {message}. {hint}."
                    ) from error
                pause = getattr(error, "retry_after_s", PAUSE * 2 ** (attempt - 1))
                logger.info("%s at %s failed, again in %.1f s: %s", operation, self.url, pause, message)
                time.sleep(min(pause, self.config.timeout))
            except (ValueError, KeyError) as error:
                if self.local and (isinstance(error, KeyError) or "not found" in str(error)):
                    raise IndexNotFoundError(f"{self.url}: {error}.") from error
                raise
        raise InputError(f"attempts={self.config.attempts!r} is not usable: give a whole number of at least 1.")

    def names(self) -> Mapping[str, str]:
        """Return the names of its indexes, that is, all aliases, each with its collection."""
        return {each.alias_name: each.collection_name for each in self.call("get_aliases").aliases}

    def close(self) -> None:
        """Close the connection, if it was made here. It is opened again when it is used."""
        if isinstance(self._given[0], str):
            self.client.close()
            self.client = self._connected(*self._given)

    def open(self, name: str) -> QdrantIndex:
        """Open an index. Raises what `QdrantIndex` does."""
        return QdrantIndex(self, name)

    @contextmanager
    def build(self, name: str, *, resume: bool = False, keep: bool = True, **description: Any) -> Iterator[QdrantIndex]:
        """Build an index from nothing, replacing the one of that name if there is one.

        The new index replaces the old one as a whole once the context ends. Until then, and if it ends with an
        exception, the old one stays. Of two builds of one name at a time, the first fails. `resume` continues one that
        was interrupted; without `keep`, nothing is left of one that fails. `description` is that of
        `ragatouille_xm.index.meta.new_meta`. Raise `InputError` if the build to resume is of another checkpoint or has
        other settings, or `name` cannot be one; `IndexFormatError` if a collection of that name is not ours.
        """
        if not name.strip() or len(name) > 200 or any(c in name for c in '<>:"/\\|?*\0\x1f') or name.endswith(DRAFT):
            raise InputError(f"index_name={name!r} cannot be a name in Qdrant. Use letters, digits, '-' and '_'.")
        meta = new_meta(**description)
        if meta.lexical:
            raise InputError("Qdrant keeps no pieces of passages for hybrid search: give lexical=False.")
        with suppress(IndexNotFoundError):  # pids that a search under way has found shall be no others
            first = self.open(name).meta.next_pid
            meta = replace(meta, first_pid=first, next_pid=first)
        draft = self._draft(name, meta, resume)
        try:
            yield draft
            draft.optimize()
            old = self.names().get(name)
            self._point(name, draft.name)
        except BaseException:
            if not keep:
                with suppress(PassageIndexError):
                    self.call("delete_collection", collection_name=draft.name)
            raise
        try:
            if old is not None:
                self.call("delete_collection", collection_name=old)
        except PassageIndexError as error:  # the new index counts all the same
            logger.warning("the collection %s at %s could not be removed: %s", old, self.url, error)

    def discard(self, name: str) -> None:
        """Delete what a build of that name that was broken off has stored."""
        if (collection := self.names().get(name + DRAFT)) is not None:
            self.call("delete_collection", collection_name=collection)

    def _point(self, alias: str, collection: str) -> None:
        """Give a collection a name, and take it from its draft, in one step."""
        taken = [models.DeleteAlias(alias_name=each) for each in (alias, alias + DRAFT) if each in self.names()]
        create = models.CreateAlias(alias_name=alias, collection_name=collection)
        operations: list[Any] = [models.DeleteAliasOperation(delete_alias=each) for each in taken]
        operations.append(models.CreateAliasOperation(create_alias=create))
        self.call("update_collection_aliases", change_aliases_operations=operations)

    def _draft(self, name: str, meta: IndexMeta, resume: bool) -> QdrantIndex:
        """Return what a build that was broken off has stored, or an empty index."""
        started = self.names().get(name + DRAFT)
        if resume and started is not None:
            draft = QdrantIndex(self, started, replace=True)
            check_resumable(draft.meta, meta)
            if draft.first_pid == meta.first_pid:
                return draft
        self.discard(name)
        collection = f"{name}-{meta.build[:12]}"
        tokens = models.VectorParams(
            size=meta.dim,
            distance=models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            datatype=models.Datatype(DATATYPES[meta.storage]),
            on_disk=self.config.on_disk,
            hnsw_config=models.HnswConfigDiff(m=0),  # no graph over token vectors
        )
        self.call(
            "create_collection",
            collection_name=collection,
            vectors_config={VECTORS: tokens},
            shard_number=self.config.shards,
            replication_factor=self.config.replicas,
            write_consistency_factor=self.config.write_consistency or self.config.replicas,
        )
        for field in () if self.local else ("document_id", "language"):  # the local mode has no indexes of payloads
            keyword = models.PayloadSchemaType.KEYWORD
            self.call("create_payload_index", collection_name=collection, field_name=field, field_schema=keyword)
        self.call("upsert", collection_name=collection, points=[state_point(meta)], wait=True)
        self._point(name + DRAFT, collection)
        return QdrantIndex(self, collection, replace=True)


def _message(error: Exception) -> str:
    inner = error.source if isinstance(error, ResponseHandlingException) else error
    return " ".join(str(inner).split()) or type(inner).__name__


def _check_address(url: str) -> None:
    """Raise `InputError` unless `url` is the HTTP address of a server, without anything secret in it."""
    shown = without_secrets(url)
    if http_parts(url) is None:
        raise InputError(f"{shown!r} is not the address of a Qdrant server: give one as http://host:6333.")
    if shown != url:
        raise InputError(
            f"The address of a Qdrant server at {shown!r} has a user, a password or a query in it, which would not be "
            "sent. Leave them out, and give the key as api_key=, or --api-key on the command line."
        )
