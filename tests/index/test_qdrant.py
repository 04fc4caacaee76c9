"""An index in Qdrant, beyond the contract: failures, several clients, builds, codebooks. Over the local mode."""

from __future__ import annotations

import base64
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
import torch
from contracts.strategies import DIM, METADATA, assert_search, encode, everything, passage, plain, put, query
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from ragatouille_xm.config import QdrantConfig, SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import (
    DatabaseError,
    IndexDamagedError,
    IndexFormatError,
    IndexNotFoundError,
    InputError,
    PassageIndexError,
)
from ragatouille_xm.index.lexical import PieceCounts
from ragatouille_xm.index.qdrant import first_stage as qdrant_first_stage
from ragatouille_xm.index.qdrant import points as qdrant_points
from ragatouille_xm.index.qdrant import server as qdrant_server
from ragatouille_xm.index.qdrant.first_stage import CODEBOOK_ID
from ragatouille_xm.index.qdrant.index import STATE, STATE_ID, QdrantIndex
from ragatouille_xm.index.qdrant.server import QdrantServer

from .edge import EdgeClient
from .wire import served

DESCRIPTION = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "0", "settings": {"max_document_length": 32}}


def test_a_real_server():
    """The contract suite has an engine more where there is one."""
    if "QDRANT_URL" not in os.environ:
        pytest.skip("QDRANT_URL is not set: the contract runs over the client's local mode, not over a server")
    QdrantServer(os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY")).names()


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def server(client, monkeypatch) -> QdrantServer:
    monkeypatch.setattr(qdrant_server, "PAUSE", 0.001)
    return QdrantServer(client)


def create(server, name="news", **description):
    with server.build(name, **DESCRIPTION | description):
        pass
    return server.open(name)


@pytest.fixture
def index(server) -> QdrantIndex:
    return create(server)


@pytest.fixture
def collection(index, server) -> str:
    return server.names()["news"]


def many(n, start=0):
    return [passage(i, f"d{i}", language="fr" if i % 3 else "de", metadata={"n": i}) for i in range(start, start + n)]


class Failing:
    """Puts failures before, or behind, chosen calls of a client."""

    def __init__(self, client, monkeypatch):
        self.client, self.monkeypatch, self.calls = client, monkeypatch, []

    def on(self, name, *failures, behind=False, always=False):
        real, left = getattr(self.client, name), list(failures)

        def call(**arguments):
            self.calls.append(name)
            if not left:
                return real(**arguments)
            failure = left[0] if always else left.pop(0)
            if failure is None:
                return real(**arguments)
            if behind:
                real(**arguments)
            raise failure

        self.monkeypatch.setattr(self.client, name, call)


@pytest.fixture
def failing(client, monkeypatch):
    return Failing(client, monkeypatch)


def timeout():
    return ResponseHandlingException(httpx.ReadTimeout("timed out"))


def refusal(status):
    return UnexpectedResponse(status, "no", b'{"status": {"error": "no"}}', httpx.Headers())


# --- Failures


@pytest.mark.parametrize("failure", [timeout(), refusal(503), refusal(500), refusal(429)])
@pytest.mark.parametrize("behind", [False, True])
def test_what_times_out_is_tried_again_and_done_once(index, failing, failure, behind):
    """`behind`: the cluster has done it, and its answer was lost."""
    for name in ("upsert", "set_payload", "retrieve", "scroll", "count", "delete"):
        failing.on(name, failure, None, failure, behind=behind)
    passages = put(index, *many(600))
    put(index, passage(1000, "d5"), replace=True)
    assert index.delete(["d7"]) == 1
    left = [p for p in passages if p.pid not in (5, 7)] + [passage(1000, "d5")]
    assert plain(everything(index)) == plain(left)
    assert len(index) == len(left)


def test_an_addition_that_was_broken_off_is_completed_by_the_same_call(index, client, monkeypatch):
    monkeypatch.setattr(qdrant_points, "REQUEST", 1_500)
    real, halves = client.upsert, iter([False, False, True])

    def upsert(**arguments):
        if next(halves, False):
            real(**{**arguments, "points": arguments["points"][: len(arguments["points"]) // 2]})
            raise ConnectionResetError("the power went")
        return real(**arguments)

    put(index, *many(20))
    monkeypatch.setattr(client, "upsert", upsert)
    changed = [passage(100 + i, f"d{i}", "new") for i in range(20)]
    with pytest.raises(ConnectionResetError):
        put(index, *changed, replace=True)
    assert index.contains([f"d{i}" for i in range(20)]) == {f"d{i}" for i in range(20)}
    for _ in range(2):
        put(index, *changed, replace=True)
        assert plain(everything(index)) == plain(changed)


@pytest.mark.parametrize("request_number", range(1, 7))
def test_a_document_is_never_missing_while_it_is_updated(index, server, monkeypatch, request_number):
    """Whichever request is the last one that goes through, the old passages or the new ones are there, or both."""
    put(index, *many(4))
    real, left = QdrantServer.call, request_number

    def call(self, operation, **arguments):
        nonlocal left
        left -= 1
        if left < 0:
            raise DatabaseError("dead")
        return real(self, operation, **arguments)

    new = [passage(7, "d1", "new 7"), passage(8, "d1", "new 8")]
    with monkeypatch.context() as patch:
        patch.setattr(QdrantServer, "call", call)
        with suppress(DatabaseError):
            put(index, *new, replace=True)
    found = {p.pid for p in everything(index, parse_filter({"document_id": "d1"}))}
    assert found in ({1}, {1, 7, 8}, {7, 8})
    put(index, *new, replace=True)
    assert [p.pid for p in everything(index)] == [0, 2, 3, 7, 8]


def test_two_clients_that_update_a_document_at_a_time_never_lose_it(index, server, monkeypatch):
    put(index, *many(2))
    other, real = server.open("news"), QdrantServer.call

    def call(self, operation, **arguments):
        if operation == "delete":  # the other one is between writing and removing as well
            monkeypatch.setattr(QdrantServer, "call", real)
            put(other, passage(8, "d1", "theirs"), replace=True)
        return real(self, operation, **arguments)

    monkeypatch.setattr(QdrantServer, "call", call)
    put(index, passage(7, "d1", "mine"), replace=True)
    assert {p.text for p in everything(index, parse_filter({"document_id": "d1"}))} >= {"theirs"}
    put(index, passage(9, "d1", "again"), replace=True)
    assert [p.text for p in everything(index)] == ["text 0", "again"]


def test_searches_during_updates_find_every_document(index, server):
    """Perhaps with old and new passages, but never without any."""
    names, done = [f"d{i}" for i in range(4)], threading.Event()
    put(index, *many(4))

    def write():
        try:
            for version in range(6):
                first = index.reserve(4)
                put(
                    index,
                    *(passage(first + i, name, f"{name} {version}") for i, name in enumerate(names)),
                    replace=True,
                )
        finally:
            done.set()

    with ThreadPoolExecutor(2) as pool:
        writer = pool.submit(write)
        while not done.is_set():
            assert server.open("news").contains(names) == set(names)
        writer.result()
    assert len(index) == 4


@pytest.mark.parametrize(("status", "says"), [(401, "refuses the key"), (403, "refuses the key"), (400, "failed in")])
def test_what_will_not_get_better_is_not_tried_again(index, failing, status, says):
    failing.on("count", refusal(status), always=True)
    with pytest.raises(DatabaseError, match=says):
        len(index)
    assert failing.calls == ["count"]


def over_http(monkeypatch, key, transport):
    """Return a connection made as users make it, whose requests end in this process."""
    real = QdrantClient

    def connected(self, url, api_key):
        return real(url=url, api_key=api_key, transport=transport, check_compatibility=False)

    monkeypatch.setattr(qdrant_server, "PAUSE", 0.001)
    monkeypatch.setattr(QdrantServer, "_connected", connected)
    return QdrantServer("http://host:6333/", key)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_goes_along_and_is_never_shown(monkeypatch, caplog):
    transport = served(key="right")
    create(over_http(monkeypatch, "right", transport))
    with pytest.raises(DatabaseError, match=r"http://host:6333 failed in .* refuses the key: .* api_key=") as caught:
        over_http(monkeypatch, "wr0ng", transport).open("news")
    assert "wr0ng" not in repr(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("over", "storage", "tolerance"),
    [("http", "int16", 3e-3), ("edge", "int16", 3e-3), ("edge", "int8", 0.02), ("edge", "int4", 0.2)],
)
def test_a_life(monkeypatch, tmp_path, small, over, storage, tolerance):
    """Through JSON and HTTP, and in Qdrant's own engine."""
    server = over_http(monkeypatch, None, served()) if over == "http" else QdrantServer(EdgeClient(tmp_path))
    index = create(server, storage=storage)
    passages = put(index, *many(60), passage(60, "odd", "\0 \u2028 👩🏽‍🚀", "zh-TW", METADATA))
    index.optimize()
    assert index.first_stage.codebook() is not None
    index = server.open("news")
    assert plain(everything(index)) == plain(passages)
    assert_search(index, query("q"), 5, passages, tolerance, {"n": {"$gte": 30.5}})
    assert_search(index, query("q"), 61, passages, tolerance)
    put(index, passage(61, "odd"), replace=True)
    assert index.reserve(2) == 62
    assert index.languages() == {"fr": 41, "de": 20}
    assert index.delete(["d1", "nobody"]) == 1
    put(index, *many(100, 1000))
    index.optimize()
    assert index.first_stage.codebook().passages == len(index) == 160
    put(index, passage(3000, "late"))
    assert index.search(encode([passage(3000)]).vectors[None], 1).pids.tolist() == [[3000]]
    server.client.close()


def test_a_node_that_fails_for_a_while(monkeypatch):
    server, answers = served(), iter([503, 0, 502, 0, 500, 429])

    def handle(request):
        status = next(answers, 0)
        if status == 500:
            raise httpx.ConnectTimeout("no route", request=request)
        return httpx.Response(status, text="busy") if status else server.handle_request(request)

    connection = over_http(monkeypatch, None, httpx.MockTransport(handle))
    passages = put(create(connection), *many(3))
    assert plain(everything(connection.open("news"))) == plain(passages)
    with pytest.raises(IndexNotFoundError, match="no index 'old'"):
        connection.open("old")


def test_a_host_that_is_not_there():
    server = QdrantServer("http://127.0.0.1:9", config=QdrantConfig(attempts=1))
    with pytest.raises(DatabaseError, match="Qdrant at http://127.0.0.1:9 failed in retrieve .* does not answer"):
        server.open("news")
    server.close()
    server.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://me:S3CRET@host:6333",
        "https://S3CRET@host:6333/db",
        "https://host:6333?api_key=S3CRET",
        "https://host:6333/#S3CRET",
        "me:S3CRET@host:6333",
        "ftp://me:S3CRET@host",
        "http://me:S3/CRET@host",
        "http://me:S3CRET@[host",
        "http://me:S3CRET@host:port",
    ],
)
def test_secrets_in_an_address_are_refused_and_never_shown(url, caplog, capfd):
    with caplog.at_level("DEBUG"), pytest.raises(InputError, match="host") as caught:
        QdrantServer(url, "K3Y")
    assert caught.value.__context__ is None
    assert "CRET" not in repr(caught.value) + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("url", ["localhost", "localhost:6333", "ftp://host", "http://", "http://host:port", ""])
def test_an_address_that_is_none(url):
    with pytest.raises(InputError, match="http://host:6333"):
        QdrantServer(url)


def test_what_is_neither_an_address_nor_a_client():
    with pytest.raises(InputError, match="index_url=6333 is no address and no QdrantClient"):
        QdrantServer(6333)


def test_an_index_that_is_not_there(server, index):
    with pytest.raises(IndexNotFoundError, match="no index 'old' .* Its names: news"):
        server.open("old")


def test_a_collection_of_somebody_else(server, client):
    client.create_collection("theirs", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    with pytest.raises(IndexFormatError, match="no index that this version"):
        server.open("theirs")
    with pytest.raises(IndexFormatError, match="no index that this version"):
        create(server, "theirs")
    assert client.collection_exists("theirs")


@pytest.mark.parametrize("change", [{STATE: "{"}, {STATE: "{}"}, {"next_pid": None}, {"calibration": "[1]"}])
def test_a_description_that_cannot_be_read(server, collection, client, change):
    client.set_payload(collection, change, points=[STATE_ID])
    with pytest.raises(IndexFormatError, match="no index that this version"):
        server.open("news")


@pytest.mark.parametrize("text", ["lone \ud800", "\udfff"])
def test_what_cannot_be_stored_is_refused_before_anything_is(index, text):
    before = put(index, *many(3))
    for bad in (passage(10, "d1", text), passage(10, text), passage(10, "d1", metadata={"a": text})):
        with pytest.raises(InputError, match="lone surrogates"):
            index.add([passage(9, "d0"), bad], encode([passage(9), passage(10)]), replace=True)
    with pytest.raises(InputError, match="without lexical search"):
        index.add([passage(9)], encode([passage(9)]), PieceCounts.of([[1]]))
    assert plain(everything(index)) == plain(before)
    with pytest.raises(InputError, match="lexical=False"):
        create(index.server, "words", lexical=True)


# --- Metadata, for others too


def test_filters_of_any_user_of_qdrant(index, client, collection):
    put(
        index,
        passage(0, metadata={"year": 2021, "by": {"name": "Ada"}, "tags": ["x", "y"]}),
        passage(1, metadata={"year": 2022.0, "by": {"name": "Bo"}, "tags": []}),
    )

    def found(**condition):
        where = models.Filter(must=[models.FieldCondition(**condition)])
        return [point.id for point in client.scroll(collection, scroll_filter=where)[0]]

    assert found(key="metadata.year", range=models.Range(gt=2021)) == [1]
    assert found(key="metadata.tags", match=models.MatchValue(value="y")) == [0]
    assert found(key='metadata."by.name"', match=models.MatchAny(any=["Ada", "Di"])) == [0]
    assert found(key="language", match=models.MatchValue(value="fr")) == [0, 1]
    assert [p.metadata["year"] for p in everything(index)] == [2021, 2022.0]


def test_names_that_look_like_those_of_others(index):
    fields = ['the "best"', "the %22best%22", "the %2522best%2522", "100%"]
    put(index, *(passage(i, metadata={field: i}) for i, field in enumerate(fields)))
    for i, field in enumerate(fields):
        assert [p.pid for p in everything(index, parse_filter({field: i}))] == [i]
        assert [p.pid for p in everything(index, parse_filter({field: {"$gte": 0}}))] == [i]


def test_thousands_of_ids_in_a_filter(index):
    put(index, *many(30))
    wanted = [f"d{i}" for i in range(27, 6000)]
    assert [p.pid for p in everything(index, parse_filter({"document_id": {"$in": wanted}}))] == [27, 28, 29]
    assert index.contains(wanted) == {"d27", "d28", "d29"}
    assert index.delete(wanted) == 3


# --- Several clients


def test_each_client_sees_what_the_other_has_written(index, server):
    other = server.open("news")
    passages = put(index, *many(30))
    assert plain(everything(other)) == plain(passages)
    other.delete(["d3"])
    assert index.contains(["d3", "d4"]) == {"d4"}
    assert len(index) == len(other) == 29


def test_pids_of_several_clients_never_repeat(index, server):
    clients = [index, *(server.open("news") for _ in range(3))]
    with ThreadPoolExecutor(4) as pool:
        starts = list(pool.map(lambda i: clients[i % 4].reserve(3), range(24)))
    assert len({start + i for start in starts for i in range(3)}) == 72
    put(index, passage(500))
    assert clients[1].reserve(1) > 500


def test_several_clients_add_at_a_time(index, server):
    def add(name):
        mine = server.open("news")
        for i in range(5):
            first = mine.reserve(2)
            put(mine, passage(first, f"{name}{i}"), passage(first + 1, f"{name}{i}"), replace=True)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, "abc"))
    assert len(index) == 30
    assert set(index.document_ids()) == {f"{name}{i}" for name in "abc" for i in range(5)}


# --- Building


def test_a_build_takes_the_place_of_the_old_one_in_one_step(index, server, client):
    put(index, *many(5))
    first = index.reserve(0)
    with server.build("news", **DESCRIPTION) as draft:
        new = passage(draft.reserve(1), "new")
        assert new.pid >= first
        put(draft, new)
        assert len(index) == 5
    assert plain(everything(index)) == plain([new])
    assert plain(index.fetch([new.pid])) == plain([new])
    assert len(client.get_collections().collections) == 1


def test_a_build_replaces_documents_and_tells_which_it_has(server):
    def add(writer, *passages):
        writer.add(list(passages), encode(passages))

    with server.build("news", **DESCRIPTION) as draft:
        add(draft, passage(0, "a"), passage(1, "b"), passage(2, "a"), passage(3, "c"))
        add(draft, passage(4, "a", "another"), passage(5, "d"))
        assert plain(draft.passages_of(["d", "nobody", "a"])) == plain([passage(4, "a", "another"), passage(5, "d")])
        assert draft.delete(["c", "nobody"]) == 1
        assert sorted(draft.document_ids()) == ["a", "b", "d"]
        assert draft.reserve(2) == 6
        add(draft, passage(draft.reserve(1), "e"), passage(9, "e"))
        assert list(draft.document_ids()).count("e") == 1
    expected = [passage(1, "b"), passage(4, "a", "another"), passage(5, "d"), passage(8, "e"), passage(9, "e")]
    assert plain(everything(server.open("news"))) == plain(expected)


def break_off(server, **options):
    with server.build("news", **DESCRIPTION, **options) as draft:
        put(draft, passage(0))
        raise RuntimeError


def test_a_build_that_fails_leaves_the_old_one(index, server, client):
    put(index, *many(5))
    with pytest.raises(RuntimeError):
        break_off(server, keep=False)
    assert len(index) == 5
    assert len(client.get_collections().collections) == 1
    assert server.names().keys() == {"news"}


def test_a_build_can_be_resumed(server):
    with pytest.raises(RuntimeError):
        break_off(server)
    with pytest.raises(IndexNotFoundError):
        server.open("news")
    other = {**DESCRIPTION, "fingerprint": "1"}
    with pytest.raises(InputError, match="has fingerprint '0'"), server.build("news", **other, resume=True):
        pass
    with server.build("news", **DESCRIPTION, resume=True) as draft:
        assert len(draft) == 1
        put(draft, passage(1, "another"))
    assert len(server.open("news")) == 2
    assert server.names().keys() == {"news"}


def test_of_two_builds_of_one_name_the_first_fails(index, server):
    with pytest.raises(IndexNotFoundError), server.build("news", **DESCRIPTION) as first:  # noqa: PT012
        with server.build("news", **DESCRIPTION) as second:
            put(second, passage(1, "second"))
        put(first, passage(0, "first"))
    assert index.contains(["first", "second"]) == {"second"}


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "x" * 300, "news.draft"])
def test_names_that_cannot_be(server, name):
    with pytest.raises(InputError, match="cannot be a name"):
        create(server, name)


