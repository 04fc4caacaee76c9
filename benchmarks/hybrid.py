"""What does BM25 over the tokeniser's pieces add to MaxSim, and what does it cost?

    python benchmarks/hybrid.py SOURCE SCRATCH --data ../shared/data/A [--passages 100000]

``SOURCE`` is the folder of `search_peers/encode.py`: the passages of ``--data`` (14 languages) and their queries,
encoded by the demo checkpoint. All languages are in one index. ``SCRATCH`` keeps what is made on the way.

- quality: MRR@10 of MaxSim, of BM25 (k1, b; texts as they are, or case-folded) and of their sums, with a paired test
- cost: bytes and CPU seconds of an index with the pieces and without them
- speed: CPU milliseconds of a query, encoded already, one thread, on mixtures of the same passages: the first half of
  one and the second half of another, each with the pieces of its text
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import cpu

from ragatouille_xm.config import LEXICAL_WEIGHT
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.evaluation.significance import paired_test
from ragatouille_xm.index import lexical
from ragatouille_xm.index.lexical import PieceCounts, scaled, term_weights
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import Passage, TokenVectors

K = 10
K1S, BS = (0.6, 0.9, 1.2, 1.6, 2.0), (0.3, 0.5, 0.75, 0.9)
WEIGHTS, LISTS = (0.1, 0.2, 0.3, 0.4, 0.5), (10, 20, 30, 50, 100, 200)
RRF = 60
CUT, BATCH, MOVED = 64, 2048, 0.3

Array = np.ndarray[Any, Any]


class Source:
    """Passages and queries, encoded, with the pieces of their texts."""

    def __init__(self, folder: Path, data: Path, scratch: Path) -> None:
        self.parts = [np.load(path) for path in sorted((folder / "A").glob("*.npz"))]
        asked = np.load(folder / "queries.npz")
        self.queries, self.answers = torch.from_numpy(asked["queries"].astype(np.float32)), asked["answers"]
        self.texts, self.asked = texts_in(data, len(self.answers))
        self.ids = tokenised(scratch / "pieces.json", self.texts, self.asked)
        self.scratch = scratch

    def maxsim(self) -> Array:
        """Exact MaxSim of all queries and passages."""
        path = self.scratch / "maxsim.npy"
        if not path.exists():
            blocks = [
                maxsim(
                    self.queries,
                    torch.from_numpy(part["vectors"].astype(np.float32)),
                    torch.from_numpy(part["lengths"]),
                )
                for part in self.parts
            ]
            np.save(path, torch.cat(blocks, 1).numpy())
        return np.load(path)

    def vectors(self) -> Iterator[Array]:
        for part in self.parts:
            yield from np.split(part["vectors"], np.cumsum(part["lengths"])[:-1])


def read(path: Path) -> list[list[str]]:
    return [line.split("\t", 1) for line in path.read_text("utf-8").splitlines()]


def texts_in(data: Path, n_queries: int) -> tuple[list[str], list[str]]:
    """Return the texts of passages and queries in the order in which `search_peers/encode.py` takes them."""
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    texts, asked = [], []
    for folder in folders:
        rows = read(folder / "collection.tsv")
        known = {key for key, _ in rows}
        right = {line.split()[0]: line.split()[2] for line in (folder / "qrels.tsv").read_text().splitlines()}
        found = [text for key, text in read(folder / "queries.tsv") if right[key] in known]
        asked += found[: n_queries // len(folders)]
        texts += [text for _, text in rows]
    return texts, asked


def tokenised(path: Path, texts: Sequence[str], asked: Sequence[str]) -> dict[str, Any]:
    """Return the ids of texts and queries, as they are and case-folded, and how many seconds the texts take."""
    if not path.exists():
        tokenizer = Encoder.from_pretrained("demo", device="cpu").tokenizer
        start = time.process_time()
        folded = tokenizer.lexical_ids(texts)
        took = time.process_time() - start
        plain = [tokenizer._ids(some, special=False) for some in (texts, asked)]
        path.write_text(json.dumps({"folded": [folded, tokenizer.lexical_ids(asked)], "plain": plain, "seconds": took}))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# ---- quality


def bm25(passages: PieceCounts, queries: PieceCounts, k1: float, b: float) -> Array:
    """Return the scores of all queries and passages."""
    order = np.argsort(passages.ids, kind="stable")
    ids, rows, counts = passages.ids[order], passages.owners[order], passages.counts[order]
    norms = k1 * (1 - b + b * passages.totals / passages.totals.mean())
    scores = np.zeros((len(queries), len(passages)), np.float32)
    for row, (pieces, times) in zip(scores, queries, strict=True):
        starts, ends = np.searchsorted(ids, pieces), np.searchsorted(ids, pieces, side="right")
        weights = term_weights(times, ends - starts, len(passages))
        for start, end, weight in zip(starts, ends, weights, strict=True):
            here = rows[start:end]
            row[here] += weight * counts[start:end] / (counts[start:end] + norms[here])
    return scores


def fused(left: Array, right: Array, weight: float, n: int, *, ranks: bool = False) -> Array:
    """Return scores by both over the best `n` of each; -inf for other passages."""
    scores = np.full(left.shape, -np.inf)
    for row, maxsims, lexicals in zip(scores, left, right, strict=True):
        named = [np.argsort(-each, kind="stable")[:n] for each in (maxsims, lexicals)]
        chosen = np.union1d(*named)
        if ranks:
            row[chosen] = 0
            for some, share in zip(named, (1 - weight, weight), strict=True):
                row[some] += share / (RRF + np.arange(1, n + 1))
        else:
            row[chosen] = (1 - weight) * scaled(maxsims[chosen]) + weight * scaled(lexicals[chosen])
    return scores


def reciprocal_ranks(scores: Array, answers: Array) -> Array:
    right = scores[np.arange(len(scores)), answers][:, None]
    earlier = (scores == right) & (np.arange(scores.shape[1]) < answers[:, None])
    ranks = 1 + ((scores > right) | earlier).sum(1)
    return np.where((ranks <= K) & np.isfinite(right[:, 0]), 1 / ranks, 0.0)


def quality(source: Source) -> dict[str, Any]:
    def mrr(scores: Array) -> float:
        return round(100 * float(reciprocal_ranks(scores, source.answers).mean()), 2)

    left, grid, matrices = source.maxsim(), [], {}
    for form in ("plain", "folded"):
        passages, queries = (PieceCounts.of(ids) for ids in source.ids[form])
        matrices[form] = bm25(passages, queries, lexical.K1, lexical.B)
        grid += [
            {"texts": form, "k1": k1, "b": b, "mrr": mrr(bm25(passages, queries, k1, b))}
            for k1 in K1S
            for b in BS
            if form == "folded" or (k1, b) == (lexical.K1, lexical.B)
        ]
    right = matrices["folded"]
    chosen = fused(left, right, LEXICAL_WEIGHT, lexical.LISTED)
    ranks = [reciprocal_ranks(scores, source.answers) for scores in (chosen, left)]
    return {
        "passages": left.shape[1],
        "queries": len(left),
        "maxsim": mrr(left),
        "lexical": grid,
        "hybrid": mrr(chosen),
        "p": float(paired_test(*ranks)),
        "hybrid_plain": mrr(fused(left, matrices["plain"], LEXICAL_WEIGHT, lexical.LISTED)),
        "sums": [
            {"weight": weight, "listed": n, "mrr": mrr(fused(left, right, weight, n))}
            for weight in WEIGHTS
            for n in LISTS
        ],
        "reciprocal_ranks": [
            {"weight": weight, "mrr": mrr(fused(left, right, weight, 100, ranks=True))} for weight in WEIGHTS
        ],
    }


# ---- cost and speed


def build(folder: Path, blocks: Iterator[Array], pieces: PieceCounts | None, n: int, storage: str) -> float:
    """Build an index of so many passages; return the CPU seconds."""
    given: dict[str, Any] = {"dim": 128, "checkpoint": "demo", "fingerprint": "", "settings": {}, "storage": storage}
    start = time.process_time()
    with LocalIndex.build(folder, **given, lexical=pieces is not None) as draft:
        for first in range(0, n, BATCH):
            last = min(first + BATCH, n)
            some = [torch.from_numpy(next(blocks)).float() for _ in range(first, last)]
            passages = [Passage(first + i, str(first + i), "", "en") for i in range(len(some))]
            draft.add(passages, TokenVectors.of_blocks(some, 128), pieces and pieces.part(first, last))
    return time.process_time() - start


def cost(source: Source) -> list[dict[str, Any]]:
    pieces, rows = PieceCounts.of(source.ids["folded"][0]), []
    for storage in ("int16", "int8"):
        row: dict[str, Any] = {"storage": storage, "tokenising_s": round(source.ids["seconds"], 1)}
        for name, given in (("without", None), ("with", pieces)):
            folder = source.scratch / f"cost-{storage}-{name}"
            if folder.exists():
                for path in folder.iterdir():
                    path.unlink()
            row[f"build_s_{name}"] = round(build(folder, source.vectors(), given, len(pieces), storage), 2)
            row[f"bytes_{name}"] = sum(path.stat().st_size for path in folder.iterdir())
        rows.append(row)
        print(row, flush=True)
    return rows


def mixtures(source: Source, n: int) -> tuple[Iterator[Array], PieceCounts]:
    rng = np.random.default_rng(0)
    blocks, ids = [block[:CUT] for block in source.vectors()], source.ids["folded"][0]
    pairs = rng.integers(0, len(blocks), (n, 2)).tolist()

    def halves(a: int, b: int, all_: Sequence[Any]) -> tuple[Any, Any]:
        return all_[a][: (len(all_[a]) + 1) // 2], all_[b][len(all_[b]) // 2 :]

    def vectors() -> Iterator[Array]:
        noise = np.random.default_rng(1)
        for a, b in pairs:
            both = np.concatenate(halves(a, b, blocks)).astype(np.float32)
            both += noise.standard_normal(both.shape, dtype=np.float32) * (MOVED / 128**0.5)
            yield both / np.linalg.norm(both, axis=1, keepdims=True)

    cut = [some[:CUT] for some in ids]
    return vectors(), PieceCounts.of([[*first, *second] for first, second in (halves(a, b, cut) for a, b in pairs)])


def speed(source: Source, n: int, timed: int) -> dict[str, Any]:
    folder = source.scratch / f"mixed-{n}"
    if not LocalIndex.exists(folder):
        vectors, pieces = mixtures(source, n)
        build(folder, vectors, pieces, n, "int16")
    index, taken = LocalIndex.open(folder), {}
    asked = PieceCounts.of(source.ids["folded"][1])
    chosen = np.linspace(0, len(asked) - 1, timed).astype(int).tolist()
    for round_ in range(2):  # the first one opens files
        times: dict[str, list[float]] = {"default": [], "hybrid": []}
        for i in chosen:
            query, pieces = source.queries[i : i + 1], asked.part(i, i + 1)
            calls = {
                "default": lambda query=query: index.search(query, K),
                "hybrid": lambda query=query, pieces=pieces: index.search_hybrid(
                    query, pieces, K, weight=LEXICAL_WEIGHT
                ),
            }
            for name, call in calls.items():
                start = time.process_time()
                call()
                times[name].append(1000 * (time.process_time() - start))
        taken = {name: round(median(each), 2) for name, each in times.items()}
        print(round_, taken, flush=True)
    shares = [b / a for a, b in zip(times["default"], times["hybrid"], strict=True)]
    index.close()
    return {"passages": n, "queries": timed, **taken, "ratio": round(median(shares), 3)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path)
    options.add_argument("scratch", type=Path)
    options.add_argument("--data", type=Path, default=Path("../shared/data/A"))
    options.add_argument("--passages", type=int, nargs="+", default=[100_000], help="of the mixtures")
    options.add_argument("--queries", type=int, default=200, help="that are timed")
    options.add_argument("--parts", nargs="+", default=["quality", "cost", "speed"])
    options.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "hybrid.json")
    given = options.parse_args()
    torch.set_num_threads(1)
    given.scratch.mkdir(parents=True, exist_ok=True)
    source = Source(given.source, given.data, given.scratch)
    report = json.loads(given.json.read_text()) if given.json.exists() else {}
    report["machine"] = {"cpu": cpu(), "threads": 1, "torch": torch.__version__}
    if "quality" in given.parts:
        report["quality"] = quality(source)
    if "cost" in given.parts:
        report["cost"] = cost(source)
    if "speed" in given.parts:
        report["speed"] = [speed(source, n, given.queries) for n in given.passages]
    given.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
