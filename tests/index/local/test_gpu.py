from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import InputError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import Passage, TokenVectors

DIM = 4
KEPT = {"dim": DIM, "checkpoint": "", "fingerprint": "", "settings": {}}


def some(n: int, first: int = 0) -> tuple[list[Passage], TokenVectors]:
    generator = torch.Generator().manual_seed(first)
    lengths = torch.randint(1, 6, (n,), generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(int(lengths.sum()), DIM, generator=generator), dim=1)
    passages = [Passage(first + i, f"d{first + i}", "text", "en", {"n": i % 2, "odd": bool(i % 2)}) for i in range(n)]
    return passages, TokenVectors(vectors, lengths)


@pytest.fixture(params=["int16", "int8", "int4"])
def index(request, folder, monkeypatch) -> Iterator[LocalIndex]:
    """An index of a segment of 150 passages and 50 in the buffer."""
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 300)
    index = LocalIndex.create(folder, **KEPT, storage=request.param)
    index.add(*some(150))
    index.add(*some(50, first=150))
    assert (len(index.state.segments), index.state.buffered) == (1, 50)
    yield index
    index.close()


@pytest.fixture
def near(index) -> float:
    """How far scores of the device may be from those of the CPU, which rounds queries too."""
    return {"int16": 2e-3, "int8": 0.03, "int4": 0.05}[index.meta.storage]


QUERIES = torch.nn.functional.normalize(torch.randn(40, 3, DIM, generator=torch.Generator().manual_seed(7)), dim=2)


def test_a_device_finds_what_the_cpu_finds(index, near):
    expected = index.search(QUERIES, 9)
    index.to_device("cpu")
    found = index.search(QUERIES, 9)
    assert found.scores == pytest.approx(expected.scores, abs=near)
    assert (found.pids == expected.pids).mean() > 0.95  # near equals may change places


def test_what_is_added_and_deleted_later_is_seen(index):
    index.to_device("cpu")
    index.search(QUERIES, 5)
    index.add(*some(30, first=200))
    best = int(index.search(QUERIES[:1], 1).pids[0, 0])
    index.delete([f"d{best}"])
    hits = index.search(QUERIES[:1], 229)
    assert sorted(hits.pids[0].tolist()) == [pid for pid in range(230) if pid != best]
    index.optimize(refit=True)
    assert index.search(QUERIES[:1], 229).pids.tolist() == hits.pids.tolist()


def test_an_index_that_was_replaced_is_loaded_again(folder):
    index = LocalIndex.create(folder, **KEPT)
    index.to_device("cpu")
    for first in (0, 20):
        with LocalIndex.build(folder, **KEPT):
            pass
        index.add(*some(4, first=first))
        assert sorted(index.search(QUERIES[:1], 4).pids[0].tolist()) == list(range(first, first + 4))


def test_a_filter_on_a_number_is_not_taken_for_one_on_a_boolean(index):
    index.to_device("cpu")
    ones = index.search(QUERIES[:1], 100, filter=parse_filter({"n": 1})).pids[0]
    trues = index.search(QUERIES[:1], 100, filter=parse_filter({"n": True})).pids[0]
    assert sorted(ones.tolist()) == list(range(1, 200, 2))
    assert set(trues.tolist()) == {-1}


def test_more_filters_than_are_remembered(index, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.segment.MASKS_KEPT", 2)
    index.to_device("cpu")
    for _ in range(2):
        for n in range(5):
            hits = index.search(QUERIES[:1], 3, filter=parse_filter({"document_id": f"d{n}"}))
            assert hits.pids[0].tolist() == [n, -1, -1]


def test_candidates_of_the_first_stage_alone_are_scored_if_that_is_asked_for(index, near, monkeypatch):
    for module in ("quantization.codebook", "local.search"):
        monkeypatch.setattr(f"ragatouille_xm.index.{module}.EXACT_BELOW", 100)
    index.add(*some(800, first=200))
    index.optimize()
    assert index.codebook() is not None
    config, where = SearchConfig(candidates=150, probes=4), parse_filter({"odd": True})
    index.search(QUERIES[:2], 5, filter=where, config=config)  # a filter that is new is applied in another way
    expected = [index.search(QUERIES, 5, filter=wanted, config=config) for wanted in (None, where)]
    scored = []

    def counted(queries, vectors, lengths, **given):
        scored.append(len(lengths))
        return maxsim(queries, vectors, lengths, **given)

    monkeypatch.setattr("ragatouille_xm.index.local.gpu.maxsim", counted)
    index.to_device("cpu")
    for wanted, hits in zip((None, where), expected, strict=True):
        found = index.search(QUERIES, 5, filter=wanted, config=config)
        assert found.scores == pytest.approx(hits.scores, abs=near)
        assert (found.pids == hits.pids).mean() > 0.9
    assert len(scored) >= 2 * len(QUERIES)
    assert max(scored) <= 150
    scored.clear()
    index.search(QUERIES, 5, config=(fast := SearchConfig(fast=True)))
    assert max(scored) <= fast.candidates_for(5, len(index)) == 300
    scored.clear()
    index.search(QUERIES, 5, config=SearchConfig(candidates=150, exact=True))
    assert sum(scored) == 1000


@pytest.mark.parametrize("where", [None, {"odd": True}])
def test_the_fused_kernel_is_used_where_there_is_one(index, near, monkeypatch, where):
    fused = pytest.importorskip("ragatouille_xm.scoring_triton", reason="Triton is for Linux only")
    wanted = parse_filter(where)
    expected, scored = index.search(QUERIES[:1], 5, filter=wanted), []

    def kernel(queries, vectors, starts, lengths, scales):
        scored.append(len(lengths))
        return fused.maxsim(queries, vectors, starts, lengths, scales)

    monkeypatch.setattr("ragatouille_xm.scoring.fused_on", lambda device, dtype, dim: kernel)
    index.to_device("cuda" if torch.cuda.is_available() else "cpu")
    found = index.search(QUERIES[:1], 5, filter=wanted)
    assert sum(scored) == (200 if where is None else 100)
    assert found.scores == pytest.approx(expected.scores, abs=near)
    assert (found.pids == expected.pids).mean() > 0.8


def test_a_device_that_is_not_usable_is_passed_over_with_one_warning(index, caplog):
    expected = index.search(QUERIES, 5).pids.tolist()
    index.to_device("cuda:99")
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        assert index.search(QUERIES, 5).pids.tolist() == expected
        assert index.search(QUERIES, 5).pids.tolist() == expected
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cuda:99" in caplog.text


@pytest.mark.parametrize("step", ["GpuSegment", "maxsim"], ids=["for the index", "for a search"])
def test_a_device_without_room_is_passed_over_from_then_on(index, caplog, monkeypatch, step):
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    expected = index.search(QUERIES, 5).pids.tolist()
    monkeypatch.setattr(f"ragatouille_xm.index.local.gpu.{step}", full)
    index.to_device("cpu")
    for _ in range(2):
        assert index.search(QUERIES, 5).pids.tolist() == expected
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "cpu cannot hold the index, which is searched on the CPU instead: no room"
    ]


def test_an_unknown_kind_of_device(index):
    with pytest.raises(InputError, match="abacus"):
        index.to_device("abacus")


def test_an_empty_index(index):
    index.to_device("cpu")
    index.delete([f"d{n}" for n in range(200)])
    assert index.search(QUERIES, 2).pids.tolist() == [[-1, -1]] * 40
    with pytest.raises(InputError):
        index.search(QUERIES, 0)
