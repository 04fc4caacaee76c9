"""Searches with queries that are filled up with masks, whose rows are nearly alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.index.local.index import EdgeIndex
from ragatouille_xm.index.local.search import shortlist
from ragatouille_xm.index.quantization.query import Query
from ragatouille_xm.types import Passage, TokenVectors

from .scratch import scratch

PASSAGES, LENGTH, DIM = 4000, 6, 32


def filled(n: int, moved: float) -> torch.Tensor:
    """Return queries of 4 rows and 12 fills, which are a row moved a little."""
    generator = torch.Generator().manual_seed(2)
    rows = normalize(torch.randn(n, 4, DIM, generator=generator), dim=2)
    fills = rows[:, [0] * 9 + [1] * 3] + torch.randn(n, 12, DIM, generator=generator) * moved / DIM**0.5
    return torch.cat([rows, normalize(fills, dim=2)], 1)


@pytest.fixture(scope="module", params=["int16", "int8"])
def index(request) -> Iterator[EdgeIndex]:
    generator = torch.Generator().manual_seed(0)
    topics = torch.randn(50, 1, DIM, generator=generator)[torch.arange(PASSAGES) % 50]
    vectors = normalize(topics + torch.randn(PASSAGES, LENGTH, DIM, generator=generator), dim=2)
    vectors[1::2] = vectors[::2]  # every passage is there twice
    with scratch() as folder:
        description = {"dim": DIM, "checkpoint": "", "fingerprint": "", "settings": {}, "storage": request.param}
        index = EdgeIndex.create(folder, **description)
        for some in (range(2500), range(2500, PASSAGES)):
            passages = [Passage(pid, f"d{pid}", "text", "en") for pid in some]
            tokens = vectors[some.start : some.stop].flatten(0, 1)
            index.add(passages, TokenVectors(tokens, torch.full((len(some),), LENGTH)))
            index.optimize()  # which fits a codebook
        assert len(index._snapshot().views) == 2
        yield index
        index.close()


@pytest.mark.parametrize("moved", [0.0, 0.2])
def test_the_best_are_on_the_short_list(index, moved):
    views = index._snapshot().views
    for rows in filled(20, moved).numpy():
        query = Query(rows)
        assert len(query.pooled.codes) == 4
        chosen = [(view, view.rows()) for view in views]
        scores = [view.part.tokens.score(query, some) for view, some in chosen]
        best = np.partition(np.concatenate(scores), -10)[-10]
        short = shortlist(query, chosen, 100)
        assert 100 <= sum(len(some) for _, some in short) <= 102  # with equals of the last
        for (view, some), score in zip(short, scores, strict=True):
            assert set(view.rows()[score >= best]) <= set(some)


def test_of_long_lists_those_of_the_largest_weights_are_read(index, monkeypatch):
    snapshot = index._snapshot()
    sizes = sum(np.diff(view.postings.offsets) for view in snapshot.views)
    for rows in filled(5, 0.2).numpy():
        probes = snapshot.codebook.query_weights(Query(rows), 400)
        assert sizes[probes[0]].sum() > PASSAGES
        assert snapshot._heaviest(probes) is probes
        with monkeypatch.context() as patch:
            patch.setattr("ragatouille_xm.index.local.search.POSTINGS", 0)
            centroids, weights = snapshot._heaviest(probes)
        left = ~np.isin(probes[0], centroids)
        assert 0 < sizes[centroids].sum() <= PASSAGES
        assert weights.min() >= probes[1][left].max()
        assert dict(zip(centroids, weights, strict=True)).items() <= dict(zip(*probes, strict=True)).items()


@pytest.mark.parametrize("k", [1, 10, 150])
def test_they_find_what_exact_search_finds(index, k):
    queries = filled(20, 0.2)
    expected = index.search(queries, k, config=SearchConfig(exact=True))
    found = index.search(queries, k, config=SearchConfig(candidates=3500, probes=64))
    same = [len(set(a) & set(b)) / k for a, b in zip(found.pids.tolist(), expected.pids.tolist(), strict=True)]
    assert np.mean(same) > 0.95
    for pids, scores, right, exact in zip(found.pids, found.scores, expected.pids, expected.scores, strict=True):
        known = dict(zip(right.tolist(), exact.tolist(), strict=True))
        assert all(known[pid] == score for pid, score in zip(pids.tolist(), scores, strict=True) if pid in known)
        order = np.lexsort((pids, -scores))
        assert order.tolist() == list(range(k))
