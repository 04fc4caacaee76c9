"""How much memory, time and disk does indexing 100,000 short passages take, above the model?

Random unit vectors stand in for the encoder. They stream through `LocalIndex.build` in batches, as those of
`Retriever.add` do; then another process opens the index and searches. Random vectors have no neighbours to speak of, so
this says nothing about what the first stage finds, only what it costs. Memory is read from /proc: anonymous memory is
what the process needs for itself; pages of mapped files count as resident too, but the system takes them back when it
needs room. Times depend on what else the machine does: its load is noted.

    python benchmarks/memory.py [--passages 100000] [--folder DIR] [--out benchmarks/results/memory.json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from machine import cpu

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.types import Passage, TokenVectors

DIM, TOKENS, QUERY = 128, 40, 32
PASSAGES_BATCH = 512


def memory() -> dict[str, int]:
    """Return resident memory of this process in MiB (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"resident": "VmRSS", "anonymous": "RssAnon"}
    return {name: int(lines[key].split()[0]) >> 10 for name, key in names.items()}


@contextmanager
def peaks() -> Iterator[dict[str, int]]:
    """Watch memory in the background; the peaks above what it was at the start are in the dict at the end."""
    start, done = memory(), threading.Event()
    most: dict[str, int] = {}

    def watch() -> None:
        while not done.wait(0.02):
            for name, value in memory().items():
                most[name] = max(most.get(name, 0), value - start[name])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def batch(first: int, count: int, random: torch.Generator) -> tuple[list[Passage], TokenVectors]:
    lengths = torch.randint(TOKENS // 2, TOKENS * 3 // 2 + 1, (count,), generator=random)
    vectors = torch.nn.functional.normalize(torch.randn(int(lengths.sum()), DIM, generator=random), dim=1)
    passages = [
        Passage(pid, f"document {pid // 4}", f"passage {pid} " * 12, ("en", "fr", "zh")[pid % 3], {"year": pid % 25})
        for pid in range(first, first + count)
    ]
    return passages, TokenVectors(vectors, lengths)


def build(folder: Path, passages: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    batch(0, PASSAGES_BATCH, random)  # whatever torch needs once
    with peaks() as most:
        started = time.perf_counter()
        with LocalIndex.build(folder, dim=DIM, checkpoint="random", fingerprint="0", settings={}) as draft:
            for first in range(0, passages, PASSAGES_BATCH):
                count = min(PASSAGES_BATCH, passages - first)
                draft.add(*batch(draft.reserve(count), count, random))
            added = time.perf_counter()
            print(f"added {passages} passages in {added - started:.0f} s", file=sys.stderr)
            peak_adding = dict(most)
        ended = time.perf_counter()
    return {
        "peak_mib_above_start": most,
        "peak_mib_above_start_while_adding": peak_adding,
        "seconds_adding_with_making_the_vectors": round(added - started, 1),
        "seconds_codebook_and_sealing": round(ended - added, 1),
    }


def search(folder: Path, repeat: int = 10) -> dict[str, Any]:
    random = torch.Generator().manual_seed(1)
    queries = torch.nn.functional.normalize(torch.randn(repeat + 1, 1, QUERY, DIM, generator=random), dim=3)
    with peaks() as most:
        started = time.perf_counter()
        index = LocalIndex.open(folder)
        opened = time.perf_counter() - started
        found: dict[str, Any] = {"seconds_opening": round(opened, 2)}
        for name, config in (("first_stage", SearchConfig()), ("exact", SearchConfig(exact=True))):
            times = []
            for query in queries:
                started = time.perf_counter()
                index.search(query, 10, config=config)
                times.append(time.perf_counter() - started)
            found[f"median_ms_{name}"] = round(sorted(times[1:])[repeat // 2] * 1000, 1)
            time.sleep(0.1)
            found[f"peak_mib_above_start_{name}"] = dict(most)
        state = index.state
    found |= {"tokens": state.tokens, "parts": len(state.segments)}
    return found


def disk_mib(folder: Path) -> int:
    return sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file()) * 512 >> 20


def in_a_process(what: str, folder: Path, passages: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--only", what, "--folder", str(folder), "--passages", str(passages)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    parser.add_argument("--only", choices=["build", "search"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        do = {"build": lambda: build(options.folder, options.passages), "search": lambda: search(options.folder)}
        print(json.dumps(do[options.only]()))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place) / "index"
        result = {
            "passages": options.passages,
            "mean_tokens": TOKENS,
            "dim": DIM,
            "query_rows": QUERY,
            "machine": f"{cpu()}, {os.cpu_count()} cores, torch {torch.__version__}",
            "build": in_a_process("build", folder, options.passages),
            "disk_mib": disk_mib(folder),
            "load_average_after_building": [round(each, 1) for each in os.getloadavg()],
            "search_in_a_new_process": in_a_process("search", folder, options.passages),
        }
    text = json.dumps(result, indent=1)
    print(text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
