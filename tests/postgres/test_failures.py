"""Servers that cannot be reached, refuse, or break off: one clear sentence, and an index as before or after."""

from __future__ import annotations

import logging
import random
import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from ragatouille_xm.errors import DatabaseError, IndexFormatError, InputError, PassageIndexError
from ragatouille_xm.index.local import writer as writers
from ragatouille_xm.index.postgres import replica
from ragatouille_xm.index.postgres.server import PostgresServer
from ragatouille_xm.index.servers import connect

from ..contracts.strategies import everything, passage, put, query
from .conftest import make
from .proxy import Proxy
from .servers import PASSWORD, Server, running


@pytest.fixture
def proxy(postgres: Server) -> Iterator[Proxy]:
    proxy = Proxy(postgres.port)
    yield proxy
    proxy.close()


def documents(index) -> set[str]:
    return {p.document_id for p in everything(index)}


WRITES = {
    "add": (lambda index, pid: put(index, passage(pid, "new"), passage(pid + 1, "new")), {"old", "gone", "new"}),
    "delete": (lambda index, pid: index.delete(["gone"]), {"old"}),
    "replace": (
        lambda index, pid: put(index, passage(pid, "new"), passage(pid + 1, "gone"), replace=True),
        {"old", "gone", "new"},
    ),
    "merge": (lambda index, pid: index.optimize(refit=True), {"old", "gone"}),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("to_server", [True, False], ids=["question", "answer"])
def test_a_connection_that_is_cut_in_a_write(write, to_server, node, proxy, postgres, monkeypatch):
    """At many places of it: an error of our own, or success; and the index is as before or after, as was said."""
    monkeypatch.setattr(writers, "BUFFER_TOKENS", 1)  # every addition is a segment
    call, after = WRITES[write]
    before = {"old", "gone"}
    here, there = node(0, postgres.url(port=proxy.port)), node(1)
    chance = random.Random(write)
    total, failures = 0, 0
    for _ in range(8):
        there.delete(["new", "gone", "old"])
        for document_id in ("old", "gone"):
            put(there, passage(there.reserve(1), document_id))
        pid = there.reserve(2)
        assert documents(here) == before
        proxy.cut_after(chance.randrange(1, total) if total else None, to_server)
        said: PassageIndexError | None = None
        try:
            call(here, pid)
        except PassageIndexError as error:
            said = error
        total = total or proxy.passed[to_server]
        failures += said is not None
        assert said is None or (isinstance(said, DatabaseError) and PASSWORD not in str(said))
        proxy.cut_after(None)
        assert documents(there) == documents(here) == (after if said is None else before)
    assert failures


def test_the_last_word_is_lost_on_its_way(node, proxy, postgres, monkeypatch):
    """A server that has stored a change cannot say so: it is asked again."""
    here, there = node(0, postgres.url(port=proxy.port)), node(1)
    said = psycopg.Connection.execute

    def lose(answer: bool):
        def execute(connection, sql, *arguments, **options):
            if sql == "COMMIT" and "INSERT" in before[-1]:
                if answer:
                    said(connection, sql)
                proxy.cut()
            before.append(str(sql))
            return said(connection, sql, *arguments, **options)

        before = [""]
        monkeypatch.setattr(psycopg.Connection, "execute", execute)

    lose(answer=True)
    put(here, passage(0, "stored"))
    monkeypatch.undo()
    assert documents(there) == {"stored"}
    lose(answer=False)
    with pytest.raises(DatabaseError, match="broke off before the change was stored. The index is as it was"):
        put(here, passage(1, "not stored"))
    monkeypatch.undo()
    assert documents(there) == documents(here) == {"stored"}


def test_an_outcome_that_cannot_be_found_out_is_called_so(node, proxy, postgres, monkeypatch):
    here, there = node(0, postgres.url(port=proxy.port)), node(1)
    put(here, passage(0, "before"))
    commit = replica.commit

    def break_off(*arguments):
        proxy.is_down = True
        proxy.cut()
        commit(*arguments)

    monkeypatch.setattr(replica, "commit", break_off)
    with pytest.raises(DatabaseError, match="does not say whether it was.* Look whether it is there"):
        put(here, passage(1, "unknown"))
    with pytest.raises(DatabaseError, match="cannot be reached"):
        here.search(query("q"), 1)
    proxy.is_down = False
    assert documents(here) == documents(there) == {"before"}


def test_a_connection_that_is_cut_while_reading(node, proxy, postgres):
    there = node(1)
    put(there, *(passage(i, f"d{i}", "x" * 500) for i in range(20)))
    here = node(0, postgres.url(port=proxy.port))
    assert len(here) == 20
    for i, limit in enumerate((1, 100, 500, 2000, 6000)):
        put(there, passage(20 + i, f"e{i}", "y" * 5000))
        proxy.cut_after(limit, to_server=False)
        for _ in range(4):
            with suppress(DatabaseError):
                found = documents(here)
                break
        assert len(found) == 21 + i  # nothing older


def test_a_server_that_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path))
    with running() as own:
        server = PostgresServer(own.url())
        make(server, "news")
        index = server.open("news")
        put(index, passage(0, "a"))
        own.stop()
        with pytest.raises(DatabaseError, match=r"postgresql://127.0.0.1:\d+/texts cannot be reached"):
            index.search(query("q"), 1)
        with pytest.raises(DatabaseError, match="cannot be reached"):
            put(index, passage(1, "b"))
        own.start()
        assert documents(index) == {"a"}
        put(index, passage(1, "b"))
        assert documents(index) == {"a", "b"}


