"""The vectors of a build, beside a dict that does the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import StorageError
from ragatouille_xm.index import spool as spools
from ragatouille_xm.index.spool import Spool
from ragatouille_xm.types import TokenVectors

DIM = 4
PIDS = st.lists(st.integers(0, 12), unique=True, max_size=6)
CALLS = st.lists(st.tuples(st.sampled_from(["append", "remove", "read"]), PIDS), max_size=12)


@settings(max_examples=60)
@given(calls=CALLS, at_once=st.integers(1, 5), seed=st.integers(0, 2**20))
def test_it_gives_back_what_was_put_in_last(tmp_path_factory, calls, at_once, seed):
    generator = torch.Generator().manual_seed(seed)
    spool, expected = Spool(tmp_path_factory.getbasetemp(), DIM), {}
    spools.AT_ONCE, before = at_once, spools.AT_ONCE
    try:
        for what, pids in calls:
            if what == "append" and pids:
                lengths = torch.randint(1, 4, (len(pids),), generator=generator)
                vectors = torch.randn(int(lengths.sum()), DIM, generator=generator)
                spool.append(pids, TokenVectors(vectors, lengths))
                expected |= dict(zip(pids, vectors.half().split(lengths.tolist()), strict=True))
            elif what == "remove":
                spool.remove(pids)
                expected = {pid: rows for pid, rows in expected.items() if pid not in pids}
            wanted = [pid for pid in reversed(pids) if pid in expected]
            found = [rows for some in spool.vectors_of(wanted) for rows in some.vectors.split(some.lengths.tolist())]
            assert all(torch.equal(a, expected[b]) for a, b in zip(found, wanted, strict=True))
            assert spool.pids() == sorted(expected)
    finally:
        spools.AT_ONCE = before
        spool.close()


def test_nobody_sees_the_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path, DIM)
    spool.append([0], TokenVectors(torch.eye(DIM), torch.tensor([DIM])))
    assert list(tmp_path.iterdir()) == []
    spool.close()
    spool.close()


def test_a_file_that_cannot_be_made_or_read_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        Spool(tmp_path / "nowhere", DIM)
    spool = Spool(tmp_path, DIM)
    spool.append([0], TokenVectors(torch.eye(DIM), torch.tensor([DIM])))
    spool._file.truncate(5)
    with pytest.raises(StorageError, match="cut short"):
        list(spool.vectors_of([0]))
