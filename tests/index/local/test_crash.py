"""Writers killed at any moment, and readers that look on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import ragatouille_xm
from ragatouille_xm.config import SearchConfig
from ragatouille_xm.index.local.index import EdgeIndex

from . import crash_writer as writer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLS = 20
SECONDS = 30


class Nursery:
    """Starts writers, one at a time, from a process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder.parent / "journal"
        self._child: int | None = None
        self._process = subprocess.Popen(
            [sys.executable, writer.__file__, str(folder), str(self.journal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(ragatouille_xm.__file__).parents[1])},
        )

    def start(self, **task: object) -> None:
        """Start a writer; return when it has begun to write."""
        self.journal.write_bytes(b"")
        self._process.stdin.write(json.dumps(task).encode() + b"\n")
        self._process.stdin.flush()
        self._child = int(self._process.stdout.readline())
        give_up = time.monotonic() + 60
        while not self.journal.stat().st_size:
            assert time.monotonic() < give_up
            time.sleep(0.002)

    def kill(self) -> list[dict]:
        """Kill the writer, and return what it noted."""
        with suppress(ProcessLookupError):  # it came to its end
            os.kill(self._child, signal.SIGKILL)
        self._child = None
        assert self._process.stdout.readline() == b"dead\n"
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def stop(self) -> None:
        if self._child is not None:
            self.kill()
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


@pytest.fixture
def nursery(folder: Path) -> Iterator[Nursery]:
    EdgeIndex.create(folder, **writer.KEPT).close()
    nursery = Nursery(folder)
    yield nursery
    nursery.stop()


def contents(index: EdgeIndex) -> writer.Documents:
    """Return what an index holds, after checking that vectors, metadata and counts are those of the texts."""
    found: writer.Documents = {}
    for passages, vectors in index.scroll(with_vectors=True):
        for passage, block in zip(passages, vectors, strict=True):
            assert torch.allclose(block, writer.vectors_of(passage.text), atol=1e-3)
            assert passage.metadata == {"document": passage.document_id}
            found.setdefault(passage.document_id, []).append((passage.pid, passage.text))
    total = sum(map(len, found.values()))
    assert len(index) == total
    assert sum(index.languages().values()) == total
    assert index.contains([f"d{i}" for i in range(120)]) == set(found)
    return found


def check_search(index: EdgeIndex, held: writer.Documents) -> None:
    """Check that a few passages are found by their own vectors, through the first stage and without it."""
    pids = sorted(pid for pairs in held.values() for pid, _ in pairs)
    for pairs in list(held.values())[:5]:
        pid, text = pairs[0]
        query = writer.vectors_of(text).float()[None]
        assert index.search(query, 1).pids.tolist() == [[pid]]
        exact = index.search(query, len(index), config=SearchConfig(exact=True))
        assert exact.pids[0, 0] == pid
        assert abs(exact.scores[0, 0] - query.shape[1]) < 0.01
        assert sorted(exact.pids[0].tolist()) == pids


def test_a_killed_writer_leaves_what_was_acknowledged_and_nothing_by_halves(nursery, monkeypatch):
    """Every call is wholly there or not at all; one that has returned is there."""
    monkeypatch.setattr("ragatouille_xm.index.local.search.EXACT_BELOW", 0)
    chance = random.Random(0)
    held: writer.Documents = {}
    highest = -1
    kinds, codebooks = set(), set()
    give_up = time.monotonic() + SECONDS
    for kill in range(KILLS):
        nursery.start(seed=kill, held=held)
        time.sleep(chance.uniform(0, 0.7))
        entries = nursery.kill()
        index = EdgeIndex.open(nursery.folder)
        found = contents(index)
        before, after = writer.replay(entries, held)
        assert found in (before, after), f"kill {kill}: {entries[-3:]}"
        check_search(index, found)
        for entry in entries:
            if entry["do"] == "reserved":
                pids = [pid for pairs in entry["documents"].values() for pid, _ in pairs]
                assert min(pids, default=highest + 1) > highest  # never used again
                highest = max([highest, *pids])
        codebooks.add(index.manifest.codebook)
        if before != after:
            kinds.add("undone" if found == before else "done")
        held = found
        if time.monotonic() > give_up:
            break
    assert kinds  # some were killed in the middle of a call
    assert len(codebooks) > 1


def test_a_build_that_is_killed_again_and_again_is_resumed(nursery, monkeypatch):
    """It comes to its end, holds what it should, and does not begin again."""
    monkeypatch.setattr("ragatouille_xm.index.local.search.EXACT_BELOW", 0)
    chance = random.Random(0)
    beginnings, kills = [], 0
    give_up = time.monotonic() + SECONDS
    while not len(EdgeIndex.open(nursery.folder)):
        assert time.monotonic() < give_up
        nursery.start()
        time.sleep(chance.uniform(0, 0.15 if kills < 8 else 0.6 if kills < 14 else 4))
        beginnings.append(nursery.kill()[0])
        kills += 1
    index = EdgeIndex.open(nursery.folder)
    held = contents(index)
    assert {name: [text for _, text in pairs] for name, pairs in held.items()} == {
        name: [text for _, text in pairs] for name, pairs in writer.planned().items()
    }
    check_search(index, held)
    assert beginnings == sorted(beginnings)
    assert len(set(beginnings)) > 2, beginnings
    index.reserve(0)  # the kill may have come between the commit and the sweep, which the next writer then does
    found = {path.name for path in nursery.folder.iterdir()} - {"write.lock"}
    assert found == {"manifest.json"} | index.manifest.names


def test_readers_see_whole_documents_while_a_writer_writes(nursery):
    nursery.start(seed=99, held={})
    reader = EdgeIndex.open(nursery.folder)
    query = writer.vectors_of("query").float()[None]
    generations = set()
    give_up = time.monotonic() + 4
    while time.monotonic() < give_up:
        found = contents_of_one_moment(reader)
        for name, texts in found.items():
            versions = {text.split()[1] for text in texts}
            assert len(versions) == 1
            assert [text.split()[2] for text in texts] == [str(i) for i in range(len(texts))]
            assert {text.split()[0] for text in texts} == {name}
        hits = reader.search(query, 10)
        assert len(set(hits.pids[0].tolist()) - {-1}) == sum(pid >= 0 for pid in hits.pids[0].tolist())
        generations.add(reader.manifest.state)
    before, after = writer.replay(nursery.kill(), {})
    assert contents(reader) in (before, after)
    assert len(generations) > 5


def contents_of_one_moment(reader: EdgeIndex) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for passages, vectors in reader.scroll(with_vectors=True, batch_size=7):
        for passage, block in zip(passages, vectors, strict=True):
            assert torch.allclose(block, writer.vectors_of(passage.text), atol=1e-3)
            found.setdefault(passage.document_id, []).append(passage.text)
    return found
