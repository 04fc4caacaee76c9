"""One measure of one engine, in a process of its own: ``python -m index_engine.child MEASURE ARGUMENTS``, as JSON."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from search_peers.child import cpu, memory
from search_peers.system import Corpus, K

import ragatouille_xm
from index_engine.engine import engine
from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.types import Passage, TokenVectors

SAMPLED_EVERY = 0.01  # seconds
WARMING = 5  # queries before a filter
TEXT = 25  # repetitions of a passage's few words
FILTERS: dict[str, Mapping[str, Any]] = {
    "narrow": {"category": "c3", "year": 2001},  # 1 in 360
    "broad": {"category": {"$in": [f"c{i}" for i in range(5)]}},  # half
    "broad_range": {"year": {"$gte": 2000}},  # 26 in 36
}


def passage(pid: int, document_id: str, random: np.random.Generator) -> Passage:
    category, year, price = random.integers(10), random.integers(1990, 2026), random.random()
    metadata = {"category": f"c{category}", "year": int(year), "price": round(100 * price, 2)}
    return Passage(pid, document_id, f"passage {pid} " * TEXT, "en", metadata)


@contextmanager
def peak_anonymous() -> Iterator[dict[str, int]]:
    """Sample this process's anonymous memory in the background; the most, and that above the start, are in the dict."""
    page, done, most = resource.getpagesize(), threading.Event(), dict[str, int]()

    def now() -> int:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        return (int(resident) - int(shared)) * page

    def watch() -> None:
        while not done.wait(SAMPLED_EVERY):
            most["peak"] = max(most["peak"], now())

    start = most["peak"] = now()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()
        most["above_start"] = most["peak"] - start


