"""A Qdrant cluster: requests that are repeated while there is hope, and failures in our own words."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ...config import ClusterConfig
from ...errors import ClusterError, IndexNotFoundError, InputError, MissingExtraError

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
    from qdrant_client.local.qdrant_local import QdrantLocal
except ImportError as missing:
    raise MissingExtraError("An index in a Qdrant cluster", "qdrant") from missing

logger = logging.getLogger(__name__)

PAUSE = 0.2  # seconds before the second attempt, doubled before each further one
PASSING = {408, 429, 500, 502, 503, 504}  # HTTP: the same request may succeed later


class Conditions:
    """Conditions of `qdrant_client`: a `ragatouille_xm.index.cluster.filters.Dialect`."""

    def filter(
        self, *, must: Sequence[Any] = (), should: Sequence[Any] = (), must_not: Sequence[Any] = ()
    ) -> models.Filter:
        """Return the filter of all of `must`, any of `should` and none of `must_not`."""
        return models.Filter(must=list(must) or None, should=list(should) or None, must_not=list(must_not) or None)

    def any_text(self, key: str, texts: list[str]) -> models.FieldCondition:
        """Return the condition that what is stored at `key` includes one of the texts."""
        return models.FieldCondition(key=key, match=models.MatchAny(any=texts))

    def within(self, key: str, **bounds: float) -> models.FieldCondition:
        """Return the condition that a number at `key` is within the bounds."""
        return models.FieldCondition(key=key, range=models.Range(**bounds))

    def nested(self, key: str, filter: Any) -> models.NestedCondition:
        """Return the condition that one of the objects at `key` passes a filter."""
        return models.NestedCondition(nested=models.Nested(key=key, filter=filter))

    def nothing(self) -> models.HasIdCondition:
        """Return the condition that admits nothing."""
        return models.HasIdCondition(has_id=[])


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
    MissingExtraError
        On import, if qdrant-client is not installed.

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
        self._turn: AbstractContextManager[Any] = threading.RLock() if self.local else nullcontext()

    def call(self, operation: str, **arguments: Any) -> Any:
        """Return what a method of the client answers. Repeating it must not change what it does.

        Raises
        ------
        IndexNotFoundError
            If the collection is not there.
        ClusterError
            If the cluster cannot be reached, refuses, or fails.
        """
        for attempt in range(1, self.config.attempts + 1):
            try:
                with self._turn:  # the client's local mode knows no threads
                    return getattr(self.client, operation)(**arguments)
            except (ResponseHandlingException, UnexpectedResponse, ResourceExhaustedResponse) as error:
                if attempt == self.config.attempts or not _is_passing(error):
                    raise self._failure(operation, error, attempt) from error
                pause = getattr(error, "retry_after_s", PAUSE * 2 ** (attempt - 1))
                logger.info("%s at %s failed, again in %.1f s: %s", operation, self.url, pause, _said(error))
                time.sleep(min(pause, self.config.timeout))
            except ValueError as error:
                if self.local and "not found" in str(error):
                    raise IndexNotFoundError(f"{self.url}: {error}.") from error
                raise
        raise InputError(f"attempts={self.config.attempts!r} is not usable: give a whole number of at least 1.")

    def read(self, operation: str, **arguments: Any) -> Any:
        """Call a method that reads points, with the consistency that the user has set."""
        if self.config.read_consistency is not None:
            arguments["consistency"] = self.config.read_consistency
        return self.call(operation, **arguments)

    def _failure(self, operation: str, error: Exception, attempts: int) -> ClusterError | IndexNotFoundError:
        status = getattr(error, "status_code", None)
        if status == 404:
            return IndexNotFoundError(f"{self.url} says that it is not there: {_said(error)}.")
        if isinstance(error, ResponseHandlingException):
            what = f"does not answer ({attempts} attempts): {_said(error)}. Check the address and that it is running"
        elif status in (401, 403):
            what = f"refuses the key for {operation} ({status}). Give one that may do this: api_key=, or --api-key"
        else:
            what = f"failed in {operation} ({attempts} attempts): {_said(error)}. Look at its log, or try again later"
        return ClusterError(f"The Qdrant cluster at {self.url} {what}.")

    def aliases(self) -> Mapping[str, str]:
        """Return the collection behind each alias."""
        return {each.alias_name: each.collection_name for each in self.call("get_aliases").aliases}

    def point_aliases(self, to: Mapping[str, str], *, drop: Sequence[str] = ()) -> None:
        """In one step, let aliases stand for collections, and drop others."""
        gone = [name for name in (*drop, *to) if name in self.aliases()]
        operations: list[Any] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)) for name in gone
        ]
        operations += [
            models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=name))
            for alias, name in to.items()
        ]
        self.call("update_collection_aliases", change_aliases_operations=operations)

    def close(self) -> None:
        """Close the connection, if it was made here. It opens again when it is used."""
        if self._reconnect is not None:
            self.client.close()
            self.client = self._reconnect()


def _connected(url: str, api_key: str | None, config: ClusterConfig) -> QdrantClient:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url!r} is not the address of a cluster: give one as http://host:6333.")
    return QdrantClient(url=url, api_key=api_key, timeout=config.timeout, check_compatibility=False)


def _is_passing(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    return not isinstance(error, UnexpectedResponse) or error.status_code in PASSING


def _said(error: Exception) -> str:
    """Return what an error says, on one line."""
    inner = error.source if isinstance(error, ResponseHandlingException) else error
    return " ".join(str(inner).split()) or type(inner).__name__
