from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.errors import IndexDamagedError
from ragatouille_xm.index.quantization.codebook import Codebook
from ragatouille_xm.index.quantization.query import Query


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def planted(clusters: int, each: int, dim: int = 16, spread: float = 0.05) -> tuple[torch.Tensor, torch.Tensor]:
    """Return centres (clusters, dim), and vectors around each of them in turn."""
    centres = unit(clusters, dim)
    vectors = centres.repeat_interleave(each, 0) + spread * unit(clusters * each, dim, seed=1)
    return centres, torch.nn.functional.normalize(vectors, dim=1)


@given(st.integers(0, 10**12))
def test_sizes_are_powers_of_two_within_bounds_near_the_rule(tokens):
    size = Codebook.size_for(tokens)
    assert size in {2**n for n in range(6, 17)}
    assert size in (64, 65_536) or size <= 16 * tokens**0.5 < 2 * size


def test_a_fit_finds_clusters():
    centres, vectors = planted(20, 50)
    codebook = Codebook.fit(vectors, 60)
    assert ((centres @ codebook.centroids.T).max(1).values > 0.97).all()


def test_centroids_are_unit_vectors():
    codebook = Codebook.fit(unit(500, 8), 32)
    torch.testing.assert_close(codebook.centroids.norm(dim=1), torch.ones(32), atol=5e-3, rtol=0)


def test_a_fit_brings_vectors_nearer_to_their_centroids():
    vectors = unit(2000, 16)

    def similarity(iterations: int) -> float:
        return float((vectors @ Codebook.fit(vectors, 64, iterations=iterations).centroids.T).max(1).values.mean())

    assert similarity(0) < similarity(1) < similarity(6)


