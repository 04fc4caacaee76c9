"""How much of the exact top 10 does the first stage find on real vectors, and what does a query cost?

Sections of LibreOffice's help in 14 languages (``data/A``), encoded with the demo checkpoint, and their titles as
queries, filled up with ``<mask>`` as ColBERT has it. Exact MaxSim over the same index is the reference. Milliseconds
are CPU time of one process on one thread, the median of all queries. A token of a passage costs MaxSim 32·128
multiplications and additions: the floor is what that takes at the rate of the machine's product of 8-bit integers,
measured here.

    python benchmarks/first_stage.py --data ../shared/data/A [--passages 1000] [--queries 50] [--vectors FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cpu

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.config import SearchConfig
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.quantization.codebook import Codebook
from ragatouille_xm.index.quantization.products import dot_products
from ragatouille_xm.types import Passage, TokenVectors

K, PASSAGES_BATCH = 10, 512
SETTINGS = {
    "force_fast": SearchConfig(fast=True),
    "16 probes, 200 candidates": SearchConfig(probes=16, candidates=200),
    "the default": SearchConfig(),
    "64 probes, 1,200 candidates": SearchConfig(probes=64, candidates=1200),
    "exact": SearchConfig(exact=True),
}


def read(path: Path, most: int) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()[:most]
    return [(key, text) for key, text in (line.split("\t", 1) for line in lines)]


def encode(data: Path, n_passages: int, n_queries: int, max_length: int) -> dict[str, Any]:
    """Return token vectors, lengths, queries, and for each query the position of the passage that answers it."""
    encoder = RAGPretrainedModel.from_pretrained("demo", verbose=0, device="cpu").encoder
    vectors: list[torch.Tensor] = []
    lengths: list[torch.Tensor] = []
    queries: list[torch.Tensor] = []
    answers: list[int] = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        passages = read(folder / "collection.tsv", n_passages)
        place = {key: sum(len(each) for each in lengths) + i for i, (key, _) in enumerate(passages)}
        found = encoder.encode_documents(
            [text for _, text in passages], [folder.name] * len(passages), max_length=max_length
        )
        right = {line.split()[0]: line.split()[2] for line in (folder / "qrels.tsv").read_text().splitlines()}
        asked = [(right[key], text) for key, text in read(folder / "queries.tsv", 10**9) if right[key] in place]
        asked = asked[:n_queries]
        vectors.append(found.vectors.half())
        lengths.append(found.lengths)
        queries.append(encoder.encode_queries([text for _, text in asked], [folder.name] * len(asked)).half())
        answers += [place[key] for key, _ in asked]
    return {
        "vectors": torch.cat(vectors), "lengths": torch.cat(lengths), "queries": torch.cat(queries), "answers": answers,
    }  # fmt: skip


def build(folder: Path, vectors: torch.Tensor, lengths: torch.Tensor) -> dict[str, float]:
    """Build an index; return CPU seconds of adding, and of fitting, assigning and finishing."""
    start = time.process_time()
    with LocalIndex.build(folder, dim=vectors.shape[1], checkpoint="demo", fingerprint="", settings={}) as draft:
        row = 0
        for first in range(0, len(lengths), PASSAGES_BATCH):
            some = lengths[first : first + PASSAGES_BATCH]
            end = row + int(some.sum())
            passages = [Passage(first + i, str(first + i), "", "en") for i in range(len(some))]
            draft.add(passages, TokenVectors(vectors[row:end], some))
            row = end
        added = time.process_time()
    return {
        "adding_cpu_s": round(added - start, 1),
        "codebook_and_sealing_cpu_s": round(time.process_time() - added, 1),
    }


def assignment(codebook: Codebook, vectors: torch.Tensor) -> dict[str, float]:
    """Return what searching the codebook in two levels costs in similarity, on some of the tokens."""
    some = vectors[:: max(len(vectors) // 20_000, 1)].float()
    similarities = some @ codebook.centroids.T
    best, chosen = similarities.max(1), codebook.assign(some)
    lost = best.values - similarities.gather(1, chosen[:, None]).squeeze(1)
    return {
        "centroids": len(codebook),
        "tokens_at_the_nearest": round(float((chosen == best.indices).float().mean()), 4),
        "similarity_lost": round(float(lost.mean()), 5),
    }


def measure(index: LocalIndex, queries: torch.Tensor, answers: list[int]) -> dict[str, dict[str, float]]:
    hits, times = {}, {}
    for name, config in SETTINGS.items():
        index.search(queries[:1], K, config=config)
        found, taken = [], []
        for i in range(len(queries)):
            start = time.process_time()
            found.append(index.search(queries[i : i + 1], K, config=config).pids[0].tolist())
            taken.append(1000 * (time.process_time() - start))
        hits[name], times[name] = found, statistics.median(taken)
    return {
        name: {
            "overlap": round(
                sum(len(set(a) & set(b)) for a, b in zip(found, hits["exact"], strict=True)) / K / len(found), 4
            ),
            "mrr": round(
                sum(1 / (1 + f.index(a)) for f, a in zip(found, answers, strict=True) if a in f) / len(found), 4
            ),
            "cpu_ms": round(times[name], 1),
        }
        for name, found in hits.items()
    }


def gflops() -> float:
    """Return the rate of a matrix product of this size on one thread."""
    left, right = torch.randn(4096, 128), torch.randn(128, 32)
    best = min(_timed(lambda: left @ right) for _ in range(50))
    return 2 * left.numel() * 32 / best / 1e9


def int8_gops() -> float:
    """Return the rate of a product of 8-bit integers of a search's shape, in a core's cache, on one thread."""
    left, right = (np.random.default_rng(0).integers(-127, 128, (n, 128), np.int8) for n in (32, 8192))
    best = min(_timed(lambda: dot_products(right, left)) for _ in range(50))
    return 2 * left.size * len(right) / best / 1e9


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data/A"))
    options.add_argument("--passages", type=int, default=1000, help="of each language")
    options.add_argument("--queries", type=int, default=50, help="of each language")
    options.add_argument("--max-length", type=int, default=180, help="tokens at which passages are cut off")
    options.add_argument("--vectors", type=Path, help="keep the vectors here, or take them from here")
    options.add_argument("--out", type=Path, default=Path("benchmarks/results/first_stage.json"))
    given = options.parse_args()
    torch.set_num_threads(1)
    if given.vectors and given.vectors.exists():
        data = torch.load(given.vectors)
    else:
        data = encode(given.data, given.passages, given.queries, given.max_length)
        if given.vectors:
            torch.save(data, given.vectors)
    vectors, lengths, queries = data["vectors"], data["lengths"], data["queries"].float()
    sizes = sorted({min(n, len(lengths)) for n in (2_500, 5_000, len(lengths))})
    result: dict[str, Any] = {
        "machine": f"{cpu()}, torch {torch.__version__}, one thread",
        "max_length": given.max_length,
        "gflops": round(gflops(), 1),
        "int8_gops": round(int8_gops(), 1),
        "sizes": {},
    }
    spread = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))
    blocks = vectors.split(lengths.tolist())
    for n in sizes:
        chosen = spread[:n]
        place = {int(old): new for new, old in enumerate(chosen)}
        asked = [i for i, answer in enumerate(data["answers"]) if answer in place]
        with tempfile.TemporaryDirectory() as folder:
            some = torch.cat([blocks[i] for i in chosen.tolist()])
            entry: dict[str, Any] = {"passages": n, "tokens": len(some), "queries": len(asked)}
            entry |= build(Path(folder) / "index", some, lengths[chosen])
            index = LocalIndex.open(Path(folder) / "index")
            if (fitted := index.codebook()) is not None:
                entry["codebook"] = assignment(fitted[0], some)
            entry["settings"] = measure(index, queries[asked], [place[data["answers"][i]] for i in asked])
            index.close()
        floor = 2 * 32 * 128 * entry["tokens"] / n / result["int8_gops"] / 1e6
        entry["floor_ms"] = {
            "the default": round(SearchConfig().candidates_for(K, n) * floor, 2),
            "exact": round(n * floor, 1),
        }
        result["sizes"][str(n)] = entry
        print(json.dumps(entry, indent=1), flush=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
