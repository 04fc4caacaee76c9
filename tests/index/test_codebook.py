from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.errors import IndexDamagedError
from ragatouille_xm.index.codebook import Codebook


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
    torch.testing.assert_close(codebook.centroids.norm(dim=1), torch.ones(32))


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


@pytest.mark.parametrize("at_once", [1, 7, 2**24])
def test_tokens_go_to_the_nearest_centroid(monkeypatch, at_once):
    monkeypatch.setattr("ragatouille_xm.index.codebook.SIMILARITIES_AT_ONCE", at_once * 16)
    codebook, vectors = Codebook(unit(16, 8)), unit(40, 8, seed=5)
    assert codebook.assign(vectors).tolist() == (vectors @ codebook.centroids.T).argmax(1).tolist()
    assert codebook.assign(vectors[:0]).tolist() == []


def test_among_many_centroids_almost_all_tokens_find_the_nearest_and_the_others_one_nearly_as_near():
    centres, vectors = planted(3_000, 8, spread=0.3)
    codebook = Codebook(centres[torch.randperm(3_000, generator=torch.Generator().manual_seed(2))])
    assigned, every = codebook.assign(vectors), vectors @ codebook.centroids.T
    best = every.max(1).values
    reached = every.gather(1, assigned[:, None]).squeeze(1)
    assert (reached == best).float().mean() > 0.9
    assert (best - reached).mean() < 0.01
    assert torch.equal(assigned, Codebook(codebook.centroids).assign(vectors))
    assert codebook.assign(vectors[:0]).tolist() == []


def test_centroids_that_are_all_alike():
    same = unit(1, 8).repeat(3_000, 1)
    codebook = Codebook.fit(same, 2_500)
    assert len(codebook) == 2_500
    torch.testing.assert_close(codebook.centroids[codebook.assign(same)], same)


@pytest.mark.parametrize("probes", [1, 4, 15, 16, 100])
def test_query_weights_by_their_definition(probes):
    codebook, query = Codebook(unit(16, 8)), unit(3, 8, seed=9)
    expected = dict.fromkeys(range(16), 0.0)
    for row in (query @ codebook.centroids.T).tolist():
        order = sorted(range(16), key=lambda c: -row[c])
        probed = min(probes, 15)
        for centroid in order[:probed]:
            expected[centroid] += row[centroid] - row[order[probed]]
    indices, values = codebook.query_weights(query, probes)
    assert indices == [c for c in range(16) if expected[c] > 0]
    assert values == pytest.approx([expected[c] for c in indices], abs=1e-6)


def test_a_query_finds_its_centroids_among_many():
    centres, vectors = planted(3_000, 1, spread=0.3)
    codebook, query = Codebook(centres), vectors[:5]
    best = (query @ centres.T).topk(5)
    expected = torch.zeros(3_000)
    expected.index_add_(0, best.indices.flatten(), (best.values - best.values[:, -1:]).flatten())
    indices, values = codebook.query_weights(query, 4)
    found = torch.zeros(3_000)
    found[indices] = torch.tensor(values)
    assert indices == sorted(indices)
    assert float((found * expected).sum() / found.norm() / expected.norm()) > 0.95


def test_one_centroid_has_no_weight():
    assert Codebook(unit(1, 8)).query_weights(unit(2, 8), 16) == ([], [])


def test_a_saved_codebook_is_the_same(tmp_path):
    codebook = Codebook(unit(16, 8))
    codebook.save(tmp_path / "codebook-1.safetensors")
    assert torch.equal(Codebook.load(tmp_path / "codebook-1.safetensors").centroids, codebook.centroids)


def test_a_damaged_codebook_is_named(tmp_path):
    path = tmp_path / "codebook-1.safetensors"
    with pytest.raises(IndexDamagedError, match="codebook-1"):
        Codebook.load(path)
    Codebook(unit(16, 8)).save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:20], whole[:-1], whole.replace(b"centroids", b"something")):
        path.write_bytes(content)
        with pytest.raises(IndexDamagedError, match="codebook-1"):
            Codebook.load(path)
