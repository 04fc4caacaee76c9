"""What may be wrong with an index in a folder: a look at all that counts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...errors import IndexDamagedError, IndexNotFoundError
from .database import Database
from .folder import BUILD_DATABASE, DATABASE, LEXICAL, orphans, postings_suffix
from .install import describe_missing, files_that_count, read_saved
from .passages import all_passages, attribute_values, fetch_passages
from .segment import Segment, check_files
from .snapshot import Snapshot, load_codebook
from .state import State, read_state

SAMPLE = 64  # passages of each segment
UNIT_TOLERANCE = 0.02  # of lengths; those of centroids, whose codes share a scale, vary by a hundredth


class Fault(NamedTuple):
    """Something that is wrong with an index.

    Attributes
    ----------
    where : str
        A file, or a part of the database.
    what : str
    """

    where: str
    what: str


def read_index(folder: Path) -> State:
    """Return the state of an index, without opening its segments, which may be damaged.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError, StorageError
        If it cannot be read.
    """
    if not os.path.lexists(folder / DATABASE):
        raise IndexNotFoundError(describe_missing(folder))
    with closing(Database(folder / DATABASE)) as database:
        return database.read(read_state)


def find_faults(folder: Path, *, full: bool = False) -> Iterator[Fault]:
    """Yield what is wrong with an index.

    Files are opened and their sizes compared, counts are checked, and up to 64 passages of each segment are read: texts
    must be as they were written, and vectors of unit length. With `full`, that is done with all passages; every
    checksum is compared, SQLite checks its own structures, and what filters look up is compared with the metadata.

    Raises
    ------
    IndexNotFoundError, IndexFormatError
        If there is no index, or a newer version wrote it.
    """
    try:
        with closing(Database(folder / DATABASE)) as database, database.snapshot() as connection:
            yield from _faults(folder, connection, full)
    except IndexDamagedError as error:
        yield Fault(DATABASE, str(error))
    except (TypeError, UnicodeDecodeError) as error:
        yield Fault(DATABASE, f"it holds values of other kinds than were written: {error}")


def find_orphans(folder: Path, state: State) -> list[str]:
    """Return the names of the files of a writer that failed, or is at work."""
    return sorted(path.name for path in orphans(folder, *files_that_count(state, read_saved(folder, BUILD_DATABASE))))


def _faults(folder: Path, connection: sqlite3.Connection, full: bool) -> Iterator[Fault]:
    if full:
        for (found,) in connection.execute("PRAGMA integrity_check(1)"):
            if found != "ok":
                yield Fault(DATABASE, f"SQLite finds that {found}")
    state = read_state(connection)
    damaged_files = list(_file_faults(folder, state, full))
    yield from damaged_files
    if damaged_files:
        return
    snapshot = Snapshot.load(folder, connection, state, None)
    yield from _codebook_faults(snapshot)
    yield from _lexical_faults(snapshot)
    yield from _pid_faults(connection, snapshot)
    yield from _passage_faults(connection, snapshot, full)
    if full:
        yield from _attribute_faults(connection)


def _file_faults(folder: Path, state: State, full: bool) -> Iterator[Fault]:
    """Yield a fault for each segment, and for the codebook, whose files cannot be opened as what was written."""
    if state.codebook is not None:
        try:
            load_codebook(folder, state)
        except IndexDamagedError as error:
            yield Fault(state.codebook.name, str(error))
    for meta in state.segments:
        try:
            check_files(folder, meta, all_checksums=full)
            Segment.open(folder, meta, state)
        except (OSError, ValueError, IndexDamagedError) as error:
            yield Fault(meta.name, str(error))


def _codebook_faults(snapshot: Snapshot) -> Iterator[Fault]:
    codebook, meta = snapshot.codebook, snapshot.state.codebook
    if codebook is None or meta is None:
        return
    norms = codebook.centroids.norm(dim=-1)
    if not torch.allclose(norms, torch.ones_like(norms), atol=UNIT_TOLERANCE):
        yield Fault(meta.name, "it does not hold unit vectors")
    for view in snapshot.views:
        postings = view.segment.postings
        if postings is None:
            continue
        name = f"{view.segment.name}{postings_suffix(meta.name)}"
        if len(postings.offsets) - 1 != len(codebook):
            yield Fault(name, f"it has {len(postings.offsets) - 1} centroids, the codebook {len(codebook)}")
        try:
            postings.check()
        except ValueError as error:
            yield Fault(name, str(error))


def _lexical_faults(snapshot: Snapshot) -> Iterator[Fault]:
    for view in snapshot.views:
        if view.segment.lexical is not None:
            try:
                view.segment.lexical.check()
            except ValueError as error:
                yield Fault(f"{view.segment.name}{LEXICAL}", str(error))


def _pid_faults(connection: sqlite3.Connection, snapshot: Snapshot) -> Iterator[Fault]:
    """Yield a fault unless every live pid has exactly one row, and the other way round."""
    pids = snapshot.pids()
    stored = np.fromiter((pid for (pid,) in connection.execute("SELECT pid FROM passage ORDER BY pid")), np.int64)
    if len(np.unique(pids)) < len(pids):
        yield Fault("segments", "a pid is live in two of them")
    elif not np.array_equal(pids, stored):
        other = np.setxor1d(pids, stored)
        yield Fault(DATABASE, f"passage {other[0]} has a text without token vectors, or the other way round")
    if len(pids) and pids[-1] >= snapshot.state.meta.next_pid:
        yield Fault(DATABASE, f"pid {pids[-1]} was never handed out: the next is {snapshot.state.meta.next_pid}")


def _passage_faults(connection: sqlite3.Connection, snapshot: Snapshot, full: bool) -> Iterator[Fault]:
    for view in snapshot.views:
        rows = view.rows() if full else view.rows()[:SAMPLE]
        if not full:
            fetch_passages(connection, view.segment.table.pids[rows].tolist())  # compares their checksums
        for block in view.segment.vectors.read_once(rows):
            norms = view.segment.vectors.vectors_of(block).vectors.norm(dim=1)
            if not ((norms - 1).abs() < UNIT_TOLERANCE).all():  # also where they are not finite
                pid = int(view.segment.table.pids[block[0]])
                yield Fault(view.segment.name, f"token vectors from passage {pid} on are not of unit length")
                break


def _attribute_faults(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield a fault for the first passage whose attributes are not those of its metadata.

    Raises
    ------
    IndexDamagedError
        If the row of a passage is not the one that was written.
    """
    fields = dict(connection.execute("SELECT name, id FROM field"))
    stored = connection.execute("SELECT pid, field, kind, value FROM attribute ORDER BY pid")
    pending = next(stored, None)
    for passage in all_passages(connection):
        found = set()
        while pending is not None and pending[0] <= passage.pid:
            found.add(pending)
            pending = next(stored, None)
        expected = {(passage.pid, fields.get(name), kind, value) for name, kind, value in attribute_values(passage)}
        if found != expected:
            yield Fault(DATABASE, f"what filters look up of passage {passage.pid} is not its metadata")
            return
    if pending is not None:
        yield Fault(DATABASE, f"filters look up passage {pending[0]}, which is not there")