# ---- what is refused


def sentence(postgres: Server, url: str) -> str:
    """Return what opening an index says, after checking that it is one sentence, or two, without secrets."""
    with pytest.raises(PassageIndexError) as raised:
        PostgresServer(url).open("news")
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 400
    assert message.endswith(".")
    return message


def test_what_is_wrong_is_said_in_one_sentence(postgres: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    said = {
        "wrong password": sentence(postgres, postgres.url(password="wrong-Pa55wort")),
        "no such user": sentence(postgres, postgres.url(user="nobody")),
        "no such database": sentence(postgres, postgres.url("nothing")),
        "nobody listens": sentence(postgres, postgres.url(port=nobody)),
        "no TLS": sentence(postgres, postgres.url() + "?sslmode=require"),
    }
    assert 'password authentication failed for user "admin"' in said["wrong password"]
    assert 'password authentication failed for user "nobody"' in said["no such user"]
    assert 'database "nothing" does not exist' in said["no such database"]
    assert "refused" in said["nobody listens"]
    assert "SSL" in said["no TLS"]
    for message in said.values():
        assert message.startswith("postgresql://127.0.0.1:")
        assert "wrong-Pa55wort" not in message
        assert PASSWORD not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geh?eim@host:port/db",
        "postgresql://me:geheim@host/db?nonsense=1",
        "postgresql://me:geheim@[::1/db",
        "postgresql://me:%zzgeheim@host/db",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="is not an address of PostgreSQL's") as raised:
        connect(url)
    assert "geh" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_secret_is_shown(postgres: Server, caplog: pytest.LogCaptureFixture) -> None:
    server = PostgresServer(f"{postgres.url()}?sslpassword=another-Secret")
    with caplog.at_level(logging.DEBUG):
        server.names()
    shown = f"{server!r} {server} {server.url} {caplog.text}"
    assert PASSWORD not in shown
    assert "another-Secret" not in shown
    assert re.search(r"postgresql://127.0.0.1:\d+/texts", shown)


def test_options_of_qdrant_do_not_go_with_it(postgres: Server) -> None:
    with pytest.raises(InputError, match="are for Qdrant"):
        connect(postgres.url(), api_key="key")


def test_tables_of_a_newer_version(tmp_path) -> None:
    with running() as own:
        make(PostgresServer(own.url()), "news")
        own.sql("UPDATE ragatouille_xm.server SET format = 2")
        with pytest.raises(IndexFormatError, match="have format version 2; this version of ragatouille-xm reads 1"):
            PostgresServer(own.url()).open("news")


@pytest.mark.timeout(60)
def test_an_address_that_does_not_answer(postgres: Server) -> None:
    """It is given up after the time limit in the address."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DatabaseError, match="cannot be reached"):
        PostgresServer(postgres.url(port=silent.getsockname()[1]) + "?connect_timeout=2").names()
