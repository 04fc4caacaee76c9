"""Writers and readers killed at any moment. `benchmarks/postgres.py` does it hundreds of times, servers among them."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from ..index.local import crash_writer as writer
from .servers import Server

ROUNDS, SECONDS = 5, 60


@pytest.fixture
def nursery(postgres: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module, limit, value in writer.LIMITS:
        monkeypatch.setattr(module, limit, value)
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "writer"))
    place = f"{postgres.url()}#{name}"
    nursery = writer.Nursery(tmp_path / "unused", place)
    yield nursery, place
    nursery.stop()


def read_for_ever(place: str, cache: str) -> None:
    os.environ["RAGATOUILLE_XM_CACHE"] = cache
    index = writer.open_at(place)
    while True:
        for _ in index.scroll(with_vectors=True):
            index.search(writer.vectors_of("any")[None], 5)


def test_what_was_acknowledged_stays_and_nothing_is_there_by_halves(nursery, tmp_path, monkeypatch) -> None:
    nursery, place = nursery
    chance = random.Random(0)
    held: writer.Documents = {}
    give_up = time.monotonic() + SECONDS
    fork = multiprocessing.get_context("fork")
    for round_number in range(ROUNDS):
        nursery.start(round_number, held)
        reader = fork.Process(target=read_for_ever, args=(place, str(tmp_path / "reader")))
        reader.start()
        time.sleep(chance.uniform(0.1, 0.8))
        os.kill(reader.pid, signal.SIGKILL)
        entries = nursery.kill()
        reader.join()
        assert not [entry for entry in entries if entry["do"] == "failed"]
        before, after = writer.replay(entries, held)
        for machine in ("reader", "new", "writer"):
            monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / machine))
            found = writer.check(place)
            assert found in (before, after), f"round {round_number}, {machine}: {entries[-3:]}"
            before = after = found
        held = found
        if time.monotonic() > give_up:
            break
    assert held
