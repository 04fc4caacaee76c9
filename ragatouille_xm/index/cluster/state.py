"""The state of an index in a cluster, kept in one point of its collection: the manifest.

Each point carries the generation that added it (``born``) and the one that deleted it (``died``). A change of many
points becomes visible as a whole once the manifest names its generation: readers look at one generation, a writer
prepares the next. The next writer rolls back a write that was broken off.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from qdrant_client import models

from ...errors import IndexDamagedError, IndexFormatError, IndexNotFoundError
from ...types import Calibration
from ..meta import IndexMeta
from ..quantization.codebook import needs_codebook
from .client import Cluster

FORMAT_VERSION = 1  # of indexes in a cluster
MANIFEST_ID = 0
BORN, DIED, DIED_AT = "born", "died", "died_at"


def now_ms() -> int:
    """Return the milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class CodebookMeta:
    """The codebook behind the centroids of all passages.

    Attributes
    ----------
    version : int
        Grows with every new one.
    tokens : int
        Token vectors that the index had when it was fitted.
    sha256 : str
        Of its safetensors bytes.
    """

    version: int
    tokens: int
    sha256: str


@dataclass(frozen=True, slots=True)
class State:
    """An index in a cluster at one moment.

    Attributes
    ----------
    meta : IndexMeta
    collection : str
        Name of the collection.
    passages, tokens : int
        What a search may find: passages, and their token vectors.
    languages : mapping
        Passages of each language.
    codebook : CodebookMeta or None
    dead : int
        Deleted points that are still stored.
    dead_since : int
        When the first of them was deleted, in milliseconds since 1970.
    purged : int
        Points that were deleted by a generation up to this one may have been removed.
    writer : str
        Who may write; empty if nobody does.
    until : int
        How long, in milliseconds since 1970.
    """

    meta: IndexMeta
    collection: str
    passages: int = 0
    tokens: int = 0
    languages: Mapping[str, int] = field(default_factory=dict)
    codebook: CodebookMeta | None = None
    dead: int = 0
    dead_since: int = 0
    purged: int = 0
    writer: str = ""
    until: int = 0

    @property
    def growth(self) -> float:
        """Token vectors of the index over those that its codebook was fitted for; 1 without a codebook."""
        return self.tokens / max(self.codebook.tokens, 1) if self.codebook else 1.0

    @property
    def needs_codebook(self) -> bool:
        """Whether its first codebook is due, or a new one."""
        return needs_codebook(self.passages, self.tokens, self.codebook.tokens if self.codebook else None)

    def payload(self) -> dict[str, Any]:
        """Return what is stored, without who may write."""
        meta, codebook = self.meta, self.codebook
        return {
            "format_version": FORMAT_VERSION,
            "collection": self.collection,
            "dim": meta.dim,
            "storage": meta.storage,
            "checkpoint": meta.checkpoint,
            "fingerprint": meta.fingerprint,
            "settings": json.dumps(dict(meta.settings)),
            "build": meta.build,
            "generation": meta.generation,
            "first_pid": meta.first_pid,
            "next_pid": meta.next_pid,
            "calibration": json.dumps(asdict(meta.calibration)) if meta.calibration else "",
            "passages": self.passages,
            "tokens": self.tokens,
            "languages": json.dumps(dict(self.languages)),
            "codebook": json.dumps([codebook.version, codebook.tokens, codebook.sha256]) if codebook else "",
            "dead": self.dead,
            "dead_since": self.dead_since,
            "purged": self.purged,
        }

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> State:
        """Return the state that is stored. Raise `KeyError`, `TypeError` or `ValueError` for anything else."""
        meta = IndexMeta(
            dim=int(payload["dim"]),
            checkpoint=str(payload["checkpoint"]),
            fingerprint=str(payload["fingerprint"]),
            settings=dict(json.loads(payload["settings"])),
            storage=str(payload["storage"]),
            build=str(payload["build"]),
            generation=int(payload["generation"]),
            first_pid=int(payload["first_pid"]),
            next_pid=int(payload["next_pid"]),
            calibration=Calibration.of(json.loads(payload["calibration"])) if payload["calibration"] else None,
        )
        numbers = ("passages", "tokens", "dead", "dead_since", "purged", "until")
        return cls(
            meta,
            str(payload["collection"]),
            languages=dict(json.loads(payload["languages"])),
            codebook=CodebookMeta(*json.loads(payload["codebook"])) if payload["codebook"] else None,
            writer=str(payload["writer"]),
            **{name: int(payload[name]) for name in numbers},
        )


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
        names = ", ".join(sorted(cluster.aliases())) or "none yet"
        raise IndexNotFoundError(
            f"There is no index {name!r} in the cluster at {cluster.url}. Its names: {names}."
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
    """Return the filter that admits points whose `key` is a later generation."""
    return models.Filter(must=[models.FieldCondition(key=key, range=models.Range(gt=generation))])


def deleted_by(generation: int, before_ms: int) -> models.Filter:
    """Return the filter that admits what a generation up to the given one deleted, before a moment."""
    earlier = models.FieldCondition(key=DIED_AT, range=models.Range(lt=before_ms))
    return models.Filter(must=[_up_to(DIED, generation), earlier])


def _up_to(key: str, generation: int) -> models.FieldCondition:
    return models.FieldCondition(key=key, range=models.Range(lte=generation))
