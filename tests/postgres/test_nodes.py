"""Several machines over one index: each has a replica of its own, and all see the same."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragatouille_xm.errors import IndexLockedError, IndexNotFoundError
from ragatouille_xm.index.local import writer as writers
from ragatouille_xm.index.postgres import cache
from ragatouille_xm.index.postgres.server import PostgresServer

from ..contracts.strategies import DIM, assert_search, encode, everything, passage, plain, put, query
from .conftest import make
from .servers import Server


def test_every_machine_sees_every_commit_at_once(node):
    here, there = node(0), node(1)
    assert here.folder != there.folder
    put(here, passage(0, "a", metadata={"n": 1}), passage(1, "b"))
    assert plain(everything(there)) == plain(everything(here))
    assert_search(there, query("q"), 5, [passage(0, "a", metadata={"n": 1})], 1e-3, {"n": 1})
    put(there, passage(there.reserve(1), "c"))
    assert there.delete(["a"]) == 1
    assert [p.document_id for p in everything(here)] == ["b", "c"]
    assert here.reserve(1) == there.reserve(1) - 1
    assert_search(here, query("q"), 5, [passage(1, "b"), passage(2, "c")], 1e-3)


def test_calls_of_one_reading_have_what_was_committed_before_it_began(node):
    here, there = node(0), node(1)
    put(here, passage(0, "a"))
    with there.reading():
        put(here, passage(1, "b"))
        with there.reading():
            assert len(there) == 1
        assert [p.document_id for p in everything(there)] == ["a"]
        assert there.contains(["a", "b"]) == {"a"}
        with ThreadPoolExecutor(1) as other_thread:
            assert other_thread.submit(len, here).result() == 2
    assert there.contains(["a", "b"]) == {"a", "b"}
    with there.reading():
        shutil.rmtree(there.folder)
        assert len(there) == 2


def test_only_what_is_new_is_fetched(node, monkeypatch):
    monkeypatch.setattr(writers, "BUFFER_TOKENS", 20)
    here, there = node(0), node(1)
    put(here, *(passage(i, f"d{i}") for i in range(40)))
    assert len(there) == 40
    first = {path: path.stat().st_mtime_ns for path in there.folder.glob("segment-*")}
    assert first
    put(here, *(passage(i, f"d{i}") for i in range(40, 80)))
    assert len(there) == 80
    now = {path: path.stat().st_mtime_ns for path in there.folder.glob("segment-*")}
    assert first.items() < now.items()
    here.optimize(refit=True)
    assert len(there) == 80
    assert {p.name for p in there.folder.glob("segment-*")} == {p.name for p in here.folder.glob("segment-*")}
    assert not first.keys() & set(there.folder.glob("segment-*"))  # what no commit names is deleted
    assert_search(there, query("q"), 5, [passage(i, f"d{i}") for i in range(80)], 1e-3)


def test_one_writes_at_a_time(node):
    here, there = node(0), node(1)
    with here.writer() as writer:
        writer.add([passage(0)], encode([passage(0)]))
        with pytest.raises(IndexLockedError, match="is being written to by another process"):
            put(there, passage(1))
        assert len(there) == 0
    assert len(there) == 1


def test_a_writer_that_lost_its_right_changes_nothing(node, name, postgres: Server):
    here, there = node(0), node(1)
    put(here, passage(0))
    with pytest.raises(IndexLockedError, match="Another process has written"), here.writer() as writer:  # noqa: PT012
        writer.add([passage(1, "late")], encode([passage(1)]))
        # What somebody does who got the right to write after a failover:
        postgres.sql(
            "UPDATE ragatouille_xm.state SET serial = serial + 1, token = 'x' WHERE name = %s", parameters=[name]
        )
    assert [p.document_id for p in everything(there)] == ["d"]
    assert [p.document_id for p in everything(here)] == ["d"]


def test_commits_that_a_failover_lost_go_from_replicas_too(node, postgres: Server):
    """The server is set back, and others write on: the same number stands for another commit then."""
    here, there = node(0), node(1)
    put(here, passage(0, "kept"))
    assert len(there) == 1
    tables = ["state", "change", "segment", "buffer", "passage", "block"]
    for table in tables:
        postgres.sql(f"CREATE TABLE backup_{table} AS SELECT * FROM ragatouille_xm.{table}")
    put(here, passage(1, "lost"))
    assert len(there) == 2
    postgres.sql("DELETE FROM ragatouille_xm.state")
    for table in tables:
        postgres.sql(f"INSERT INTO ragatouille_xm.{table} SELECT * FROM backup_{table}")
        postgres.sql(f"DROP TABLE backup_{table}")
    put(node(2), passage(1, "other"))
    for each in (here, there):
        assert [p.document_id for p in everything(each)] == ["kept", "other"]


def test_a_build_replaces_the_index_for_everybody_at_once(node, name, postgres: Server):
    here, there = node(0), node(1)
    put(here, passage(0, "old"), passage(1, "old"))
    assert len(there) == 2
    with here._database.server.build(name, dim=DIM, checkpoint="tiny", fingerprint="0", settings={}) as build:
        first = build.reserve(1)
        assert first == 2  # pids go on
        build.add([passage(first, "new")], encode([passage(first)]))
        assert [p.document_id for p in everything(there)] == ["old", "old"]
    for each in (here, there):
        assert [p.document_id for p in everything(each)] == ["new"]
        assert_search(each, query("q"), 5, [passage(2, "new")], 1e-3)
    put(there, passage(3, "newer"))
    assert len(here) == 2


def test_a_build_that_fails_leaves_the_index_and_is_resumed(name, node, monkeypatch):
    server = node(0)._database.server
    put(node(0), passage(0, "old"))
    description = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "0", "settings": {}}
    with pytest.raises(KeyboardInterrupt) as raised, server.build(name, **description) as build:  # noqa: PT012
        build.add([passage(1, "a")], encode([passage(1)]))
        raise KeyboardInterrupt
    assert "Continue it" in raised.value.__notes__[0]
    assert [p.document_id for p in everything(node(1))] == ["old"]
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(node(0).folder.parents[1]))
    with server.build(name, **description, resume=True) as build:
        assert list(build.document_ids()) == ["a"]
        build.add([passage(2, "b")], encode([passage(2)]))
    assert [p.document_id for p in everything(node(1))] == ["a", "b"]


def test_a_first_build_that_fails_leaves_nothing_in_the_server(postgres: Server, name, tmp_path, monkeypatch):
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path))
    server = PostgresServer(postgres.url())
    for keep in (False, True):
        with (
            pytest.raises(KeyboardInterrupt),
            server.build(name, dim=DIM, checkpoint="tiny", fingerprint="0", settings={}, keep=keep),
        ):
            raise KeyboardInterrupt
        assert name not in server.names()
        with pytest.raises(IndexNotFoundError, match="There is no index"):
            server.open(name)
    make(server, name)
    assert len(server.open(name)) == 0


def test_losing_the_cache_loses_nothing(node):
    here = node(0)
    put(here, passage(0, "a"), passage(1, "b"))
    shutil.rmtree(here.folder)
    assert_search(here, query("q"), 5, [passage(0, "a"), passage(1, "b")], 1e-3)
    put(here, passage(2, "c"))
    assert len(node(1)) == len(here) == 3


def test_a_damaged_replica_is_fetched_again(node):
    here = node(0)
    put(here, passage(0, "a"), passage(1, "b"))
    here.close()
    (here.folder / "index.db").write_bytes(b"noise" * 1000)
    assert [p.document_id for p in everything(node(0))] == ["a", "b"]


def test_a_removed_index_is_missed(node, name, postgres: Server):
    here = node(0)
    put(here, passage(0))
    [(number,)] = postgres.sql("SELECT id FROM ragatouille_xm.state WHERE name = %s", parameters=[name])
    postgres.sql("DELETE FROM ragatouille_xm.state WHERE name = %s", parameters=[name])
    for call in (lambda: here.search(query("q"), 1), lambda: here.reserve(1), lambda: len(here)):
        with pytest.raises(IndexNotFoundError, match="was removed from the server"):
            call()
    for table in ("passage", "buffer", "segment", "block", "change"):
        rows = postgres.sql(f"SELECT count(*) FROM ragatouille_xm.{table} WHERE id = %s", parameters=[number])
        assert rows == [(0,)], table


def test_the_oldest_replicas_make_room(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(cache.LIMIT_VARIABLE, "0.000003")  # 3,000 bytes
    root = tmp_path / "postgresql"
    for i in range(4):
        folder = root / str(i)
        folder.mkdir(parents=True)
        (folder / "segment").write_bytes(bytes(1000))
        cache.note_use(folder)
        os.utime(folder / cache.STAMP, (time.time() - 7200 + i,) * 2)
    cache.note_use(root / "0")  # in use
    cache.make_room(root / "3")
    assert sorted(path.name for path in root.iterdir()) == ["0", "2", "3"]
    monkeypatch.setenv(cache.LIMIT_VARIABLE, "0")
    cache.make_room(root / "3")
    assert sorted(path.name for path in root.iterdir()) == ["0", "3"]


def test_searches_on_another_machine_see_whole_commits(node):
    """A document's two passages come and go together."""
    here, there = node(0), node(1)
    failures: list[object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            texts = [p.text for p in everything(there)]
            if len(texts) % 2 or any(texts[i].split()[0] != texts[i + 1].split()[0] for i in range(0, len(texts), 2)):
                failures.append(texts)

    reader = threading.Thread(target=look)
    reader.start()
    for i in range(15):
        first = here.reserve(2)
        put(here, passage(first, "a", f"v{i} one"), passage(first + 1, "a", f"v{i} two"), replace=True)
    stop.set()
    reader.join()
    assert not failures
    assert len(there) == 2
