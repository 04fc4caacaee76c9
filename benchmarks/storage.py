"""What does an index take on disk in each storage, and what does a search lose and gain by it?

    python benchmarks/storage.py FOLDER [--queries 350] [--passages 14000]

FOLDER has token vectors of real texts in float16, and queries with the passage that answers each
(`search_peers/encode.py`). Of the same vectors an index is built with each pooling in 16 bits, measured, converted to
the smaller storages as `optimize --storage` does, and measured again:

- bytes of all files beside the database, for each token vector before pooling, and which files they are in
- overlap with the ten best by exact MaxSim of the unpooled vectors in float32: of the default search, and of an exact
  one
- MRR@10 of the default search; significance of the difference to exact MaxSim
- CPU milliseconds of a query by the default search, one thread, median of 60

One more is built in 4 bits, 512 passages at a time, and so has bases that were fitted to the first of these.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pooling import K, build, machine, overlap, reciprocal_ranks, timed
from search_peers.corpora import exact_top, real

from ragatouille_xm.config import STORAGES, SearchConfig
from ragatouille_xm.evaluation.significance import holm, paired_test
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.pooling import pool_tokens
from ragatouille_xm.types import TokenVectors

POOLINGS = (1, 2)
ADDED_BEFORE, ADDED_AFTER = 3, 1  # rows that the checkpoint's tokeniser adds to a passage
EXACTLY = 60  # queries that are searched exactly too

Array = np.ndarray[Any, Any]


def pooled(vectors: TokenVectors, pooling: int) -> TokenVectors:
    kept = [i < ADDED_BEFORE or i >= length - ADDED_AFTER for length in vectors.lengths.tolist() for i in range(length)]
    return pool_tokens(vectors, kept, pooling)


def file_bytes(folder: Path) -> dict[str, int]:
    """Return the bytes of an index's files beside the database, by what they hold."""
    sizes: dict[str, int] = {}
    for path in folder.iterdir():
        if not path.name.startswith("index.db") and path.name != "write.lock":
            kind = "codebook" if path.name.startswith("codebook") else path.suffix[1:].split("-")[0]
            sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    return sizes


def measure(folder: Path, queries: torch.Tensor, answers: list[int], truth: Array, tokens: int) -> dict[str, Any]:
    index = LocalIndex.open(folder)
    sizes = file_bytes(folder)
    found = index.search(queries, K).pids
    some = slice(None, None, max(len(queries) // EXACTLY, 1))
    exactly = index.search(queries[some], K, config=SearchConfig(exact=True)).pids
    ranks = reciprocal_ranks(found, answers)
    row = {
        "storage": index.meta.storage,
        "bytes_a_token": round(sum(sizes.values()) / tokens, 2),
        "bytes_of": {kind: round(size / tokens, 2) for kind, size in sorted(sizes.items())},
        "overlap": round(overlap(found, truth), 4),
        "overlap_exact": round(overlap(exactly, truth[some]), 4),
        "mrr": round(100 * float(ranks.mean()), 2),
        "ms": round(timed(index, queries), 2),
        "ranks": ranks,
    }
    index.close()
    return row


def rows_of(vectors: TokenVectors, queries: torch.Tensor, answers: list[int], truth: Array) -> list[dict[str, Any]]:
    tokens, rows = len(vectors.vectors), []

    def note(folder: Path, pooling: int, how: str) -> None:
        row = {"pooling": pooling, "how": how, **measure(folder, queries, answers, truth, tokens)}
        rows.append(row)
        print({name: value for name, value in row.items() if name != "ranks"}, flush=True)

    for pooling in POOLINGS:
        with TemporaryDirectory() as root:
            folder, given = Path(root) / "index", pooled(vectors, pooling)
            build(folder, given, STORAGES[0])
            for storage in STORAGES:
                index = LocalIndex.open(folder)
                index.convert(storage)
                index.close()
                note(folder, pooling, "converted" if storage != STORAGES[0] else "built")
        with TemporaryDirectory() as root:
            build(Path(root) / "index", given, STORAGES[-1])
            note(Path(root) / "index", pooling, "built")
    expected = reciprocal_ranks(truth, answers)
    values = holm([paired_test(row.pop("ranks"), expected) for row in rows])
    for row, p in zip(rows, values, strict=True):
        row["p_corrected"] = round(p, 4)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--passages", type=int, default=14_000)
    parser.add_argument("--queries", type=int, default=350)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "storage.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as root:
        corpus = Path(root)
        real(given.folder, given.passages, given.queries, corpus)
        exact_top(corpus, K)
        lengths = torch.from_numpy(np.load(corpus / "lengths.npy"))
        vectors = TokenVectors(torch.from_numpy(np.load(corpus / "vectors.npy")).float(), lengths)
        queries = torch.from_numpy(np.load(corpus / "queries.npy"))
        answers, truth = np.load(corpus / "answers.npy").tolist(), np.load(corpus / "exact.npy")
    report = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "passages": len(lengths),
        "tokens": len(vectors.vectors),
        "queries": len(queries),
        "exact_mrr": round(100 * float(reciprocal_ranks(truth, answers).mean()), 2),
        "rows": rows_of(vectors, queries, answers, truth),
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
