"""A writer to be killed, and what an index must hold then. Run as a script it forks a writer for each task it reads.

The writer changes the index for ever, and notes in a journal what it is about to do, and when the call has returned.
What the index must hold follows from the journal: `replay`. Under limits as low as these, every few calls flush the
buffer, merge segments and fit a codebook.

The index is in a folder, or in PostgreSQL: its place is then the address of the database, "#", and a name.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import torch

import ragatouille_xm
from ragatouille_xm.config import SearchConfig
from ragatouille_xm.index.lexical import PieceCounts
from ragatouille_xm.index.local import build as builds
from ragatouille_xm.index.local import search as searches
from ragatouille_xm.index.local import writer as writers
from ragatouille_xm.index.local.folder import BUILD_DATABASE, DATABASE, LOCK
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.install import read_saved
from ragatouille_xm.index.local.verify import find_faults
from ragatouille_xm.index.quantization import codebook as codebooks
from ragatouille_xm.types import Passage, TokenVectors

DIM = 8
KEPT: dict[str, Any] = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "0", "settings": {}, "lexical": True}
NAMES = [f"d{i}" for i in range(40)]
ACTIONS = {"add": 8, "replace": 5, "delete": 3, "optimize": 4, "refit": 2, "build": 2, "resume": 4}
LIMITS = (
    (writers, "BUFFER_TOKENS", 60),
    (codebooks, "EXACT_BELOW", 30),
    (codebooks, "GROWTH", 1.3),
    (searches, "EXACT_BELOW", 0),
    (builds, "SAVE_SECONDS", 0.0),
)

REPLICA_FILES = ("replica.lock", "used", "download.part")

Documents = dict[str, list[tuple[int, str]]]
"""For each document id, the pids and texts of its passages."""


def vectors_of(text: str) -> torch.Tensor:
    """Return unit vectors (t, DIM) that depend on the text alone."""
    source = random.Random(text)
    rows = torch.tensor([[source.gauss(0, 1) for _ in range(DIM)] for _ in range(source.randint(1, 5))])
    return torch.nn.functional.normalize(rows, dim=1)


def pieces_of(texts: list[str]) -> PieceCounts:
    """Return a piece for each word of a text, and one of its own."""
    return PieceCounts.of([[crc32(each.encode()) % 2**31 for each in (*text.split(), text)] for text in texts])


def arguments(documents: Documents) -> tuple[list[Passage], TokenVectors, PieceCounts]:
    passages = [
        Passage(pid, document_id, text, "fr", {"document": document_id})
        for document_id, pairs in documents.items()
        for pid, text in pairs
    ]
    blocks = [vectors_of(passage.text) for passage in passages]
    vectors = TokenVectors(torch.cat(blocks), torch.tensor([len(block) for block in blocks]))
    return passages, vectors, pieces_of([passage.text for passage in passages])


# ---- what an index must hold


def apply(state: Documents, entry: dict[str, Any]) -> Documents:
    """Return what the index holds after a call."""
    if entry["do"] == "delete":
        return {name: pairs for name, pairs in state.items() if name not in entry["ids"]}
    state = {} if entry["do"] == "build" else state
    return state | {name: [(pid, text) for pid, text in each] for name, each in entry.get("documents", {}).items()}


def replay(entries: list[dict[str, Any]], held: Documents) -> tuple[Documents, Documents]:
    """Return what an index that held `held` holds now: if the last call had no effect, and if it had."""
    before = after = held
    for entry in entries:
        if entry["do"] == "done":
            before = after
        elif entry["do"] != "begin":
            after = apply(before, entry)
    return before, after


def contents(index: LocalIndex) -> Documents:
    """Return what an index holds, after checking that vectors, metadata and counts are those of the texts."""
    found: Documents = {}
    for passages, vectors in index.scroll(with_vectors=True):
        assert vectors is not None
        for passage, block in zip(passages, vectors, strict=True):
            assert torch.allclose(block, vectors_of(passage.text), atol=1e-3)
            assert passage.metadata == {"document": passage.document_id}
            found.setdefault(passage.document_id, []).append((passage.pid, passage.text))
    total = sum(map(len, found.values()))
    assert len(index) == total
    assert sum(index.languages().values()) == total
    assert index.contains(NAMES) == set(found)
    return found


def check_search(index: LocalIndex, held: Documents) -> None:
    """Check that a few passages are found by their own vectors, through the first stage and without it."""
    pids = sorted(pid for pairs in held.values() for pid, _ in pairs)
    for pairs in list(held.values())[:5]:
        pid, text = pairs[0]
        query = vectors_of(text)[None]
        assert index.search(query, 1).pids.tolist() == [[pid]]
        exact = index.search(query, len(index), config=SearchConfig(exact=True))
        assert exact.pids[0, 0] == pid
        assert abs(exact.scores[0, 0] - query.shape[1]) < 0.01
        assert sorted(exact.pids[0].tolist()) == pids
        hybrid = index.search_hybrid(query, pieces_of([text]), len(index), weight=1.0)
        assert hybrid.pids[0, 0] == pid
        assert sorted(hybrid.pids[0].tolist()) == pids


def check_files(index: LocalIndex) -> None:
    """Check that nothing is wrong with an index, and that after another write it has no files that nobody names."""
    assert list(find_faults(index.folder, full=True)) == []
    index.reserve(0)
    build = read_saved(index.folder, BUILD_DATABASE)
    growing = {segment.name for segment in build.growing} if build else set()
    named = {LOCK, *REPLICA_FILES, *index.state.files, *(build.files if build else ())}
    named |= {name + end for name in (DATABASE, BUILD_DATABASE) for end in ("", "-wal", "-shm", "-journal")}
    there = {path.name for path in index.folder.iterdir()}
    orphans = {name for name in there - named if name.partition(".")[0] not in growing}
    assert not orphans, orphans


def check(place: Path | str) -> Documents:
    """Return what an index holds, after checking all of it."""
    index = open_at(place)
    index.reserve(0)  # a server may have the last words of a writer that is no more; who writes next knows
    found = contents(index)
    check_search(index, found)
    check_files(index)
    index.close()
    return found


# ---- where the index is


def open_at(place: Path | str) -> LocalIndex:
    if "#" not in str(place):
        return LocalIndex.open(place)
    server, name = in_server(str(place))
    return server.open(name)


def build_at(place: Path | str, **options: Any) -> AbstractContextManager[Any]:
    if "#" not in str(place):
        return LocalIndex.build(place, **KEPT, **options)
    server, name = in_server(str(place))
    return server.build(name, **KEPT, **options)


def in_server(place: str) -> tuple[Any, str]:
    from ragatouille_xm.index.postgres.server import PostgresServer

    url, _, name = place.rpartition("#")
    return PostgresServer(url), name


# ---- the writer


class Writer:
    """Changes an index for ever. `held` is what it holds now."""

    def __init__(self, place: str, journal: Path, seed: int, held: Documents, actions: dict[str, int]) -> None:
        self.place = place
        self.index = open_at(place)
        self.held = held
        self._choose = random.Random(seed)
        self._actions = actions
        self._log = os.open(journal, os.O_WRONLY | os.O_APPEND)

    def note(self, **entry: Any) -> None:
        os.write(self._log, (json.dumps(entry) + "\n").encode())

    def step(self) -> None:
        """Change the index once."""
        [action] = self._choose.choices(list(self._actions), list(self._actions.values()))
        self.note(do="begin", action=action)
        entry = getattr(self, action)()
        self.note(do="done")
        self.held = apply(self.held, entry)

    def _documents(self, names: list[str]) -> Documents:
        """Return a new version of some of the documents, under reserved pids."""
        version = self._choose.random()
        chosen = self._choose.sample(names, min(len(names), 8))
        texts = {name: [f"{name} {version} {i}" for i in range(self._choose.randint(1, 4))] for name in chosen}
        first = self.index.reserve(sum(map(len, texts.values())))
        return numbered(texts, first)

    def add(self) -> dict[str, Any]:
        return self._add([name for name in NAMES if name not in self.held])

    def replace(self) -> dict[str, Any]:
        return self._add(sorted(self.held))

    def _add(self, names: list[str]) -> dict[str, Any]:
        entry = {"do": "add", "documents": self._documents(names)}
        self.note(**entry)
        if entry["documents"]:
            self.index.add(*arguments(entry["documents"]), replace=True)
        return entry

    def delete(self) -> dict[str, Any]:
        entry = {"do": "delete", "ids": self._choose.sample(sorted(self.held), min(len(self.held), 3))}
        self.note(**entry)
        self.index.delete(entry["ids"])
        return entry

    def optimize(self) -> dict[str, Any]:
        self.index.optimize()
        return {"do": "optimize"}

    def refit(self) -> dict[str, Any]:
        self.index.optimize(refit=True)
        return {"do": "refit"}

    def build(self) -> dict[str, Any]:
        return self._build(resume=False)

    def resume(self) -> dict[str, Any]:
        return self._build(resume=True)

    def _build(self, *, resume: bool) -> dict[str, Any]:
        texts = planned(self._choose.randrange(2))
        with build_at(self.place, resume=resume) as build:
            documents = fill(build, texts)
            entry = {"do": "build", "documents": documents}
            self.note(**entry)
        return entry


def planned(version: int) -> dict[str, list[str]]:
    """Return the texts of a whole build: one of two, so that another build can go on with it."""
    return {name: [f"{name} {version} {i}" for i in range(1 + (int(name[1:]) + version) % 3)] for name in NAMES}


def numbered(texts: dict[str, list[str]], first: int) -> Documents:
    pids = iter(range(first, first + sum(map(len, texts.values()))))
    return {name: [(next(pids), text) for text in each] for name, each in texts.items()}


def fill(build: Any, texts: dict[str, list[str]]) -> Documents:
    """Make a build hold some documents, keeping what is right of what it holds; return them with their pids."""
    documents: Documents = {}
    for start in range(0, len(texts), 5):
        batch = dict(list(texts.items())[start : start + 5])
        stored: Documents = {}
        for passage in build.passages_of(list(batch)):
            stored.setdefault(passage.document_id, []).append((passage.pid, passage.text))
        kept = {name: pairs for name, pairs in stored.items() if [text for _, text in pairs] == batch[name]}
        missing = {name: each for name, each in batch.items() if name not in kept}
        new = numbered(missing, build.reserve(sum(map(len, missing.values()))))
        if new:
            build.add(*arguments(new))
        documents |= kept | new
    build.delete([name for name in build.document_ids() if name not in texts])
    return documents


# ---- the process that writers come from


class Nursery:
    """Starts writers, one at a time, from a process that has imported everything."""

    def __init__(self, folder: Path, place: str | None = None, inside: Sequence[str] = ()) -> None:
        self.folder = folder
        self.journal = folder.parent / "journal"
        self._child: int | None = None
        self._place = place = place or str(folder)
        if not inside:
            with build_at(place):
                pass
        self._process = subprocess.Popen(
            [*inside, sys.executable, __file__, str(self.journal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(ragatouille_xm.__file__).parents[1])},
        )

    def at(self, place: str) -> Nursery:
        """Have the next writers find the index elsewhere."""
        self._place = place
        return self

    def start(self, seed: int, held: Documents, actions: dict[str, int] = ACTIONS) -> None:
        """Start a writer; return when it has begun to write."""
        self.journal.write_bytes(b"")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({"place": self._place, "seed": seed, "held": held, "actions": actions}).encode() + b"\n"
        )
        self._process.stdin.flush()
        self._child = int(self._process.stdout.readline())
        give_up = time.monotonic() + 60
        while not self.journal.stat().st_size:
            assert time.monotonic() < give_up
            time.sleep(0.001)

    def kill(self) -> list[dict[str, Any]]:
        """Kill the writer, and return what it noted."""
        assert self._process.stdout is not None
        assert self._child is not None
        with suppress(ProcessLookupError):  # it failed
            os.kill(self._child, signal.SIGKILL)
        self._child = None
        assert self._process.stdout.readline() == b"dead\n"
        whole = self.journal.read_text().splitlines(keepends=True)
        # A line that the kill has cut off tells of a call that had not begun, or of one that was not acknowledged.
        return [json.loads(line) for line in whole if line.endswith("\n")]

    def stop(self) -> None:
        if self._child is not None:
            self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def main() -> None:
    torch.set_num_threads(1)
    for module, name, value in LIMITS:
        setattr(module, name, value)
    journal = Path(sys.argv[1])
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if not child:
            writer = None
            try:
                writer = Writer(journal=journal, **task)
                while True:
                    writer.step()
            except BaseException as error:
                with open(journal, "a") as log:
                    log.write(json.dumps({"do": "failed", "error": f"{type(error).__name__}: {error}"}) + "\n")
                os._exit(1)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main()
