"""What do the shortcuts of a search save, and what do they lose?

    python benchmarks/shortcuts.py CORPUS [CORPUS ...] [--queries 100]

``CORPUS`` is a folder of `benchmarks/search.py --keep`: queries, their exact top 10, and the index of "ours". Three
shortcuts are looked at, in the default setting and with ``force_fast``: similar rows of a query are one until the short
list (`Query.pooled`), the first stage leaves out the centroids of small weight where their lists are long
(`Search._prune_probes`), and only a short list sees all rows of a query. Shares are of the exact top 10; milliseconds
are CPU time on one thread, medians over queries.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from inside import search_of
from machine import cpu

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.index.local import search as searching
from ragatouille_xm.index.local.search import SHORTLIST, Chosen, rank, shortlist
from ragatouille_xm.index.local.snapshot import Snapshot
from ragatouille_xm.index.quantization.query import Query

K = 10
SHORTLISTS = (20, 30, 50, 100)
SETTINGS = {"default": SearchConfig(), "fast": SearchConfig(fast=True)}


def share(chosen: Chosen, best: list[int]) -> float:
    found = {pid for view, rows in chosen for pid in view.segment.table.pids[rows].tolist()}
    return len(found & set(best)) / len(best)


class Clock:
    """CPU milliseconds of each step of the query that is under way."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, call: Any) -> Any:
        start = time.process_time()
        result = call()
        self.taken[name].append(1000 * (time.process_time() - start))
        return result


def postings(snapshot: Snapshot, probes: Any) -> int:
    centroids, _ = probes
    lists = [view.segment.postings for view in snapshot.views if view.segment.postings is not None]
    return sum(int((each.offsets[centroids + 1] - each.offsets[centroids]).sum()) for each in lists)


def measure(corpus: Path, n_queries: int, setting: str) -> dict[str, Any]:
    config = SETTINGS[setting]
    with search_of(corpus / "index-ours" / "index", K, config) as (search, snapshot):
        steps = measure_steps(corpus, n_queries, search, snapshot, config)
        candidates = config.candidates_for(K, snapshot.passages)
    return {"corpus": corpus.name, "setting": setting, "candidates": candidates} | steps


def measure_steps(
    corpus: Path, n_queries: int, search: Any, snapshot: Snapshot, config: SearchConfig
) -> dict[str, Any]:
    assert snapshot.codebook is not None
    queries, exact = np.load(corpus / "queries.npy")[:n_queries], np.load(corpus / "exact.npy")[:n_queries].tolist()
    seen: dict[str, list[float]] = defaultdict(list)
    clock = Clock()
    for rows, best in zip(queries, exact, strict=True):
        query = clock("brief query", lambda rows=rows: pooled(rows))
        chosen = clock("first stage", lambda query=query: search._candidates(query))
        assert chosen is not None, "everything is scored"
        few = clock("short list", lambda query=query, some=chosen: shortlist(query, some, SHORTLIST * K))
        clock("ranking", lambda query=query, some=few: rank(query, some, K))
        seen["rows of the query"].append(len(rows))
        seen["rows of the brief query"].append(len(query.pooled.codes))
        seen["share in the candidates"].append(share(chosen, best))
        probes = snapshot.codebook.query_weights(query.pooled, config.probes_for(snapshot.passages))
        seen["postings of all centroids"].append(postings(snapshot, probes))
        seen["postings read"].append(postings(snapshot, search._prune_probes(probes)))
        with patch.object(searching, "POSTINGS_READ", 10**12):
            every = clock("first stage, all lists", lambda q=query: search._candidates(q))
        seen["share in the candidates, all lists"].append(share(every, best))
        for n in SHORTLISTS:
            seen[f"share in a short list of {n}"].append(share(shortlist(query, chosen, n), best))
    return {
        "queries": len(queries),
        "ms": {name: round(statistics.median(taken), 2) for name, taken in clock.taken.items()},
        "means": {name: round(float(np.mean(values)), 4) for name, values in seen.items()},
    }


def pooled(rows: Any) -> Query:
    query = Query(rows)
    _ = query.pooled  # kept by it
    return query


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("corpora", type=Path, nargs="+")
    options.add_argument("--queries", type=int, default=100)
    options.add_argument("--out", type=Path, default=Path("benchmarks/results/shortcuts.json"))
    given = options.parse_args()
    torch.set_num_threads(1)
    machine = f"{cpu()}, torch {torch.__version__}, one thread"
    report: dict[str, Any] = {"machine": machine, "rows": []}
    for corpus, setting in product(given.corpora, SETTINGS):
        report["rows"].append(measure(corpus, given.queries, setting))
        print(json.dumps(report["rows"][-1], indent=1), flush=True)
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
