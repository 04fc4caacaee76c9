"""What an index in a cluster consists of, and who may change it: one point of its collection says both.

Points carry the generation that they came with (``born``) and the one that they went with (``died``), so that a change
of many points is seen as a whole, once the manifest names its generation: readers look at one generation, a writer
prepares the next. A write that was broken off is undone by the next writer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from qdrant_client import models

from ...errors import IndexDamagedError, IndexFormatError, IndexLockedError, IndexNotFoundError
from ..local.manifest import CodebookEntry, Manifest, PartEntry
from .client import Cluster

FORMAT_VERSION = 1  # of indexes in a cluster
MANIFEST_ID = 0
BORN, DIED, DIED_AT = "born", "died", "died_at"
PATIENCE = 2.0  # seconds: two commits that collide wait for each other, but nobody waits for a build
LEASE = 120.0  # seconds, or longer where requests may take longer


def now_ms() -> int:
    """Return the milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class State:
    """An index in a cluster at one moment.

    Attributes
    ----------
    manifest : Manifest
        With one part, which is the collection.
    languages : mapping
        Passages of each language.
    dead : int
        Points that went and are still stored.
    dead_since : int
        When the first of them went, in milliseconds since 1970.
    purged : int
        Points that went with a generation up to this one may have been removed.
    writer : str
        Who may write; empty if nobody does.
    until : int
        How long, in milliseconds since 1970.
    """

    manifest: Manifest
    languages: Mapping[str, int]
    dead: int = 0
    dead_since: int = 0
    purged: int = 0
    writer: str = ""
    until: int = 0

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self.manifest.parts[0].name

    def payload(self) -> dict[str, Any]:
        """Return what is stored, without who may write."""
        manifest, codebook = self.manifest, self.manifest.codebook
        [part] = manifest.parts
        return {
            "format_version": FORMAT_VERSION,
            "collection": part.name,
            "dim": manifest.dim,
            "storage": manifest.storage,
            "checkpoint": manifest.checkpoint,
            "fingerprint": manifest.fingerprint,
            "settings": json.dumps(dict(manifest.settings)),
            "build": manifest.build,
            "generation": manifest.generation,
            "first_pid": manifest.first_pid,
            "next_pid": manifest.next_pid,
            "passages": part.passages,
            "tokens": part.tokens,
            "languages": json.dumps(dict(self.languages)),
            "codebook": json.dumps([codebook.version, codebook.tokens, codebook.sha256]) if codebook else "",
            "dead": self.dead,
            "dead_since": self.dead_since,
            "purged": self.purged,
        }

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> State:
        """Return the state that is stored. Raise `KeyError`, `TypeError` or `ValueError` for anything else."""
        codebook = CodebookEntry(*json.loads(payload["codebook"])) if payload["codebook"] else None
        manifest = Manifest(
            dim=int(payload["dim"]),
            checkpoint=str(payload["checkpoint"]),
            fingerprint=str(payload["fingerprint"]),
            settings=dict(json.loads(payload["settings"])),
            storage=str(payload["storage"]),
            build=str(payload["build"]),
            generation=int(payload["generation"]),
            first_pid=int(payload["first_pid"]),
            next_pid=int(payload["next_pid"]),
            codebook=codebook,
            parts=(PartEntry(str(payload["collection"]), int(payload["passages"]), int(payload["tokens"])),),
        )
        numbers = {name: int(payload[name]) for name in ("dead", "dead_since", "purged", "until")}
        return cls(manifest, dict(json.loads(payload["languages"])), writer=str(payload["writer"]), **numbers)