@pytest.mark.parametrize(("storage", "datatype"), [("int16", "float16"), ("int8", "turbo8"), ("int4", "turbo4")])
def test_what_the_user_sets_reaches_the_server(client, monkeypatch, storage, datatype):
    seen, real = {}, client.create_collection

    def create_collection(**arguments):
        seen.update(arguments)
        return real(**arguments)

    monkeypatch.setattr(client, "create_collection", create_collection)
    server = QdrantServer(client, config=QdrantConfig(shards=3, replicas=2, on_disk=True))
    create(server, storage=storage)
    tokens = seen["vectors_config"]["tok"]
    assert (seen["shard_number"], seen["replication_factor"], seen["write_consistency_factor"]) == (3, 2, 2)
    assert (tokens.on_disk, tokens.datatype.value, tokens.hnsw_config.m) == (True, datatype, 0)


# --- The first stage


@pytest.fixture
def small(monkeypatch):
    """Searched in stages from 50 passages on."""
    monkeypatch.setattr("ragatouille_xm.index.quantization.codebook.EXACT_BELOW", 50)


def sparse_vectors(client, collection):
    points, _ = client.scroll(collection, limit=10_000, with_vectors=True)
    return [{name: v for name, v in point.vector.items() if name != "tok"} for point in points if point.vector]


