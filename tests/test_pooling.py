"""Token vectors of a passage merged by Ward's method, alone and through an index."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.colbert import Indexer, Run, RunConfig
from ragatouille_xm.config import STORAGES
from ragatouille_xm.errors import InputError
from ragatouille_xm.pooling import LEAST_ROWS, pool_tokens, ward
from ragatouille_xm.types import TokenVectors

DOCUMENTS = {
    "en": "The library opens in the morning, and the book about the river is in the garden behind the house. " * 2,
    "fr": "La bibliothèque est au bord de la rivière, et le livre est dans le jardin. " * 3,
    "zh": "图书馆在北京市，今天有水和火，明年有雨雪。",
    "short": "Book",
}


def share(n: int, pooling: int) -> int:
    """Return how many rows are left of `n` that may be merged."""
    return max(ceil(n / pooling), min(n, LEAST_ROWS))


def unit_rows(n: int, dim: int, seed: int) -> torch.Tensor:
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


@st.composite
def passages(draw: st.DrawFn) -> tuple[TokenVectors, list[bool]]:
    """Draw the token vectors of some passages, some rows alike, and which of them stay."""
    lengths = draw(st.lists(st.integers(1, 60), min_size=1, max_size=4))
    total = sum(lengths)
    rows = unit_rows(total, draw(st.sampled_from([2, 16])), draw(st.integers(0, 2**32)))
    alike = draw(st.lists(st.integers(0, total - 1), min_size=total, max_size=total))
    rows = rows[torch.tensor(alike)] if draw(st.booleans()) else rows
    return TokenVectors(rows, torch.tensor(lengths)), draw(st.lists(st.booleans(), min_size=total, max_size=total))


@given(passages(), st.integers(1, 30))
def test_each_passage_keeps_its_share_of_unit_rows(given: tuple[TokenVectors, list[bool]], pooling: int) -> None:
    vectors, kept = given
    pooled = pool_tokens(vectors, kept, pooling)
    start = 0
    for length, left in zip(vectors.lengths.tolist(), pooled.lengths.tolist(), strict=True):
        stay = sum(kept[start : start + length])
        assert left == stay + share(length - stay, pooling)
        start += length
    assert len(pooled.vectors) == pooled.lengths.sum()
    torch.testing.assert_close(pooled.vectors.norm(dim=1), torch.ones(len(pooled.vectors)))
    assert pooled.ids is None


@given(passages(), st.integers(1, 4))
def test_kept_rows_stay_as_they_are_in_their_order(given: tuple[TokenVectors, list[bool]], pooling: int) -> None:
    vectors, kept = given
    stay = vectors.vectors[torch.tensor(kept)].tolist()
    pooled = iter(pool_tokens(vectors, kept, pooling).vectors.tolist())
    assert all(row in pooled for row in stay), "a subsequence: `in` consumes the iterator"


@given(passages(), st.integers(1, 4))
def test_a_passage_is_pooled_alike_whatever_comes_with_it(given: tuple[TokenVectors, list[bool]], pooling: int) -> None:
    vectors, kept = given
    together = list(pool_tokens(vectors, kept, pooling))
    start = 0
    for rows, expected in zip(vectors, together, strict=True):
        alone = TokenVectors(rows, torch.tensor([len(rows)]))
        assert torch.equal(pool_tokens(alone, kept[start : start + len(rows)], pooling).vectors, expected)
        start += len(rows)


def slow_ward(rows: np.ndarray, clusters: int) -> set[frozenset[int]]:
    """Merge the two clusters whose merger adds least to the sum of squares, which is computed from its definition."""

    def squares(members: frozenset[int]) -> float:
        some = rows[sorted(members)].astype(np.float64)
        return float(((some - some.mean(0)) ** 2).sum())

    left = {frozenset([i]) for i in range(len(rows))}
    while len(left) > clusters:
        pairs = [(a, b) for a in left for b in left if min(a) < min(b)]
        a, b = min(pairs, key=lambda pair: squares(pair[0] | pair[1]) - squares(pair[0]) - squares(pair[1]))
        left = (left - {a, b}) | {a | b}
    return left


@pytest.mark.parametrize("clusters", [1, 2, 5, 9, 17, 18, 40])
@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_those_of_wards_method(clusters: int, seed: int) -> None:
    rows = unit_rows(18, 6, seed).numpy()
    found = ward(rows, clusters)
    members = {frozenset(np.flatnonzero(found == first).tolist()) for first in found}
    assert members == slow_ward(rows, clusters)
    assert all(min(each) == found[min(each)] for each in members), "named by the first"


def test_a_merged_row_is_the_mean_of_its_members_at_the_place_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.pooling.LEAST_ROWS", 1)
    angles = torch.tensor([0.0, 90.0, 10.0, 180.0, 20.0, 100.0]).deg2rad()
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    pooled = pool_tokens(TokenVectors(rows, torch.tensor([6]), torch.arange(6)), [False] * 6, 2).vectors
    expected = torch.tensor([10.0, 95.0, 180.0]).deg2rad()
    torch.testing.assert_close(pooled, torch.stack([expected.cos(), expected.sin()], 1))


def test_rows_that_cancel_out_leave_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.pooling.LEAST_ROWS", 1)
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert pool_tokens(TokenVectors(rows, torch.tensor([2])), [False, False], 2).vectors.tolist() == [[1.0, 0.0]]


def test_vectors_of_a_lower_precision_are_pooled_in_float32() -> None:
    rows = unit_rows(40, 16, 0)
    half, full = (
        pool_tokens(TokenVectors(each, torch.tensor([40])), [False] * 40, 2).vectors for each in (rows.bfloat16(), rows)
    )
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.01, rtol=0)


# through an index


@pytest.fixture
def rag(model: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    return RAGPretrainedModel(model.encoder, tmp_path / "root", verbose=0)


def stored(rag: RAGPretrainedModel, name: str | None = None) -> dict[str, torch.Tensor]:
    """Return the token vectors of each document of an index, one passage each."""
    found = {}
    for some, vectors in rag.catalog.get(name).index.scroll(with_vectors=True):
        assert vectors is not None
        found |= {passage.document_id: block for passage, block in zip(some, vectors, strict=True)}
    return found


def expected_rows(rag: RAGPretrainedModel, text: str, pooling: int) -> int:
    """Count what a passage keeps: what the tokeniser adds, and a share of the tokens of the text that are scored."""
    tokenizer = rag.encoder.tokenizer
    (tokens,), overhead = tokenizer.documents([text.strip()], 256), tokenizer.overhead
    return overhead + share(sum(tokens.scored[overhead - 1 : -1]), pooling)


@pytest.mark.parametrize("pooling", [1, 2, 3])
def test_an_index_stores_fewer_rows_and_finds_its_documents(rag: RAGPretrainedModel, pooling: int) -> None:
    rag.index(DOCUMENTS, index_name="pooled", pooling=pooling)
    rows = stored(rag)
    assert {name: len(block) for name, block in rows.items()} == {
        name: expected_rows(rag, text, pooling) for name, text in DOCUMENTS.items()
    }
    for name in ("en", "fr", "zh"):
        assert rag.search(DOCUMENTS[name], k=1)[0]["document_id"] == name


def test_rows_that_the_tokeniser_added_are_kept(rag: RAGPretrainedModel) -> None:
    rag.index(DOCUMENTS, index_name="whole")
    rag.index(DOCUMENTS, index_name="pooled", pooling=3)
    before = rag.encoder.tokenizer.overhead - 1
    for whole, pooled in zip(stored(rag, "whole").values(), stored(rag, "pooled").values(), strict=True):
        torch.testing.assert_close(pooled[:before], whole[:before], atol=1e-3, rtol=0)
        torch.testing.assert_close(pooled[-1], whole[-1], atol=1e-3, rtol=0)


def test_later_additions_are_pooled_alike_also_after_opening_again(rag: RAGPretrainedModel) -> None:
    path = rag.index(DOCUMENTS, index_name="pooled", pooling=2)
    wanted = stored(rag)
    rag.delete_from_index(list(DOCUMENTS))
    opened = RAGPretrainedModel.from_index(path, verbose=0, device="cpu")
    opened.add_to_index(["It is replaced."], ["en"], languages="en")
    opened.update_in_index(DOCUMENTS)
    opened.optimize_index()
    again = stored(opened)
    assert again.keys() == wanted.keys()
    for name, block in wanted.items():
        torch.testing.assert_close(again[name], block, atol=1e-3, rtol=0)


def test_an_interrupted_build_is_not_continued_with_another_pooling(
    rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)

    def broken() -> Iterator[str]:
        yield from DOCUMENTS.values()
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        rag.index(broken(), [*DOCUMENTS, "last"], index_name="begun", pooling=2)
    for other in (1, 3):
        with pytest.raises(InputError, match="'pooling': 2.*'pooling': " + str(other)):
            rag.index(DOCUMENTS, index_name="begun", overwrite_index="resume", pooling=other)
    rag.index(DOCUMENTS, index_name="begun", overwrite_index="resume", pooling=2)
    assert len(stored(rag)["en"]) == expected_rows(rag, DOCUMENTS["en"], 2)


@pytest.mark.parametrize("storage", STORAGES)
def test_pooling_goes_with_every_storage(rag: RAGPretrainedModel, storage: str) -> None:
    rag.index(DOCUMENTS, index_name="small", storage=storage, pooling=2)
    assert rag.search(DOCUMENTS["fr"], k=1)[0]["document_id"] == "fr"
    assert len(stored(rag)["fr"]) == expected_rows(rag, DOCUMENTS["fr"], 2)


def test_numbers_of_numpy_are_taken(rag: RAGPretrainedModel) -> None:
    rag.index(DOCUMENTS, index_name="pooled", pooling=np.int64(2))  # type: ignore[arg-type]
    assert rag.catalog.get().pooling == 2


@pytest.mark.parametrize("pooling", [0, -1, 1.5, 2.0, True, "2", None])
def test_bad_values_get_one_clear_error_and_change_nothing(rag: RAGPretrainedModel, pooling: Any) -> None:
    rag.index(DOCUMENTS, index_name="there")
    with pytest.raises(InputError, match=f"pooling={pooling!r} is not usable: give a whole number"):
        rag.index(["Other."], index_name="there", pooling=pooling)
    assert stored(rag, "there").keys() == DOCUMENTS.keys()


def test_in_qdrant(rag: RAGPretrainedModel) -> None:
    qdrant = pytest.importorskip("qdrant_client")
    client = qdrant.QdrantClient(":memory:")
    rag.index({"en": DOCUMENTS["en"]}, index_name="news", index_url=client, pooling=2)
    rag.add_to_index({"fr": DOCUMENTS["fr"]})
    assert {name: len(block) for name, block in stored(rag).items()} == {
        name: expected_rows(rag, DOCUMENTS[name], 2) for name in ("en", "fr")
    }


def test_through_colbert_ais_interface(folder: Path, tmp_path: Path) -> None:
    with Run().context(RunConfig(root=str(tmp_path))):
        indexer = Indexer(folder, verbose=0)
        path = indexer.index("pooled", list(DOCUMENTS.values()), pooling=2)
        with pytest.raises(InputError, match="pooling=0 is not usable"):
            indexer.index("bad", list(DOCUMENTS.values()), pooling=0)
    opened = RAGPretrainedModel.from_index(path, verbose=0, device="cpu")
    lengths = [len(block) for block in stored(opened).values()]
    assert lengths == [expected_rows(opened, text, 2) for text in DOCUMENTS.values()]
