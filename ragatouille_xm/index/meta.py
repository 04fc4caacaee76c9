"""What an index says of itself, wherever it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ..config import STORAGES
from ..errors import InputError
from ..types import Calibration


@dataclass(frozen=True, slots=True)
class IndexMeta:
    """The description of an index, and how far it has come.

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
    lexical : bool
        Whether the pieces of passages are kept for lexical search.
    build : str
        Random; differs after every build.
    generation : int
        Grows with every commit that changes what a search may say.
    first_pid : int
        The first pid of this build.
    next_pid : int
        The first pid that was never handed out.
    calibration : Calibration or None
        What the relevance of its passages is measured by.
    """

    dim: int
    checkpoint: str
    fingerprint: str
    settings: Mapping[str, Any]
    storage: str = STORAGES[0]
    lexical: bool = False
    build: str = field(default_factory=lambda: uuid4().hex)
    generation: int = 0
    first_pid: int = 0
    next_pid: int = 0
    calibration: Calibration | None = None

    @property
    def state(self) -> tuple[str, int]:
        """Differs whenever a search may say something else."""
        return self.build, self.generation

    @property
    def description(self) -> dict[str, Any]:
        """The arguments with which an index like this one is built."""
        names = ("dim", "checkpoint", "fingerprint", "settings", "storage", "lexical")
        return {name: getattr(self, name) for name in names}


class Described:
    """What an engine that has an `IndexMeta` says of itself."""

    @property
    def meta(self) -> IndexMeta:
        """The description of the index, and how far it has come."""
        raise NotImplementedError

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that filled it."""
        return self.meta.checkpoint

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the caller of `build` kept with it."""
        return self.meta.settings

    @property
    def calibration(self) -> Calibration | None:
        """What `calibrate` kept last."""
        return self.meta.calibration

    @property
    def first_pid(self) -> int:
        """The first pid that was handed out when it was built from nothing."""
        return self.meta.first_pid


def new_meta(
    dim: int,
    checkpoint: str,
    fingerprint: str,
    settings: Mapping[str, Any],
    storage: str = STORAGES[0],
    lexical: bool = False,
) -> IndexMeta:
    """Return the meta of an empty index.

    Raises
    ------
    InputError
        If a value cannot be kept.
    """
    check_storage(storage)
    if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
        raise InputError(f"dim={dim!r} is not a width of token vectors: give a whole number of at least 1.")
    try:
        json.dumps(dict(settings), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"The settings {settings!r} cannot be kept: {error}. Use JSON values.") from error
    return IndexMeta(dim, checkpoint, fingerprint, dict(settings), storage, lexical)


def check_storage(storage: str) -> None:
    """Raise `InputError` unless there is such a storage."""
    if storage not in STORAGES:
        raise InputError(f"storage={storage!r} is not known. Use one of {', '.join(map(repr, STORAGES))}.")


def check_smaller(storage: str, wanted: str) -> bool:
    """Return whether a storage is smaller than that of an index. Raise `InputError` if it is larger, or none."""
    check_storage(wanted)
    if STORAGES.index(wanted) < STORAGES.index(storage):
        raise InputError(
            f"The index stores token vectors as {storage!r}, and {wanted!r} cannot be made of these: what rounding "
            "took is lost. Index the documents again."
        )
    return wanted != storage


class OtherBuildError(InputError):
    """A build that was broken off is of another checkpoint, or has other settings."""


def check_resumable(saved: IndexMeta, wanted: IndexMeta) -> None:
    """Raise `OtherBuildError` if a build described by `wanted` cannot go on with one that was broken off."""
    for name in ("fingerprint", "dim", "storage", "lexical", "settings"):
        there, here = getattr(saved, name), getattr(wanted, name)
        if there != here:
            raise OtherBuildError(
                f"The interrupted build has {name} {there!r}, this one {here!r}: it cannot be continued. "
                "Give the same checkpoint and settings, or overwrite_index=True to begin again."
            )
