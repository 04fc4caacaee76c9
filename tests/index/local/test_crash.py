"""Writers killed at any moment, and readers that look on. `benchmarks/attack.py` does it a thousand times."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ragatouille_xm.index.local.folder import BUILD_DATABASE
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.install import read_saved

from . import crash_writer as writer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLS = 20
SECONDS = 30


@pytest.fixture
def nursery(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[writer.Nursery]:
    for module, name, value in writer.LIMITS:
        monkeypatch.setattr(module, name, value)
    nursery = writer.Nursery(folder)
    yield nursery
    nursery.stop()


def test_a_killed_writer_leaves_what_was_acknowledged_and_nothing_by_halves(nursery: writer.Nursery) -> None:
    """Every call is wholly there or not at all; one that has returned is there."""
    chance = random.Random(0)
    held: writer.Documents = {}
    text_of: dict[int, str] = {}
    outcomes, codebooks = set(), set()
    give_up = time.monotonic() + SECONDS
    for kill in range(10 * KILLS):  # a busy machine needs more of them until all has been seen
        nursery.start(kill, held)
        time.sleep(chance.uniform(0, 0.4))
        entries = nursery.kill()
        found = writer.check(nursery.folder)
        before, after = writer.replay(entries, held)
        assert found in (before, after), f"kill {kill}: {entries[-3:]}"
        for pid, text in (pair for pairs in found.values() for pair in pairs):
            assert text_of.setdefault(pid, text) == text  # a pid is never used again
        saved = read_saved(nursery.folder, "index.db")
        assert saved is not None
        codebooks.add(saved.codebook and saved.codebook.name)
        if before != after:
            outcomes.add("undone" if found == before else "done")
        held = found
        if outcomes and len(codebooks) > 1 and (kill + 1 >= KILLS or time.monotonic() > give_up):
            break
    assert outcomes  # some were killed in the middle of a call
    assert len(codebooks) > 1


def test_a_build_that_is_killed_again_and_again_is_resumed(nursery: writer.Nursery) -> None:
    """It comes to its end, holds what it should, and does not begin again."""
    chance, progress = random.Random(0), [0]

    def stored() -> int:
        saved = read_saved(nursery.folder, BUILD_DATABASE)
        return saved.passages if saved else 0

    give_up = time.monotonic() + SECONDS
    while not len(LocalIndex.open(nursery.folder)):
        assert time.monotonic() < give_up
        nursery.start(0, {}, {"resume": 1})
        if len(progress) < 4:
            while stored() <= progress[-1]:
                assert time.monotonic() < give_up
        else:
            time.sleep(chance.uniform(0, 1))
        nursery.kill()
        if not len(LocalIndex.open(nursery.folder)):
            progress.append(stored())
    assert progress == sorted(progress)
    assert len(set(progress)) > 2, progress
    held = writer.check(nursery.folder)
    assert {name: [text for _, text in pairs] for name, pairs in held.items()} in map(writer.planned, (0, 1))


def test_readers_see_whole_documents_while_a_writer_writes(nursery: writer.Nursery) -> None:
    nursery.start(99, {})
    reader = LocalIndex.open(nursery.folder)
    query = writer.vectors_of("query")[None]
    generations = set()
    give_up = time.monotonic() + 4
    while time.monotonic() < give_up:
        for name, texts in contents_of_one_moment(reader).items():
            assert len({text.split()[1] for text in texts}) == 1  # one version
            assert [text.split()[2] for text in texts] == [str(i) for i in range(len(texts))]
            assert {text.split()[0] for text in texts} == {name}
        hits = reader.search(query, 10)
        assert len(set(hits.pids[0].tolist()) - {-1}) == sum(pid >= 0 for pid in hits.pids[0].tolist())
        generations.add(reader.meta.state)
    before, after = writer.replay(nursery.kill(), {})
    assert writer.contents(reader) in (before, after)
    assert len(generations) > 5


def contents_of_one_moment(reader: LocalIndex) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for passages, vectors in reader.scroll(with_vectors=True, batch_size=7):
        assert vectors is not None
        for passage, block in zip(passages, vectors, strict=True):
            assert torch.allclose(block, writer.vectors_of(passage.text), atol=1e-3)
            found.setdefault(passage.document_id, []).append(passage.text)
    return found
