from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import StorageError
from ragatouille_xm.index.local.lists import HEADER
from ragatouille_xm.index.local.lists import blocks as blocks_of
from ragatouille_xm.index.local.postings import Postings, merge_postings, write_postings

K = 12
passages = st.lists(st.lists(st.integers(0, K - 1), min_size=1, max_size=6), max_size=30)
probing = st.dictionaries(st.integers(0, K - 1), st.sampled_from([0.25, 0.5, 1.0, 2.0]), max_size=K)
with_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def blocks(tokens: list[list[int]], at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(tokens), at_once):
        some = tokens[start : start + at_once]
        yield np.array([c for each in some for c in each], np.int32), np.array([len(each) for each in some])


def write(path: Path, tokens: list[list[int]], at_once: int = 5) -> Postings:
    meta = write_postings(path, K, blocks(tokens, at_once))
    content = path.read_bytes()
    assert (meta.bytes, meta.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return Postings.open(path, len(tokens))


def lists_in(postings: Postings) -> dict[int, list[int]]:
    bounds = zip(postings.offsets, postings.offsets[1:], strict=False)
    return {c: postings.rows[first:last].tolist() for c, (first, last) in enumerate(bounds) if last > first}


def lists_of(tokens: list[list[int]]) -> dict[int, list[int]]:
    return {c: rows for c in range(K) if (rows := [row for row, centroids in enumerate(tokens) if c in centroids])}


@with_folder
@given(tokens=passages, at_once=st.integers(1, 31))
def test_lists_by_their_definition(tmp_path, tokens, at_once):
    postings = write(tmp_path / "postings", tokens, at_once)
    assert lists_in(postings) == lists_of(tokens)
    assert postings.norms == pytest.approx([len(set(centroids)) ** -0.5 for centroids in tokens])
    assert [path.name for path in tmp_path.iterdir()] == ["postings"]
    postings.check()


@with_folder
@given(tokens=passages, probes=probing, limit=st.integers(1, 31), seed=st.integers(0, 9))
def test_candidates_by_their_definition(tmp_path, tokens, probes, limit, seed):
    admitted = np.random.default_rng(seed).random(len(tokens)) < 0.7 if seed else None
    expected = {}
    for row, centroids in enumerate(tokens):
        score = sum(probes.get(c, 0) for c in set(centroids)) / len(set(centroids)) ** 0.5
        if score and (admitted is None or admitted[row]):
            expected[row] = score
    centroids = np.array(sorted(probes), np.int64)
    weights = np.array([probes[c] for c in sorted(probes)], np.float32)
    rows, scores = write(tmp_path / "postings", tokens).candidates((centroids, weights), limit, admitted)
    assert rows.tolist() == sorted(rows.tolist())
    assert len(rows) == min(limit, len(expected))
    assert scores == pytest.approx([expected[row] for row in rows.tolist()])
    assert sorted(scores) == pytest.approx(sorted(expected.values())[len(expected) - len(rows) :])


@with_folder
@given(parts=st.lists(passages, min_size=1, max_size=4), seed=st.integers(0, 99), block=st.sampled_from([1, 7, 10**6]))
def test_merged_lists_are_those_that_one_would_write(tmp_path, parts, seed, block):
    """Some passages go, the others mix."""
    source = np.random.default_rng(seed)
    kept = [(n, row) for n, part in enumerate(parts) for row in range(len(part)) if source.random() < 0.7]
    kept = [kept[i] for i in source.permutation(len(kept))]
    place = {where: row for row, where in enumerate(kept)}
    sources = []
    for n, part in enumerate(parts):
        new_rows = np.array([place.get((n, row), -1) for row in range(len(part))], np.int32)
        sources.append((write(tmp_path / f"part-{n}", part), new_rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_of, "__defaults__", (block,))
        meta = merge_postings(tmp_path / "merged", len(kept), sources)
    alone = write_postings(tmp_path / "alone", K, blocks([parts[n][row] for n, row in kept], 100))
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "alone").read_bytes()
    assert meta == alone


def test_large_lists_go_through_files(tmp_path, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.lists.ENTRIES_BLOCK", 64)
    tokens = [[c % K for c in range(row, row + 3)] for row in range(500)]
    assert lists_in(write(tmp_path / "postings", tokens)) == lists_of(tokens)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(StorageError):
        write_postings(tmp_path / "missing" / "postings", K, blocks([[1]], 1))


# ---- damage


def test_a_file_that_is_not_whole(tmp_path):
    path = tmp_path / "postings"
    with pytest.raises(OSError, match="postings"):
        Postings.open(path, 2)
    write(path, [[1, 2], [3]])
    whole = path.read_bytes()
    for content in (b"", whole[:20], whole[:-1], whole + b"?", b"?" + whole[1:], whole[:8] + b"\xff" * 8 + whole[16:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"header|whole"):
            Postings.open(path, 2)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="2 passages instead of 3"):
        Postings.open(path, 3)


@pytest.mark.parametrize("place", range(0, 8 * (K + 1), 8))
def test_lists_that_do_not_follow_one_another(tmp_path, place):
    path = tmp_path / "postings"
    write(path, [[0, 1], [1], [5], [7, 0]])
    content = bytearray(path.read_bytes())
    content[HEADER.itemsize + place + 7] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(ValueError, match="do not follow one another"):
        Postings.open(path, 4)


@pytest.mark.parametrize("row", [-1, 4, 2**31 - 1])
def test_lists_that_name_passages_which_are_not_there(tmp_path, row):
    path = tmp_path / "postings"
    write(path, [[0, 1], [1], [5], [7, 0]])
    path.write_bytes(path.read_bytes()[:-4] + np.int32(row).tobytes())
    postings = Postings.open(path, 4)
    with pytest.raises(ValueError, match="does not have"):
        postings.check()
    with pytest.raises(ValueError, match="does not have"):
        postings.candidates((np.arange(K), np.ones(K, np.float32)), 2, None)


def test_a_pipe_and_a_link_are_refused_at_once(tmp_path):
    path = tmp_path / "postings"
    write(path, [[1]])
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="is a link"):
        Postings.open(tmp_path / "link", 1)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="not a regular file"):
            Postings.open(tmp_path / "pipe", 1)