def read_state(cluster: Cluster, name: str) -> State:
    """Return the state of an index, by its name or that of its collection.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError, ClusterError
        If there is no usable index of that name.
    """
    try:
        records = cluster.read("retrieve", collection_name=name, ids=[MANIFEST_ID], with_payload=True)
    except IndexNotFoundError as error:
        there = ", ".join(sorted(cluster.aliases())) or "none yet"
        raise IndexNotFoundError(
            f"There is no index {name!r} in the cluster at {cluster.url}. Its names: {there}."
        ) from error
    payload = records[0].payload if records else None
    version = payload.get("format_version") if payload else None
    if payload is None or version is None:
        raise IndexFormatError(
            f"The collection {name!r} at {cluster.url} is no index of ragatouille-xm: it has no manifest. "
            "Choose another name."
        )
    if version != FORMAT_VERSION:
        raise IndexFormatError(
            f"The index {name!r} at {cluster.url} has format version {version}; this version of ragatouille-xm reads "
            f"{FORMAT_VERSION}. Upgrade it: pip install -U ragatouille-xm"
        )
    try:
        return State.of(payload)
    except (KeyError, TypeError, ValueError) as error:
        raise IndexDamagedError(
            f"The manifest of the index {name!r} at {cluster.url} cannot be understood: {error!r}. "
            "Index the documents again, or restore the collection from a snapshot."
        ) from error


def visible(generation: int) -> models.Filter:
    """Return the filter that admits the passages of a generation."""
    return models.Filter(must=[_up_to(BORN, generation)], must_not=[_up_to(DIED, generation)])


def after(key: str, generation: int) -> models.Filter:
    """Return the filter that admits points whose `key` is beyond a generation."""
    return models.Filter(must=[models.FieldCondition(key=key, range=models.Range(gt=generation))])


def gone(generation: int, before_ms: int) -> models.Filter:
    """Return the filter that admits what went with a generation up to the one given, and before a moment."""
    earlier = models.FieldCondition(key=DIED_AT, range=models.Range(lt=before_ms))
    return models.Filter(must=[_up_to(DIED, generation), earlier])


def _up_to(key: str, generation: int) -> models.FieldCondition:
    return models.FieldCondition(key=key, range=models.Range(lte=generation))


def lease_seconds(cluster: Cluster) -> float:
    """Return how long the right to write outlives a writer that has died.

    A request that is repeated to the last comes to its end while the right holds.
    """
    return max(LEASE, 2.0 * cluster.config.timeout * cluster.config.attempts)


class Lease:
    """The right to write to one collection, held for a while and renewed.

    It is a name and a time in the manifest, changed only by whoever finds there what it has read: the cluster applies
    the updates of one point one after the other. A writer asks before each batch of points whether it is still its.

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
        """Take the right to write; what a writer has left behind that did not come to its end is undone.

        Raises
        ------
        IndexLockedError
            If another one has it and does not give it up in time.
        """
        give_up = time.monotonic() + patience
        while True:
            state = read_state(self._cluster, self._collection)
            if state.writer in ("", self._me) or state.until < now_ms():
                taken = self._swap(self._claim(), writer=state.writer, until=state.until)
                if taken.writer == self._me:
                    if state.writer:
                        self.roll_back()
                    return taken
            if time.monotonic() > give_up:
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
        """Hold on to the right for longer, if that is due.

        Raises
        ------
        IndexLockedError
            If another one has it now.
        """
        with self._lock:
            if time.monotonic() > self._renewed + self._seconds / 4:
                self._checked(self._swap(self._claim(), writer=self._me))

    def commit(self, before: State, after: State) -> State:
        """Make `after` the state that counts, if `before` is.

        Raises
        ------
        IndexLockedError
            If another one has the right to write now; nothing changed.
        """
        found = self._swap(after.payload(), writer=self._me, generation=before.manifest.generation)
        return self._checked(found, after.manifest.generation)

    def _checked(self, state: State, generation: int | None = None) -> State:
        if state.writer != self._me or generation not in (None, state.manifest.generation):
            raise IndexLockedError(
                f"Another client has taken over the index in {self._collection!r} at {self._cluster.url}, since this "
                f"one was not heard of for {self._seconds:.0f} s. Nothing was changed; try again when it is done."
            )
        return state

    def roll_back(self) -> None:
        """Undo what has not been committed, unless another one has the right to write by now."""
        state = self._swap(self._claim(), writer=self._me)
        if state.writer != self._me:
            return
        generation = state.manifest.generation
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
        """Change the manifest if it has the expected values; return what it is then."""
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
