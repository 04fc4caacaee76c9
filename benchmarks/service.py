"""What does a service cost, and what does it bear? Load on the loopback address.

    python benchmarks/service.py [--index FOLDER --queries FILE] [--seconds 10]

By default the index is that of the bundled sample, with its 60 questions, in the demo checkpoint. The service is a
process of its own, and so are its clients, who ask one question after the other, 1, 8 and 32 of them at a time. Both
share the machine's cores; encoding takes one thread. It is measured with queries encoded together (up to 32 in a pass)
and one by one. The language of each query is given, so that its detection does not blur the rest.

What the service adds to one query is measured apart. Each question is asked in three ways in turn: in the process, of
the service over a socket, and of the service with `RAGClient`. So whatever else the machine does meets all three alike,
and the difference to the same question in the process is the cost: over the socket the service's own, and with
`RAGClient` the client's as well. It is counted in time that passed, and in processor time of both processes (Linux),
which others on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import torch
from machine import cpu

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.client import RAGClient
from ragatouille_xm.demo import demo_queries, demo_sample

HERE = Path(__file__).parent
CLIENTS, BATCHES, K = (1, 8, 32), (32, 1), 10
WARM_UP = 20  # queries
SETTLE = 0.003  # seconds after an answer, in which a service clears up
Row = dict[str, Any]


def sample_index(root: str) -> tuple[Path, list[tuple[str, str]]]:
    """Index the bundled sample; return the folder, and questions with their languages."""
    model = RAGPretrainedModel.from_pretrained("demo", index_root=root, verbose=0)
    sample = demo_sample()
    folder = model.index([d.text for d in sample], [d.id for d in sample], index_name="sample")
    model.close()
    return Path(folder), [(query.text, query.language) for query in demo_queries()]


@contextmanager
def service(folder: Path, batch_size: int) -> Iterator[tuple[str, int]]:
    """Start a service; yield its address, and the number of its process."""
    command = [sys.executable, "-m", "ragatouille_xm.cli", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen([*command, "--batch-size", str(batch_size)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while not (found := re.search(r"Serving at (\S+)", process.stderr.readline())):
            if process.poll() is not None:
                raise SystemExit("The service did not start.")
        yield found[1], process.pid
    finally:
        process.terminate()
        process.communicate()


async def load(url: str, queries: list[tuple[str, str]], clients: int, seconds: float) -> Row:
    """Let clients ask one question after the other."""
    took: list[float] = []
    async with httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=clients)) as http:

        async def ask(number: int) -> None:
            text, language = queries[number % len(queries)]
            answer = await http.post(url, json={"query": text, "language": language, "k": K})
            answer.raise_for_status()

        async def client(number: int, end: float) -> None:
            while time.perf_counter() < end:
                start = time.perf_counter()
                await ask(number)
                took.append(time.perf_counter() - start)
                number += clients

        for i in range(WARM_UP):
            await ask(i)
        start = time.perf_counter()
        await asyncio.gather(*(client(number, start + seconds) for number in range(clients)))
        return summary(took, time.perf_counter() - start)


def cost(folder: Path, queries: list[tuple[str, str]], seconds: float) -> list[Row]:
    """Ask each question in the process and of the service, in turn."""
    model = RAGPretrainedModel.from_index(folder, verbose=0)
    with service(folder, BATCHES[0]) as (url, number):
        address = urlsplit(url)
        http = HTTPConnection(str(address.hostname), address.port)
        client = RAGClient(url, index_name=folder.name)

        def ask_by_socket(text: str, language: str) -> None:
            body = json.dumps({"query": text, "language": language, "k": K})
            http.request("POST", search_path(folder), body, {"Content-Type": "application/json"})
            answer = http.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()

        ways: dict[str, Callable[[str, str], object]] = {
            "in the process": lambda text, language: model.search(text, k=K, language=language),
            "service, over a socket": ask_by_socket,
            "service, with RAGClient": lambda text, language: client.search(text, k=K, language=language),
        }
        processes = (os.getpid(), number)
        took: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for text, language in queries[:WARM_UP]:
            for ask in ways.values():
                ask(text, language)
        end = time.perf_counter() + seconds
        for text, language in itertools.cycle(queries):
            for way, ask in ways.items():
                used, start = processor_ms(processes), time.perf_counter()
                ask(text, language)
                passed = 1000 * (time.perf_counter() - start)
                time.sleep(SETTLE)
                took[way].append((passed, processor_ms(processes) - used))
            if time.perf_counter() > end:
                break
    model.close()
    alone = took["in the process"]
    return [
        {
            "way": way,
            "queries": len(found),
            "p50_ms": round(statistics.median(passed for passed, _ in found), 2),
            "cpu_ms": round(statistics.median(cpu for _, cpu in found), 2),
            "cost_ms": median_difference(found, alone, 0),
            "cost_cpu_ms": median_difference(found, alone, 1),
        }
        for way, found in took.items()
    ]


def processor_ms(processes: tuple[int, ...]) -> float:
    """Return the processor time of all threads of processes."""
    tasks = (task for number in processes for task in Path(f"/proc/{number}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def median_difference(found: list[tuple[float, float]], base: list[tuple[float, float]], part: int) -> float:
    return round(statistics.median(a[part] - b[part] for a, b in zip(found, base, strict=True)), 2)


def search_path(folder: Path) -> str:
    return f"/v1/indexes/{folder.name}/search"


def summary(took: list[float], passed: float) -> Row:
    cuts = statistics.quantiles(took, n=100)
    return {
        "queries": len(took),
        "per_second": round(len(took) / passed, 1),
        "p50_ms": round(1000 * cuts[49], 2),
        "p99_ms": round(1000 * cuts[98], 2),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--index", type=Path, help="folder of an index of the demo checkpoint")
    options.add_argument("--queries", type=Path, help="for it: a language, a tab and a question on each line")
    options.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        if given.index is None:
            folder, queries = sample_index(root)
        else:
            folder = given.index
            lines = given.queries.read_text("utf-8").splitlines()
            queries = [(text, language) for language, text in (line.split("\t", 1) for line in lines)]
        model = RAGPretrainedModel.from_index(folder, verbose=0)
        passages = len(model.catalog.get().index)
        model.close()
        rows: list[Row] = []
        ways = cost(folder, queries, 3 * given.seconds)
        loads = {"cost": round(os.getloadavg()[0], 1)}
        print(*ways, sep="\n", flush=True)
        for batch_size in BATCHES:
            with service(folder, batch_size) as (url, _):
                for clients in CLIENTS:
                    found = asyncio.run(load(url + search_path(folder), queries, clients, given.seconds))
                    rows.append({"batch_size": batch_size, "clients": clients, **found})
                    print(rows[-1], flush=True)
    result = {
        "question": "What does a service cost, and what does it bear?",
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": cpu(), "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__},
        "load_average": {**loads, "rows": round(os.getloadavg()[0], 1)},
        "passages": passages,
        "queries": len(queries),
        "cost": ways,
        "rows": rows,
    }
    (HERE / "results" / "service.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
