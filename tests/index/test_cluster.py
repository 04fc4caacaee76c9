"""An index in a cluster, beyond the contract: several clients, failures, builds, codebooks. Over the local mode."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from contracts.strategies import DIM, assert_search, encode, everything, passage, plain, put, query
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from ragatouille_xm.config import ClusterConfig, SearchConfig
from ragatouille_xm.errors import (
    ClusterError,
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    InputError,
    PassageIndexError,
)
from ragatouille_xm.index.cluster import client as cluster_client
from ragatouille_xm.index.cluster import index as cluster_index
from ragatouille_xm.index.cluster import lease as cluster_lease
from ragatouille_xm.index.cluster import points as cluster_points
from ragatouille_xm.index.cluster import reader as cluster_reader
from ragatouille_xm.index.cluster import state as cluster_state
from ragatouille_xm.index.cluster.build import build, create
from ragatouille_xm.index.cluster.client import Cluster
from ragatouille_xm.index.cluster.index import ClusterIndex

from .wire import served

DESCRIPTION = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "0", "settings": {"max_document_length": 32}}


def test_a_real_server():
    """The contract suite has an engine more where there is one."""
    if "QDRANT_URL" not in os.environ:
        pytest.skip("QDRANT_URL is not set: the contract runs over the client's local mode alone")
    Cluster(os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY")).aliases()


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def cluster(client, monkeypatch) -> Cluster:
    monkeypatch.setattr(cluster_client, "PAUSE", 0.001)
    return Cluster(client)


@pytest.fixture
def index(cluster) -> ClusterIndex:
    return create(cluster, "news", **DESCRIPTION)


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
    for name in ("upsert", "set_payload", "retrieve", "scroll"):
        failing.on(name, failure, None, failure, behind=behind)
    passages = put(index, *many(600))
    put(index, passage(1000, "d5"), replace=True)
    assert index.delete(["d7"]) == 1
    left = [p for p in passages if p.pid not in (5, 7)] + [passage(1000, "d5")]
    assert plain(everything(index)) == plain(left)
    assert len(index) == len(left)


def test_a_batch_that_half_succeeds_is_repeated_without_doubles(index, client, monkeypatch):
    real, halves = client.upsert, iter([True, True])

    def upsert(**arguments):
        if next(halves, False):
            real(**{**arguments, "points": arguments["points"][: len(arguments["points"]) // 2]})
            raise timeout()
        return real(**arguments)

    monkeypatch.setattr(client, "upsert", upsert)
    passages = put(index, *many(300))
    assert plain(everything(index)) == plain(passages)
    stored, _ = client.scroll(index.collection, limit=10_000)
    assert sum("born" in point.payload for point in stored) == 300


def test_an_addition_that_fails_for_good_changes_nothing(index, failing):
    before = put(index, *many(5))
    failing.on("upsert", timeout(), always=True)
    with pytest.raises(ClusterError, match=r"does not answer \(4 attempts\): timed out"):
        put(index, passage(9, "d1"), passage(10, "new"), replace=True)
    assert plain(everything(index)) == plain(before)
    assert index.state.writer == ""


@pytest.mark.parametrize("point", range(1, 9))
def test_a_writer_that_dies_at_any_request_is_undone_by_the_next(index, cluster, monkeypatch, point):
    """Nothing is released or rolled back by who has died."""
    before = put(index, *many(4))
    dead, calls = ClusterIndex.open(cluster, "news"), 0
    real = Cluster.call

    def call(self, operation, **arguments):
        nonlocal calls
        if operation in ("upsert", "set_payload", "delete", "delete_payload"):
            calls += 1
            if calls >= point:
                raise ClusterError("dead")
        return real(self, operation, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Cluster, "call", call)
        try:
            put(dead, passage(7, "d1"), passage(8, "d8"), replace=True)
        except ClusterError:
            committed = False
        else:
            committed = True
    after = [before[0], before[2], before[3], passage(7, "d1"), passage(8, "d8")]
    now = plain(everything(index))
    assert now == (plain(after) if committed else now)
    assert now in (plain(before), plain(after))
    monkeypatch.setattr(cluster_lease, "now_ms", lambda: 2**60)  # much later
    put(index, passage(20, "d20"))
    assert plain(everything(index)) == [*now, *plain([passage(20, "d20")])]
    assert_search(index, query("q"), 10, index.fetch([p[0] for p in now] + [20]), 3e-3)


@pytest.mark.parametrize(("status", "says"), [(401, "refuses the key"), (403, "refuses the key"), (400, "failed in")])
def test_what_will_not_get_better_is_not_tried_again(index, failing, status, says):
    failing.on("retrieve", refusal(status), always=True)
    with pytest.raises(ClusterError, match=says):
        len(index)
    assert failing.calls == ["retrieve"]


def over_http(monkeypatch, key, transport):
    """Return a connection made as users make it, whose requests end in this process."""
    real = QdrantClient
    monkeypatch.setattr(cluster_client, "PAUSE", 0.001)
    monkeypatch.setattr(cluster_client, "QdrantClient", lambda **options: real(**options, transport=transport))
    return Cluster("http://host:6333/", key)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_goes_along(monkeypatch):
    transport = served(key="right")
    create(over_http(monkeypatch, "right", transport), "news", **DESCRIPTION)
    with pytest.raises(ClusterError, match=r"http://host:6333 refuses the key for .* \(401\).* api_key="):
        ClusterIndex.open(over_http(monkeypatch, "wrong", transport), "news")


def test_a_node_that_fails_for_a_while(monkeypatch):
    server, answers = served(), iter([503, 0, 502, 0, 500, 429])

    def handle(request):
        status = next(answers, 0)
        if status == 500:
            raise httpx.ConnectTimeout("no route", request=request)
        return httpx.Response(status, text="busy") if status else server.handle_request(request)

    cluster = over_http(monkeypatch, None, httpx.MockTransport(handle))
    passages = put(create(cluster, "news", **DESCRIPTION), *many(3))
    assert plain(everything(ClusterIndex.open(cluster, "news"))) == plain(passages)
    with pytest.raises(IndexNotFoundError, match="no index 'old'"):
        ClusterIndex.open(cluster, "old")


def test_a_host_that_is_not_there():
    cluster = Cluster("http://127.0.0.1:9", config=ClusterConfig(attempts=1))
    with pytest.raises(ClusterError, match="The Qdrant cluster at http://127.0.0.1:9 does not answer"):
        ClusterIndex.open(cluster, "news")
    cluster.close()
    cluster.close()


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
        Cluster(url, "K3Y")
    assert caught.value.__context__ is None
    assert "CRET" not in repr(caught.value) + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("url", ["localhost", "localhost:6333", "ftp://host", "http://", "http://host:port", ""])
def test_an_address_that_is_none(url):
    with pytest.raises(InputError, match="http://host:6333"):
        Cluster(url)


def test_an_index_that_is_not_there(cluster, index):
    with pytest.raises(IndexNotFoundError, match="no index 'old' .* Its names: news"):
        ClusterIndex.open(cluster, "old")


def test_a_collection_of_somebody_else(cluster, client):
    client.create_collection("theirs", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    with pytest.raises(IndexFormatError, match="no manifest"):
        ClusterIndex.open(cluster, "theirs")
    with pytest.raises(IndexFormatError, match="no manifest"), build(cluster, "theirs", **DESCRIPTION):
        pass
    assert client.collection_exists("theirs")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"format_version": 99}, IndexFormatError, "format version 99"),
        ({"settings": "{"}, IndexDamagedError, "cannot be understood"),
        ({"generation": "x"}, IndexDamagedError, "cannot be understood"),
    ],
)
def test_a_manifest_that_is_not_ours_to_read(cluster, index, client, change, error, says):
    client.set_payload(index.collection, change, points=[0])
    with pytest.raises(error, match=says):
        ClusterIndex.open(cluster, "news")


# --- Several clients


def test_each_client_sees_what_the_other_has_written(index, cluster):
    other = ClusterIndex.open(cluster, "news")
    passages = put(index, *many(30))
    assert plain(everything(other)) == plain(passages)
    other.delete(["d3"])
    assert index.contains(["d3", "d4"]) == {"d4"}
    assert len(index) == len(other) == 29


def test_one_client_writes_at_a_time(index, cluster, monkeypatch):
    monkeypatch.setattr(cluster_index, "PATIENCE", 0.1)
    other = ClusterIndex.open(cluster, "news")
    with index.writing():
        put(index, passage(0))
        with pytest.raises(IndexLockedError, match="written to by another client"), other.writing(0.1):
            pass
        assert len(other) == 1
    put(other, passage(1))
    assert len(index) == 2


def test_a_client_that_was_too_slow_does_not_write_over_the_next_one(index, cluster, monkeypatch):
    other = ClusterIndex.open(cluster, "news")
    with pytest.raises(IndexLockedError, match="taken over"):
        write_while_another_takes_over(index, other, monkeypatch)
    assert [p.document_id for p in everything(index)] == ["theirs"]


def write_while_another_takes_over(index, other, monkeypatch):
    with index.writing(), monkeypatch.context() as later:
        later.setattr(cluster_lease, "now_ms", lambda: 2**60)
        put(other, passage(0, "theirs"))
        put(index, passage(1, "mine"))


def test_a_client_that_was_too_slow_leaves_alone_what_the_next_one_is_writing(index, cluster, monkeypatch):
    other = ClusterIndex.open(cluster, "news")
    slow = index.writing()
    slow.__enter__()
    with monkeypatch.context() as later:
        later.setattr(cluster_lease, "now_ms", lambda: 2**60)
        with other.writing() as view:
            view.points.upload([passage(0, "theirs")], encode([passage(0)]), 1, None, lambda: None)
            assert not slow.__exit__(RuntimeError, RuntimeError(), None)
            assert view.points.count(cluster_state.after("born", 0)) == 1


def test_pids_of_several_clients_never_repeat(index, cluster, monkeypatch):
    clients = [index, *(ClusterIndex.open(cluster, "news") for _ in range(3))]
    with ThreadPoolExecutor(4) as pool:
        starts = list(pool.map(lambda i: clients[i % 4].reserve(3), range(24)))
    assert len({start + i for start in starts for i in range(3)}) == 72


def test_passages_that_are_gone_leave_the_disk_after_a_while(index, client, monkeypatch):
    put(index, *many(50))
    index.delete([f"d{i}" for i in range(20)])
    scroll = index.scroll(batch_size=5)
    next(scroll)
    assert client.count(index.collection).count == 51
    index.optimize()
    assert client.count(index.collection).count == 51  # a search may be under way
    monkeypatch.setattr(cluster_index, "GRACE", 0.0)
    monkeypatch.setattr(cluster_index, "now_ms", lambda: cluster_state.now_ms() + 1000)
    begun = index.scroll(batch_size=5)
    index.delete(["d30"])
    index.optimize()
    assert client.count(index.collection).count == 31 - 1
    assert index.state.dead == 0
    assert len(everything(index)) == 29
    with pytest.raises(PassageIndexError, match="begin again"):
        list(begun)


# --- Building


def test_a_build_takes_the_place_of_the_old_one_in_one_step(index, cluster, client):
    put(index, *many(5))
    first = index.reserve(0)
    with build(cluster, "news", **DESCRIPTION) as draft:
        new = passage(draft.reserve(1), "new")
        assert new.pid >= first
        put(draft, new)
        assert len(index) == 5
    assert plain(everything(index)) == plain([new])
    assert plain(index.fetch([new.pid])) == plain([new])
    assert len(client.get_collections().collections) == 1


def test_a_build_replaces_documents_and_tells_which_it_has(cluster):
    def add(writer, *passages):
        writer.add(list(passages), encode(passages))

    with build(cluster, "news", **DESCRIPTION) as draft:
        add(draft, passage(0, "a"), passage(1, "b"), passage(2, "a"), passage(3, "c"))
        add(draft, passage(4, "a", "another"), passage(5, "d"))
        assert plain(draft.passages_of(["d", "nobody", "a"])) == plain([passage(4, "a", "another"), passage(5, "d")])
        assert draft.delete(["c", "nobody"]) == 1
        assert sorted(draft.document_ids()) == ["a", "b", "d"]
        assert draft.reserve(2) == 6
        add(draft, passage(draft.reserve(1), "e"), passage(9, "e"))
        assert list(draft.document_ids()).count("e") == 1
    expected = [passage(1, "b"), passage(4, "a", "another"), passage(5, "d"), passage(8, "e"), passage(9, "e")]
    assert plain(everything(ClusterIndex.open(cluster, "news"))) == plain(expected)


def break_off(cluster, **options):
    with build(cluster, "news", **DESCRIPTION, **options) as draft:
        put(draft, passage(0))
        raise RuntimeError


def test_a_build_that_fails_leaves_the_old_one(index, cluster, client):
    put(index, *many(5))
    with pytest.raises(RuntimeError):
        break_off(cluster)
    assert len(index) == 5
    assert len(client.get_collections().collections) == 1
    assert cluster.aliases().keys() == {"news"}


def test_a_build_can_be_resumed(cluster):
    with pytest.raises(RuntimeError):
        break_off(cluster, resume=True)
    with pytest.raises(IndexNotFoundError):
        ClusterIndex.open(cluster, "news")
    other = {**DESCRIPTION, "fingerprint": "1"}
    with pytest.raises(InputError, match="has fingerprint '0'"), build(cluster, "news", **other, resume=True):
        pass
    with build(cluster, "news", **DESCRIPTION, resume=True) as draft:
        assert len(draft) == 1
        put(draft, passage(1))
    assert len(ClusterIndex.open(cluster, "news")) == 2
    assert cluster.aliases().keys() == {"news"}


def test_two_builds_of_one_name(cluster, monkeypatch):
    monkeypatch.setattr(cluster_lease, "LEASE", 0.2)
    cluster.config = ClusterConfig(timeout=0)
    with (
        build(cluster, "news", **DESCRIPTION) as draft,
        pytest.raises(IndexLockedError),
        draft_held(draft),
        build(cluster, "news", **DESCRIPTION),
    ):
        pass


class draft_held:  # noqa: N801
    """A builder that is alive: its right to write never ends."""

    def __init__(self, draft):
        self.draft = draft

    def __enter__(self):
        self.draft.cluster.client.set_payload(self.draft.collection, {"until": 2**60}, points=[0])

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "x" * 300, "news.draft"])
def test_names_that_cannot_be(cluster, name):
    with pytest.raises(InputError, match="cannot be a name"):
        create(cluster, name, **DESCRIPTION)


def test_there_is_one_already(index, cluster):
    with pytest.raises(InputError, match="already"):
        create(cluster, "news", **DESCRIPTION)


def test_what_the_user_sets_reaches_the_cluster(client, monkeypatch):
    seen, real = {}, client.create_collection

    def create_collection(**arguments):
        seen.update(arguments)
        return real(**arguments)

    monkeypatch.setattr(client, "create_collection", create_collection)
    cluster = Cluster(client, config=ClusterConfig(shards=3, replicas=2, on_disk=True))
    create(cluster, "news", **DESCRIPTION, storage="int8")
    tokens = seen["vectors_config"]["tok"]
    assert (seen["shard_number"], seen["replication_factor"], seen["write_consistency_factor"]) == (3, 2, 2)
    assert (tokens.on_disk, tokens.datatype.value, tokens.hnsw_config.m) == (True, "turbo8", 0)
    reads = []
    monkeypatch.setattr(client, "retrieve", lambda **arguments: reads.append(arguments) or [])
    with pytest.raises(IndexFormatError):
        ClusterIndex.open(Cluster(client, config=ClusterConfig(read_consistency="quorum")), "news")
    assert reads[0]["consistency"] == "quorum"


# --- The first stage


@pytest.fixture
def small(monkeypatch):
    """Searched in stages from 50 passages on."""
    monkeypatch.setattr("ragatouille_xm.index.quantization.codebook.EXACT_BELOW", 50)
    monkeypatch.setattr(cluster_reader, "EXACT_BELOW", 50)


def test_a_codebook_once_there_are_enough(index, cluster, client, small, monkeypatch):
    put(index, *many(50))
    index.optimize()
    assert index.state.codebook is None
    put(index, *many(150, 50))
    index.optimize()
    assert index.state.codebook.version == 1
    points, _ = client.scroll(index.collection, limit=10_000, with_vectors=["cent1"])
    vectors = [point.vector["cent1"] for point in points if "born" in point.payload]
    assert len(vectors) == 200
    for vector in vectors:
        assert sum(value**2 for value in vector.values) == pytest.approx(1)
    asked = []
    real = client.query_points

    def query_points(**arguments):
        asked.append(arguments)
        return real(**arguments)

    monkeypatch.setattr(client, "query_points", query_points)
    other = ClusterIndex.open(cluster, "news")  # which finds the codebook in the cluster
    config = SearchConfig(candidates=60)
    hits = other.search(query("q"), 5, config=config)
    assert len(asked) == 1
    assert (asked[0]["prefetch"].limit, asked[0]["prefetch"].using) == (60, "cent1")
    best = other.search(query("q"), 5, config=SearchConfig(exact=True))
    assert asked[1]["prefetch"] is None
    assert len(set(hits.pids[0].tolist()) & set(best.pids[0].tolist())) >= 3
    put(other, passage(777, "late"))
    assert 777 in other.search(encode([passage(777)]).vectors[None], 3, config=config).pids


def test_a_filter_goes_into_both_stages(index, client, small, monkeypatch):
    passages = put(index, *many(200))
    index.optimize()
    for written in ({"n": {"$gte": 195}}, {"language": "de"}, {"n": 7}):
        assert_search(index, query("q"), 200, passages, 3e-3, written)


def test_a_codebook_is_fitted_again_while_others_search(index, cluster, client, small):
    put(index, *many(100))
    index.optimize()
    other = ClusterIndex.open(cluster, "news")
    old = other.codebook()
    for version in (2, 3):
        put(index, *many(150 * version, 1000 * version))
        found = other.search(query("q"), 3).pids.tolist()
        index.optimize(refit=True)
        assert index.state.codebook.version == version
        assert other.codebook() is not old
        assert other.codebook().centroids.equal(index.codebook().centroids)
        assert len(set(found[0]) & set(other.search(query("q"), 3).pids[0].tolist())) >= 2
    chunks = {p.payload["codebook"] for p in client.scroll(index.collection, limit=10_000)[0] if "chunk" in p.payload}
    assert chunks == {2, 3}


def test_a_large_codebook_is_kept_in_chunks_and_checked(index, cluster, client, monkeypatch, small):
    monkeypatch.setattr(cluster_points, "CHUNK", 1000)
    put(index, *many(100))
    index.optimize()
    chunks = [p for p in client.scroll(index.collection, limit=10_000)[0] if "chunk" in p.payload]
    assert len(chunks) > 2
    assert ClusterIndex.open(cluster, "news").codebook().centroids.equal(index.codebook().centroids)
    other = json.loads(json.dumps(chunks[1].payload["data"]))[:-8] + "AAAAAAA="
    client.set_payload(index.collection, {"data": other}, points=[chunks[1].id])
    with pytest.raises(IndexDamagedError, match="codebook 1 .*checksum"):
        ClusterIndex.open(cluster, "news").search(query("q"), 1)
    client.delete(index.collection, points_selector=[chunks[1].id])
    with pytest.raises(IndexDamagedError, match="codebook 1"):
        ClusterIndex.open(cluster, "news").search(query("q"), 1)


def test_uploads_are_cut_to_fit_a_request(index, client, monkeypatch):
    monkeypatch.setattr(cluster_points, "FLOAT_BATCH", 64)
    sizes, real = [], client.upsert

    def upsert(**arguments):
        sizes.append(sum(len(p.vector["tok"]) * DIM for p in arguments["points"]))
        return real(**arguments)

    monkeypatch.setattr(client, "upsert", upsert)
    passages = put(index, *many(40))
    assert max(sizes) <= 64
    assert plain(everything(index)) == plain(passages)


def test_a_closed_index_says_so(index):
    index.close()
    with pytest.raises(PassageIndexError, match="closed"):
        index.search(torch.ones(1, 1, DIM), 1)
