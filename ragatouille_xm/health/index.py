"""Checks of an index folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import INDEXES_FOLDER, MAX_LENGTH, STORAGES
from ..errors import IndexDamagedError, IndexFormatError, IndexNotFoundError, RagatouilleXMError
from .checkpoint import open_checkpoint
from .report import FAULT, NOTE, Check, command, describe_error

if TYPE_CHECKING:
    from ..index.meta import IndexMeta


def examine_index(folder: Path, *, full: bool = False) -> Iterator[Check]:
    """Check an index: its database, the files of its segments, its codebook, and its checkpoint.

    Sizes, counts and a sample of passages and vectors are checked; with `full`, all of them, and every checksum.
    """
    from ..index.local.network import is_on_network
    from ..index.local.verify import find_faults, find_orphans, read_index

    try:
        state = read_index(folder)
    except IndexNotFoundError as error:
        yield from _examine_other(folder, error)
        return
    except RagatouilleXMError as error:
        yield Check("index", describe_error(error), FAULT, _remedy(folder, error))
        return
    counts = f"passages: {state.passages:,}, segments: {len(state.segments)}, buffered: {state.buffered}"
    yield Check("index", f"{folder}: {counts}, dimensions: {state.meta.dim}")
    faults = list(find_faults(folder, full=full))
    for where, what in faults:
        yield Check(where, what, FAULT, _rebuild(folder, state.meta))
    if not faults:
        looked = "all passages and checksums" if full else "sizes, counts and a sample (--full compares checksums)"
        yield Check("content", f"sound: {looked}")
    if build := _build(folder):
        yield build
    if is_on_network(folder):
        found = "on a network file system: whoever commits waits for those who read"
        yield Check("file system", found, NOTE, "a local disk is faster")
    if not os.access(folder, os.W_OK):
        yield Check("permissions", "read-only for this user: it is searched, and cannot be changed", NOTE)
    if orphans := find_orphans(folder, state):
        found = f"{len(orphans)} files of a writer that failed, or is at work: {orphans[0]}"
        yield Check("orphans", found, NOTE, "the next add, delete or index removes them")
    yield _checkpoint(folder, state.meta)


def _remedy(folder: Path, error: RagatouilleXMError) -> str:
    """Return what to do about an index that cannot be read."""
    if isinstance(error, IndexFormatError):
        return "pip install -U ragatouille-xm"
    return _rebuild(folder) if isinstance(error, IndexDamagedError) else "check the permissions of the folder"


def _rebuild(folder: Path, meta: IndexMeta | None = None) -> str:
    """Return the command that builds the index again as it was, going on with a build that was broken off."""
    from ..index.local.folder import BUILD_DATABASE

    settings: list[str] = []
    if meta is not None:
        settings = ["--checkpoint", meta.checkpoint]
        if (length := meta.settings.get("max_document_length", MAX_LENGTH)) != MAX_LENGTH:
            settings += ["--max-length", str(length)]
        if meta.storage != STORAGES[0]:
            settings += ["--storage", meta.storage]
        if (pooling := meta.settings.get("pooling", 1)) != 1:
            settings += ["--pooling", str(pooling)]
        if not meta.lexical:
            settings += ["--no-lexical"]
    above = folder.resolve().parents
    in_place = len(above) > 2 and above[0] == above[2] / INDEXES_FOLDER
    root = ["--root", str(above[2])] if in_place else []
    resume = ["--resume"] if (folder / BUILD_DATABASE).exists() else []
    return command("ragatouille-xm", "index", "PATH", "--name", folder.name, *root, *settings, *resume)


def _examine_other(folder: Path, error: IndexNotFoundError) -> Iterator[Check]:
    """Check a build that has not come to its end, or a folder of colbert-ai, if it is one."""
    from ..index.plaid.folder import PlaidFolder

    if not PlaidFolder.recognises(folder):
        build = _build(folder)
        remedy = build.remedy if build else _rebuild(folder)
        yield Check("index", describe_error(error), FAULT if remedy else NOTE, remedy)
        return
    try:
        opened = PlaidFolder.open(folder)
    except RagatouilleXMError as damage:
        yield Check("files", describe_error(damage), FAULT, f"copy the folder again, or: {_rebuild(folder)}")
        return
    n = sum(record is not None for record in opened.records)
    found = f"{folder}: {n:,} passages in the format of colbert-ai and RAGatouille, which is searched as it is"
    yield Check("files", found, NOTE, command("ragatouille-xm", "convert", str(folder), "--name", folder.name))
    checkpoint = open_checkpoint(opened.checkpoint)
    if isinstance(checkpoint, Check):
        yield checkpoint
    else:
        yield Check("checkpoint", f"{opened.checkpoint}; the folder does not tell which weights filled it")


def _build(folder: Path) -> Check | None:
    """Return what there is to say of a build that has not come to its end."""
    from ..index.local.folder import BUILD_DATABASE
    from ..index.local.install import read_saved
    from ..index.local.lock import is_locked

    if not (folder / BUILD_DATABASE).exists():
        return None
    if is_locked(folder):
        return Check("build", "the index is being built again; this one serves until that is complete", NOTE)
    saved = read_saved(folder, BUILD_DATABASE)
    stored = f" with {saved.passages:,} passages" if saved else ""
    remedy = _rebuild(folder, saved.meta if saved else None)
    return Check("build", f"a build that is to replace the index was interrupted{stored}", NOTE, remedy)


def _checkpoint(folder: Path, meta: IndexMeta) -> Check:
    """Check that the checkpoint that filled the index is here, and still the same."""
    checkpoint = open_checkpoint(meta.checkpoint)
    if isinstance(checkpoint, Check):
        return checkpoint
    name, fingerprint = meta.checkpoint, checkpoint.fingerprint
    if fingerprint == meta.fingerprint:
        return Check("checkpoint", f"{name}, fingerprint {fingerprint} as when it filled the index")
    found = f"{name} has fingerprint {fingerprint}, but {meta.fingerprint} filled the index: other weights"
    return Check("checkpoint", found, FAULT, f"put the earlier weights back, or: {_rebuild(folder, meta)}")
