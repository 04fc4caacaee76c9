"""Indexes pushed into a cluster and pulled out of it, over the client's local mode."""

from __future__ import annotations

import pytest
import torch
from contracts.strategies import DIM, assert_search, encode, everything, passage, plain, put, query
from qdrant_client import QdrantClient

from ragatouille_xm.config import ClusterConfig, SearchConfig
from ragatouille_xm.errors import ClusterError, IndexDamagedError, IndexNotFoundError, InputError
from ragatouille_xm.index.cluster import client as cluster_client
from ragatouille_xm.index.cluster import points as cluster_points
from ragatouille_xm.index.cluster.build import ClusterBuild, build
from ragatouille_xm.index.cluster.client import Cluster
from ragatouille_xm.index.cluster.index import ClusterIndex
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.transfer import cluster as cluster_transfer
from ragatouille_xm.transfer.cluster import pull_index, push_index
from ragatouille_xm.types import Calibration, TokenVectors

DESCRIPTION = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "0", "settings": {"max_document_length": 32}}


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(cluster_client, "PAUSE", 0.001)
    monkeypatch.setattr(cluster_transfer, "COPY_BATCH", 40)
    return Cluster(QdrantClient(":memory:"))


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
    """Return whether two indexes hold the same; a cluster has vectors in float16, a folder in fixed-point numbers."""
    return one[0] == other[0] and torch.allclose(one[1], other[1], atol=1e-3)


def opened(folder):
    index = LocalIndex.open(folder)
    try:
        return contents(index)
    finally:
        index.close()


def test_there_and_back(folder, cluster, tmp_path):
    n = push_index(folder, cluster, "news")
    there = ClusterIndex.open(cluster, "news")
    assert n == len(there) == 295
    assert same(contents(there), opened(folder))
    assert there.settings == DESCRIPTION["settings"]
    assert pull_index(cluster, "news", tmp_path / "back") == 295
    assert same(opened(tmp_path / "back"), opened(folder))
    back = LocalIndex.open(tmp_path / "back")
    assert (back.checkpoint, back.meta.fingerprint) == ("tiny", "0")
    assert_search(back, query("q"), 9, everything(back), 3e-3, {"n": {"$gt": 100}})
    back.close()


def test_the_codebook_goes_along(tmp_path, cluster, monkeypatch):
    for home in (
        "ragatouille_xm.index.quantization.codebook",
        "ragatouille_xm.index.cluster.reader",
        "ragatouille_xm.index.local.search",
    ):
        monkeypatch.setattr(f"{home}.EXACT_BELOW", 50)
    with LocalIndex.build(tmp_path / "news", **DESCRIPTION) as draft:
        fill(draft, some(200))
    push_index(tmp_path / "news", cluster, "news")
    index, there = LocalIndex.open(tmp_path / "news"), ClusterIndex.open(cluster, "news")
    codebook, tokens = index.codebook()
    assert there.codebook().centroids.equal(codebook.centroids)
    assert there.state.codebook.tokens == tokens
    config = SearchConfig(candidates=200)
    mine, theirs = (each.search(query("q"), 5, config=config) for each in (index, there))
    assert mine.pids.tolist() == theirs.pids.tolist()
    index.close()


def test_the_calibration_goes_along(folder, cluster, tmp_path):
    index = LocalIndex.open(folder)
    index.calibrate(Calibration(295, (0, 3, 400), 9.0, 0.5))
    push_index(folder, cluster, "news")
    push_index(folder, cluster, "news", overwrite=True)  # whose pids begin behind those of the first
    there = ClusterIndex.open(cluster, "news")
    shift = there.meta.first_pid
    assert shift > 0
    assert there.calibration == Calibration(295, (shift, shift + 3, shift + 400), 9.0, 0.5)
    assert [plain(there.fetch([pid]))[0][2] for pid in there.calibration.pids] == ["text 0", "text 3", "text 400"]
    pull_index(cluster, "news", tmp_path / "back")
    back = LocalIndex.open(tmp_path / "back")
    assert len(back.fetch(back.calibration.pids)) == 3
    back.close()
    index.close()


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_documents_are_copied_whole(cluster, tmp_path, monkeypatch, batch):
    """Also those whose passages are not next to each other."""
    monkeypatch.setattr(cluster_transfer, "COPY_BATCH", batch)
    passages = [passage(3 * i, f"d{i // 4 * 2 + i % 2}") for i in range(30)]
    with LocalIndex.build(tmp_path / "news", **DESCRIPTION) as draft:
        fill(draft, passages)
    push_index(tmp_path / "news", cluster, "news")
    assert plain(everything(ClusterIndex.open(cluster, "news"))) == plain(passages)
    pull_index(cluster, "news", tmp_path / "back")
    assert same(opened(tmp_path / "back"), opened(tmp_path / "news"))


def test_nothing_is_replaced_unasked(folder, cluster, tmp_path):
    push_index(folder, cluster, "news")
    with pytest.raises(InputError, match="'news' .* already"):
        push_index(folder, cluster, "news")
    with pytest.raises(InputError, match="already"):
        pull_index(cluster, "news", folder)
    first = ClusterIndex.open(cluster, "news").meta.next_pid
    assert push_index(folder, cluster, "news", overwrite=True) == 295
    pids = [p.pid for p in everything(ClusterIndex.open(cluster, "news"))]
    assert min(pids) >= first  # for searches under way
    assert pull_index(cluster, "news", folder, overwrite=True) == 295


