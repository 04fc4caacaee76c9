"""The lists of pieces: written, merged, gone on with after a crash, and checked."""

# ruff: noqa: PT012 - what is raised comes from within the build

from __future__ import annotations

import hashlib
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import IndexDamagedError, InputError
from ragatouille_xm.index.lexical import PieceCounts
from ragatouille_xm.index.local import segment
from ragatouille_xm.index.local.folder import LEXICAL, PIECES
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.lexical import ENTRY, MOST, PieceLists, PieceWriter, committed_bytes, merge_lists
from ragatouille_xm.index.local.lists import blocks
from ragatouille_xm.index.local.verify import find_faults

from .samples import KEPT, batch, queries

NAME = "segment-0123456789ab"
texts = st.lists(st.lists(st.integers(0, 9) | st.sampled_from([250_000, 2**31 - 1]), max_size=6), max_size=25)
with_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def plain(lists: PieceLists) -> dict[int, list[tuple[int, int]]]:
    """Return the rows and counts of each piece."""
    lists.check()
    pieces = lists.pieces.tolist()
    return {
        piece: list(zip(lists.rows[part].tolist(), lists.counts[part].tolist(), strict=True))
        for piece, part in zip(pieces, lists.find(lists.pieces), strict=True)
    }


def expected(rows: list[list[int]]) -> dict[int, list[tuple[int, int]]]:
    pieces = sorted({piece for row in rows for piece in row})
    return {piece: [(i, row.count(piece)) for i, row in enumerate(rows) if piece in row] for piece in pieces}


