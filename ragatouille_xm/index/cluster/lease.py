"""The right to write to an index in a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from qdrant_client import models

from ...errors import IndexLockedError
from .client import Cluster
from .state import BORN, DIED, DIED_AT, MANIFEST_ID, State, after, now_ms, read_state

PATIENCE = 2.0  # seconds: two commits that collide wait for each other, but nobody waits for a build
LEASE = 120.0  # seconds, or longer where requests may take longer


def lease_seconds(cluster: Cluster) -> float:
    """Return how long the right to write outlives a writer that has died: longer than any request may take."""
    return max(LEASE, 2.0 * cluster.config.timeout * cluster.config.attempts)


class Lease:
    """The right to write to one collection, held for a while and renewed.

    It is a name and a time in the manifest, changed by compare-and-swap: the cluster applies the updates of one point
    one after the other. A writer renews it before each batch of points.

    Parameters
    ----------
    cluster : Cluster
    collection : str
    """

    def __init__(self, cluster: Cluster, collection: str) -> None:
        self._cluster = cluster
        self._collection = collection
        self._me = uuid4().hex
        self._lock = threading.Lock()
        self._renewed = 0.0
        self._seconds = lease_seconds(cluster)

    def acquire(self, patience: float = PATIENCE) -> State:
        """Take the right to write, and roll back a write that was broken off.

        Raises
        ------
        IndexLockedError
            If another client has it and does not give it up in time.
        """
        deadline = time.monotonic() + patience
        while True:
            state = read_state(self._cluster, self._collection)
            if state.writer in ("", self._me) or state.until < now_ms():
                taken = self._swap(self._claim(), writer=state.writer, until=state.until)
                if taken.writer == self._me:
                    if state.writer:
                        self.roll_back()
                    return taken
            if time.monotonic() > deadline:
                wait = max(state.until - now_ms(), 0) / 1000
                raise IndexLockedError(
                    f"The index in {self._collection!r} at {self._cluster.url} is being written to by another client. "
                    f"It can be searched meanwhile; write when that is done. If it has died: in {wait:.0f} s."
                )
            time.sleep(0.05)

    def _claim(self) -> dict[str, Any]:
        self._renewed = time.monotonic()
        return {"writer": self._me, "until": now_ms() + int(self._seconds * 1000)}

    def renew(self) -> None:
        """Extend the right to write, if that is due.

        Raises
        ------
        IndexLockedError
            If another client has it now.
        """
        with self._lock:
            if time.monotonic() > self._renewed + self._seconds / 4:
                self._checked(self._swap(self._claim(), writer=self._me))

    def commit(self, before: State, after: State) -> State:
        """Make `after` the state that counts, if `before` is.

        Raises
        ------
        IndexLockedError
            If another client has the right to write now; nothing changed.
        """
        found = self._swap(after.payload(), writer=self._me, generation=before.meta.generation)
        return self._checked(found, after.meta.generation)

    def _checked(self, state: State, generation: int | None = None) -> State:
        if state.writer != self._me or generation not in (None, state.meta.generation):
            raise IndexLockedError(
                f"Another client has taken over the index in {self._collection!r} at {self._cluster.url}, since this "
                f"one was not heard of for {self._seconds:.0f} s. Nothing was changed; try again when it is done."
            )
        return state

    def roll_back(self) -> None:
        """Undo what has not been committed, unless another client has the right to write by now."""
        state = self._swap(self._claim(), writer=self._me)
        if state.writer != self._me:
            return
        generation = state.meta.generation
        self._cluster.call(
            "delete", collection_name=self._collection, points_selector=after(BORN, generation), wait=True
        )
        self._cluster.call(
            "delete_payload",
            collection_name=self._collection,
            keys=[DIED, DIED_AT],
            points=after(DIED, generation),
            wait=True,
        )

    def release(self) -> None:
        """Give up the right to write."""
        self._swap({"writer": "", "until": 0}, writer=self._me)

    def _swap(self, changes: Mapping[str, Any], **expected: str | int) -> State:
        """Change the manifest if it has the expected values; return the state that results."""
        conditions: list[Any] = [models.HasIdCondition(has_id=[MANIFEST_ID])]
        conditions += [
            models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in expected.items()
        ]
        self._cluster.call(
            "set_payload",
            collection_name=self._collection,
            payload=dict(changes),
            points=models.Filter(must=conditions),
            ordering=models.WriteOrdering.STRONG,
            wait=True,
        )
        return read_state(self._cluster, self._collection)
