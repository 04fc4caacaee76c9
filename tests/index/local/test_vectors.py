from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ragatouille_xm.errors import StorageError
from ragatouille_xm.index.local.storages import STORAGES
from ragatouille_xm.index.local.vector_writer import VectorWriter
from ragatouille_xm.index.local.vectors import RECORD, Table, Vectors
from ragatouille_xm.index.quantization.query import Query
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import TokenVectors

DIM, NAME = 8, "segment-0123456789ab"


def some(n: int, seed: int = 0) -> TokenVectors:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (n,), generator=generator)
    vectors = torch.randn(int(lengths.sum()), DIM, generator=generator)
    return TokenVectors(torch.nn.functional.normalize(vectors, dim=1), lengths)


@pytest.fixture(params=[True, False], ids=["16 bits", "8 bits"])
def residuals(request) -> bool:
    return request.param


@pytest.fixture
def writer(tmp_path, residuals) -> VectorWriter:
    return VectorWriter(tmp_path, NAME, DIM, STORAGES["int16" if residuals else "int8"])


def append(writer: VectorWriter, pids: object, vectors: TokenVectors) -> None:
    writer.add(list(pids), vectors)


def opened(folder: Path, residuals: bool) -> Vectors:
    return Vectors.open(folder, NAME, DIM, STORAGES["int16" if residuals else "int8"])


def write(writer: VectorWriter, pids: object, vectors: TokenVectors) -> Vectors:
    append(writer, pids, vectors)
    files = writer.finish(np.array(sorted(pids)))
    return opened(writer._folder, len(files) == 3)


def check(vectors: Vectors, expected: dict[int, torch.Tensor]) -> None:
    assert vectors.table.pids.tolist() == sorted(expected)
    rows = vectors.table.rows_of(sorted(expected))
    tolerance = 1e-4 if vectors.has_residuals else 6e-3
    for pid, found in zip(sorted(expected), vectors.vectors_of(rows), strict=True):
        torch.testing.assert_close(found, expected[pid], atol=tolerance, rtol=0)


def test_what_was_written_is_there_by_growing_pid_without_what_is_not_wanted(writer, tmp_path, residuals):
    first, second = some(10), some(4, seed=1)
    append(writer, range(20, 30), first)
    append(writer, [45, 3, 38, 40], second)
    expected = dict(zip(range(20, 30), first, strict=True)) | dict(zip([45, 3, 38, 40], second, strict=True))
    for pid in (3, 22):
        expected.pop(pid)
    files = writer.finish(np.array(sorted(expected)))
    check(opened(tmp_path, residuals), expected)
    assert writer.passages == 12
    assert (writer.lowest_pid, writer.tokens) == (3, int(first.lengths.sum() + second.lengths.sum()))
    assert set(files) == {".codes", ".table"} | ({".residuals"} if residuals else set())
    for end, file in files.items():
        content = (tmp_path / f"{NAME}{end}").read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_rows_of_pids_that_are_not_here_are_left_out(writer):
    table = write(writer, [2, 4, 6], some(3)).table
    assert table.rows_of([1, 2, 3, 6, 7]).tolist() == [0, 2]
    assert Table.of_records(np.empty(0, RECORD)).rows_of([1]).tolist() == []


