"""What does a service cost, and what does it bear? Load on the loopback address.

    python benchmarks/service.py [--index FOLDER --queries FILE] [--seconds 10]

By default the index is that of the bundled sample, with its 60 questions, in the demo checkpoint. The service is a
process of its own, and so are its clients, who ask one question after the other, 1, 8 and 32 of them at a time. Both
share the machine's cores; encoding takes one thread. It is measured with queries encoded together (up to 32 in a pass)
and one by one. Beside it stands the same search in a process, without a service, one at a time: the difference of the
medians is what the service adds. The language of each query is given, so that its detection does not blur the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import torch

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.demo import demo_queries, demo_sample

HERE = Path(__file__).parent
CLIENTS, BATCHES, K = (1, 8, 32), (32, 1), 10
WARM_UP = 20  # queries
Row = dict[str, Any]


def sample_index(root: str) -> tuple[Path, list[tuple[str, str]]]:
    """Index the bundled sample; return the folder, and questions with their languages."""
    model = RAGPretrainedModel.from_pretrained("demo", index_root=root, verbose=0)
    sample = demo_sample()
    folder = model.index([d.text for d in sample], [d.id for d in sample], index_name="sample")
    model.close()
    return Path(folder), [(query.text, query.language) for query in demo_queries()]


def in_process(folder: Path, queries: list[tuple[str, str]], seconds: float) -> Row:
    """Search without a service, one query after the other."""
    model = RAGPretrainedModel.from_index(folder, verbose=0)
    for text, language in queries[:WARM_UP]:
        model.search(text, k=K, language=language)
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        text, language = queries[len(took) % len(queries)]
        start = time.perf_counter()
        model.search(text, k=K, language=language)
        took.append(time.perf_counter() - start)
    model.close()
    return summary(took, sum(took))


@contextmanager
def service(folder: Path, batch_size: int) -> Iterator[str]:
    """Start a service; yield the address of its index."""
    command = [sys.executable, "-m", "ragatouille_xm.cli", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen([*command, "--batch-size", str(batch_size)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while not (found := re.search(r"Serving at (\S+)", process.stderr.readline())):
            if process.poll() is not None:
                raise SystemExit("The service did not start.")
        yield f"{found[1]}/v1/indexes/{folder.name}/search"
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
    options.add_argument(
        "--cpu", default=platform.processor() or platform.machine(), help="kind of machine, for the result"
    )
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
        alone = in_process(folder, queries, given.seconds)
        for batch_size in BATCHES:
            with service(folder, batch_size) as url:
                for clients in CLIENTS:
                    found = asyncio.run(load(url, queries, clients, given.seconds))
                    rows.append({"batch_size": batch_size, "clients": clients, **found})
                    print(rows[-1], flush=True)
    result = {
        "question": "What does a service cost, and what does it bear?",
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": given.cpu, "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__},
        "load_average": round(os.getloadavg()[0], 1),
        "passages": passages,
        "queries": len(queries),
        "in_process": alone,
        "rows": rows,
        "cost_ms": round(rows[0]["p50_ms"] - alone["p50_ms"], 2),
    }
    (HERE / "results" / "service.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
