"""Passages, queries and filters for the contract suite, and MaxSim by hand to judge the answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from ragatouille_xm.corpus.filters import Condition, matches, parse_filter
from ragatouille_xm.index.base import PassageIndex
from ragatouille_xm.types import Hits, Passage, TokenVectors

DIM = 8


def rows(text: str, most: int = 6, count: int | None = None) -> np.ndarray:
    """Return unit vectors (t, DIM) that depend on `text` alone, as an encoder's do."""
    source = random.Random(text)
    count = count or source.randint(1, most)
    drawn = np.array([[source.gauss(0, 1) for _ in range(DIM)] for _ in range(count)])
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def query(text: str) -> torch.Tensor:
    """Return a query of shape ``(1, q, DIM)``."""
    return torch.from_numpy(rows(f"query: {text}"))[None]


def encode(passages: Iterable[Passage]) -> TokenVectors:
    blocks = [rows(passage.text) for passage in passages]
    vectors = np.concatenate([np.empty((0, DIM), np.float32), *blocks])
    return TokenVectors(torch.from_numpy(vectors), torch.tensor([len(block) for block in blocks], dtype=torch.int64))


def passage(pid: int, document_id: str = "d", text: str = "", language: str = "fr", metadata: Any = None) -> Passage:
    return Passage(pid, document_id, text or f"text {pid}", language, metadata)


def put(index: PassageIndex, *passages: Passage, replace: bool = False) -> list[Passage]:
    """Add passages with the vectors of their texts."""
    index.add(passages, encode(passages), replace=replace)
    return list(passages)


def plain(passages: Iterable[Passage]) -> list[tuple[Any, ...]]:
    """Return passages in a form in which those with None and with no metadata are equal."""
    return [(p.pid, p.document_id, p.text, p.language, dict(p.metadata or {})) for p in passages]


def everything(index: PassageIndex, condition: Condition | None = None) -> list[Passage]:
    return [passage for passages, _ in index.scroll(condition) for passage in passages]


def scores_of(query: torch.Tensor, passages: Iterable[Passage]) -> dict[int, float]:
    """Return MaxSim of one query ``(1, q, DIM)`` and each passage, by its definition."""
    return {p.pid: float((query[0].numpy() @ rows(p.text).T).max(1).sum()) for p in passages}


def assert_best(hits: Hits, row: int, scores: Mapping[int, float], k: int, tolerance: float) -> None:
    """Check that a row of hits is the best `k` of `scores`, in order, with padding behind."""
    pids, got = hits.pids[row].tolist(), hits.scores[row].tolist()
    found = min(k, len(scores))
    assert pids[found:] == [-1] * (k - found)
    assert np.isneginf(got[found:]).all()
    pids, got = pids[:found], got[:found]
    assert len(set(pids)) == found
    assert set(pids) <= set(scores)
    np.testing.assert_allclose(got, [scores[pid] for pid in pids], atol=tolerance, rtol=0)
    order = list(zip([-score for score in got], pids, strict=True))
    assert order == sorted(order)  # descending, ties by pid
    left_out = [score for pid, score in scores.items() if pid not in pids]
    if left_out and got:
        assert max(left_out) <= got[-1] + tolerance


def assert_search(
    index: PassageIndex, query: torch.Tensor, k: int, passages: Iterable[Passage], tolerance: float, filter: Any = None
) -> None:
    """Check a search against MaxSim by hand over those of `passages` that `filter` admits."""
    condition = parse_filter(filter)
    admitted = [p for p in passages if matches(condition, p)]
    assert_best(index.search(query, k, filter=condition), 0, scores_of(query, admitted), k, tolerance)


KEYS = ("a", "b", "a.b", "two words", 'q"uote', "language", "日本", "a[]", "")
FIELDS = (*KEYS, "a.b.a", "b.b", "document_id", "passage.language", "metadata.language", "metadata.a", "missing")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from(
        [
            0.0,
            -0.0,
            1.0,
            1.5,
            -2.0,
            1e300,
            0.1 + 0.2,
            1790000000.1234567,
            2**53,
            2**53 + 1,
            float(2**53),
            2**63 - 1,
            -(2**63),
        ]
    ),
    st.sampled_from(["", "a", "A", "1", "true", "fr", "é\u0301", "2024-02-29", "2024-02-29T23:30:00-01:00", "x" * 300]),
)
objects = st.dictionaries(st.sampled_from(KEYS), scalars | st.lists(scalars, max_size=2), max_size=2)
values = st.recursive(
    scalars | st.lists(scalars, max_size=3) | st.lists(objects | scalars, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=2) | st.lists(inner, max_size=2),
    max_leaves=4,
)
metadatas = st.none() | st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
languages = st.sampled_from(["fr", "zh-TW", "de"])

bounds = st.integers(-2, 2) | st.sampled_from(
    [1.5, 0.1 + 0.2, 1790000000.1234567, 2**53, 1e300, "2024-03-01", "2024-02-29T23:00:00Z"]
)
moments = st.sampled_from([date(2024, 2, 29), datetime(2024, 3, 1, 0, 30, tzinfo=UTC)])
operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars | moments),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars | moments, max_size=3)),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), bounds),
)
field_conditions = st.recursive(
    st.lists(operators, min_size=1, max_size=2).map(dict),
    lambda inner: inner.map(lambda condition: {"$not": condition}),
    max_leaves=2,
)
on_metadata = st.dictionaries(st.sampled_from(FIELDS), scalars | field_conditions, min_size=1, max_size=2)
on_own = st.fixed_dictionaries({"language": languages | st.builds(lambda code: {"$ne": code}, languages)})
filters = st.recursive(
    on_metadata | on_own,
    lambda inner: st.one_of(
        st.builds(
            lambda op, parts: {op: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
        ),
        st.builds(lambda part: {"$not": part}, inner),
    ),
    max_leaves=4,
)

UNUSUAL = [
    "emoji 👩🏽‍🚀 and 𝔘nicode",
    "nul \0 and controls \x01\x1b[31m\x7f\u2028",
    "combining e\u0301, bidi \u202eabc, BOM \ufeff",
    " leading and trailing \n\t",
    "\"; DROP TABLE passages; -- ' \\ {} [] %s $x",
    "中文 العربية עברית हिन्दी ไทย",
    "long " * 20_000,
]

METADATA = {
    "authors": [{"name": "Ada", "tags": ["a"]}, {"name": None}, "Bo"],
    "numbers": [0, -1, 2**63 - 1, -(2**63), 0.1, -2.5, 1e308, 5e-324, 1.0, 100.0],
    "nothing": None,
    "flags": [True, False],
    "texts": UNUSUAL,
    "nested": {"a": {"b": [{"c": [1, [2, {}]]}, []]}, "": {"": 1}},
    "a.b": 1,
    'k"ey \0 [x] 日本': "v",
    "document_id": "mine",
    "text": "mine too",
    "tok": [1.0],
}
