"""Indexes of the format before, recorded by `tests/reference/make_format2.py`."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from reference.make_format2 import vectors_of

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import IndexDamagedError, IndexFormatError
from ragatouille_xm.index.local.index import EdgeIndex
from ragatouille_xm.index.local.manifest import Manifest

REFERENCE = Path(__file__).parent.parent / "reference"
HELD = json.loads((REFERENCE / "format2.json").read_text(encoding="utf-8"))


@pytest.fixture(params=["float16", "int8"])
def old(request: pytest.FixtureRequest, folder: Path) -> Path:
    with tarfile.open(REFERENCE / "format2.tar.gz") as archive:
        archive.extractall(folder.parent, filter="data")
    return shutil.move(folder.parent / request.param, folder)


def test_everything_is_there_afterwards(old, monkeypatch, caplog):
    monkeypatch.setattr("ragatouille_xm.index.local.merge.EXACT_BELOW", 20)
    monkeypatch.setattr("ragatouille_xm.index.local.search.EXACT_BELOW", 20)
    before = Manifest.read(old, reads=2)
    index = EdgeIndex.open(old)
    assert "written anew" in caplog.text
    assert (index.manifest.storage, index.manifest.settings) == (before.storage, before.settings)
    assert index.manifest.next_pid == before.next_pid
    [(passages, vectors)] = index.scroll(with_vectors=True)
    assert [[p.pid, p.document_id, p.text, p.language, p.metadata] for p in passages] == HELD[before.storage]
    for passage, block in zip(passages, vectors, strict=True):
        tolerance = 1e-3 if before.storage == "float16" else 0.03
        torch.testing.assert_close(block.float(), vectors_of(passage.pid), atol=tolerance, rtol=0)
    assert index.codebook() is not None
    query = vectors_of(9)[None]
    for config in (SearchConfig(), SearchConfig(exact=True)):
        assert index.search(query, 1, config=config).pids.tolist() == [[9]]
    assert set(index.search(query, 50, filter=parse_filter({"language": "fr"})).pids[0].tolist()) >= {0, 2, 4}
    assert {path.name for path in old.iterdir()} - {"write.lock"} == {"manifest.json"} | index.manifest.names
    caplog.clear()
    EdgeIndex.open(old).delete(["d0"])
    assert len(index) == len(HELD[before.storage]) - 2
    assert not caplog.records


def test_a_damaged_one_stays_as_it_is(old):
    part = Manifest.read(old, reads=2).parts[1].name
    shutil.rmtree(old / part)
    before = (old / "manifest.json").read_bytes()
    with pytest.raises(IndexDamagedError, match=part):
        EdgeIndex.open(old)
    assert (old / "manifest.json").read_bytes() == before


def test_who_only_looks_at_the_manifest_is_told_the_way_out(old):
    with pytest.raises(IndexFormatError, match="Search it once"):
        Manifest.read(old)