def test_the_same_seed_gives_the_same_codebook():
    vectors = unit(1000, 8)
    one, same, other = (Codebook.fit(vectors, 32, seed=seed).centroids for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_half_precision_vectors_are_fitted_in_single():
    _, vectors = planted(10, 30)
    codebook = Codebook.fit(vectors.half(), 10)
    assert codebook.centroids.dtype == torch.float32
    assert torch.equal(codebook.centroids, Codebook.fit(vectors.half().float(), 10).centroids)


def test_fewer_vectors_than_centroids():
    codebook = Codebook.fit(unit(5, 8), 64)
    assert len(codebook) == 5
    assert sorted(codebook.assign(unit(5, 8)).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at_once", [1, 7, 2**16])
def test_tokens_go_to_the_nearest_centroid(monkeypatch, at_once):
    monkeypatch.setattr("ragatouille_xm.index.quantization.codebook.TOKENS_BLOCK", at_once)
    centres, vectors = planted(16, 5)
    codebook = Codebook(centres)
    assert codebook.assign(vectors).tolist() == [n for n in range(16) for _ in range(5)]
    assert codebook.assign(vectors[:0]).tolist() == []


@pytest.mark.parametrize("size", [60, 2_500])
def test_by_faiss_it_is_a_codebook_like_any_other(size):
    _, vectors = planted(size // 3, 12, spread=0.3)
    codebook, ours = Codebook.fit(vectors, size, use_faiss=True), Codebook.fit(vectors, size)
    assert len(codebook) == size
    torch.testing.assert_close(codebook.centroids.norm(dim=1), torch.ones(size), atol=1e-2, rtol=0)
    assert (codebook.cells is None) == (ours.cells is None)
    assert torch.equal(codebook.centroids, Codebook.fit(vectors, size, use_faiss=True).centroids)
    assert not torch.equal(codebook.centroids, ours.centroids)

    def similarity(codebook: Codebook) -> float:
        return float((vectors * codebook.centroids[codebook.assign(vectors)]).sum(1).mean())

    assert similarity(codebook) > similarity(ours) - 0.01


def test_fewer_vectors_than_centroids_by_faiss():
    assert len(Codebook.fit(unit(5, 8), 64, use_faiss=True)) == 5


@pytest.fixture(scope="module")
def many() -> tuple[Codebook, torch.Tensor]:
    """A codebook of 3,000 centroids, and vectors like those that it was fitted to."""
    _, vectors = planted(3_000, 8, spread=0.3)
    return Codebook.fit(vectors, 3_000), vectors


def test_among_many_centroids_tokens_find_the_nearest_or_one_nearly_as_near(many, monkeypatch):
    codebook, vectors = many
    assert len(codebook) == 3_000
    assert codebook.cells is not None
    assigned, every = codebook.assign(vectors), vectors @ codebook.centroids.T
    best = every.max(1).values
    reached = every.gather(1, assigned[:, None]).squeeze(1)
    assert (best - reached < 1e-6).float().mean() > 0.8
    assert (best - reached).mean() < 0.01
    monkeypatch.setattr("ragatouille_xm.index.quantization.codebook.TOKENS_BLOCK", 1000)
    assert torch.equal(assigned, codebook.assign(vectors)), "whatever they are assigned with"
    assert codebook.assign(vectors[:0]).tolist() == []


def test_cells_get_centroids_as_they_have_tokens():
    centres, crowded = planted(2, 10_000, spread=0.5)
    vectors = torch.cat([crowded[:9_000], crowded[10_000:11_000]])
    codebook = Codebook.fit(vectors, 2_048)
    near = (codebook.centroids @ centres.T).argmax(1).bincount()
    assert 0.85 < near[0] / len(codebook) < 0.95


def test_centroids_that_are_all_alike():
    same = unit(1, 8).repeat(3_000, 1)
    codebook = Codebook.fit(same, 2_500)
    assert len(codebook) == 2_500
    torch.testing.assert_close(codebook.centroids[codebook.assign(same)], same, atol=5e-3, rtol=0)


@pytest.mark.parametrize("probes", [1, 4, 15, 16, 100])
def test_query_weights_by_their_definition(probes):
    codebook, query = Codebook(unit(16, 8)), unit(3, 8, seed=9)
    expected = dict.fromkeys(range(16), 0.0)
    for row in (query @ codebook.centroids.T).tolist():
        order = sorted(range(16), key=lambda c: -row[c])
        probed = min(probes, 15)
        for centroid in order[:probed]:
            expected[centroid] += row[centroid] - row[order[probed]]
    centroids, weights = codebook.query_weights(Query(query.numpy()), probes)
    assert centroids.tolist() == [c for c in range(16) if expected[c] > 0]
    assert weights == pytest.approx([expected[c] for c in centroids], abs=0.02)


def test_a_query_finds_its_centroids_among_many(many):
    codebook, vectors = many
    query = vectors[:5]
    best = (query @ codebook.centroids.T).topk(5)
    expected = torch.zeros(len(codebook))
    expected.index_add_(0, best.indices.flatten(), (best.values - best.values[:, -1:]).flatten())
    centroids, weights = codebook.query_weights(Query(query.numpy()), 4)
    found = torch.zeros(len(codebook))
    found[centroids] = torch.from_numpy(weights)
    assert centroids.tolist() == sorted(centroids.tolist())
    assert float((found * expected).sum() / found.norm() / expected.norm()) > 0.95


def test_one_centroid_has_no_weight():
    centroids, weights = Codebook(unit(1, 8)).query_weights(Query(unit(2, 8).numpy()), 16)
    assert (len(centroids), len(weights)) == (0, 0)


def test_a_saved_codebook_is_the_same(tmp_path, many):
    for codebook in (Codebook(unit(16, 8)), many[0]):
        codebook.save(tmp_path / "codebook-1.safetensors")
        loaded = Codebook.load(tmp_path / "codebook-1.safetensors")
        assert torch.equal(loaded.centroids, codebook.centroids)
        some = unit(50, codebook.centroids.shape[1])
        assert torch.equal(loaded.assign(some), codebook.assign(some))
        query = Query(some[:3].numpy())
        assert loaded.query_weights(query, 4)[0].tolist() == codebook.query_weights(query, 4)[0].tolist()


def test_a_damaged_codebook_is_named(tmp_path):
    path = tmp_path / "codebook-1.safetensors"
    with pytest.raises(IndexDamagedError, match="codebook-1"):
        Codebook.load(path)
    Codebook(unit(16, 8)).save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:20], whole[:-1], whole.replace(b"codes", b"other")):
        path.write_bytes(content)
        with pytest.raises(IndexDamagedError, match="codebook-1"):
            Codebook.load(path)
