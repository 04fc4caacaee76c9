"""An index whose database is not what was written is one error of our own, at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    RagatouilleXMError,
    StorageError,
)
from ragatouille_xm.index.local.database import Database, create_database
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.state import CodebookMeta, State
from ragatouille_xm.index.local.verify import find_faults

from .samples import CENTRES, KEPT, batch, build, create, execute, forge

HAS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Let what waits for ever fail soon."""
    if hasattr(signal, "alarm"):
        signal.alarm(60)
        yield
        signal.alarm(0)
    else:
        yield


@pytest.fixture
def place(folder, monkeypatch) -> Path:
    """An index of a segment of 30 passages and 3 in the buffer, closed."""
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 20)
    index = create(folder, 30)
    index.add(*batch(30, 3))
    index.close()
    return folder


def use(folder: Path) -> None:
    """Do everything that reads."""
    index = LocalIndex.open(folder)
    try:
        index.search(CENTRES[None, :2], 40, filter=parse_filter({"n": {"$gte": 0}, "language": "de"}))
        index.search(CENTRES[None, :2], 40)
        index.languages()
        index.contains(["d1"])
        list(index.scroll(parse_filter({"even": True}), with_vectors=True))
        list(index.scroll())
    finally:
        index.close()


NOT_DATABASES = {
    "nothing": b"",
    "a text": b"This is no database. " * 500,
    "half a header": b"SQLite format 3\0",
    "a header and noise": b"SQLite format 3\0" + random.Random(0).randbytes(9000),
}


@pytest.mark.parametrize("content", NOT_DATABASES.values(), ids=NOT_DATABASES)
def test_what_is_no_database(place, content):
    (place / "index.db").write_bytes(content)
    with pytest.raises(IndexDamagedError, match=r"index\.db.*Index the documents again"):
        LocalIndex.open(place)
    assert (place / "index.db").read_bytes() == content
    build(place, 4)
    assert len(LocalIndex.open(place)) == 4


def test_a_database_of_another_program(place):
    (place / "index.db").unlink()
    execute(place, "CREATE TABLE state (id INTEGER)", "INSERT INTO state VALUES (1)")
    with pytest.raises(IndexDamagedError, match="another program"):
        LocalIndex.open(place)


def test_a_newer_format_is_refused_whatever_is_in_it(place):
    index = LocalIndex.open(place)
    execute(place, "PRAGMA user_version = 2", "DROP TABLE state")
    with pytest.raises(IndexFormatError, match="format version 2.*pip install -U"):
        LocalIndex.open(place)
    with pytest.raises(IndexFormatError):
        list(find_faults(place))
    with pytest.raises(RagatouilleXMError):
        len(index)


@pytest.mark.parametrize("name", ["index.db", ".codes", ".residuals", ".table"])
@pytest.mark.parametrize(
    "kind", ["missing", "a link", "a folder", pytest.param("a pipe", marks=HAS_PIPES), "cut", "longer", "changed"]
)
def test_a_file_that_is_not_the_one_that_was_written(place, name, kind):
    [path] = [path for path in place.iterdir() if path.name.endswith(name)]
    aside = path.rename(place.parent / "aside")
    content = aside.read_bytes()
    if kind == "a link":
        path.symlink_to(aside)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind != "missing":
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:middle], "longer": content + b"?" * 5000, "changed": changed}[kind])
    if name == "index.db" and kind in ("longer", "changed"):  # that may be of no importance
        return
    with pytest.raises((IndexDamagedError, IndexNotFoundError), match=str(place)):
        use(place)


CHANGES = {
    "content": ("UPDATE state SET content = replace(content, 'tiny', 'tinz')",),
    "no JSON": ("UPDATE state SET content = '{'",),
    "a number": ("UPDATE state SET content = 3",),
    "generation": ("UPDATE state SET generation = generation + 1",),
    "build": ("UPDATE state SET build = 'another'",),
    "next pid": ("""UPDATE state SET content = replace(content, '"next_pid": 33', '"next_pid": 30')""",),
    "no state": ("DELETE FROM state",),
    "no table": ("DROP TABLE state",),
    "a segment's size": ("UPDATE segment SET passages = passages - 1",),
    "a segment's files": ("UPDATE segment SET files = '[]'",),
    "deletes": ("UPDATE segment SET deleted = x'80000000'",),
    "deletes that are a text": ("UPDATE segment SET deleted = 'abcd'",),
    "no segment": ("DELETE FROM segment",),
    "a segment twice": (
        "CREATE TABLE copy AS SELECT * FROM segment",
        "INSERT INTO copy SELECT * FROM segment",
        "DROP TABLE segment",
        "ALTER TABLE copy RENAME TO segment",
    ),
    "a name that leads outside": ("UPDATE segment SET name = '../' || name",),
    "a lost row of the buffer": ("DELETE FROM buffer WHERE pid = 31",),
    "the whole buffer": ("DELETE FROM buffer",),
    "codes": ("UPDATE buffer SET codes = zeroblob(length(codes)) WHERE pid = 31",),
    "codes that are a number": ("UPDATE buffer SET codes = 3 WHERE pid = 31",),
    "a length": ("UPDATE buffer SET tokens = 3 WHERE pid = 31",),
    "a scale": ("UPDATE buffer SET scale = 0.5 WHERE pid = 31",),
    "a pid": ("UPDATE buffer SET pid = 77 WHERE pid = 31",),
    "a text": ("UPDATE passage SET text = 'another' WHERE pid = 31",),
    "a text that is none": ("UPDATE passage SET text = CAST(x'ff' AS TEXT) WHERE pid = 31",),
    "a lost text": ("DELETE FROM passage WHERE pid = 31",),
    "metadata": ("""UPDATE passage SET metadata = '{"n": 5}' WHERE pid = 31""",),
    "no attributes": ("DROP TABLE attribute",),
}