def test_what_is_not_there(cluster, tmp_path):
    with pytest.raises(IndexNotFoundError):
        push_index(tmp_path / "nothing", cluster, "news")
    with pytest.raises(IndexNotFoundError):
        pull_index(cluster, "nothing", tmp_path / "news")
    assert not (tmp_path / "news").exists()


def test_a_push_that_was_broken_off_goes_on(folder, cluster, monkeypatch):
    sent, real = [], cluster.client.upsert

    def upsert(**arguments):
        sent.extend(point.id for point in arguments["points"] if "born" in point.payload)
        if len(sent) == 160:
            raise ConnectionResetError("the power went")
        return real(**arguments)

    monkeypatch.setattr(cluster.client, "upsert", upsert)
    with pytest.raises(ConnectionResetError):
        push_index(folder, cluster, "news")
    with pytest.raises(IndexNotFoundError):
        ClusterIndex.open(cluster, "news")
    push_index(folder, cluster, "news")
    assert len(sent) == 295 + 40  # one batch twice
    assert same(contents(ClusterIndex.open(cluster, "news")), opened(folder))


def test_a_push_of_an_index_that_has_changed_begins_again(folder, cluster, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cluster_transfer, "_compare", broken)
        with pytest.raises(RuntimeError):
            push_index(folder, cluster, "news")
    index = LocalIndex.open(folder)
    index.delete(["d3"])
    index.close()
    assert push_index(folder, cluster, "news") == 293
    assert same(contents(ClusterIndex.open(cluster, "news")), opened(folder))
    assert len(cluster.client.get_collections().collections) == 1


def broken(*_):
    raise RuntimeError


def test_a_pull_that_was_broken_off_goes_on(folder, cluster, tmp_path, monkeypatch):
    push_index(folder, cluster, "news")
    with monkeypatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.build.SAVE_SECONDS", -1.0)
        patch.setattr(cluster_transfer, "_compare", broken)
        with pytest.raises(RuntimeError):
            pull_index(cluster, "news", tmp_path / "back")
    read, real = [], cluster.client.scroll

    def scroll(**arguments):
        found, offset = real(**arguments)
        read.extend(point for point in found if arguments["with_vectors"])
        return found, offset

    monkeypatch.setattr(cluster_transfer, "COMPARED_QUERIES", 0)  # which read vectors too
    monkeypatch.setattr(cluster_transfer, "_queries", lambda *_: {})
    monkeypatch.setattr(cluster.client, "scroll", scroll)
    assert pull_index(cluster, "news", tmp_path / "back") == 295
    assert not read
    assert same(opened(tmp_path / "back"), opened(folder))


@pytest.mark.parametrize("damage", ["vectors", "text", "count", "language"])
def test_a_copy_that_differs_is_removed(folder, cluster, monkeypatch, damage):
    real = cluster_points.Points.upload
    says = {
        "vectors": "the best .*for the vectors of passage",
        "text": "the passage .* is another one",
        "count": "294 passages instead of 295",
        "language": "of the languages",
    }

    def upload(self, passages, vectors, *rest):
        if damage == "vectors":
            vectors = TokenVectors(vectors.vectors.flip(0), vectors.lengths)
        real(self, passages, vectors, *rest)
        if damage == "count":
            return
        change = {"text": {"text": "altered"}, "language": {"language": "it"}}.get(damage)
        if change:
            ids = [cluster_points.point_id(passages[0].pid, rest[0])]
            self._call("set_payload", payload=change, points=ids)

    monkeypatch.setattr(cluster_points.Points, "upload", upload)
    if damage == "count":
        add = ClusterBuild.add
        monkeypatch.setattr(ClusterBuild, "add", lambda self, p, v: add(self, *without_one(p, v)))
    if damage == "language":
        monkeypatch.setattr(ClusterIndex, "languages", lambda self: {"it": 295})
    with pytest.raises(IndexDamagedError, match=f"The copy differs: .*{says[damage]}"):
        push_index(folder, cluster, "news")
    assert not cluster.aliases()
    assert not cluster.client.get_collections().collections


def without_one(passages, vectors):
    if passages[0].pid != 0:
        return passages, vectors
    kept = passages[1:]
    return kept, encode(kept)


def test_a_pull_that_differs_leaves_the_old_index(folder, cluster, monkeypatch):
    push_index(folder, cluster, "news")
    before, files = opened(folder), {path.name for path in folder.iterdir()}
    real = ClusterIndex.fetch
    monkeypatch.setattr(ClusterIndex, "fetch", lambda self, pids: real(self, pids)[::-1])
    with pytest.raises(IndexDamagedError, match="The copy differs"):
        pull_index(cluster, "news", folder, overwrite=True)
    assert same(opened(folder), before)
    assert {path.name for path in folder.iterdir()} == files


def test_a_cluster_that_fails(folder, monkeypatch):
    cluster = Cluster("http://127.0.0.1:9", config=ClusterConfig(attempts=1))
    with pytest.raises(ClusterError, match="does not answer"):
        push_index(folder, cluster, "news")


def test_a_leftover_of_another_index_is_no_obstacle(folder, cluster):
    other = {**DESCRIPTION, "fingerprint": "1"}
    with pytest.raises(RuntimeError), build(cluster, "news", **other, resume=True):
        raise RuntimeError
    assert push_index(folder, cluster, "news") == 295
