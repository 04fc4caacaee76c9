"""One measurement of one system, in a process of its own: ``python -m search_peers.child build|search …``."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from search_peers.system import Corpus
from search_peers.systems import SYSTEMS

BATCH = 1000
AGAIN_WITHIN = 60  # seconds that the queries took the first time


def cpu() -> float:
    """Return the CPU seconds of this process, all its threads, and its children."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def memory() -> dict[str, int]:
    """Return resident MB of this process: at the most, now, and now without mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"peak_mb": "VmHWM", "resident_mb": "VmRSS", "anonymous_mb": "RssAnon"}
    return {name: int(lines[field].split()[0]) // 1024 for name, field in names.items()}


def use_threads(n: int) -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(n)


def size_of(folder: Path) -> int:
    """Return the bytes that files take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def build(system: str, corpus: Path, folder: Path) -> dict[str, Any]:
    opened = Corpus.open(corpus)
    start, began = cpu(), time.perf_counter()
    SYSTEMS[system].build(opened, folder)
    return {
        "cpu_s": round(cpu() - start, 1),
        "wall_s": round(time.perf_counter() - began, 1),
        "disk_mb": round(size_of(folder) / 1e6, 1),
        "bytes_per_token": round(size_of(folder) / len(opened.vectors), 1),
        "version": SYSTEMS[system].version,
        **memory(),
    }


def search(system: str, setting: str, corpus: Path, folder: Path) -> dict[str, Any]:
    find = SYSTEMS[system].settings[setting](folder, Corpus.open(corpus))
    queries = np.load(corpus / "queries.npy")
    for query in queries[:3]:
        find(query)
    found, taken, walls = [], [], []
    for query in queries:
        start, began = cpu(), time.perf_counter()
        found.append([int(each) for each in find(query)])
        taken.append(cpu() - start)
        walls.append(time.perf_counter() - began)
    row = {
        "cpu_ms": round(1e3 * statistics.median(taken), 1),
        "wall_ms": round(1e3 * statistics.median(walls), 1),
        "wall_ms_p95": round(1e3 * float(np.percentile(walls, 95)), 1),
        "found": found,
        **memory(),
    }
    if sum(walls) > AGAIN_WITHIN:
        return row
    start, began = cpu(), time.perf_counter()
    for query in queries:
        find(query)
    used, passed = cpu() - start, time.perf_counter() - began
    return row | {
        "again_cpu_ms": round(1e3 * used / len(queries), 1),
        "again_wall_ms": round(1e3 * passed / len(queries), 1),
    }


def batch(system: str, corpus: Path, folder: Path, n: int) -> dict[str, Any]:
    make = SYSTEMS[system].batch
    assert make is not None
    queries, search = np.load(corpus / "queries.npy"), make(folder)
    search(queries[:3])
    start, began = cpu(), time.perf_counter()
    search(queries[np.arange(n) % len(queries)])
    used, taken = cpu() - start, time.perf_counter() - began
    return {"queries": n, "cpu_s": round(used, 2), "wall_s": round(taken, 2), "cores_used": round(used / taken, 2)}


def main() -> None:
    what, *arguments = sys.argv[1:]
    use_threads(int(os.environ["OMP_NUM_THREADS"]))
    if what == "build":
        result = build(arguments[0], Path(arguments[1]), Path(arguments[2]))
    elif what == "batch":
        result = batch(arguments[0], Path(arguments[1]), Path(arguments[2]), BATCH)
    else:
        result = search(arguments[0], arguments[1], Path(arguments[2]), Path(arguments[3]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
