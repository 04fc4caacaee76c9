from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import InputError
from ragatouille_xm.index.local.index import EdgeIndex
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import Passage, TokenVectors

from .scratch import scratch

DIM = 4


def some(n: int, first: int = 0) -> tuple[list[Passage], TokenVectors]:
    generator = torch.Generator().manual_seed(first)
    lengths = torch.randint(1, 6, (n,), generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(int(lengths.sum()), DIM, generator=generator), dim=1)
    passages = [Passage(first + i, f"d{first + i}", "text", "en", {"n": i % 2, "odd": bool(i % 2)}) for i in range(n)]
    return passages, TokenVectors(vectors, lengths)


@pytest.fixture
def index() -> Iterator[EdgeIndex]:
    with scratch() as folder:
        index = EdgeIndex.create(folder, dim=DIM, checkpoint="", fingerprint="", settings={})
        index.add(*some(200))
        yield index
        index.close()


QUERIES = torch.nn.functional.normalize(torch.randn(40, 3, DIM, generator=torch.Generator().manual_seed(7)), dim=2)


def test_a_device_finds_what_the_engine_finds(index):
    expected = index.search(QUERIES, 9)
    index.keep_on("cpu")
    found = index.search(QUERIES, 9)
    assert found.scores == pytest.approx(expected.scores, abs=2e-3)
    same = found.pids == expected.pids
    assert same[:, 0].all()
    assert same.mean() > 0.95  # the engine rounds the query too, so that near equals change places


def test_what_is_added_and_deleted_later_is_seen(index):
    index.keep_on("cpu")
    index.search(QUERIES, 5)
    index.add(*some(30, first=200))
    best = int(index.search(QUERIES[:1], 1).pids[0, 0])
    index.delete([f"d{best}"])
    hits = index.search(QUERIES[:1], 229)
    assert sorted(hits.pids[0].tolist()) == [pid for pid in range(230) if pid != best]


def test_a_filter_on_a_number_is_not_taken_for_one_on_a_boolean(index):
    index.keep_on("cpu")
    ones = index.search(QUERIES[:1], 100, filter=parse_filter({"n": 1})).pids[0]
    trues = index.search(QUERIES[:1], 100, filter=parse_filter({"n": True})).pids[0]
    assert sorted(ones.tolist()) == list(range(1, 200, 2))
    assert set(trues.tolist()) == {-1}


def test_more_filters_than_are_remembered(index, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.segment.FILTERS_KEPT", 2)
    index.keep_on("cpu")
    for _ in range(2):
        for n in range(5):
            hits = index.search(QUERIES[:1], 3, filter=parse_filter({"document_id": f"d{n}"}))
            assert hits.pids[0].tolist() == [n, -1, -1]


def test_candidates_of_the_first_stage_alone_are_scored_if_that_is_asked_for(index, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.search.EXACT_BELOW", 100)
    index.add(*some(3000, first=200))
    index.optimize()
    config, where = SearchConfig(candidates=300, probes=4), parse_filter({"odd": True})
    index.search(QUERIES[:2], 5, filter=where, config=config)  # a filter that is new is applied in another way
    expected = [index.search(QUERIES, 5, filter=wanted, config=config) for wanted in (None, where)]
    scored = []

    def counted(queries, vectors, lengths, **given):
        scored.append(len(lengths))
        return maxsim(queries, vectors, lengths, **given)

    monkeypatch.setattr("ragatouille_xm.index.local.gpu.maxsim", counted)
    index.keep_on("cpu")
    for wanted, hits in zip((None, where), expected, strict=True):
        found = index.search(QUERIES, 5, filter=wanted, config=config)
        assert found.scores == pytest.approx(hits.scores, abs=2e-3)
        assert (found.pids == hits.pids).mean() > 0.95
    assert len(scored) >= 2 * len(QUERIES)
    assert max(scored) <= 300
    scored.clear()
    index.search(QUERIES, 5, config=SearchConfig(fast=True))
    assert max(scored) <= 300
    scored.clear()
    index.search(QUERIES, 5, config=SearchConfig(candidates=300, exact=True))
    assert sum(scored) == 3200


@pytest.mark.parametrize("where", [None, {"odd": True}])
def test_the_fused_kernel_is_used_where_there_is_one(index, monkeypatch, where):
    fused = pytest.importorskip("ragatouille_xm.scoring_triton", reason="Triton is for Linux only")
    wanted = parse_filter(where)
    expected, scored = index.search(QUERIES[:3], 5, filter=wanted), []

    def kernel(queries, vectors, starts, lengths, scales):
        scored.append(len(lengths))
        return fused.maxsim(queries, vectors, starts, lengths, scales)

    monkeypatch.setattr("ragatouille_xm.scoring.fused_on", lambda device, dtype, dim: kernel)
    index.keep_on("cuda" if torch.cuda.is_available() else "cpu")
    found = index.search(QUERIES[:3], 5, filter=wanted)
    assert scored == [200 if where is None else 100]
    assert found.scores == pytest.approx(expected.scores, abs=2e-3)
    assert (found.pids == expected.pids).mean() > 0.8


@pytest.mark.parametrize("device", ["cuda:99"])
def test_a_device_that_is_not_usable_is_passed_over_with_one_warning(index, caplog, device):
    expected = index.search(QUERIES, 5).pids.tolist()
    index.keep_on(device)
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        assert index.search(QUERIES, 5).pids.tolist() == expected
        assert index.search(QUERIES, 5).pids.tolist() == expected
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert device in caplog.text


def test_a_device_without_room_is_passed_over(index, caplog, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("ragatouille_xm.index.local.gpu.ResidentPart", full)
    expected = index.search(QUERIES, 5).pids.tolist()
    index.keep_on("cpu")
    assert index.search(QUERIES, 5).pids.tolist() == expected
    assert "out of memory" in caplog.text


def test_a_device_without_room_for_a_search_is_passed_over_from_then_on(index, caplog, monkeypatch):
    expected = index.search(QUERIES, 5).pids.tolist()

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room for scores")

    monkeypatch.setattr("ragatouille_xm.index.local.gpu.maxsim", full)
    index.keep_on("cpu")
    for _ in range(2):
        assert index.search(QUERIES, 5).pids.tolist() == expected
    assert [record.message for record in caplog.records if "no room for scores" in record.message] == [
        "cpu cannot hold the index, which is searched on the CPU instead: no room for scores"
    ]


def test_an_unknown_kind_of_device(index):
    with pytest.raises(InputError, match="abacus"):
        index.keep_on("abacus")


def test_an_empty_index(index):
    index.keep_on("cpu")
    index.delete([f"d{n}" for n in range(200)])
    assert index.search(QUERIES, 2).pids.tolist() == [[-1, -1]] * 40
    with pytest.raises(InputError):
        index.search(QUERIES, 0)
