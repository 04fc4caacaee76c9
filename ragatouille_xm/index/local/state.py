"""What counts of an index: one row for the whole, one for each segment, and a checksum over all of them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import IndexDamagedError
from ...types import Calibration
from ..files import checksum
from ..meta import IndexMeta
from .folder import LEXICAL, TABLE, WAY_OUT, is_codebook_name, is_segment_name, postings_suffix
from .storages import STORAGES, Storage

TABLES = """
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1), build TEXT NOT NULL, generation INTEGER NOT NULL, content TEXT NOT NULL,
    checksum TEXT NOT NULL
);
CREATE TABLE segment (
    name TEXT NOT NULL UNIQUE, passages INTEGER NOT NULL, tokens INTEGER NOT NULL, files TEXT NOT NULL, deleted BLOB
);
CREATE TABLE buffer (
    pid INTEGER PRIMARY KEY, tokens INTEGER NOT NULL, scale REAL NOT NULL, checksum INTEGER NOT NULL,
    codes BLOB NOT NULL, residuals BLOB, pieces BLOB
);
"""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """A file that never changes.

    Attributes
    ----------
    bytes : int
    sha256 : str
    """

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileMeta:
        """Return what describes a file. Raise `OSError` if it cannot be read."""
        return cls(path.stat().st_size, checksum(path))


@dataclass(frozen=True, slots=True)
class SegmentMeta:
    """A segment: files that never change, and which of their passages are deleted.

    Attributes
    ----------
    name : str
    passages, tokens : int
        In the files.
    files : mapping
        By the end of the name.
    deleted : bytes or None
        A bit for each passage, in the order of the table; None if all are live.
    """

    name: str
    passages: int
    tokens: int
    files: Mapping[str, FileMeta]
    deleted: bytes | None = None

    @property
    def deletes(self) -> int:
        """How many passages are deleted."""
        return 0 if self.deleted is None else int.from_bytes(self.deleted, "big").bit_count()

    @property
    def live(self) -> int:
        """How many passages are not deleted."""
        return self.passages - self.deletes

    @property
    def live_tokens(self) -> int:
        """About how many token vectors the live passages have."""
        return self.tokens * self.live // max(self.passages, 1)

    def live_mask(self) -> NDArray[np.bool_] | None:
        """Return which passages are live, ``(passages,)``; None if all are."""
        if self.deleted is None:
            return None
        return ~np.unpackbits(np.frombuffer(self.deleted, np.uint8), count=self.passages).astype(np.bool_)

    def with_live(self, live: NDArray[np.bool_]) -> SegmentMeta:
        """Return the same segment with other live passages."""
        return replace(self, deleted=np.packbits(~live).tobytes())

    def check(self, state: State) -> None:
        """Raise `ValueError` for what cannot be so."""
        if not is_segment_name(self.name):
            raise ValueError(f"a segment is named {self.name!r}")
        if not state.complete and not self.files:  # it grows
            return
        codebook = state.codebook
        expected = {*state.storage.files, TABLE}
        expected |= {postings_suffix(codebook.name)} if codebook else set()
        expected |= {LEXICAL} if state.meta.lexical else set()
        if set(self.files) != expected:
            raise ValueError(f"{self.name} has the files {sorted(self.files)} instead of {sorted(expected)}")
        if not 0 < self.passages <= self.tokens:
            raise ValueError(f"{self.name} has {self.passages} passages of {self.tokens} tokens")
        if self.deleted is not None and len(self.deleted) != ceil(self.passages / 8):
            raise ValueError(f"{self.name} has a live mask of {len(self.deleted)} bytes")


@dataclass(frozen=True, slots=True)
class CodebookMeta:
    """The codebook behind the postings of all segments.

    Attributes
    ----------
    name : str
        Of its file.
    tokens : int
        Token vectors that the index had when it was fitted.
    file : FileMeta
    """

    name: str
    tokens: int
    file: FileMeta


@dataclass(frozen=True, slots=True)
class State:
    """An index at one commit.

    Attributes
    ----------
    meta : IndexMeta
    segments : tuple of SegmentMeta
    codebook : CodebookMeta or None
    buffered, buffered_tokens : int
        Passages, and token vectors, that are in the database and in no segment yet.
    complete : bool
        False of a build under way.
    """

    meta: IndexMeta
    segments: tuple[SegmentMeta, ...] = ()
    codebook: CodebookMeta | None = None
    buffered: int = 0
    buffered_tokens: int = 0
    complete: bool = True

    @property
    def passages(self) -> int:
        """How many passages are live."""
        return self.buffered + sum(segment.live for segment in self.segments)

    @property
    def tokens(self) -> int:
        """About how many token vectors the live passages have."""
        return self.buffered_tokens + sum(segment.live_tokens for segment in self.segments)

    @property
    def growth(self) -> float:
        """Token vectors over those that the codebook was fitted for; 1 without a codebook."""
        return self.tokens / max(self.codebook.tokens, 1) if self.codebook else 1.0

    @property
    def storage(self) -> Storage:
        """How token vectors are stored."""
        return STORAGES[self.meta.storage]

    @property
    def files(self) -> dict[str, FileMeta]:
        """The files that count, by name."""
        named = {segment.name + end: file for segment in self.segments for end, file in segment.files.items()}
        return named | ({self.codebook.name: self.codebook.file} if self.codebook else {})

    @property
    def growing(self) -> tuple[SegmentMeta, ...]:
        """The segments of a build that have no files that stay, yet."""
        return tuple(segment for segment in self.segments if not segment.files)

    @property
    def finished(self) -> State:
        """The same without the segments that grow."""
        return replace(self, segments=tuple(segment for segment in self.segments if segment.files))

    def committed(self, **changes: Any) -> State:
        """Return the state of the next commit, with `changes`."""
        return replace(self, meta=replace(self.meta, generation=self.meta.generation + 1), **changes)


def write_state(connection: sqlite3.Connection, state: State, before: State | None = None) -> None:
    """Store the state of a commit; only segments that differ from `before` are written."""
    meta = state.meta
    known = {segment.name: segment for segment in before.segments} if before else {}
    kept = {segment.name for segment in state.segments}
    connection.executemany("DELETE FROM segment WHERE name = ?", [(name,) for name in known if name not in kept])
    for segment in state.segments:
        old = known.get(segment.name)
        if old == segment:
            continue
        files = json.dumps({end: asdict(file) for end, file in segment.files.items()})
        row = (segment.passages, segment.tokens, files, segment.deleted, segment.name)
        if old is None:
            connection.execute(
                "INSERT INTO segment (passages, tokens, files, deleted, name) VALUES (?, ?, ?, ?, ?)", row
            )
        else:
            connection.execute(
                "UPDATE segment SET (passages, tokens, files, deleted) = (?, ?, ?, ?) WHERE name = ?", row
            )
    content = json.dumps(
        {
            "meta": asdict(meta),
            "codebook": None if state.codebook is None else asdict(state.codebook),
            "buffered": state.buffered,
            "buffered_tokens": state.buffered_tokens,
            "complete": state.complete,
        },
        ensure_ascii=False,
    )
    connection.execute(
        "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?)",
        (meta.build, meta.generation, content, _checksum(content, state.segments)),
    )


def read_state(connection: sqlite3.Connection) -> State:
    """Return what counts now. Raise `IndexDamagedError` if it is not what was written."""
    try:
        [[build, generation, content, checksum]] = connection.execute(
            "SELECT build, generation, content, checksum FROM state"
        )
        segments = tuple(
            SegmentMeta(
                name, passages, tokens, {end: FileMeta(**file) for end, file in json.loads(files).items()}, deleted
            )
            for name, passages, tokens, files, deleted in connection.execute(
                "SELECT name, passages, tokens, files, deleted FROM segment ORDER BY rowid"
            )
        )
        if checksum != _checksum(content, segments):
            raise ValueError("its checksum differs")
        state = _state_of(json.loads(content), segments)
        if state.meta.state != (build, generation):
            raise ValueError(
                f"it is generation {generation} of {build}, or {state.meta.generation} of {state.meta.build}"
            )
        for segment in segments:
            segment.check(state)
        return state
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise IndexDamagedError(f"The state of the index is damaged: {error}. {WAY_OUT}") from error


def read_version(connection: sqlite3.Connection) -> tuple[str, int]:
    """Return the build and the generation that count now."""
    found = connection.execute("SELECT build, generation FROM state").fetchone()
    if found is None:
        raise IndexDamagedError(f"The index has no state. {WAY_OUT}")
    return found[0], found[1]


def read_meta(content: str) -> IndexMeta:
    """Return what an index says of itself, in the content of a row of the table."""
    return _meta_of(json.loads(content))


def _meta_of(content: Mapping[str, Any]) -> IndexMeta:
    calibration = content["meta"]["calibration"]
    return IndexMeta(**content["meta"] | {"calibration": None if calibration is None else Calibration.of(calibration)})


def _state_of(content: Mapping[str, Any], segments: tuple[SegmentMeta, ...]) -> State:
    codebook = content["codebook"]
    if codebook is not None:
        codebook = CodebookMeta(codebook["name"], codebook["tokens"], FileMeta(**codebook["file"]))
        if not is_codebook_name(codebook.name):
            raise ValueError(f"a codebook is named {codebook.name!r}")
    meta = _meta_of(content)
    if meta.storage not in STORAGES:
        raise ValueError(f"storage is {meta.storage!r}")
    return State(meta, segments, codebook, content["buffered"], content["buffered_tokens"], content["complete"])


def _checksum(content: str, segments: tuple[SegmentMeta, ...]) -> str:
    digest = hashlib.sha256(content.encode())
    for segment in segments:
        files = sorted((end, file.bytes, file.sha256) for end, file in segment.files.items())
        digest.update(repr((segment.name, segment.passages, segment.tokens, files)).encode())
        digest.update(b"-" if segment.deleted is None else segment.deleted)
    return digest.hexdigest()