@pytest.mark.parametrize("block", [1, 10, 10_000])
def test_passages_are_scored_wherever_they_lie(writer, residuals, block, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.vectors.SCORED_BLOCK", block)
    given = some(50)
    stored = write(writer, np.random.default_rng(0).permutation(50).tolist(), given)
    rows = torch.nn.functional.normalize(torch.randn(5, DIM, generator=torch.Generator().manual_seed(9)), dim=1)
    order = np.argsort(np.argsort(stored.table.starts))
    exact = maxsim(rows[None], given.vectors, given.lengths)[0].numpy()[order]
    query = Query(rows.numpy())
    for chosen in (np.arange(50), np.array([7]), np.array([30, 2, 41]), np.array([], np.int64)):
        assert stored.scores(query, chosen) == pytest.approx(exact[chosen], abs=1e-3 if residuals else 0.1)
        approximate, bound = stored.approximate_scores(query, chosen), query.error_bound(stored.table.scales[chosen])
        assert approximate == pytest.approx(exact[chosen], abs=0.2)
        assert (np.abs(approximate - stored.scores(query, chosen)) <= bound).all()


@pytest.mark.parametrize("tokens", [1, 900, 10_000])
def test_a_pass_over_everything_leaves_it_as_it_is(writer, tokens):
    stored = write(writer, np.random.default_rng(0).permutation(3000).tolist(), some(3000))
    for rows in (None, np.arange(5, 2000, 7), np.array([], np.int64)):
        before = stored.take(np.arange(3000) if rows is None else rows)
        codes = [np.array(stored.take(block).codes) for block in stored.read_once(rows, tokens)]
        assert np.concatenate([*codes, np.empty((0, DIM), np.int8)]).tolist() == before.codes.tolist()
        assert stored.take(np.arange(3000)).codes.any(1).all()


def test_blocks_are_of_about_so_many_tokens_and_leave_nothing_out(writer):
    stored = write(writer, range(200), some(200))
    rows = np.arange(3, 200, 2)
    for tokens in (1, 7, 50, 10**6):
        blocks = stored.blocks(rows, tokens)
        assert np.concatenate(blocks).tolist() == rows.tolist()
        assert all(stored.table.lengths[block[:-1]].sum() < tokens for block in blocks)


def test_files_that_are_removed_stay_readable(writer, tmp_path):
    given = some(5)
    stored = write(writer, range(5), given)
    for path in tmp_path.iterdir():
        path.unlink()
    check(stored, dict(enumerate(given)))


# ---- going on with files of another process


def test_what_another_process_left_unfinished_is_cut_off(writer, tmp_path, residuals):
    first = some(6)
    append(writer, range(6), first)
    writer.flush()
    passages, tokens = writer.passages, writer.tokens
    append(writer, [7, 8], some(2, seed=2))
    writer.close()
    for path in tmp_path.iterdir():
        with open(path, "ab") as file:
            file.write(b"???")
    late = VectorWriter(tmp_path, NAME, DIM, STORAGES["int16" if residuals else "int8"])
    late.recover(passages, tokens)
    append(late, [6], (one := some(1, seed=3)))
    files = late.finish(np.arange(9))
    check(opened(tmp_path, residuals), dict(enumerate(first)) | {6: one.vectors})
    assert files[".codes"].sha256 == hashlib.sha256((tmp_path / f"{NAME}.codes").read_bytes()).hexdigest()


@pytest.mark.parametrize("end", [".codes", ".records"])
def test_files_that_hold_less_than_was_committed_are_refused(writer, tmp_path, residuals, end):
    append(writer, range(6), some(6))
    passages, tokens = writer.passages, writer.tokens
    writer.close()
    os.truncate(tmp_path / f"{NAME}{end}", 3 * DIM)
    late = VectorWriter(tmp_path, NAME, DIM, STORAGES["int16" if residuals else "int8"])
    with pytest.raises(ValueError, match=f"{NAME}{end} is shorter"):
        late.recover(passages, tokens)


def test_what_is_not_wanted_is_discarded(writer, tmp_path):
    append(writer, range(6), some(6))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="missing"):
        VectorWriter(tmp_path / "missing", NAME, DIM, STORAGES["int8"])


# ---- damage


@pytest.mark.parametrize(
    ("end", "change", "what"),
    [
        (".codes", lambda content: content[:-1], "no vectors of 8 bytes"),
        (".codes", lambda content: b"", "no vectors of 8 bytes"),
        (".codes", lambda content: content[:-DIM], "more codes than residuals|outside of"),
        (".table", lambda content: content[:-1], "multiple"),
        (".table", lambda content: content[: RECORD.itemsize] * 2, "do not grow"),
        (".table", lambda content: b"\xff" * 8 + content[8:], "do not grow"),
        (".table", lambda content: content[:8] + b"\xff" * 8 + content[16:], "outside of"),
        (".table", lambda content: content[:16] + b"\0" * 4 + content[20:], "outside of"),
        (".table", lambda content: content[:20] + b"\xff" * 4 + content[24:], "not finite"),
    ],
)
def test_files_that_do_not_belong_together(writer, tmp_path, residuals, end, change, what):
    write(writer, range(6), some(6))
    path = tmp_path / f"{NAME}{end}"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=what):
        opened(tmp_path, residuals)


@pytest.mark.parametrize("end", [".codes", ".table"])
@pytest.mark.parametrize("kind", ["missing", "a link", "a pipe", "a folder"])
def test_what_is_no_regular_file(writer, tmp_path, residuals, end, kind):
    write(writer, range(6), some(6))
    path = tmp_path / f"{NAME}{end}"
    aside = path.rename(tmp_path / "aside")
    if kind == "a link":
        path.symlink_to(aside)
    elif kind == "a pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("there are no named pipes on this system")
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    with pytest.raises(OSError, match=NAME):
        opened(tmp_path, residuals)
