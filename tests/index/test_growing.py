"""A part is put together from several shards, of which a search runs on as many threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import StorageError
from ragatouille_xm.index.growing import MOST_SEGMENTS, GrowingPart
from ragatouille_xm.index.part import SEGMENTS, Part
from ragatouille_xm.index.qdrant import EdgeIndex
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import Passage, TokenVectors

DIM = 8
KEPT: dict[str, Any] = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "f00d", "settings": {}}


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.index.growing.ENOUGH", 4)
    monkeypatch.setattr("ragatouille_xm.index.growing.POINTS_AT_ONCE", 2)


def batch(first: int, n: int, **changes: Any) -> tuple[list[Passage], TokenVectors]:
    rows = normalize(torch.randn(3 * n, DIM, generator=torch.Generator().manual_seed(first)), dim=1)
    passages = [Passage(pid, f"d{pid}", f"text of {pid}", "fr", **changes) for pid in range(first, first + n)]
    return passages, TokenVectors(rows, torch.full((n,), 3))


def made(folder: Path, *batches: tuple[list[Passage], TokenVectors]) -> Part:
    folder.mkdir()
    growing = GrowingPart(folder, DIM, "float16")
    for each in batches:
        growing.append(*each, None)
    return growing.seal()


@pytest.mark.parametrize(("passages", "segments"), [(1, 1), (4, 1), (5, 2), (16, 4), (17, 5), (500, MOST_SEGMENTS)])
def test_a_part_has_as_many_segments_as_are_worth_a_thread(folder: Path, passages: int, segments: int) -> None:
    part = made(folder, batch(0, passages))
    assert part.passages == passages
    assert part.pids() == list(range(passages))
    assert len([*(part.folder / SEGMENTS).iterdir()]) == segments
    part.close()


def test_all_of_them_are_searched(folder: Path) -> None:
    passages, vectors = batch(0, 60)
    part = made(folder, (passages, vectors))
    queries = normalize(torch.randn(5, 4, DIM, generator=torch.Generator().manual_seed(1)), dim=-1)
    for query, exact in zip(queries, maxsim(queries, vectors.vectors.half(), vectors.lengths), strict=True):
        found = part.search(query.numpy(), 10, None)
        scores = [score for _, score in found]
        assert scores == pytest.approx(exact.topk(10).values.tolist(), abs=3e-3)
        assert scores == pytest.approx([float(exact[pid]) for pid, _ in found], abs=3e-3)
        assert len({pid for pid, _ in found}) == 10
    part.close()


def test_a_pid_is_there_once(folder: Path) -> None:
    """Whichever shard has it."""
    part = made(folder, batch(0, 11), batch(3, 9))
    assert part.pids() == list(range(12))
    [stored] = part.retrieve([5], with_vectors=True)
    again = list(batch(3, 9)[1])[2].half()
    assert stored.vectors is not None
    assert torch.equal(torch.from_numpy(stored.vectors), again)
    part.close()


def test_filters_are_looked_up_in_all(folder: Path) -> None:
    """Though metadata came late, or no more of it."""
    index = EdgeIndex.create(folder, **KEPT)
    with EdgeIndex.build(folder, **KEPT) as draft:
        draft.add(*batch(0, 7))
        draft.add(*batch(7, 7, metadata={"year": 1999}))
        draft.add(*batch(14, 9))
    found = index.search(torch.ones(1, 1, DIM), 20, filter=parse_filter({"year": 1999}))
    assert sorted(pid for pid in found.pids[0].tolist() if pid >= 0) == list(range(7, 14))
    index.close()


@pytest.mark.parametrize("step", ["optimize", "joined", "seal"])
def test_a_build_that_is_broken_off_at_its_end_is_resumed(
    folder: Path, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever was put together already, nothing is lost and nothing is there twice."""
    original = getattr(Part, step)

    def broken_off(part: Part, *arguments: Any) -> None:
        original(part, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Part, step, broken_off)
        with pytest.raises(KeyboardInterrupt), EdgeIndex.build(folder, **KEPT, resume=True) as draft:
            draft.add(*batch(0, 30))
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        assert len(draft) == 30
        draft.add(*batch(30, 3))
    assert not caplog.records
    index = EdgeIndex.open(folder)
    assert [passage.pid for some, _ in index.scroll() for passage in some] == list(range(33))
    index.close()


def test_a_segment_that_goes_missing_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Part.close

    def losing(part: Part) -> None:
        original(part)
        if not part.passages:
            return
        monkeypatch.setattr(Part, "close", original)
        (part.folder / SEGMENTS).rename(part.folder / "lost")
        (part.folder / SEGMENTS).mkdir()

    folder.mkdir()
    growing = GrowingPart(folder, DIM, "float16")
    growing.append(*batch(0, 9), None)
    monkeypatch.setattr(Part, "close", losing)
    with pytest.raises(StorageError, match="of 9 passages"):
        growing.seal()
