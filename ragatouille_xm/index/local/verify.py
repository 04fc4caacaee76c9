"""What may be wrong with an index in a folder: a look at all that counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...errors import IndexDamagedError
from .database import Database
from .folder import DATABASE, orphans, postings_suffix
from .passages import all_passages, attribute_values
from .segment import check_files
from .snapshot import Snapshot
from .state import State, read_state

SAMPLE = 64  # passages of each segment
UNIT_TOLERANCE = 0.01  # quantized vectors keep the length of a unit vector within a thousandth


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


def find_faults(folder: Path, *, full: bool = False) -> Iterator[Fault]:
    """Yield what is wrong with an index.

    Files are opened and their sizes compared, counts are checked, and up to 64 passages of each segment are read: texts
    must be there, and unit vectors. With `full`, that is done with all passages; every checksum is compared, SQLite
    checks its own structures, and what filters look up is compared with the metadata.

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


def _faults(folder: Path, connection: sqlite3.Connection, full: bool) -> Iterator[Fault]:
    if full:
        for (found,) in connection.execute("PRAGMA integrity_check(1)"):
            if found != "ok":
                yield Fault(DATABASE, f"SQLite finds that {found}")
    state = read_state(connection)
    damaged_segments = False
    for meta in state.segments:
        try:
            check_files(folder, meta, all_checksums=full)
        except (OSError, ValueError) as error:
            damaged_segments = True
            yield Fault(meta.name, str(error))
    if damaged_segments:
        return
    snapshot = Snapshot.load(folder, connection, state, None)
    yield from _codebook_faults(snapshot)
    yield from _pid_faults(connection, snapshot)
    yield from _passage_faults(connection, snapshot, full)
    if full:
        yield from _attribute_faults(connection)


def find_orphans(folder: Path, state: State) -> list[str]:
    """Return the names of the files of a writer that failed, or is at work."""
    return sorted(path.name for path in orphans(folder, state.files))


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
        for block in view.segment.vectors.read_once(rows):
            norms = view.segment.vectors.vectors_of(block).vectors.norm(dim=1)
            if not ((norms - 1).abs() < UNIT_TOLERANCE).all():  # also where they are not finite
                pid = int(view.segment.table.pids[block[0]])
                yield Fault(view.segment.name, f"token vectors from passage {pid} on are not of unit length")
                break
    sample = snapshot.pids()[:SAMPLE].tolist()
    where = "ORDER BY pid" if full else f"WHERE pid IN ({', '.join(map(str, sample))})"
    for row in connection.execute(f"SELECT pid, document_id, language FROM passage {where}"):
        if not all(isinstance(value, str) for value in row[1:]):
            yield Fault(DATABASE, f"passage {row[0]} lacks its document's id or its language")
            return


def _attribute_faults(connection: sqlite3.Connection) -> Iterator[Fault]:
    """Yield a fault for the first passage whose row is damaged, or whose attributes are not those of its metadata."""
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
