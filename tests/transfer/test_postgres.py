"""Indexes pushed to PostgreSQL and pulled from it: bit by bit the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from invoking import invoke
from typer.testing import CliRunner

pytest.importorskip("psycopg")

from ragatouille_xm.errors import DatabaseError, IndexDamagedError, InputError
from ragatouille_xm.index.local import writer as writers
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.verify import find_faults
from ragatouille_xm.index.postgres import publish
from ragatouille_xm.index.postgres.server import PostgresServer
from ragatouille_xm.transfer import postgres as transfer
from ragatouille_xm.transfer.postgres import pull_index, push_index

from ..contracts.strategies import DIM, METADATA, everything, passage, plain, put, query
from ..postgres.servers import binaries, shared

if binaries() is None:
    pytest.skip("there is no PostgreSQL here", allow_module_level=True)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "cache"))
    return PostgresServer(shared().url())


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalIndex:
    monkeypatch.setattr(writers, "BUFFER_TOKENS", 30)
    index = LocalIndex.create(tmp_path / "source", dim=DIM, checkpoint="tiny", fingerprint="0", settings={"a": 1})
    put(index, *(passage(i, f"d{i // 2}", f"text {i}\0", metadata=METADATA) for i in range(40)))
    put(index, passage(40, "d0", "in the buffer"))
    index.delete(["d3"])
    return index


def same(one: LocalIndex, other: LocalIndex) -> None:
    assert plain(everything(one)) == plain(everything(other))
    pids = [p.pid for p in everything(one)]
    assert torch.equal(one.vectors(pids).vectors, other.vectors(pids).vectors)
    hits, others = (each.search(query("q"), 10) for each in (one, other))
    assert hits.pids.tolist() == others.pids.tolist()
    assert hits.scores.tolist() == others.scores.tolist()
    assert one.settings == other.settings
    assert one.state == other.state


def test_there_and_back(source: LocalIndex, server: PostgresServer, tmp_path: Path, request) -> None:
    name = request.node.name + tmp_path.name
    assert push_index(source.folder, server, name) == len(source)
    same(source, server.open(name))
    assert pull_index(server, name, tmp_path / "back") == len(source)
    back = LocalIndex.open(tmp_path / "back")
    same(source, back)
    assert list(find_faults(back.folder, full=True)) == []
    put(back, passage(back.reserve(1), "more"))


@pytest.mark.parametrize("name", ["a/b", "..", " ", "a\nb", None])
def test_a_name_that_nobody_could_open(source: LocalIndex, server: PostgresServer, name: Any) -> None:
    with pytest.raises(InputError, match="cannot be a name of an index"):
        push_index(source.folder, server, name)
    assert name not in server.names()


def test_what_is_there_is_not_replaced_unasked(source: LocalIndex, server: PostgresServer, tmp_path: Path) -> None:
    name = "replaced" + tmp_path.name
    push_index(source.folder, server, name)
    with pytest.raises(InputError, match="There is an index"):
        push_index(source.folder, server, name)
    put(source, passage(source.reserve(1), "more"))
    push_index(source.folder, server, name, overwrite=True)
    there = server.open(name)
    same(source, there)
    put(there, passage(there.reserve(1), "of its own"))
    with pytest.raises(InputError, match="was not copied from this one, or has changed since"):
        push_index(source.folder, server, name, overwrite=True)
    pull_index(server, name, tmp_path / "back")
    with pytest.raises(InputError, match="There is an index"):
        pull_index(server, name, tmp_path / "back")
    put(there, passage(there.reserve(1), "yet more"))
    pull_index(server, name, tmp_path / "back", overwrite=True)
    same(there, LocalIndex.open(tmp_path / "back"))


def test_a_push_that_is_broken_off_goes_on(source, server, tmp_path, monkeypatch) -> None:
    name = "resumed" + tmp_path.name
    send = publish._upload
    sent: list[list[str]] = []

    def upload(session, index, folder, names) -> None:
        sent.append(names)
        send(session, index, folder, names[:2] if len(sent) == 1 else names)
        if len(sent) == 1:
            session.close()

    monkeypatch.setattr(publish, "_upload", upload)
    with pytest.raises(DatabaseError):
        push_index(source.folder, server, name)
    assert name not in server.names()
    push_index(source.folder, server, name)
    assert sent[1] == sent[0][2:]
    same(source, server.open(name))


def test_a_push_of_an_index_that_is_written_to(source, server, tmp_path, monkeypatch) -> None:
    """Merges remove the files of the commit that was about to be copied."""
    name, real = "written" + tmp_path.name, transfer._verify

    def verify(path: Path, file: Any) -> None:
        if len(source) == 39:
            put(source, passage(source.reserve(1), "more"))
            source.optimize(refit=True)
            put(source, passage(source.reserve(1), "yet more"))
        real(path, file)

    monkeypatch.setattr(transfer, "_verify", verify)
    assert push_index(source.folder, server, name) == 41
    same(source, server.open(name))


def test_a_damaged_file_goes_nowhere(source: LocalIndex, server: PostgresServer, tmp_path: Path) -> None:
    name = "damaged" + tmp_path.name
    push_index(source.folder, server, name)
    [path, *_] = source.folder.glob("*.codes")
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexDamagedError):
        push_index(source.folder, server, "other" + tmp_path.name)
    shared().sql("UPDATE ragatouille_xm.block SET data = %s WHERE file = %s", parameters=[bytes(content), path.name])
    with pytest.raises(IndexDamagedError, match="in the server is damaged"):
        server.open(name)


def test_push_on_the_command_line_is_not_stopped_by_the_key_of_another_server(
    server: PostgresServer, source: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.close()
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    command = ["push", str(source.folder), "--to", shared().url(), "--name", "by-command"]
    pushed = invoke(CliRunner(), command)
    assert pushed.exit_code == 0, pushed.output
    assert len(server.open("by-command")) == 39
    for option in ("--shards", "--api-key"):
        refused = invoke(CliRunner(), [*command, option, "2"])
        assert refused.exit_code == 2
        assert "PostgreSQL takes an index as it is" in refused.stderr


def test_a_pull_of_an_index_that_is_written_to(source, server, tmp_path, monkeypatch) -> None:
    """By another process of this machine, whose merges remove files of the same replica."""
    name, real = "followed" + tmp_path.name, transfer._copy
    push_index(source.folder, server, name)
    other = server.open(name)

    def copy(path: Path, target: Path, file: Any) -> None:
        if len(other) == 39:
            put(other, passage(other.reserve(1), "more"))
            other.optimize(refit=True)
            put(other, passage(other.reserve(1), "yet more"))
        real(path, target, file)

    monkeypatch.setattr(transfer, "_copy", copy)
    assert pull_index(server, name, tmp_path / "back") == 41
    same(other, LocalIndex.open(tmp_path / "back"))
