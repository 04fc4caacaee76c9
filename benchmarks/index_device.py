"""What does `search_device=` gain: a search of an index in a folder that scores on a GPU, beside the same on the CPU?

    python benchmarks/index_device.py [--device cuda] [--passages 50000] [--queries 1 64] [--out FILE]

Passages are synthetic (`search_peers/corpora.py`), of 64 tokens. In each storage an index is built; then queries, all
at once or one after the other, are answered by the default on the CPU, exactly on the CPU, and on the device, which
scores everything. Milliseconds are those that pass, for one query; overlap is with the ten best by exact MaxSim of the
vectors that were given. Loading is the first search on the device, less a later one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from search_peers.corpora import corpora
from search_peers.own import build_ours
from search_peers.system import Corpus, K

from ragatouille_xm.config import STORAGES, SearchConfig
from ragatouille_xm.index.local.index import LocalIndex

HERE = Path(__file__).parent
REPEATS = 5


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(corpus: Path, storage: str, device: str, counts: list[int]) -> dict[str, Any]:
    queries, best = torch.from_numpy(np.load(corpus / "queries.npy")), np.load(corpus / "exact.npy")
    row: dict[str, Any] = {"storage": storage}
    with tempfile.TemporaryDirectory() as folder:
        row["build_s"] = round(timed(lambda: build_ours(storage)(Corpus.open(corpus), Path(folder))), 1)
        index = LocalIndex.open(Path(folder) / "index")
        for name, config in (("cpu", SearchConfig()), ("cpu, exact", SearchConfig(exact=True)), ("device", None)):
            if config is None:
                index.to_device(device)
                first = timed(lambda: index.search(queries[:1], K))
                row["load_s"] = round(first - timed(lambda: index.search(queries[:1], K)), 2)

            def search(some: torch.Tensor, config: SearchConfig = config or SearchConfig()) -> Any:
                return index.search(some, K, config=config).pids

            found = search(queries).tolist()
            overlap = np.mean([len(set(f) & set(b)) / K for f, b in zip(found, best.tolist(), strict=True)])
            row[name] = {"overlap": round(float(overlap), 4)}
            for count in counts:
                taken = min(timed(lambda some=queries[:count]: search(some)) for _ in range(REPEATS))  # type: ignore[misc]
                row[name][f"ms_of_{count}"] = round(1e3 * taken / count, 2)
        index.close()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--passages", type=int, default=50_000)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "index_device.json")
    given = parser.parse_args()
    report: dict[str, Any] = {
        "question": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "machine": {
            "device": torch.cuda.get_device_name(given.device) if given.device != "cpu" else "CPU",
            "threads": torch.get_num_threads(), "torch": torch.__version__,
        },
        "passages": given.passages, "rows": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        [corpus] = corpora(Path(), Path(scratch), [f"synthetic-{given.passages}"], max(given.queries), K)
        for storage in STORAGES:
            report["rows"].append(measure(corpus, storage, given.device, given.queries))
            print(json.dumps(report["rows"][-1]), flush=True)
            given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