def test_a_codebook_once_there_are_enough(index, server, client, collection, small, monkeypatch):
    put(index, *many(50))
    index.optimize()
    assert index.first_stage.codebook() is None
    put(index, *many(150, 50))
    index.optimize()
    name, passages, _ = index.first_stage.codebook()
    assert passages == 200
    vectors = sparse_vectors(client, collection)
    assert len(vectors) == 200
    for vector in vectors:
        assert sum(value**2 for value in vector[name].values) == pytest.approx(1)
    asked = []
    real = client.query_points

    def query_points(**arguments):
        asked.append(arguments)
        return real(**arguments)

    monkeypatch.setattr(client, "query_points", query_points)
    other = server.open("news")  # which finds the codebook in the collection
    config = SearchConfig(candidates=60)
    hits = other.search(query("q"), 5, config=config)
    assert len(asked) == 1
    assert (asked[0]["prefetch"].limit, asked[0]["prefetch"].using) == (60, name)
    best = other.search(query("q"), 5, config=SearchConfig(exact=True))
    assert asked[1]["prefetch"] is None
    assert len(set(hits.pids[0].tolist()) & set(best.pids[0].tolist())) >= 3
    put(other, passage(777, "late"))
    assert 777 in other.search(encode([passage(777)]).vectors[None], 3, config=config).pids