def build(folder: str, corpus: str) -> dict[str, Any]:
    """Build an index; the vectors are read from a file block by block."""
    opened, made = Corpus.open(Path(corpus)), engine()
    used, began = cpu(), time.perf_counter()
    with peak_anonymous() as most, made.build(folder) as writer:
        for first, vectors, lengths in opened.blocks():
            start, random = writer.reserve(len(lengths)), np.random.default_rng(first)
            passages = [passage(pid, str(pid), random) for pid in range(start, start + len(lengths))]
            writer.add(passages, TokenVectors(torch.from_numpy(vectors), torch.from_numpy(np.array(lengths))))
    return {
        "wall_s": time.perf_counter() - began,
        "cpu_s": cpu() - used,
        "peak_anonymous_mib": most["peak"] / 2**20,
        "peak_anonymous_above_start_mib": most["above_start"] / 2**20,
        "ru_maxrss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def written() -> int:
    """Return the bytes that this process has had written to disks, through mapped files too."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def states(folder: str) -> set[tuple[str, int, int, int]]:
    found = ((str(path), path.stat()) for path in Path(folder).rglob("*"))
    return {(path, state.st_ino, state.st_size, state.st_mtime_ns) for path, state in found}


def open_(folder: str, corpus: str) -> dict[str, Any]:
    """Open an index and ask one query."""
    query, index_of = queries_of(corpus, 1)[0], engine().index
    files, bytes_before, used, began = states(folder), written(), cpu(), time.perf_counter()
    index = index_of.open(folder)
    opened = time.perf_counter()
    index.search(query, K)
    answered, used = time.perf_counter(), cpu() - used
    anonymous = memory()["anonymous_mb"]
    index.close()
    return {
        "open_ms": 1e3 * (opened - began),
        "first_answer_ms": 1e3 * (answered - began),
        "first_answer_cpu_ms": 1e3 * used,
        "anonymous_mib": anonymous,
        "written_bytes": written() - bytes_before,
        "files_changed": len({path for path, *_ in files ^ states(folder)}),
    }


def queries_of(corpus: str, n: int) -> list[torch.Tensor]:
    return list(torch.from_numpy(np.load(Path(corpus) / "queries.npy")[:n, None]))


class Change:
    """Changes of one document each, to an index that is open; the vectors are those of another corpus."""

    def __init__(self, folder: str, others: str) -> None:
        self.index = engine().index.open(folder)
        self._vectors, self._lengths = Corpus.open(Path(others))
        self._ends = np.cumsum(self._lengths)
        self._random = np.random.default_rng(1)
        self._documents = [str(pid) for pid in range(len(self.index))]

    def _passages(self, document_ids: list[str]) -> list[tuple[list[Passage], TokenVectors]]:
        made, first = [], self.index.reserve(len(document_ids))
        for pid, document_id in enumerate(document_ids, first):
            other = self._random.integers(len(self._lengths))
            rows = np.array(self._vectors[self._ends[other] - self._lengths[other] : self._ends[other]])
            vectors = TokenVectors(torch.from_numpy(rows), torch.tensor([len(rows)]))
            made.append(([passage(pid, document_id, self._random)], vectors))
        return made

    def _chosen(self, n: int) -> list[str]:
        return [str(each) for each in self._random.choice(self._documents, n, replace=False)]

    def _timed(self, changes: list[Callable[[], object]], name: str) -> dict[str, float]:
        """Make each change, and after each what the retriever does."""
        used, taken = cpu(), []
        for change in changes:
            began = time.perf_counter()
            change()
            self.index.optimize()
            taken.append(1e3 * (time.perf_counter() - began))
        return {
            f"{name}_ms": statistics.median(taken),
            f"{name}_worst_ms": max(taken),
            f"{name}_cpu_ms": 1e3 * (cpu() - used) / len(taken),
        }

    def add(self, n: int) -> dict[str, float]:
        names = [f"new {i}" for i in range(n)]
        self._documents += names
        return self._timed([partial(self.index.add, *each) for each in self._passages(names)], "add")

    def update(self, n: int) -> dict[str, float]:
        made = self._passages(self._chosen(n))
        return self._timed([partial(self.index.add, *each, replace=True) for each in made], "update")

    def delete(self, n: int) -> dict[str, float]:
        return self._timed([partial(self.index.delete, [name]) for name in self._chosen(n)], "delete")


def write(folder: str, others: str, n: str) -> dict[str, Any]:
    """Add, update and delete so many documents one by one."""
    change = Change(folder, others)
    before = len(change.index)
    row = change.add(int(n)) | change.update(int(n))
    assert len(change.index) == before + int(n), "not every document was added, or not every update replaced one"
    row |= change.delete(int(n))
    assert len(change.index) == before, "not every document was deleted"
    change.index.close()
    return row


def twenty(folder: str, others: str) -> dict[str, Any]:
    """Add twenty documents one by one, and close."""
    change = Change(folder, others)
    row = change.add(20)
    change.index.close()
    return row


class Asked(NamedTuple):
    """What a query found, and what it took."""

    found: list[int]
    ms: float
    cpu_ms: float


def ask(index: Any, query: torch.Tensor, **options: Any) -> Asked:
    used, began = cpu(), time.perf_counter()
    hits = index.search(query, K, **options)
    passed, used = time.perf_counter() - began, cpu() - used
    return Asked([int(pid) for pid in hits.pids[0] if pid >= 0], 1e3 * passed, 1e3 * used)


def search(folder: str, corpus: str, n: str, exact: str) -> dict[str, Any]:
    """Ask `n` queries, and `exact` of them exactly, each once untimed before; of the exact ones only the first."""
    index, row = engine().index.open(folder), dict[str, Any]()
    settings = {"default": (int(n), SearchConfig()), "exact": (int(exact), SearchConfig(exact=True))}
    for name, (number, config) in settings.items():
        if not number:
            continue
        queries = queries_of(corpus, number)
        for query in queries if name == "default" else queries[:1]:
            index.search(query, K, config=config)
        asked = [ask(index, query, config=config) for query in queries]
        row |= {
            f"{name}_ms": statistics.median(each.ms for each in asked),
            f"{name}_p95_ms": float(np.percentile([each.ms for each in asked], 95)),
            f"{name}_cpu_ms": statistics.median(each.cpu_ms for each in asked),
            f"{name}_found": [each.found for each in asked],
        }
    row["anonymous_mib"] = memory()["anonymous_mb"]
    index.close()
    return row


def filters(folder: str, corpus: str, name: str) -> dict[str, Any]:
    """Use one filter for the first and for the second time, each with a query of its own."""
    index, condition = engine().index.open(folder), parse_filter(FILTERS[name])
    queries = queries_of(corpus, WARMING)
    for query in queries:
        index.search(query, K)
    row: dict[str, Any] = {}
    for use, query in zip(("first", "second"), queries, strict=False):
        found, ms, cpu_ms = ask(index, query, filter=condition)
        row |= {f"{name}_{use}_ms": ms, f"{name}_{use}_cpu_ms": cpu_ms, f"{name}_{use}_found": [found]}
    index.close()
    return row


def versions() -> dict[str, Any]:
    """Return what is measured."""
    found = engine()
    return {"engine": found.index.__name__, "storage": found.storage, "torch": torch.__version__}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "build": build, "open": open_, "write": write, "twenty": twenty, "search": search, "filters": filters,
    "versions": versions,
}  # fmt: skip


def main() -> None:
    name, checkout, *arguments = sys.argv[1:]
    assert Path(checkout).resolve() in Path(ragatouille_xm.__file__).resolve().parents, "another checkout's package"
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(json.dumps(MEASURES[name](*arguments)))


if __name__ == "__main__":
    main()
