"""Searching a folder of colbert-ai: held to the exact engine over the decoded vectors."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import InputError, PassageIndexError, ReadOnlyIndexError
from ragatouille_xm.index.base import PassageIndex
from ragatouille_xm.index.plaid import engine
from ragatouille_xm.index.plaid.engine import PlaidIndex
from ragatouille_xm.index.plaid.folder import PlaidFolder
from ragatouille_xm.types import TokenVectors

from ...contracts.strategies import everything, plain
from .folders import decoded, exported, filled, unit

FILTERS = [
    None,
    {"language": "fr"},
    {"n": {"$gte": 4}, "language": {"$ne": "en"}},
    {"document_id": {"$in": ["d1", "d3", "none"]}},
    {"n": None},
    {"n": -1},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 passages in four files."""
    path = tmp_path_factory.mktemp("plaid") / "made"
    exported(filled(), path, chunk=17)
    return path


@pytest.fixture
def index(folder: Path) -> PlaidIndex:
    return PlaidIndex(PlaidFolder.open(folder), "en")


def test_it_is_a_passage_index(index: PlaidIndex) -> None:
    assert isinstance(index, PassageIndex)
    assert (len(index), index.dim) == (60, 32)
    assert index.settings == {"max_document_length": 64}
    assert index.checkpoint == "tiny"
    assert index.languages() == {"en": 20, "fr": 20, "zh-TW": 20}
    assert index.contains(["d0", "d29", "d30", "x"]) == {"d0", "d29"}


def test_around_is_what_stands_beside_a_passage_in_its_document(index: PlaidIndex) -> None:
    document = [p for p in everything(index) if p.document_id == "d3"]
    assert len(document) > 1
    found = index.around([document[0].pid, 60, -1], 1)
    assert {pid: plain(near) for pid, near in found.items()} == {document[0].pid: plain(document[:2])}


@pytest.mark.parametrize("written", FILTERS)
@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("config", [SearchConfig(), SearchConfig(exact=True)])
def test_a_search_equals_the_exact_engines(index: PlaidIndex, written: object, k: int, config: SearchConfig) -> None:
    queries = torch.cat([unit(3, 6, 32, seed=5), torch.zeros(3, 2, 32)], 1)
    condition = parse_filter(written)
    wanted = decoded(index).search(queries, k, filter=condition)
    got = index.search(queries, k, filter=condition, config=config)
    np.testing.assert_array_equal(got.pids, wanted.pids)
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-5)