def test_a_filter_goes_into_both_stages(index, small):
    passages = put(index, *many(200))
    index.optimize()
    for written in ({"n": {"$gte": 195}}, {"language": "de"}, {"n": 7}):
        assert_search(index, query("q"), 200, passages, 3e-3, written)


def test_a_codebook_is_fitted_again_while_others_search(index, server, client, collection, small):
    put(index, *many(100))
    index.optimize()
    other = server.open("news")
    names = [other.first_stage.codebook().name]
    for version in (2, 3):
        put(index, *many(150 * version, 1000 * version))
        found = other.search(query("q"), 3).pids.tolist()
        index.optimize(refit=True)
        names.append(index.first_stage.codebook().name)
        mine, theirs = (each.first_stage.codebook().codebook.centroids for each in (index, other))
        assert mine.equal(theirs)
        assert len(set(found[0]) & set(other.search(query("q"), 3).pids[0].tolist())) >= 2
    assert len(set(names)) == 3
    assert set().union(*sparse_vectors(client, collection)) == set(
        names[1:]
    )  # the last but one, for searches under way


def test_two_clients_that_fit_at_a_time(index, server, small, monkeypatch):
    """Whichever ends last counts, and both search with it."""
    passages = put(index, *many(200))
    index.optimize()
    other, real = server.open("news"), qdrant_first_stage.FirstStage._assign
    put(index, *many(5, 500))

    def assign(self, codebook):
        monkeypatch.setattr(qdrant_first_stage.FirstStage, "_assign", real)
        other.optimize(refit=True)
        real(self, codebook)

    monkeypatch.setattr(qdrant_first_stage.FirstStage, "_assign", assign)
    index.optimize(refit=True)
    assert index.first_stage.codebook().name == other.first_stage.codebook().name
    for each in (index, other):
        assert_search(each, query("q"), 205, [*passages, *many(5, 500)], 3e-3)
        assert len(set(each.search(query("q"), 5).pids[0].tolist())) == 5
    put(index, *many(300, 1000))
    index.optimize()
    assert index.first_stage.codebook().passages == 505


