"""Indexes of format 2, in which the engine had the token vectors: brought into today's format when they are opened."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import qdrant_edge as edge
import torch

from ...errors import IndexDamagedError
from ...types import Passage, TokenVectors
from ..cluster.payload import VECTORS, passage_of
from ..files import check_space, is_foreign
from .inventory import size_of
from .lock import write_lock
from .manifest import DRAFT, MANIFEST, MIGRATED, WAY_OUT, Manifest, PartEntry, sweep
from .merge import fit_codebook, needs_codebook, posted, saved
from .search import View
from .segment import Part, batches_of

logger = logging.getLogger(__name__)

AT_ONCE = 64  # passages: their vectors come out of the engine as Python floats, 32 bytes each


def migrate(folder: Path) -> None:
    """Bring the index in a folder into today's format if it is of format 2. Nothing is encoded again.

    It is one part then. If the process dies, the index is as it was. Older versions refuse it afterwards.

    Raises
    ------
    IndexDamagedError
        If a part of it is missing or cannot be read.
    IndexLockedError
        If somebody is writing to it.
    StorageError
        If there is no room, or the folder cannot be written to.
    """
    if _version(folder) != MIGRATED:
        return
    with write_lock(folder):
        if _version(folder) == MIGRATED:  # nobody else was faster
            _migrate(folder)
            (folder / DRAFT).unlink(missing_ok=True)  # of a build in the old format
            sweep(folder)


def _version(folder: Path) -> object:
    with suppress(OSError, ValueError, AttributeError):
        return json.loads((folder / MANIFEST).read_bytes()).get("format_version")
    return None


def _migrate(folder: Path) -> None:
    old = Manifest.read(folder, reads=MIGRATED)
    logger.warning("%s is of format %d: its %d passages are written anew", folder, MIGRATED, old.passages)
    check_space(folder, 3 * old.dim * old.tokens + size_of(folder))
    part = Part.create(folder, old.dim, old.storage)
    try:
        for source in old.parts:
            for passages, vectors in _contents(folder / source.name, source):
                part.append(passages, vectors)
        part.seal()
        pair = part.entry, View(part)
        manifest = old.changed(parts=(pair[0],) if part.passages else (), codebook=None)
        if needs_codebook(manifest):
            codebook = fit_codebook([pair[1]], manifest)
            entry = saved(codebook, folder, manifest.tokens)
            manifest = replace(manifest, parts=(posted(pair, folder, codebook, entry)[0],), codebook=entry)
        manifest.write(folder)
    finally:
        part.close()


def _contents(folder: Path, entry: PartEntry) -> Iterator[tuple[list[Passage], TokenVectors]]:
    """Yield what counts of an old part, a little at a time."""
    try:
        shard = edge.EdgeShard.load(str(folder))
        where = edge.Filter(must_not=[edge.HasIdCondition(set(entry.deleted))]) if entry.deleted else None
        total = 0
        for batch in batches_of(_records(shard, where), AT_ONCE):
            blocks = [np.asarray(record.vector[VECTORS], np.float32) for record in batch]  # type: ignore[index, call-overload]
            passages = [passage_of(int(record.id), record.payload or {}) for record in batch]
            total += len(batch)
            yield passages, TokenVectors(torch.from_numpy(np.concatenate(blocks)), torch.tensor(list(map(len, blocks))))
        shard.close()
        if total != entry.alive:
            raise OSError(f"it holds {total} passages instead of {entry.alive}")
    except BaseException as error:
        if not is_foreign(error):
            raise
        raise IndexDamagedError(f"{str(folder)!r}, a part of the index, cannot be read: {error}. {WAY_OUT}") from error


def _records(shard: edge.EdgeShard, where: edge.Filter | None) -> Iterator[edge.Record]:
    offset = None
    while True:
        records, offset = shard.scroll(
            edge.ScrollRequest(offset=offset, limit=AT_ONCE, filter=where, with_payload=True, with_vector=[VECTORS])
        )
        yield from records
        if offset is None:
            return
