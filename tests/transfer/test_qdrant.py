"""Indexes pushed into Qdrant and pulled out of it, over the client's local mode."""

from __future__ import annotations

import pytest
import torch
from contracts.strategies import DIM, assert_search, encode, everything, passage, plain, put, query
from qdrant_client import QdrantClient

from ragatouille_xm.config import QdrantConfig, SearchConfig
from ragatouille_xm.errors import DatabaseError, IndexDamagedError, IndexNotFoundError, InputError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.qdrant import server as qdrant_server
from ragatouille_xm.index.qdrant.index import QdrantIndex
from ragatouille_xm.index.qdrant.server import QdrantServer
from ragatouille_xm.transfer import copying
from ragatouille_xm.transfer.qdrant import pull_index, push_index
from ragatouille_xm.types import Calibration

DESCRIPTION = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "0", "settings": {"max_document_length": 32}}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(qdrant_server, "PAUSE", 0.001)
    monkeypatch.setattr(copying, "COPY_BATCH", 40)
    return QdrantServer(QdrantClient(":memory:"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "news"
    with LocalIndex.build(path, **DESCRIPTION) as index:
        fill(index, some(300))
    index = LocalIndex.open(path)
    index.delete(["d7", "d11"])
    put(index, passage(400, "d5", metadata={"n": "new"}), replace=True)
    index.close()
    return path


def some(n):
    return [passage(i, f"d{i // 2}", language="fr" if i % 3 else "de", metadata={"n": i}) for i in range(n)]


def fill(build, passages):
    build.add(passages, encode(passages))


def contents(index):
    batches = list(index.scroll(with_vectors=True))
    return plain(everything(index)), torch.cat([vectors.vectors for _, vectors in batches]).float()


def same(one, other):
    """Return whether two indexes hold the same; Qdrant has vectors in float16, a folder in fixed-point numbers."""
    return one[0] == other[0] and torch.allclose(one[1], other[1], atol=1e-3)


def opened(folder):
    index = LocalIndex.open(folder)
    try:
        return contents(index)
    finally:
        index.close()


def test_there_and_back(folder, server, tmp_path):
    n = push_index(folder, server, "news")
    there = server.open("news")
    assert n == len(there) == 295
    assert same(contents(there), opened(folder))
    assert there.settings == DESCRIPTION["settings"]
    assert pull_index(server, "news", tmp_path / "back") == 295
    assert same(opened(tmp_path / "back"), opened(folder))
    back = LocalIndex.open(tmp_path / "back")
    assert (back.checkpoint, back.meta.fingerprint) == ("tiny", "0")
    assert_search(back, query("q"), 9, everything(back), 3e-3, {"n": {"$gt": 100}})
    back.close()


def test_the_codebook_goes_along(tmp_path, server, monkeypatch):
    for home in (
        "ragatouille_xm.index.quantization.codebook",
        "ragatouille_xm.index.local.search",
    ):
        monkeypatch.setattr(f"{home}.EXACT_BELOW", 50)
    with LocalIndex.build(tmp_path / "news", **DESCRIPTION) as draft:
        fill(draft, some(200))
    push_index(tmp_path / "news", server, "news")
    index, there = LocalIndex.open(tmp_path / "news"), server.open("news")
    codebook, _ = index.codebook()
    assert there.first_stage.codebook().codebook.centroids.equal(codebook.centroids)
    assert there.first_stage.codebook().passages == len(index)
    config = SearchConfig(candidates=200)
    mine, theirs = (each.search(query("q"), 5, config=config) for each in (index, there))
    assert mine.pids.tolist() == theirs.pids.tolist()
    index.close()


def test_the_calibration_goes_along(folder, server, tmp_path):
    index = LocalIndex.open(folder)
    index.calibrate(Calibration(295, (0, 3, 400), 9.0, 0.5))
    push_index(folder, server, "news")
    push_index(folder, server, "news", overwrite=True)  # whose pids begin behind those of the first
    there = server.open("news")
    shift = there.meta.first_pid
    assert shift > 0
    assert there.calibration == Calibration(295, (shift, shift + 3, shift + 400), 9.0, 0.5)
    assert [plain(there.fetch([pid]))[0][2] for pid in there.calibration.pids] == ["text 0", "text 3", "text 400"]
    pull_index(server, "news", tmp_path / "back")
    back = LocalIndex.open(tmp_path / "back")
    assert len(back.fetch(back.calibration.pids)) == 3
    back.close()
    index.close()


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_documents_are_copied_whole(server, tmp_path, monkeypatch, batch):
    """Also those whose passages are not next to each other."""
    monkeypatch.setattr(copying, "COPY_BATCH", batch)
    passages = [passage(3 * i, f"d{i // 4 * 2 + i % 2}") for i in range(30)]
    with LocalIndex.build(tmp_path / "news", **DESCRIPTION) as draft:
        fill(draft, passages)
    push_index(tmp_path / "news", server, "news")
    assert plain(everything(server.open("news"))) == plain(passages)
    pull_index(server, "news", tmp_path / "back")
    assert same(opened(tmp_path / "back"), opened(tmp_path / "news"))


def test_nothing_is_replaced_unasked(folder, server, tmp_path):
    push_index(folder, server, "news")
    with pytest.raises(InputError, match="'news' .* already"):
        push_index(folder, server, "news")
    with pytest.raises(InputError, match="already"):
        pull_index(server, "news", folder)
    first = server.open("news").meta.next_pid
    assert push_index(folder, server, "news", overwrite=True) == 295
    pids = [p.pid for p in everything(server.open("news"))]
    assert min(pids) >= first  # for searches under way
    assert pull_index(server, "news", folder, overwrite=True) == 295


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        *((name, {}, "cannot be a name") for name in ("a/b", "..", " ", "a\nb", "\ud800", None, 3, ["a"])),
        ("news", {"storage": "int2"}, "'int2' is not known"),
    ],
)
def test_pushes_that_cannot_be(folder, server, caplog, name, options, says):
    with pytest.raises(InputError, match=says):
        push_index(folder, server, name, **options)
    assert not caplog.records, "there is no interrupted copy to speak of"


