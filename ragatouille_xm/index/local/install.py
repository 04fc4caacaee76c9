"""The life of a build's database: begun, gone on with, and put in the place of the index."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ...errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    PassageIndexError,
    StorageError,
)
from ..files import storage_errors, sync
from ..meta import check_resumable
from . import passages, state
from .build import LocalBuild
from .database import BUSY_MS, Database, create_database, database_errors, prepare_for_writing
from .folder import BUILD_DATABASE, DATABASE, delete_orphans
from .lock import is_locked
from .segment_writer import find_shortage
from .snapshot import Snapshot
from .state import State, read_state, write_state

logger = logging.getLogger(__name__)

SCHEMA = passages.TABLES + state.TABLES
CACHE_KIB = 2**14
GO_ON = 'index(…, overwrite_index="resume"), or --resume on the command line'


def read_saved(folder: Path, database: str) -> State | None:
    """Return what was committed last to a database of a folder; None if there is none, or a damaged one.

    Raises
    ------
    IndexLockedError, StorageError
        If it cannot be read now.
    """
    try:
        with closing(Database(folder / database)) as opened:
            return opened.read(read_state)
    except (IndexDamagedError, IndexFormatError, IndexNotFoundError):
        return None


def remove_database(path: Path) -> None:
    """Remove a database and its log."""
    for end in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            path.with_name(path.name + end).unlink(missing_ok=True)


def describe_missing(folder: Path) -> str:
    """Return what to say of a folder that has no index: there may be a build that has not come to its end."""
    if not os.path.lexists(folder / BUILD_DATABASE):
        return f"There is no index at {str(folder)!r}. Check the path, or index documents first."
    saved = None
    with suppress(IndexLockedError, StorageError):
        saved = read_saved(folder, BUILD_DATABASE)
    stored = f", with {saved.passages:,} passages so far" if saved else ""
    if is_locked(folder):
        return f"There is no index at {str(folder)!r} yet: it is being built{stored}. Wait until that is complete."
    return (
        f"There is no complete index at {str(folder)!r}: its build was interrupted{stored}. Continue it: {GO_ON}, "
        "with the same documents and ids."
    )


@contextmanager
def building(
    folder: Path, wanted: State, *, resume: bool, keep: bool, install: Callable[[Path], object]
) -> Iterator[LocalBuild]:
    """Yield a build in a folder whose write lock is held; `install` it once the context ends well.

    After a failure, what is stored is kept for another build with `resume`, if it is worth that and `keep` says so.
    """
    try:
        if not (resume and _can_resume(folder, wanted)):
            _begin(folder, wanted)
        with closing(Database(folder / BUILD_DATABASE)) as database, database.transaction() as connection:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            build = LocalBuild(folder, connection, replace(read_state(connection), complete=False))
            try:
                yield build
                build.finish()
            except BaseException:
                build.keep()
                raise
        install(folder)
    except BaseException as error:
        _keep_or_discard(folder, error, keep=keep or resume)
        raise
    finally:
        with suppress(PassageIndexError):
            _clean_up(folder)


def _keep_or_discard(folder: Path, error: BaseException, *, keep: bool) -> None:
    """Say with the error how to go on with the build that it has broken off, or remove that."""
    kept = "All stored passages"
    with suppress(IndexLockedError, StorageError):  # a disk may be too full for reading
        saved, index = read_saved(folder, BUILD_DATABASE), read_saved(folder, DATABASE)
        is_installed = index is not None and saved is not None and index.meta.build == saved.meta.build
        if not keep or saved is None or not saved.passages or is_installed:
            remove_database(folder / BUILD_DATABASE)
            return
        kept = f"{saved.passages:,} passages"
    error.add_note(f"{kept} of the build at {str(folder)!r} are kept. Continue it: {GO_ON}.")


def clean(folder: Path, index: State | None) -> None:
    """Delete the files that neither the index nor a build that was broken off names. The write lock is held.

    A damaged build names none: it begins again.

    Raises
    ------
    IndexLockedError, StorageError
        If the build cannot be read now.
    """
    build = read_saved(folder, BUILD_DATABASE)
    if build is not None and index is not None and build.meta.build == index.meta.build:
        remove_database(folder / BUILD_DATABASE)  # it was installed, and its process died
        build = None
    delete_orphans(folder, *files_that_count(index, build))


def files_that_count(index: State | None, build: State | None) -> tuple[set[str], set[str]]:
    """Return the files that the index or a build names, and the segments that the build has begun."""
    files = {name for state in (index, build) if state for name in state.files}
    return files, {segment.name for segment in build.growing} if build else set()


def _clean_up(folder: Path) -> None:
    index = read_saved(folder, DATABASE)
    if index is not None or not os.path.lexists(folder / DATABASE):  # otherwise leave what may be of use for a repair
        clean(folder, index)


def _begin(folder: Path, wanted: State) -> None:
    remove_database(folder / BUILD_DATABASE)
    _clean_up(folder)
    create_database(folder / BUILD_DATABASE, SCHEMA, lambda connection: write_state(connection, wanted))


def _can_resume(folder: Path, wanted: State) -> bool:
    """Return whether a build can go on with one that was broken off.

    Raises
    ------
    InputError
        If that one is of another checkpoint, or has other settings.
    """
    if not os.path.lexists(folder / BUILD_DATABASE):
        return False
    saved = read_saved(folder, BUILD_DATABASE)
    reason = None
    if saved is None:
        reason = "it cannot be read"
    else:
        check_resumable(saved.meta, wanted.meta)
        if saved.meta.first_pid != wanted.meta.first_pid:
            reason = "the index that it was to replace has changed since, or it was completed"
        else:
            reason = _find_damage(folder, saved)
    if reason is not None:
        logger.warning("the build of %s cannot be resumed and begins again: %s", folder, reason)
        return False
    logger.info("going on with the build of %s at %d passages", folder, saved.passages if saved else 0)
    return True


def _find_damage(folder: Path, saved: State) -> str | None:
    """Return what is wrong with the files of a build, if anything is."""
    try:
        with closing(Database(folder / BUILD_DATABASE)) as database, database.snapshot() as connection:
            Snapshot.load(folder, connection, saved.finished, None)
    except IndexDamagedError as error:
        return str(error)
    for segment in saved.growing:
        if short := find_shortage(folder, segment, saved):
            return f"{short} holds less than was committed"
    return None


def next_pid(folder: Path) -> int:
    """Return where the pids of a new index begin: behind those of the one that it replaces, for searches under way."""
    index = read_saved(folder, DATABASE)
    return index.meta.next_pid if index else 0


def install(folder: Path) -> None:
    """Put a complete build in the place of the index: at once, for everybody who reads."""
    source, target = folder / BUILD_DATABASE, folder / DATABASE
    is_replaced = read_saved(folder, DATABASE) is not None
    with database_errors(source), closing(_connect(source)) as build:
        [[is_busy, *_]] = build.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if is_busy:
            raise IndexLockedError(f"{str(source)!r} is being read by another process: it cannot be moved now.")
        if is_replaced:  # its readers have it open under this name, so its content changes, in one transaction
            with database_errors(target), closing(_connect(target)) as index:
                prepare_for_writing(index)
                build.backup(index)
                with suppress(sqlite3.Error):  # it is committed; a full disk, or a reader, leaves it in the log
                    index.execute("PRAGMA busy_timeout = 0")
                    index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if is_replaced:
        remove_database(source)
        return
    remove_database(target)  # a damaged one, or the log of one that was removed
    with storage_errors(folder):
        os.replace(source, target)
        sync(folder)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)
