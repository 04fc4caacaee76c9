"""``manifest.json``: what an index consists of. Writing it is what commits a change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ...config import STORAGES
from ...errors import IndexDamagedError, IndexFormatError, IndexNotFoundError, PassageIndexError
from ..files import ASIDE, TRASH, remove_tree, write_durably

FORMAT_VERSION = 3
MIGRATED = 2  # the format that is brought into this one when an index is opened
MANIFEST = "manifest.json"
DRAFT = "draft.json"  # the manifest of a build under way, which nobody but its builder reads
PART, CODEBOOK, SUFFIX = "part-", "codebook-", ".safetensors"
POSTINGS, BINARY = "postings-", ".bin"
WAY_OUT = "Index the documents again, or restore the folder from a copy."


@dataclass(frozen=True, slots=True)
class PartEntry:
    """One part: a folder that never changes once the manifest names it.

    Attributes
    ----------
    name : str
        The folder's name.
    passages : int
        How many were written into it.
    tokens : int
        Token vectors of these.
    deleted : tuple of int
        Their pids that no longer count, growing.
    postings : str
        SHA-256 of the file that has the passages of each centroid; empty while there is no codebook.
    """

    name: str
    passages: int
    tokens: int
    deleted: tuple[int, ...] = ()
    postings: str = ""

    def postings_file(self, codebook: CodebookEntry) -> str:
        """Name of the file that has the passages of each centroid."""
        return f"{POSTINGS}{codebook.version}-{self.name.removeprefix(PART)}{BINARY}"

    @property
    def alive(self) -> int:
        """Passages that count."""
        return self.passages - len(self.deleted)


@dataclass(frozen=True, slots=True)
class CodebookEntry:
    """The codebook behind the centroids of all parts.

    Attributes
    ----------
    version : int
        Which file: ``codebook-<version>.safetensors``.
    tokens : int
        Token vectors that the index had when it was fitted.
    sha256 : str
        Of the file: see `ragatouille_xm.index.local.inventory.checksum`.
    """

    version: int
    tokens: int
    sha256: str = ""

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{CODEBOOK}{self.version}{SUFFIX}"

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> CodebookEntry:
        return cls(int(content["version"]), int(content["tokens"]), str(content.get("sha256", "")))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index consists of.

    Attributes
    ----------
    dim : int
        Width of a token vector.
    checkpoint : str
        Name or folder of the checkpoint that filled the index.
    fingerprint : str
        Hash of its weights.
    settings : mapping
        JSON values of the caller.
    storage : str
        How token vectors are stored: one of `ragatouille_xm.config.STORAGES`.
    build : str
        Random; another one after every build from nothing.
    generation : int
        Grows with every change to what a search may find.
    first_pid : int
        The first pid of this build.
    next_pid : int
        The first pid that was never handed out.
    codebook : CodebookEntry or None
    parts : tuple of PartEntry
    """

    dim: int
    checkpoint: str
    fingerprint: str
    settings: Mapping[str, Any]
    storage: str = "int16"
    build: str = field(default_factory=lambda: uuid4().hex)
    generation: int = 0
    first_pid: int = 0
    next_pid: int = 0
    codebook: CodebookEntry | None = None
    parts: tuple[PartEntry, ...] = ()

    @property
    def passages(self) -> int:
        """Passages that count."""
        return sum(part.alive for part in self.parts)

    @property
    def tokens(self) -> int:
        """Token vectors of the passages that count, about."""
        return sum(part.tokens * part.alive // max(part.passages, 1) for part in self.parts)

    @property
    def growth(self) -> float:
        """How many times the token vectors that the codebook was fitted for are there; 1 without a codebook."""
        return self.tokens / max(self.codebook.tokens, 1) if self.codebook else 1.0

    @property
    def names(self) -> set[str]:
        """The files and folders that it consists of, beside itself."""
        names = {part.name for part in self.parts}
        if self.codebook is not None:
            names |= {self.codebook.file, *(part.postings_file(self.codebook) for part in self.parts)}
        return names

    @property
    def state(self) -> tuple[str, int]:
        """Two manifests of the same state name the same parts."""
        return self.build, self.generation

    def changed(self, **changes: Any) -> Manifest:
        """Return the manifest of the next generation."""
        return replace(self, generation=self.generation + 1, **changes)

    def write(self, folder: Path, name: str = MANIFEST) -> None:
        """Put the manifest in its place in one step.

        Raises
        ------
        StorageError
            If that is not possible; the old one still holds.
        """
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        write_durably(folder / name, json.dumps(content, indent=1).encode())

    @classmethod
    def read(cls, folder: Path, name: str = MANIFEST, *, reads: int = FORMAT_VERSION) -> Manifest:
        """Read the manifest of an index, of the format that it `reads`.

        Raises
        ------
        IndexNotFoundError
            If there is none.
        IndexDamagedError
            If it cannot be understood.
        IndexFormatError
            If it is of another format.
        """
        path = folder / name
        try:
            content = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise IndexNotFoundError(
                f"There is no index at {str(folder)!r}: it has no {name}. Check the path, or index documents first."
            ) from error
        except (OSError, ValueError) as error:
            raise IndexDamagedError(f"{str(path)!r} cannot be read: {error}. {WAY_OUT}") from error
        version = content.get("format_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version != reads:
            way_out = (
                "Upgrade it: pip install -U ragatouille-xm"
                if version > FORMAT_VERSION
                else "Search it once, which brings it into that format."
                if version == MIGRATED
                else "Index the documents again, or open it with the version that wrote it."
            )
            raise IndexFormatError(
                f"The index at {str(folder)!r} has format version {version}; this version of ragatouille-xm reads "
                f"{reads}. {way_out}"
            )
        try:
            return cls._from_json(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IndexDamagedError(f"{str(path)!r} is not a manifest: {error!r}. {WAY_OUT}") from error

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Manifest:
        codebook = content["codebook"]
        if content["storage"] not in STORAGES:
            raise ValueError(f"storage {content['storage']!r}")
        return cls(
            dim=int(content["dim"]),
            checkpoint=str(content["checkpoint"]),
            fingerprint=str(content["fingerprint"]),
            settings=dict(content["settings"]),
            storage=str(content["storage"]),
            build=str(content["build"]),
            generation=int(content["generation"]),
            first_pid=int(content.get("first_pid", 0)),
            next_pid=int(content["next_pid"]),
            codebook=None if codebook is None else CodebookEntry._from_json(codebook),
            parts=tuple(
                PartEntry(
                    str(p["name"]),
                    int(p["passages"]),
                    int(p["tokens"]),
                    tuple(map(int, p["deleted"])),
                    str(p.get("postings", "")),
                )
                for p in content["parts"]
            ),
        )


def stamp(folder: Path) -> tuple[int, int, int]:
    """Return what differs once the manifest of `folder` was replaced.

    Raises
    ------
    IndexNotFoundError
        If it is gone.
    """
    try:
        status = (folder / MANIFEST).stat()
    except OSError as error:
        raise IndexNotFoundError(f"The index at {str(folder)!r} is no longer there: {error}.") from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def sweep(folder: Path) -> None:
    """Remove what writers left behind that did not come to their end, except a build that may be resumed."""
    try:
        if _build(folder, DRAFT) == _build(folder, MANIFEST):  # committed by a process that died right then, or neither
            (folder / DRAFT).unlink(missing_ok=True)
        named = _named(folder, MANIFEST) | _named(folder, DRAFT)
    except PassageIndexError:  # leave what may be of use to whoever repairs it
        return
    for path in left_behind(folder, named):
        if path.is_dir():
            remove_tree(path)
        else:
            with suppress(OSError):
                path.unlink()


def left_behind(folder: Path, named: set[str]) -> Iterator[Path]:
    """Yield what writers have made in a folder, except what is named."""
    for path in folder.iterdir():
        if path.name in named:
            continue
        if path.is_dir():
            ours = path.name.startswith((PART, TRASH))
        else:
            kinds, ends = (MANIFEST, DRAFT, CODEBOOK, POSTINGS), (ASIDE, SUFFIX, BINARY)
            ours = path.name.startswith(kinds) and path.suffix in ends
        if ours:
            yield path


def _named(folder: Path, name: str) -> set[str]:
    try:
        return Manifest.read(folder, name).names
    except IndexNotFoundError:
        return set()


def _build(folder: Path, name: str) -> str | None:
    try:
        return Manifest.read(folder, name).build
    except IndexNotFoundError:
        return None