def test_a_folder_that_is_none(folder, server, tmp_path, monkeypatch):
    push_index(folder, server, "news")
    with pytest.raises(InputError, match="None is not a path"):
        pull_index(server, "news", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    pull_index(server, "news", "~/back")
    assert (tmp_path / "back" / "index.db").exists()


def test_what_is_not_there(server, tmp_path):
    with pytest.raises(IndexNotFoundError):
        push_index(tmp_path / "nothing", server, "news")
    with pytest.raises(IndexNotFoundError):
        pull_index(server, "nothing", tmp_path / "news")
    assert not (tmp_path / "news").exists()


def test_a_push_that_was_broken_off_goes_on(folder, server, monkeypatch):
    sent, real = [], server.client.upsert

    def upsert(**arguments):
        sent.extend(point.id for point in arguments["points"] if point.vector)
        if len(sent) == 160:
            raise ConnectionResetError("the power went")
        return real(**arguments)

    monkeypatch.setattr(server.client, "upsert", upsert)
    with pytest.raises(ConnectionResetError):
        push_index(folder, server, "news")
    with pytest.raises(IndexNotFoundError):
        server.open("news")
    push_index(folder, server, "news")
    assert len(sent) == 295 + 40  # one batch twice
    assert same(contents(server.open("news")), opened(folder))


def test_a_push_of_an_index_that_has_changed_begins_again(folder, server, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(copying, "_compare", broken)
        with pytest.raises(RuntimeError):
            push_index(folder, server, "news")
    index = LocalIndex.open(folder)
    index.delete(["d3"])
    index.close()
    assert push_index(folder, server, "news") == 293
    assert same(contents(server.open("news")), opened(folder))
    assert len(server.client.get_collections().collections) == 1


def broken(*_):
    raise RuntimeError


def test_a_pull_that_was_broken_off_goes_on(folder, server, tmp_path, monkeypatch):
    push_index(folder, server, "news")
    with monkeypatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.build.SAVE_SECONDS", -1.0)
        patch.setattr(copying, "_compare", broken)
        with pytest.raises(RuntimeError):
            pull_index(server, "news", tmp_path / "back")
    read, real = [], server.client.scroll

    def scroll(**arguments):
        found, offset = real(**arguments)
        read.extend(point for point in found if arguments["with_vectors"])
        return found, offset

    monkeypatch.setattr(copying, "COMPARED_QUERIES", 0)  # which read vectors too
    monkeypatch.setattr(copying, "_queries", lambda *_: {})
    monkeypatch.setattr(server.client, "scroll", scroll)
    assert pull_index(server, "news", tmp_path / "back") == 295
    assert not read
    assert same(opened(tmp_path / "back"), opened(folder))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"vector": {"tok": [[0.0] * 7 + [1.0]]}}, "the best .*for the vectors of passage"),
        ({"text": "altered"}, "the passage 0 of document 'd0' is another one"),
        ({"id": 10_000}, "the passage 0 is missing"),
        ({"language": "it"}, "of the languages"),
    ],
)
def test_a_copy_that_differs_is_removed(folder, server, monkeypatch, damage, says):
    real = server.client.upsert

    def upsert(**arguments):
        point = arguments["points"][0]
        if point.vector and point.id == 0:
            for key, value in damage.items():
                if key in point.payload:
                    point.payload[key] = value
                else:
                    setattr(point, key, value)
        return real(**arguments)

    monkeypatch.setattr(server.client, "upsert", upsert)
    with pytest.raises(IndexDamagedError, match=f"The copy differs: .*{says}"):
        push_index(folder, server, "news")
    assert not server.names()
    assert not server.client.get_collections().collections