@pytest.mark.parametrize("statements", CHANGES.values(), ids=CHANGES)
def test_a_database_that_was_changed(place, statements):
    execute(place, *statements)
    with pytest.raises(IndexDamagedError) as caught:
        use(place)
    assert "Index the documents again" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../segment-0123456789ab", "/tmp/segment-0123456789ab", "segment-0123456789ab/..", ""]
)
@pytest.mark.parametrize("which", ["segment", "codebook", "segment of a build"])
def test_a_name_that_leads_outside_is_refused_even_with_the_right_checksum(place, name, which):
    def renamed(state: State) -> State:
        segment = state.segments[0]
        if which == "codebook":
            return replace(state, codebook=CodebookMeta(name, 1, segment.files[".codes"]))
        files = {} if which == "segment of a build" else segment.files
        return replace(state, segments=(replace(segment, name=name, files=files),), complete=bool(files))

    forge(place, renamed)
    with pytest.raises(IndexDamagedError, match="is named"):
        LocalIndex.open(place)


@pytest.mark.parametrize("seed", range(6))
def test_any_changed_bytes_of_the_database(place, seed):
    """Every outcome is an error of our own, or an answer."""
    source, path = random.Random(seed), place / "index.db"
    whole = path.read_bytes()
    raised = 0
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(source.choice([1, 1, 4, 40])):
            content[source.randrange(len(content))] ^= 1 << source.randrange(8)
        path.write_bytes(content)
        for end in ("-wal", "-shm"):
            path.with_name(f"index.db{end}").unlink(missing_ok=True)
        for attempt in (use, lambda folder: list(find_faults(folder, full=True)), lambda folder: write(folder)):
            try:
                attempt(place)
            except RagatouilleXMError:
                raised += 1
    assert raised


def write(folder: Path) -> None:
    index = LocalIndex.open(folder)
    try:
        index.add(*batch(100, 1), replace=True)
        index.delete(["d3", "d31"])
    finally:
        index.close()


# ---- connections


def test_a_database_that_another_program_locks(place, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.database.BUSY_MS", 1)
    with closing(sqlite3.connect(place / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        index = LocalIndex.open(place)
        with pytest.raises(IndexLockedError, match="Try again"):
            index.reserve(1)
        assert len(index) == 33
        other.execute("ROLLBACK")
        assert index.reserve(1) == 33


def test_a_transaction_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "any.db"
    create_database(path, "CREATE TABLE state (id INTEGER)", lambda connection: None)
    database = Database(path)

    def insert(error: type[BaseException] | None) -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO state VALUES (1)")
            if error:
                raise error

    for error in (KeyError, KeyboardInterrupt, sqlite3.OperationalError):
        with pytest.raises((KeyError, KeyboardInterrupt, RagatouilleXMError)):
            insert(error)
    insert(None)
    assert database.read(lambda connection: connection.execute("SELECT count(*) FROM state").fetchone()) == (1,)
    database.close()


def test_a_transaction_that_fails_ends_even_while_its_error_holds_a_cursor(place):
    with closing(Database(place / "index.db")) as database:

        def fail() -> None:
            with database.transaction() as connection:
                connection.execute("DELETE FROM field")
                rows = connection.execute("SELECT pid FROM passage")
                next(rows)
                raise OverflowError

        with pytest.raises(OverflowError) as raised:
            fail()
        with database.transaction() as connection:
            assert connection.execute("SELECT count(*) FROM passage").fetchone() == (33,)
        assert raised.traceback


def test_readers_cannot_write(place):
    database = Database(place / "index.db")
    with pytest.raises(StorageError, match="readonly"):
        database.read(lambda connection: connection.execute("DELETE FROM state"))
    database.close()


def test_a_reader_sees_one_state_of_the_index_however_long_it_reads(place):
    index, database = LocalIndex.open(place), Database(place / "index.db")
    with database.snapshot() as connection:
        index.delete([f"d{n}" for n in range(33)])
        assert connection.execute("SELECT count(*) FROM passage").fetchone() == (33,)
    assert len(index) == 0


def test_without_a_log_where_the_folder_is_on_a_network(folder, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.database.is_on_network", lambda _: True)
    index, reader = create(folder, 3), LocalIndex.open(folder)
    index.add(*batch(3, 2))
    assert len(reader) == 5
    build(folder, 4)
    assert len(reader) == len(index) == 4
    assert {path.name for path in folder.iterdir()} - {"index.db-journal"} == {"index.db", "write.lock"}


def test_settings_of_any_language_are_kept(folder):
    settings = {"é": ["日本", None, 1.5, {"x": True}], "emoji": "👩🏽‍🚀"}
    LocalIndex.create(folder, **(KEPT | {"settings": settings})).close()
    assert LocalIndex.open(folder).settings == json.loads(json.dumps(settings))


def test_a_copy_without_its_shared_memory_is_recovered(place):
    index = LocalIndex.open(place)
    index.add(*batch(40, 1))
    copy = place.with_name("copy")
    copy.mkdir()
    for path in place.iterdir():
        if not path.name.endswith("-shm"):
            shutil.copy(path, copy)
    assert len(LocalIndex.open(copy)) == 34
