from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import IndexDamagedError
from ragatouille_xm.index.local.postings import HEADER, read_postings, write_postings

K = 12
passages = st.lists(st.lists(st.integers(0, K - 1), min_size=1, max_size=6), max_size=30)
probing = st.dictionaries(st.integers(0, K - 1), st.sampled_from([0.25, 0.5, 1.0, 2.0]), max_size=K)


def blocks(tokens: list[list[int]], at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(tokens), at_once):
        some = tokens[start : start + at_once]
        yield np.array([c for each in some for c in each], np.int32), np.array([len(each) for each in some])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens=passages, probes=probing, at_once=st.integers(1, 31), limit=st.integers(1, 31), seed=st.integers(0, 9))
def test_candidates_by_their_definition(tmp_path, tokens, probes, at_once, limit, seed):
    path = tmp_path / "postings.bin"
    write_postings(path, K, len(tokens), blocks(tokens, at_once))
    admitted = np.random.default_rng(seed).random(len(tokens)) < 0.7 if seed else None
    expected = {}
    for row, centroids in enumerate(tokens):
        score = sum(probes.get(c, 0) for c in set(centroids)) / len(set(centroids)) ** 0.5
        if score and (admitted is None or admitted[row]):
            expected[row] = score
    centroids = np.array(sorted(probes), np.int64)
    weights = np.array([probes[c] for c in sorted(probes)], np.float32)
    rows, scores = read_postings(path).candidates((centroids, weights), limit, admitted)
    assert rows.tolist() == sorted(rows.tolist())
    assert len(rows) == min(limit, len(expected))
    assert scores == pytest.approx([expected[row] for row in rows.tolist()])
    assert sorted(scores) == pytest.approx(sorted(expected.values())[len(expected) - len(rows) :])


def test_a_file_that_is_not_whole_is_named(tmp_path: Path) -> None:
    path = tmp_path / "postings-1-a.bin"
    with pytest.raises(IndexDamagedError, match="postings-1-a"):
        read_postings(path)
    write_postings(path, K, 2, blocks([[1, 2], [3]], 5))
    whole = path.read_bytes()
    for content in (b"", whole[:20], whole[:-1], whole + b"?", b"?" + whole[1:]):
        path.write_bytes(content)
        with pytest.raises(IndexDamagedError, match="postings-1-a"):
            read_postings(path)


def test_lists_that_do_not_follow_one_another_are_damage(tmp_path):
    path = tmp_path / "postings.bin"
    write_postings(path, K, 4, blocks([[0, 1], [1], [5], [7, 0]], 2))
    content = bytearray(path.read_bytes())
    content[HEADER.itemsize + 8 * 3 + 7] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(IndexDamagedError, match="do not follow one another"):
        read_postings(path)