def test_blocks_and_batches_change_nothing(index: PlaidIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = unit(5, 6, 32, seed=5)
    narrow = SearchConfig(candidates=20, probes=4)
    wanted = [index.search(queries, 9), index.search(queries, 9, config=narrow)]
    monkeypatch.setattr(engine, "TOKENS_BLOCK", 10)
    monkeypatch.setattr(engine, "SCORES_BLOCK", 60)
    for before, after in zip(wanted, [index.search(queries, 9), index.search(queries, 9, config=narrow)], strict=True):
        np.testing.assert_array_equal(before.pids, after.pids)
        np.testing.assert_allclose(before.scores, after.scores, atol=1e-5)


def test_the_first_stage_finds_what_is_near(tmp_path: Path) -> None:
    source = filled(400, seed=3)
    index = exported(source, tmp_path / "made")
    blocks = {
        p.pid: v
        for passages, vectors in index.scroll(with_vectors=True)
        for p, v in zip(passages, vectors, strict=True)
    }
    exact = decoded(index)
    config = SearchConfig(candidates=20, probes=4)
    for pid in range(0, 400, 20):
        query = torch.nn.functional.normalize(blocks[pid] + 0.05 * unit(*blocks[pid].shape, seed=pid), dim=1)[None]
        hits = index.search(query, 3, config=config)
        assert hits.pids[0, 0] == exact.search(query, 1).pids[0, 0]
        true = dict(zip(*(each[0].tolist() for each in exact.search(query, 400)), strict=True))
        np.testing.assert_allclose(hits.scores[0], [true[p] for p in hits.pids[0].tolist()], atol=1e-5)


def test_candidates_share_a_centroid_with_the_query_and_pass_the_filter(tmp_path: Path) -> None:
    index = exported(filled(400, seed=3), tmp_path / "made")
    opened = PlaidFolder.open(tmp_path / "made")
    pids = torch.arange(400).repeat_interleave(opened.lengths)
    codes = torch.cat([chunk.codes for chunk in opened.chunks])
    condition = parse_filter({"language": "fr"})
    for seed in range(20):
        query = unit(1, 1, 32, seed=seed)
        cell = (opened.codec.centroids @ query[0, 0]).argmax()
        reached = set(pids[codes == cell].tolist())
        for admitted, where in ((reached, None), ({pid for pid in reached if pid % 3 == 1}, condition)):
            k = len(admitted)
            if k:
                hits = index.search(query, k, filter=where, config=SearchConfig(candidates=20, probes=1))
                assert set(hits.pids[0].tolist()) == admitted


def test_as_many_come_back_as_were_asked_for_and_qualify(tmp_path: Path) -> None:
    index = exported(filled(400, seed=3), tmp_path / "made")
    query = unit(1, 1, 32, seed=9)
    hits = index.search(query, 300, config=SearchConfig(candidates=300, probes=1))
    assert len(set(hits.pids[0].tolist())) == 300
    few = index.search(query, 5, filter=parse_filter({"n": {"$in": [2, 6]}}), config=SearchConfig(candidates=1))
    found = [pid for pid in few.pids[0].tolist() if pid >= 0]
    assert sorted(p.metadata["n"] for p in index.fetch(found)) == [2, 2, 6, 6]
    assert index.search(query, 9, filter=parse_filter({"n": -1})).pids.tolist() == [[-1] * 9]


def test_no_queries(index: PlaidIndex) -> None:
    assert index.search(torch.empty(0, 4, 32), 3).pids.shape == (0, 3)


@pytest.mark.parametrize(
    ("queries", "k"),
    [
        (torch.ones(1, 2, 16), 3),
        (torch.ones(2, 32), 3),
        (torch.full((1, 1, 32), torch.nan), 3),
        (torch.ones(1, 1, 32), 0),
    ],
)
def test_bad_searches(index: PlaidIndex, queries: torch.Tensor, k: int) -> None:
    with pytest.raises(InputError):
        index.search(queries, k)


def test_scroll_and_fetch(index: PlaidIndex) -> None:
    passages = everything(index)
    assert [p.pid for p in passages] == list(range(60))
    assert [p.text for p in passages] == [f"text {i}" for i in range(60)]
    assert plain(index.fetch([7, 3, 7])) == plain([passages[7], passages[3], passages[7]])
    assert plain(everything(index, parse_filter({"language": "fr"}))) == plain(
        p for p in passages if p.language == "fr"
    )
    for missing in (60, -1, 10**9):
        with pytest.raises(KeyError):
            index.fetch([0, missing])
    with pytest.raises(InputError, match="batch_size"):
        next(index.scroll(batch_size=0))
    index.fetch([0])[0].metadata["n"] = "changed"
    assert index.fetch([0])[0].metadata == {"n": 0}


def test_vectors_of_some_passages_in_any_order(index: PlaidIndex) -> None:
    blocks = [block for _, vectors in index.scroll(with_vectors=True) for block in vectors]
    asked = [59, 3, 17, 16, 3]
    assert all(torch.equal(one, blocks[pid]) for one, pid in zip(index.vectors(asked), asked, strict=True))
    assert index.vectors([]).vectors.shape == (0, index.dim)
    for missing in (60, -1):
        with pytest.raises(KeyError, match=str(missing)):
            index.vectors([0, missing])


def test_one_language_for_all(folder: Path) -> None:
    index = PlaidIndex(PlaidFolder.open(folder), "en", "de")
    assert index.languages() == {"de": 60}


def test_nothing_changes_it(index: PlaidIndex, folder: Path) -> None:
    passage = dataclasses.replace(index.fetch([0])[0], pid=99)
    vectors = TokenVectors(unit(1, 32), torch.tensor([1]))
    for call in (lambda: index.add([passage], vectors), lambda: index.delete(["d0"]), lambda: index.reserve(1)):
        with pytest.raises(ReadOnlyIndexError, match="ragatouille-xm convert") as caught:
            call()
        assert str(folder) in str(caught.value)
    index.optimize()
    assert len(index) == 60


def test_a_closed_index_says_so(index: PlaidIndex) -> None:
    index.close()
    index.close()
    for call in (lambda: index.search(unit(1, 1, 32), 1), lambda: index.fetch([0]), lambda: next(index.scroll())):
        with pytest.raises(PassageIndexError, match="was closed"):
            call()


def test_many_threads(index: PlaidIndex) -> None:
    queries = [unit(1, 4, 32, seed=i) for i in range(40)]
    config = SearchConfig(candidates=20, probes=4)
    wanted = [index.search(query, 5, config=config).pids.tolist() for query in queries]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda query: index.search(query, 5, config=config).pids.tolist(), queries))
    assert got == wanted
