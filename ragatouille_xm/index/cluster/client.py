"""A connection to a Qdrant cluster, which repeats requests and reports failures as our own errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal

from ...config import ClusterConfig
from ...errors import ClusterError, IndexNotFoundError, InputError
from ...files import without_secrets

if TYPE_CHECKING:
    from ..base import IndexBuild
    from .index import ClusterIndex

logger = logging.getLogger(__name__)

PAUSE = 0.2  # seconds before the second attempt, doubled before each further one
TRANSIENT = {408, 429, 500, 502, 503, 504}  # HTTP: the same request may succeed later


class Cluster:
    """A connection to a Qdrant cluster. Safe to use from many threads.

    Parameters
    ----------
    url : str or qdrant_client.QdrantClient
        ``"http://host:6333"``, or a client of your own, which is left open.
    api_key : str, optional
    config : ClusterConfig

    Raises
    ------
    InputError
        If `url` is no address.

    Examples
    --------
    >>> Cluster("localhost")
    Traceback (most recent call last):
        ...
    ragatouille_xm.errors.InputError: 'localhost' is not the address of a cluster: give one as http://host:6333.
    """

    def __init__(
        self, url: str | QdrantClient, api_key: str | None = None, config: ClusterConfig = ClusterConfig()
    ) -> None:
        self.config = config
        self._reconnect: Callable[[], QdrantClient] | None = None
        if isinstance(url, str):
            self._reconnect = partial(_connected, url, api_key, config)
        self.client: QdrantClient = _connected(url, api_key, config) if isinstance(url, str) else url
        inner: Any = self.client._client
        self.local = isinstance(inner, QdrantLocal)
        self.url: str = url.rstrip("/") if isinstance(url, str) else inner.location if self.local else inner.rest_uri
        self._one_at_a_time: AbstractContextManager[Any] = threading.RLock() if self.local else nullcontext()

    lexical = False

    def names(self) -> Collection[str]:
        """Return the names of its indexes."""
        return self.aliases().keys()

    def open(self, name: str) -> ClusterIndex:
        """Open an index."""
        from .index import ClusterIndex

        return ClusterIndex.open(self, name)

    def build(
        self, name: str, *, keep: bool = True, lexical: bool = False, **description: Any
    ) -> AbstractContextManager[IndexBuild]:
        """Build an index, which keeps what it has for another build with `resume`, and has no pieces."""
        from .build import build

        return build(self, name, **description)

    def call(self, operation: str, **arguments: Any) -> Any:
        """Call a method of the client, again if it fails for the moment; repeating it must be harmless.

        Raises
        ------
        IndexNotFoundError
            If the collection is not there.
        ClusterError
            If the cluster cannot be reached, refuses, or fails.
        """
        for attempt in range(1, self.config.attempts + 1):
            try:
                with self._one_at_a_time:  # the client's local mode is not thread-safe
                    return getattr(self.client, operation)(**arguments)
            except (ResponseHandlingException, UnexpectedResponse, ResourceExhaustedResponse) as error:
                if attempt == self.config.attempts or not _is_transient(error):
                    raise self._failure(operation, error, attempt) from error
                pause = getattr(error, "retry_after_s", PAUSE * 2 ** (attempt - 1))
                logger.info("%s at %s failed, again in %.1f s: %s", operation, self.url, pause, _describe_error(error))
                time.sleep(min(pause, self.config.timeout))
            except ValueError as error:
                if self.local and "not found" in str(error):
                    raise IndexNotFoundError(f"{self.url}: {error}.") from error
                raise
        raise InputError(f"attempts={self.config.attempts!r} is not usable: give a whole number of at least 1.")

    def read(self, operation: str, **arguments: Any) -> Any:
        """Call a method that reads points, with the consistency that the user has asked for."""
        if self.config.read_consistency is not None:
            arguments["consistency"] = self.config.read_consistency
        return self.call(operation, **arguments)

    def _failure(self, operation: str, error: Exception, attempts: int) -> ClusterError | IndexNotFoundError:
        status, message = getattr(error, "status_code", None), _describe_error(error)
        if status == 404:
            return IndexNotFoundError(f"{self.url} says that it is not there: {message}.")
        if isinstance(error, ResponseHandlingException):
            what = f"does not answer ({attempts} attempts): {message}. Check the address and that it is running"
        elif status in (401, 403):
            what = f"refuses the key for {operation} ({status}). Give one that may do this: api_key=, or --api-key"
        else:
            what = f"failed in {operation} ({attempts} attempts): {message}. Look at its log, or try again later"
        return ClusterError(f"The Qdrant cluster at {self.url} {what}.")

    def aliases(self) -> Mapping[str, str]:
        """Return the collection behind each alias."""
        return {each.alias_name: each.collection_name for each in self.call("get_aliases").aliases}

    def point_aliases(self, to: Mapping[str, str], *, drop: Sequence[str] = ()) -> None:
        """Point aliases at collections and drop others, in one step."""
        existing = self.aliases()
        operations: list[Any] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))
            for name in (*drop, *to)
            if name in existing
        ]
        operations += [
            models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=name))
            for alias, name in to.items()
        ]
        self.call("update_collection_aliases", change_aliases_operations=operations)

    def close(self) -> None:
        """Close the connection, if it was made here. It is opened again when it is used."""
        if self._reconnect is not None:
            self.client.close()
            self.client = self._reconnect()


def _connected(url: str, api_key: str | None, config: ClusterConfig) -> QdrantClient:
    address = without_secrets(url)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # such as a port that is no number
        usable = False
    if not usable:
        raise InputError(f"{address!r} is not the address of a cluster: give one as http://host:6333.")
    if address != url:
        raise InputError(
            f"The address of the cluster at {address!r} has a user, a password or a query in it, which would not be "
            "sent. Leave them out, and give the key as api_key=, or --api-key on the command line."
        )
    return QdrantClient(url=url, api_key=api_key, timeout=config.timeout, check_compatibility=False)


def _is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    return not isinstance(error, UnexpectedResponse) or error.status_code in TRANSIENT


def _describe_error(error: Exception) -> str:
    """Return the message of an error on one line."""
    inner = error.source if isinstance(error, ResponseHandlingException) else error
    return " ".join(str(inner).split()) or type(inner).__name__
