"""A writer to be killed. Run as a script it forks one for each task, a line of JSON, that it reads.

The writer changes the index for ever, and notes in a journal what it is about to do, and when the call has returned.
What the index must hold then follows from the journal: `replay`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from itertools import count
from pathlib import Path

import torch

from ragatouille_xm.index.local import build as drafts
from ragatouille_xm.index.local import merge as compaction
from ragatouille_xm.index.local.index import EdgeIndex
from ragatouille_xm.types import Passage, TokenVectors

DIM = 8
KEPT = {"dim": DIM, "checkpoint": "tiny", "fingerprint": "0", "settings": {}}
DOCUMENTS = 40

Documents = dict[str, list[tuple[int, str]]]
"""For each document id, the pids and texts of its passages."""


def vectors_of(text: str) -> torch.Tensor:
    """Return unit vectors (t, DIM) that depend on the text alone."""
    source = random.Random(text)
    rows = torch.tensor([[source.gauss(0, 1) for _ in range(DIM)] for _ in range(source.randint(1, 5))])
    return torch.nn.functional.normalize(rows, dim=1).half()


def arguments(documents: Documents) -> tuple[list[Passage], TokenVectors]:
    passages = [
        Passage(pid, document_id, text, "fr", {"document": document_id})
        for document_id, pairs in documents.items()
        for pid, text in pairs
    ]
    blocks = [vectors_of(passage.text) for passage in passages]
    return passages, TokenVectors(torch.cat(blocks), torch.tensor([len(block) for block in blocks]))


def apply(state: Documents, entry: dict) -> Documents:
    """Return what the index holds after a call."""
    if entry["do"] == "delete":
        return {name: pairs for name, pairs in state.items() if name not in entry["ids"]}
    state = {} if entry["do"] == "build" else state
    return state | {name: [tuple(pair) for pair in pairs] for name, pairs in entry.get("documents", {}).items()}


def replay(entries: list[dict], held: Documents) -> tuple[Documents, Documents]:
    """Return what an index that held `held` does now: if the last call had no effect, and if it had."""
    before = after = held
    for entry in entries:
        if entry["do"] == "done":
            before = after
        elif entry["do"] != "reserved":
            after = apply(before, entry)
    return before, after


def write_for_ever(folder: Path, journal: Path, seed: int, held: Documents) -> None:
    """Change the index at random. `held` is what it holds now."""
    choose = random.Random(seed)
    log = os.open(journal, os.O_WRONLY | os.O_APPEND)
    index = EdgeIndex.open(folder)
    while True:
        action = choose.choices(["add", "replace", "delete", "optimize", "build"], [8, 5, 3, 6, 1])[0]
        entry = {"do": "add" if action == "replace" else action}
        if action == "delete":
            entry["ids"] = choose.sample(sorted(held), min(len(held), 3))
        elif action != "optimize":
            names = sorted(held) if action == "replace" else [f"d{i}" for i in range(DOCUMENTS) if f"d{i}" not in held]
            entry["documents"] = documents = drawn(index, choose, choose.sample(names, min(len(names), 8)))
            os.write(log, (json.dumps({"do": "reserved", "documents": documents}) + "\n").encode())
        os.write(log, (json.dumps(entry) + "\n").encode())
        perform(index, entry)
        os.write(log, b'{"do": "done"}\n')
        held = apply(held, entry)


def drawn(index: EdgeIndex, choose: random.Random, names: list[str]) -> Documents:
    """Return a new version of some documents, under reserved pids."""
    version = choose.random()
    texts = {name: [f"{name} {version} {i}" for i in range(choose.randint(1, 4))] for name in names}
    pids = count(index.reserve(sum(map(len, texts.values()))))
    return {name: [(next(pids), text) for text in each] for name, each in texts.items()}


def perform(index: EdgeIndex, entry: dict) -> None:
    if entry["do"] == "delete":
        index.delete(entry["ids"])
    elif entry["do"] == "optimize":
        index.optimize()
    elif entry["do"] == "add" and entry["documents"]:
        index.add(*arguments(entry["documents"]), replace=True)
    elif entry["do"] == "build":
        with EdgeIndex.build(index.folder, **KEPT) as draft:
            if entry["documents"]:
                draft.add(*arguments(entry["documents"]))


def planned(first_pid: int = 0) -> Documents:
    """Return what a whole build holds: 120 documents of one to three passages."""
    pids = count(first_pid)
    return {f"d{i}": [(next(pids), f"d{i} {j}") for j in range(1 + i % 3)] for i in range(120)}


def build_on(folder: Path, journal: Path) -> None:
    """Resume a build, and note what it has so far before each batch of six documents."""
    log = os.open(journal, os.O_WRONLY | os.O_APPEND)
    every = list(planned().items())
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        for i in range(0, len(every), 6):
            os.write(log, (json.dumps(len(draft)) + "\n").encode())
            batch = dict(every[i : i + 6])
            known = draft.contains(list(batch))
            time.sleep(0.01)
            if missing := {name: pairs for name, pairs in batch.items() if name not in known}:
                draft.reserve(sum(map(len, missing.values())))
                draft.add(*arguments(missing))


def main() -> None:
    torch.set_num_threads(1)
    compaction.EXACT_BELOW, compaction.GROWTH = 30, 1.3  # so that codebooks are fitted all the time
    drafts.SAVE_EVERY = 0.0
    folder, journal = Path(sys.argv[1]), Path(sys.argv[2])
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if not child:
            if "seed" in task:
                write_for_ever(folder, journal, task["seed"], task["held"])
            build_on(folder, journal)
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main()