def test_who_did_not_know_of_a_codebook_is_made_good(index, server, client, collection, small):
    put(index, *many(100))
    index.optimize()
    late, unaware = passage(500, "late"), server.open("news")
    unaware.first_stage.codebook = lambda: None
    put(unaware, late)
    index.optimize()
    assert all(sparse_vectors(client, collection))
    assert 500 in index.search(encode([late]).vectors[None], 3, config=SearchConfig(candidates=10)).pids


@pytest.mark.parametrize("data", ["AAAA", "not base64", ""])
def test_a_codebook_that_cannot_be_read(index, server, client, collection, small, data):
    put(index, *many(100))
    index.optimize()
    client.set_payload(collection, {"data": data}, points=[CODEBOOK_ID])
    with pytest.raises(IndexDamagedError, match="codebook .*Index the documents again"):
        server.open("news").search(query("q"), 1)


def test_a_codebook_fits_into_a_request(index, client, collection, small, monkeypatch):
    monkeypatch.setattr(qdrant_first_stage, "MOST_BYTES", 40 * DIM)
    put(index, *many(200))
    index.optimize()
    assert len(index.first_stage.codebook().codebook) == 40
    [point] = client.retrieve(collection, [CODEBOOK_ID])
    assert len(base64.b64decode(point.payload["data"])) < 4000


def test_uploads_are_cut_to_fit_a_request(index, client, monkeypatch):
    monkeypatch.setattr(qdrant_points, "REQUEST", 2_000)
    sizes, real = [], client.upsert

    def upsert(**arguments):
        sizes.append(sum(len(str(p.payload)) + len(str(p.vector)) for p in arguments["points"]))
        return real(**arguments)

    monkeypatch.setattr(client, "upsert", upsert)
    passages = put(index, *many(40), passage(40, text="long " * 1000))
    assert sorted(sizes)[-2] <= 4_000
    assert len(sizes) > 10
    assert plain(everything(index)) == plain(passages)


def test_a_closed_index_says_so(index):
    index.close()
    with pytest.raises(PassageIndexError, match="closed"):
        index.search(torch.ones(1, 1, DIM), 1)
