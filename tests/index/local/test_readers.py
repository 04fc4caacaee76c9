"""Reading while somebody writes, at moments that chance rarely finds, and reading what is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import IndexDamagedError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.state import read_version
from ragatouille_xm.types import Passage, TokenVectors

QUERY = torch.eye(8)[None, :1]
CONDITION = parse_filter({"colour": "red"})


@pytest.fixture(params=["in the buffer", "in a segment"])
def index(folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LocalIndex:
    if request.param == "in a segment":
        monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    index = LocalIndex.create(folder, dim=8, checkpoint="", fingerprint="", settings={})
    put(index, 4)
    return index


def put(index: LocalIndex, count: int, **options: Any) -> None:
    first = index.reserve(count)
    passages = [Passage(first + i, f"d{i}", f"text {i}", "fr", {"colour": "red"}) for i in range(count)]
    index.add(passages, TokenVectors(torch.eye(8)[:count], torch.ones(count, dtype=torch.int64)), **options)


def test_a_search_that_began_before_a_write_sees_what_its_filter_admitted_then(index: LocalIndex) -> None:
    """Another search with that filter, which began later, must not tell it what is admitted now."""
    with index._database.snapshot() as connection:
        before = index._load(connection, read_version(connection))
        put(index, 2, replace=True)
        assert sorted(index.search(QUERY, 4, filter=CONDITION).pids[0].tolist()) == [2, 3, 4, 5]
        assert before.pids(before.masks(connection, CONDITION)).tolist() == [0, 1, 2, 3]
    assert sorted(index.search(QUERY, 4, filter=CONDITION).pids[0].tolist()) == [2, 3, 4, 5]


def damage(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / "index.db")) as database, database:
        database.execute(sql)


def test_a_passage_whose_text_is_lost_is_called_damaged(index: LocalIndex, folder: Path) -> None:
    with pytest.raises(KeyError):
        index.fetch([0, 9])
    damage(folder, "DELETE FROM passage WHERE pid = 2")
    with pytest.raises(IndexDamagedError, match="passage 2"):
        index.fetch([0, 2])
    with pytest.raises(IndexDamagedError, match="passage 2"):
        list(index.scroll())


def test_what_filters_look_up_is_called_damaged(index: LocalIndex, folder: Path) -> None:
    damage(folder, "UPDATE attribute SET pid = 'x' WHERE pid = 1 AND kind = 1")
    with pytest.raises(IndexDamagedError, match="filters look up"):
        index.search(QUERY, 4, filter=CONDITION)