def written(folder: Path, rows: list[list[int]], kept: list[int], at_once: int) -> PieceLists:
    """Write rows under pids of twice their place, and keep some of them."""
    writer = PieceWriter(folder, NAME)
    for first in range(0, len(rows), at_once):
        some = rows[first : first + at_once]
        writer.append([2 * (first + i) for i in range(len(some))], PieceCounts.of(some))
    meta = writer.finish(np.array([2 * i for i in kept], np.int64))
    content = (folder / f"{NAME}{LEXICAL}").read_bytes()
    assert (meta.bytes, meta.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    (folder / f"{NAME}{PIECES}").unlink()
    return PieceLists.open(folder / f"{NAME}{LEXICAL}", len(kept))


@with_folder
@given(rows=texts, seed=st.integers(0, 9), at_once=st.integers(1, 9), block=st.integers(1, 40))
def test_lists_by_their_definition(tmp_path, rows, seed, at_once, block):
    kept = [i for i in range(len(rows)) if not seed or (i * 7 + seed) % 3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.lexical.ENTRIES_BLOCK", block)
        patch.setattr("ragatouille_xm.index.local.lists.SPOOL_BYTES", 64)
        lists = written(tmp_path, rows, kept, at_once)
    left = [rows[i] for i in kept]
    assert plain(lists) == plain(PieceLists.of(PieceCounts.of(left))) == expected(left)
    assert lists.lengths.tolist() == [len(row) for row in left]
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}{LEXICAL}"]


@with_folder
@given(parts=st.lists(texts.filter(len), min_size=1, max_size=4), seed=st.integers(0, 99), block=st.integers(1, 20))
def test_merged_lists_are_those_that_one_would_write(tmp_path, parts, seed, block):
    chance = np.random.default_rng(seed)
    every = [(n, row) for n, part in enumerate(parts) for row in range(len(part))]
    kept = [every[i] for i in chance.permutation(len(every)) if seed % 5 == 0 or chance.random() < 0.7]
    place = {pair: i for i, pair in enumerate(kept)}
    sources = [
        (
            PieceLists.of(PieceCounts.of(part)),
            np.array([place.get((n, row), -1) for row in range(len(part))], np.int32),
        )
        for n, part in enumerate(parts)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "__defaults__", (block,))
        meta = merge_lists(tmp_path / "merged", len(kept), sources)
    content = (tmp_path / "merged").read_bytes()
    assert (meta.bytes, meta.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    lists = PieceLists.open(tmp_path / "merged", len(kept))
    left = [parts[n][row] for n, row in kept]
    assert plain(lists) == expected(left)
    assert lists.lengths.tolist() == [len(row) for row in left]


def test_a_piece_that_comes_very_often_counts_as_so_many(tmp_path):
    lists = written(tmp_path, [[7] * 100_000, [7]], [0, 1], 1)
    assert lists.counts.tolist() == [MOST, 1]
    assert lists.lengths.tolist() == [100_000, 1]


def test_a_growing_file_is_cut_to_what_was_committed(tmp_path):
    writer = PieceWriter(tmp_path, NAME)
    writer.append([0, 1], PieceCounts.of([[1, 2], []]))
    writer.flush()
    path = tmp_path / f"{NAME}{PIECES}"
    assert committed_bytes(path, 2) == path.stat().st_size == 4 * ENTRY.itemsize
    writer.append([2, 3], PieceCounts.of([[3], [4]]))
    writer.flush()
    path.write_bytes(path.read_bytes()[:-5])  # killed in the middle of an entry
    again = PieceWriter(tmp_path, NAME)
    again.recover(2)
    assert path.stat().st_size == 4 * ENTRY.itemsize
    again.append([5], PieceCounts.of([[9, 9]]))
    again.finish(np.array([0, 1, 5]))
    assert plain(PieceLists.open(tmp_path / f"{NAME}{LEXICAL}", 3)) == {1: [(0, 1)], 2: [(0, 1)], 9: [(2, 2)]}
    with pytest.raises(ValueError, match="shorter than when it was committed"):
        committed_bytes(path, 4)


# ---- in an index

LEXICAL_INDEX: dict[str, Any] = KEPT | {"lexical": True}


def pieces(first: int, count: int) -> PieceCounts:
    return PieceCounts.of([[pid % 7, 100 + pid, 100 + pid] for pid in range(first, first + count)])


def best(folder: Path, *ids: int) -> list[int]:
    """Return the pids of the passages that have any of the pieces, best first."""
    with closing(LocalIndex.open(folder)) as index:
        found = index.search_hybrid(queries(1), PieceCounts.of([ids]), 5, weight=1.0)
        return found.pids[0][found.lexical[0] > 0].tolist()


@pytest.mark.parametrize("tokens", [0, 10_000])
def test_a_build_that_was_broken_off_goes_on_with_its_pieces(folder, monkeypatch, tokens):
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", tokens)
    monkeypatch.setattr("ragatouille_xm.index.local.build.SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt), LocalIndex.build(folder, **LEXICAL_INDEX) as build:
        build.add(*batch(0, 5), pieces(0, 5))
        raise KeyboardInterrupt
    with pytest.raises(InputError, match="lexical"), LocalIndex.build(folder, **KEPT, resume=True):
        pass
    with LocalIndex.build(folder, **LEXICAL_INDEX, resume=True) as build:
        build.add(*batch(build.reserve(5), 5), pieces(5, 5))
        build.delete(["d3"])
    assert list(find_faults(folder, full=True)) == []
    assert [best(folder, 100 + pid) for pid in (2, 3, 8)] == [[2], [], [8]]
    assert not list(folder.glob(f"*{PIECES}"))


@pytest.mark.parametrize("lost", ["missing", "shorter"])
def test_a_build_whose_pieces_are_lost_begins_again(folder, monkeypatch, caplog, lost):
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    with pytest.raises(KeyboardInterrupt), LocalIndex.build(folder, **LEXICAL_INDEX) as build:
        build.add(*batch(0, 5), pieces(0, 5))
        raise KeyboardInterrupt
    [path] = folder.glob(f"*{PIECES}")
    path.unlink() if lost == "missing" else path.write_bytes(path.read_bytes()[:40])
    with caplog.at_level(logging.WARNING), LocalIndex.build(folder, **LEXICAL_INDEX, resume=True) as build:
        assert len(build) == 0
    assert f"{path.name} holds less than was committed" in caplog.text


@pytest.mark.usefixtures("tiny_buffer", "small_first_stage")
def test_merges_and_refits_keep_the_pieces(folder):
    with LocalIndex.build(folder, **LEXICAL_INDEX) as build:
        build.add(*batch(0, 600), pieces(0, 600))
    with closing(LocalIndex.open(folder)) as index:
        for first in range(600, 640, 10):
            index.add(*batch(first, 10), pieces(first, 10))
        index.delete([f"d{pid}" for pid in range(0, 600, 2)])
        before = len(index.state.segments)
        index.optimize(refit=True)
        assert before > 1 == len(index.state.segments)
        assert {LEXICAL} < {*index.state.segments[0].files}
    assert list(find_faults(folder, full=True)) == []
    assert [best(folder, 100 + pid) for pid in (1, 2, 639)] == [[1], [], [639]]


def test_a_large_file_with_rows_that_are_not_there(folder, monkeypatch):
    """Small files are compared with their checksums when they are opened, large ones only by a full check."""
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    with closing(LocalIndex.create(folder, **LEXICAL_INDEX)) as index:
        index.add(*batch(0, 5), pieces(0, 5))
    [path] = folder.glob(f"*{LEXICAL}")
    lists = PieceLists.open(path, 5)
    start = path.stat().st_size - 4 * len(lists.rows) + 2 * lists.find(np.array([104]))[0].start
    content = bytearray(path.read_bytes())
    content[start : start + 2] = np.uint16(77).tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(IndexDamagedError, match="checksum"):
        best(folder, 104)
    monkeypatch.setattr(segment, "VERIFIED_BYTES", 0)
    assert best(folder, 102) == [2]
    with pytest.raises(IndexDamagedError, match="lexical lists name passages that it does not have"):
        best(folder, 104)
    assert "names passages that the segment does not have" in str(list(find_faults(folder)))
    assert "another checksum" in str(list(find_faults(folder, full=True)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "not whole"),
        (lambda content: b"RXMPOST1" + content[8:], "not whole"),
        (lambda content: content[:20], "no header"),
    ],
)
def test_files_that_are_none(tmp_path, change, message):
    written(tmp_path, [[1, 2], [2]], [0, 1], 1)
    path = tmp_path / f"{NAME}{LEXICAL}"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        PieceLists.open(path, 2)
