"""The first stage, the short list, and what they leave for exact scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import IndexLockedError, StorageError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.lock import write_lock
from ragatouille_xm.index.local.search import SHORTLIST, Search, shortlist
from ragatouille_xm.index.quantization.query import Query
from ragatouille_xm.types import Passage, TokenVectors

from ..scratch import scratch
from .samples import EXACT, LARGE, LENGTH, batch, build, create, overlap, queries, segment_files

# ---- queries that are filled up with masks, whose rows are nearly alike

PASSAGES, DIM = 3000, 32


def filled(n: int, moved: float) -> torch.Tensor:
    """Return queries of 4 rows and 12 fills, which are a row moved a little."""
    generator = torch.Generator().manual_seed(2)
    rows = normalize(torch.randn(n, 4, DIM, generator=generator), dim=2)
    fills = rows[:, [0] * 9 + [1] * 3] + torch.randn(n, 12, DIM, generator=generator) * moved / DIM**0.5
    return torch.cat([rows, normalize(fills, dim=2)], 1)


@pytest.fixture(scope="module", params=["int16", "int8", "int4"])
def index(request) -> Iterator[LocalIndex]:
    """An index of two segments, a codebook, and a few passages in the buffer, each of them twice."""
    generator = torch.Generator().manual_seed(0)
    topics = torch.randn(50, 1, DIM, generator=generator)[torch.arange(PASSAGES) % 50]
    vectors = normalize(topics + torch.randn(PASSAGES, 6, DIM, generator=generator), dim=2)
    vectors[1::2] = vectors[::2]
    with scratch() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 600)
        description = {"dim": DIM, "checkpoint": "", "fingerprint": "", "settings": {}, "storage": request.param}
        index = LocalIndex.create(folder, **description)
        for some in (range(2200), range(2200, 2950), range(2950, PASSAGES)):
            passages = [Passage(pid, f"d{pid}", "text", "en") for pid in some]
            tokens = vectors[some.start : some.stop].flatten(0, 1)
            index.add(passages, TokenVectors(tokens, torch.full((len(some),), 6)))
            index.optimize()  # which fits a codebook
        assert (len(index.state.segments), index.state.buffered) == (2, 50)
        assert index.codebook() is not None
        yield index
        index.close()


def search_of(index: LocalIndex, config: SearchConfig = SearchConfig()) -> Search:
    return index._read(lambda connection, snapshot: Search(snapshot, connection, 10, None, config))


@pytest.mark.parametrize("moved", [0.0, 0.2])
def test_the_best_are_on_the_short_list(index, moved):
    chosen = search_of(index).everything()
    for rows in filled(20, moved).numpy():
        query = Query(rows)
        assert len(query.pooled.codes) == 4
        scores = [view.segment.vectors.scores(query, some) for view, some in chosen]
        best = np.partition(np.concatenate(scores), -10)[-10]
        short = shortlist(query, chosen, SHORTLIST * 10)
        assert SHORTLIST * 10 <= sum(len(some) for _, some in short) <= SHORTLIST * 10 + 2  # with equals of the last
        for (_, every), (_, some), score in zip(chosen, short, scores, strict=True):
            assert set(every[score >= best]) <= set(some)


def test_of_long_lists_those_of_the_largest_weights_are_read(index, monkeypatch):
    search, (codebook, _) = search_of(index), index.codebook()
    lists = [view.segment.postings for view, _ in search.everything() if view.segment.postings is not None]
    sizes = sum(np.diff(postings.offsets) for postings in lists)
    for rows in filled(5, 0.2).numpy():
        probes = codebook.query_weights(Query(rows), 400)
        assert sizes[probes[0]].sum() > PASSAGES
        assert search._prune_probes(probes) is probes
        with monkeypatch.context() as patch:
            patch.setattr("ragatouille_xm.index.local.search.POSTINGS_READ", 0)
            centroids, weights = search._prune_probes(probes)
        left = ~np.isin(probes[0], centroids)
        assert 0 < sizes[centroids].sum() <= PASSAGES
        assert weights.min() >= probes[1][left].max()
        assert dict(zip(centroids, weights, strict=True)).items() <= dict(zip(*probes, strict=True)).items()


@pytest.mark.parametrize("k", [1, 10, 150])
def test_filled_queries_find_what_exact_search_finds(index, k):
    wanted = filled(20, 0.2)
    expected = index.search(wanted, k, config=EXACT)
    found = index.search(wanted, k, config=SearchConfig(candidates=2700, probes=64))
    assert overlap(found, expected) > 0.95
    for pids, scores, right, exact in zip(found.pids, found.scores, expected.pids, expected.scores, strict=True):
        known = dict(zip(right.tolist(), exact.tolist(), strict=True))
        assert all(known[pid] == score for pid, score in zip(pids.tolist(), scores, strict=True) if pid in known)
        assert np.lexsort((pids, -scores)).tolist() == list(range(k))


@pytest.mark.parametrize("threads", [1, 3])
def test_many_queries_at_once_find_what_each_finds_alone(index, threads):
    wanted, where = filled(12, 0.2), parse_filter({"document_id": {"$in": [f"d{n}" for n in range(0, PASSAGES, 3)]}})
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for condition in (None, where):
            for config in (EXACT, SearchConfig(candidates=700)):
                together = index.search(wanted, 10, filter=condition, config=config)
                for n in range(len(wanted)):
                    alone = index.search(wanted[n : n + 1], 10, filter=condition, config=config)
                    assert together.pids[n].tolist() == alone.pids[0].tolist()
                    assert together.scores[n].tolist() == alone.scores[0].tolist()
    finally:
        torch.set_num_threads(before)


# ---- the first stage


def test_the_first_stage_finds_what_exact_search_does(large):
    index = LocalIndex.open(large)
    assert index.codebook()[1] == LARGE * LENGTH
    exact = index.search(queries(), 10, config=EXACT)
    staged = index.search(queries(), 10, config=SearchConfig(candidates=400))
    assert overlap(exact, staged) > 0.9
    assert np.array_equal(exact.scores[:, 0], staged.scores[:, 0])
    few = index.search(queries(), 10, config=SearchConfig(candidates=12, probes=1))
    assert overlap(exact, few) < overlap(exact, staged)  # so there is a first stage at all


def test_the_first_stage_gives_k_under_any_filter(large):
    index = LocalIndex.open(large)
    few = SearchConfig(candidates=5, probes=1)
    for written, admitted in (
        ({"n": {"$lt": 12}}, range(12)),
        ({"n": {"$gte": 100}}, range(100, LARGE)),
        ({"n": -1}, []),
    ):
        for k in (1, 10, 300):
            hits = index.search(queries(4), k, filter=parse_filter(written), config=few)
            for row in hits.pids.tolist():
                found = [pid for pid in row if pid >= 0]
                assert len(set(found)) == len(found) == min(k, len(admitted))
                assert set(found) <= set(admitted)


def test_all_passages_come_when_k_is_larger_than_the_index(large):
    hits = LocalIndex.open(large).search(queries(2), LARGE + 5, config=SearchConfig(candidates=5))
    assert sorted(hits.pids[1].tolist()) == [-1] * 5 + list(range(LARGE))


@pytest.mark.parametrize("where", ["buffer", "segment"])
def test_additions_join_the_first_stage(own, where, monkeypatch):
    if where == "segment":
        monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    index = LocalIndex.open(own)
    passages, vectors = batch(LARGE, 1)
    index.add(passages, vectors)
    assert (index.state.buffered, len(index.state.segments)) == ((1, 1) if where == "buffer" else (0, 2))
    found = index.search(vectors.vectors[None], 1, config=SearchConfig(candidates=40))
    assert found.pids.tolist() == [[LARGE]]
    index.delete([passages[0].document_id])
    assert LARGE not in index.search(vectors.vectors[None], 100).pids


def test_a_merge_changes_no_answer_of_the_first_stage(own, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    index = LocalIndex.open(own)
    for n in range(3):
        index.add(*batch(LARGE + 20 * n, 20))
    index.delete([f"d{n}" for n in range(0, LARGE, 9)])
    config = SearchConfig(candidates=300)
    before = index.search(queries(), 10, config=config)
    index._merge(everything=True)
    assert len(index.state.segments) == 1
    after = index.search(queries(), 10, config=config)
    assert after.pids.tolist() == before.pids.tolist()
    assert after.scores.tolist() == before.scores.tolist()


# ---- codebooks


def test_a_codebook_comes_when_the_index_outgrows_exact_search(folder, small_first_stage, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 300)
    index = create(folder, 450)
    other = LocalIndex.open(folder)
    index.optimize()
    assert index.codebook() is None
    index.add(*batch(450, 300))
    before = segment_files(folder)
    index.optimize()
    assert index.codebook() is not None
    assert before <= segment_files(folder), "vectors are not written anew"
    for each in (index, other, LocalIndex.open(folder)):
        found = each.search(queries(), 10, config=SearchConfig(candidates=400))
        assert overlap(each.search(queries(), 10, config=EXACT), found) > 0.9


def test_a_codebook_is_fitted_again_when_the_index_has_doubled(own):
    index = LocalIndex.open(own)
    first = index.state.codebook.name
    index.add(*batch(LARGE, 30, length=60))
    index.optimize()
    assert index.state.codebook.name == first
    index.add(*batch(2 * LARGE, 40, length=60))
    reader = LocalIndex.open(own)
    index.optimize()
    assert index.state.codebook.name != first
    assert [path.name for path in own.glob("codebook*")] == [index.state.codebook.name]
    assert segment_files(own) == set(index.state.files)
    found = reader.search(queries(), 10, config=SearchConfig(candidates=500))
    assert overlap(reader.search(queries(), 10, config=EXACT), found) > 0.9


def test_refitting_before_that_is_due(own):
    index = LocalIndex.open(own)
    first = index.state.codebook.name
    index.add(*batch(LARGE, 30, length=60))
    index.delete(["d3"])
    reader = LocalIndex.open(own)
    before = reader.search(queries(), 10, config=EXACT)
    index.optimize(refit=True)
    assert index.state.codebook.name != first
    assert [segment.deletes for segment in index.state.segments] == [0]
    assert np.array_equal(reader.search(queries(), 10, config=EXACT).pids, before.pids)
    state = index.state
    index.optimize(refit=True)
    assert index.state == state, "there was nothing to do"


def test_refitting_is_refused_while_another_writes(own):
    index = LocalIndex.open(own)
    index.add(*batch(LARGE, 30, length=60))
    with write_lock(own), pytest.raises(IndexLockedError):
        index.optimize(refit=True)


def test_the_codebook_does_not_depend_on_chance(large, folder, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 100)
    build(folder, LARGE, at_once=200)
    one, other = LocalIndex.open(large), LocalIndex.open(folder)
    assert (large / one.state.codebook.name).read_bytes() == (folder / other.state.codebook.name).read_bytes()
    assert np.array_equal(one.search(queries(), 10).pids, other.search(queries(), 10).pids)


def test_a_fit_that_fails_changes_nothing(folder, small_first_stage, monkeypatch):
    def fail(*_: object) -> None:
        raise StorageError("No space left on device")

    index = create(folder, 600)
    monkeypatch.setattr("ragatouille_xm.index.local.merge.write_postings", fail)
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    index.add(*batch(600, 1))
    before, files = index.state, segment_files(folder)
    with pytest.raises(StorageError):
        index.optimize()
    assert (index.state, segment_files(folder)) == (before, files)
    assert index.search(queries(1), 3).pids.shape == (1, 3)
