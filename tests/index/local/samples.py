"""Passages whose vectors depend on their pids, and indexes of them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ragatouille_xm
from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.state import State, read_state, write_state
from ragatouille_xm.types import Hits, Passage, TokenVectors

DIM = 16
KEPT = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "f00d", "settings": {"max_document_length": 99}}
EXACT = SearchConfig(exact=True)
LENGTH = 4  # tokens of a passage
LARGE = 900  # passages: enough for a first stage above 500


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


CENTRES = unit(300, DIM, seed=1)
NOISE = 0.2 * unit(5000, DIM, seed=2)


def batch(first: int, count: int, document: str = "d{}", length: int = LENGTH) -> tuple[list[Passage], TokenVectors]:
    """Return passages from pid `first` on, and vectors that gather around `CENTRES`."""
    passages = [
        Passage(p, document.format(p), f"text {p}", "de" if p % 3 else "fr", {"n": p, "even": p % 2 == 0})
        for p in range(first, first + count)
    ]
    token = torch.arange(first, first + count)[:, None] * 13 + torch.arange(length)
    vectors = torch.nn.functional.normalize(CENTRES[token * token % 300] + NOISE[token % 5000], dim=2)
    return passages, TokenVectors(vectors.reshape(-1, DIM), torch.full((count,), length))


def queries(count: int = 20) -> torch.Tensor:
    """Return queries that some passages answer well: ``(count, 6, DIM)``."""
    vectors = batch(50, count, length=6)[1].vectors.reshape(count, 6, DIM)
    return torch.nn.functional.normalize(vectors + 0.3 * unit(count, 6, DIM, seed=5), dim=2)


def create(folder: Path, count: int = 0, **changes: Any) -> LocalIndex:
    index = LocalIndex.create(folder, **(KEPT | changes))
    index.add(*batch(0, count))
    return index


def build(folder: Path, count: int, at_once: int = 700) -> None:
    with LocalIndex.build(folder, **KEPT) as draft:
        for first in range(0, count, at_once):
            draft.add(*batch(draft.reserve(min(at_once, count - first)), min(at_once, count - first)))


def pids_in(index: Any, written: Any = None) -> list[int]:
    return [passage.pid for passages, _ in index.scroll(parse_filter(written)) for passage in passages]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def segment_files(folder: Path) -> set[str]:
    """Return the names of all files of segments and codebooks."""
    return {path.name for path in folder.iterdir() if path.name.startswith(("segment-", "codebook-"))}


def execute(folder: Path, *statements: str) -> None:
    """Change the database of an index that is closed."""
    with closing(sqlite3.connect(folder / "index.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def forge(folder: Path, change: Callable[[State], State]) -> None:
    """Write another state, with the checksum that belongs to it."""
    with closing(sqlite3.connect(folder / "index.db", isolation_level=None)) as connection:
        before = read_state(connection)
        write_state(connection, change(before), before)


def overlap(one: Hits, other: Hits) -> float:
    pairs = zip(one.pids.tolist(), other.pids.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in pairs]))


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in another process that has the package."""
    package = Path(ragatouille_xm.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(package)},
    )  # fmt: skip