def test_a_pull_that_differs_leaves_the_old_index(folder, server, monkeypatch):
    push_index(folder, server, "news")
    before, files = opened(folder), {path.name for path in folder.iterdir()}
    real = QdrantIndex.fetch
    monkeypatch.setattr(QdrantIndex, "fetch", lambda self, pids: real(self, pids)[::-1])
    with pytest.raises(IndexDamagedError, match="The copy differs"):
        pull_index(server, "news", folder, overwrite=True)
    assert same(opened(folder), before)
    assert {path.name for path in folder.iterdir()} == files


def test_a_server_that_fails(folder):
    server = QdrantServer("http://127.0.0.1:9", config=QdrantConfig(attempts=1))
    with pytest.raises(DatabaseError, match="does not answer"):
        push_index(folder, server, "news")


def test_a_leftover_of_another_index_is_no_obstacle(folder, server):
    other = {**DESCRIPTION, "fingerprint": "1"}
    with pytest.raises(RuntimeError), server.build("news", **other, resume=True):
        raise RuntimeError
    assert push_index(folder, server, "news") == 295


@pytest.mark.parametrize("when", ["before it is read", "while it is read"])
def test_a_push_of_an_index_that_is_written_to_copies_what_it_was(folder, server, monkeypatch, when):
    """Documents come, change and go meanwhile."""
    before = opened(folder)
    writing = LocalIndex.open(folder)

    def write():
        put(writing, passage(500, "later"), passage(501, "d9", metadata={"n": "changed"}), replace=True)
        writing.delete(["d20"])

    if when == "before it is read":
        real = copying._pids

        def pids(index):
            found = real(index)
            if len(writing) == 295:
                write()
            return found

        monkeypatch.setattr(copying, "_pids", pids)
    else:
        upsert = server.client.upsert

        def upserted(**arguments):
            if arguments["points"][0].vector and len(writing) == 295:
                write()
            return upsert(**arguments)

        monkeypatch.setattr(server.client, "upsert", upserted)
    assert push_index(folder, server, "news") == 295
    assert same(contents(server.open("news")), before)
    assert len(writing) == 293
    writing.close()


@pytest.mark.parametrize(
    "change", [lambda index: put(index, passage(500, "later")), lambda index: index.delete(["d20"])]
)
@pytest.mark.parametrize("when", ["_copy", "_compare"])
def test_a_pull_of_an_index_that_is_written_to_says_so(folder, server, tmp_path, monkeypatch, change, when):
    push_index(folder, server, "news")
    real = getattr(copying, when)

    def changed(*arguments):
        change(server.open("news"))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(copying, when, changed)
        patch.setattr(copying, "COMPARED_PASSAGES", 1_000)
        with pytest.raises(IndexDamagedError, match="The copy differs"):
            pull_index(server, "news", tmp_path / "back")
    pull_index(server, "news", tmp_path / "back")
    assert same(opened(tmp_path / "back"), contents(server.open("news")))
