"""Between an index folder and PostgreSQL: files and rows are copied as they are."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from ..errors import IndexDamagedError, InputError
from ..files import absolute, open_regular
from ..index.files import checksum, storage_errors, sync
from ..index.local.database import Database
from ..index.local.folder import BUILD_DATABASE, DATABASE
from ..index.local.install import install, read_saved, remove_database
from ..index.local.lock import remove_lock, write_lock
from ..index.local.state import FileMeta, State, read_state, read_version
from ..index.meta import IndexMeta
from ..index.postgres.building import newest
from ..index.postgres.publish import publish
from ..index.postgres.replica import commit
from ..index.postgres.server import PostgresServer
from .endpoints import check_folder, check_name, own_index

ATTEMPTS = 20  # while merges remove the files of the state that is being copied


def push_index(
    source: str | Path, server: PostgresServer, name: str, *, overwrite: bool = False, progress: bool = False
) -> int:
    """Copy an index of ours from a folder into PostgreSQL; return how many passages it has.

    It becomes visible as a whole. A push that was broken off goes on with the files that are not there yet.

    Parameters
    ----------
    source : str or Path
        Folder of the index; is not changed. Others may write to it: one of its commits is copied.
    server : PostgresServer
    name : str
        Of the index in the server.
    overwrite : bool
        Replace an index of that name.
    progress : bool
        Show a progress bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index at `source`.
    InputError
        If there is an index of that name, or none can have it.
    IndexLockedError
        If somebody is writing to it.
    DatabaseError
        If the server fails. Call it again to resume.
    """
    check_name(server, name, overwrite)
    with (
        own_index(source, ": convert it first.") as index,
        closing(Database(index.folder / DATABASE)) as database,
    ):

        def copy(sqlite: sqlite3.Connection, state: State) -> None:
            for file, meta in _shown(state.files, progress):
                _verify(index.folder / file, meta)
            number = server.register(name)
            with server.writing(number) as session:
                base, old = newest(session, number)
                _check_pids(old, state.meta)
                commit(server, session, number, publish(session, number, sqlite, index.folder, base))

        return _copy_commit(database, copy)


def pull_index(
    server: PostgresServer, name: str, target: str | Path, *, overwrite: bool = False, progress: bool = False
) -> int:
    """Copy an index from PostgreSQL into a folder; return how many passages it has.

    It becomes visible as a whole. A pull that was broken off goes on with the files that are not there yet.

    Parameters
    ----------
    server : PostgresServer
    name : str
        Of the index in the server; is not changed.
    target : str or Path
        Folder of the new index.
    overwrite : bool
        Replace an index at `target`.
    progress : bool
        Show a progress bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError, DatabaseError
        If there is no usable index of that name.
    InputError
        If there is an index at `target`, or that is no path.
    IndexLockedError
        If somebody is writing to it.
    StorageError
        If the folder cannot be written.
    """
    folder = absolute(target)
    check_folder(folder, overwrite)
    with closing(server.open(name)) as index:
        source = Database(index.folder / DATABASE)  # what the replica has now
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

        def copy(sqlite: sqlite3.Connection, state: State) -> None:
            old = read_saved(folder, DATABASE)
            _check_pids(old.meta if old else None, state.meta)
            for file, meta in _shown(state.files, progress):
                _copy(index.folder / file, folder / file, meta)
            sync(folder)
            remove_database(folder / BUILD_DATABASE)
            with closing(sqlite3.connect(folder / BUILD_DATABASE)) as made:
                sqlite.backup(made)
                made.execute("DROP TABLE replica")
                made.commit()
            install(folder)

        with closing(source), write_lock(folder):
            try:
                return _copy_commit(source, copy)
            finally:
                remove_lock(folder)


def _copy_commit(database: Database, copy: Callable[[sqlite3.Connection, State], None]) -> int:
    """Let `copy` copy a commit, the next one if a merge removes its files; return how many passages it has."""
    for _ in range(ATTEMPTS):
        with database.snapshot() as sqlite:
            state = read_state(sqlite)
            try:
                copy(sqlite, state)
                return state.passages
            except (IndexDamagedError, FileNotFoundError) as error:
                damage = error
        if database.read(read_version) == state.meta.state:
            break
    raise damage


def _check_pids(old: IndexMeta | None, new: IndexMeta) -> None:
    """Raise `InputError` if a pid of the index that is replaced may mean another passage in the new one."""
    if old is None or new.first_pid >= old.next_pid or (new.build == old.build and new.state >= old.state):
        return
    raise InputError(
        "The index that is to be replaced was not copied from this one, or has changed since, and searches under way "
        "would take passages of one for those of the other. Copy to another name, or remove it first."
    )


def _shown(files: dict[str, FileMeta], progress: bool) -> tqdm[tuple[str, FileMeta]]:
    return tqdm(sorted(files.items()), desc="copying", unit="file", disable=None if progress else True)


def _verify(path: Path, file: FileMeta) -> None:
    try:
        right = checksum(path) == file.sha256
    except OSError:
        right = False
    if not right:
        raise _damaged(path)


def _damaged(path: Path) -> IndexDamagedError:
    return IndexDamagedError(f"{str(path)!r} is damaged: it is not the file that was written. Nothing was copied.")


def _copy(source: Path, target: Path, file: FileMeta) -> None:
    with storage_errors(target):
        if target.is_file() and target.stat().st_size == file.bytes and checksum(target) == file.sha256:
            return
    try:
        content = open_regular(source)
    except OSError as error:
        raise _damaged(source) from error
    with content, storage_errors(target):
        with target.open("wb") as copy:
            shutil.copyfileobj(content, copy)
        sync(target)
    _verify(target, file)
