"""Which codebook finds most of the exact top 10, at which cost: ours, token-aware ones, or faiss's k-means?

    python benchmarks/codebooks.py FOLDER [--queries 100] [--centroids 16384 65536]

``FOLDER`` holds token vectors of real texts with their vocabulary ids, and queries: `benchmarks/search_peers/encode.py`
writes it. Each codebook is fitted to the same sample; then every token of the passages gets a centroid, and passages
are ranked by the first stage alone. Recall is the share of the exact top 10 among so many candidates. Seconds are CPU
time of one thread.

The token-aware codebooks follow the idea of Martinico et al., SIGIR 2026 (arXiv:2604.28142): token vectors are grouped
by vocabulary id, and each group gets a share of the centroids; ids with a share below one centroid are one group.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from machine import cpu

from ragatouille_xm.index.quantization.codebook import Codebook
from ragatouille_xm.index.quantization.query import Query
from ragatouille_xm.scoring import maxsim

CANDIDATES = (100, 200, 400, 600, 1000)
PROBES = 32
TOP = 10


class Data(NamedTuple):
    vectors: torch.Tensor  # (T, dim) float16
    owners: torch.Tensor  # (T,) the passage of each token
    ids: torch.Tensor  # (T,) vocabulary ids
    queries: torch.Tensor  # (Q, q, dim) float32
    best: torch.Tensor  # (Q, TOP) passages, by exact MaxSim

    @property
    def passages(self) -> int:
        return int(self.owners[-1]) + 1


def read(folder: Path, n_queries: int) -> Data:
    parts = [np.load(path) for path in sorted((folder / "A").glob("*.npz"))]
    vectors, lengths, ids = (
        torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in ("vectors", "lengths", "ids")
    )
    every = torch.from_numpy(np.load(folder / "queries.npz")["queries"]).float()
    queries = every[:: max(len(every) // n_queries, 1)][:n_queries]
    owners = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return Data(vectors, owners, ids.long(), queries, maxsim(queries, vectors, lengths).topk(TOP).indices)


class Trial(NamedTuple):
    """A codebook, and how it gives every token a centroid."""

    codebook: Codebook
    assign: Callable[[], torch.Tensor]


def plain(data: Data, sample: torch.Tensor, size: int) -> Trial:
    codebook = Codebook.fit(data.vectors[sample], size)
    return Trial(codebook, lambda: codebook.assign(data.vectors))


def faiss_kmeans(data: Data, sample: torch.Tensor, size: int) -> Trial:
    import faiss

    faiss.omp_set_num_threads(1)
    codebook = Codebook.fit(data.vectors[sample], size, use_faiss=True)
    return Trial(codebook, lambda: codebook.assign(data.vectors))


def token_aware(power: float) -> Callable[[Data, torch.Tensor, int], Trial]:
    """Share the centroids out in proportion to the number of tokens of an id, to the power of `power`."""

    def fit(data: Data, sample: torch.Tensor, size: int) -> Trial:
        counts = data.ids[sample].bincount(minlength=int(data.ids.max()) + 1).double()
        share = counts**power * size / (counts**power).sum()
        group = torch.where(share >= 1, torch.arange(len(share)), -1)  # of each vocabulary id
        tokens = group[data.ids[sample]]
        spans: dict[int, tuple[int, int]] = {}
        centroids: list[torch.Tensor] = []
        start = 0
        for name in sorted(set(group.tolist())):
            rows = data.vectors[sample[tokens == name]]
            wanted = int(share[name]) if name >= 0 else max(size - int(share[share >= 1].long().sum()), 1)
            found = Codebook.fit(rows, min(wanted, len(rows))).centroids
            centroids.append(found)
            spans[name] = (start, start + len(found))
            start += len(found)
        codebook = Codebook(torch.cat(centroids))

        def assign() -> torch.Tensor:
            codes = torch.zeros(len(data.ids), dtype=torch.int64)
            groups = group[data.ids]
            order = groups.argsort(stable=True)
            names, sizes = groups[order].unique_consecutive(return_counts=True)
            for name, places in zip(names.tolist(), order.split(sizes.tolist()), strict=True):
                first, end = spans[name]
                for some in places.split(2**24 // (end - first)):
                    similar = data.vectors[some].float() @ codebook.centroids[first:end].T
                    codes[some] = similar.argmax(1) + first
            return codes

        return Trial(codebook, assign)

    return fit


TRIALS = {
    "ours": plain,
    "faiss k-means": faiss_kmeans,
    "token-aware, in proportion": token_aware(1.0),
    "token-aware, power 0.75": token_aware(0.75),
}


def measure(data: Data, codebook: Codebook, codes: torch.Tensor) -> dict[str, Any]:
    """Rank all passages by the first stage; return recall, and what a query costs before the engine has it."""
    pairs = (data.owners * len(codebook) + codes).unique()
    owners, centroids = pairs // len(codebook), pairs % len(codebook)
    lengths = owners.bincount(minlength=data.passages)
    passages = torch.sparse_coo_tensor(
        torch.stack([owners, centroids]), lengths[owners].float().rsqrt(), (data.passages, len(codebook))
    ).to_sparse_csr()
    found: dict[int, list[float]] = {n: [] for n in CANDIDATES}
    taken = []
    codebook.query_weights(Query(data.queries[0].numpy()), PROBES)
    for query, best in zip(data.queries, data.best, strict=True):
        start = time.process_time()
        chosen, weights = codebook.query_weights(Query(query.numpy()), PROBES)
        taken.append(time.process_time() - start)
        row = torch.zeros(len(codebook))
        row[chosen] = torch.from_numpy(weights)
        order = (passages @ row).argsort(descending=True)
        for n in CANDIDATES:
            found[n].append(float(torch.isin(best, order[:n]).float().mean()))
    similar = torch.cat(
        [
            (some.float() * codebook.centroids[near]).sum(1)
            for some, near in zip(data.vectors[::50].split(4096), codes[::50].split(4096), strict=True)
        ]
    )
    return {
        "recall": {str(n): round(float(np.mean(values)), 4) for n, values in found.items()},
        "similarity_to_centroid": round(float(similar.mean()), 4),
        "centroids_of_a_passage": round(len(pairs) / data.passages, 1),
        "query_cpu_ms": round(1e3 * float(np.median(taken)), 2),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--queries", type=int, default=350)
    options.add_argument("--centroids", type=int, nargs="+", default=[16_384, 65_536])
    options.add_argument("--out", type=Path, default=Path("benchmarks/results/codebooks.json"))
    given = options.parse_args()
    torch.set_num_threads(1)
    data = read(given.folder, given.queries)
    rows = []
    for size in given.centroids:
        n = min(Codebook.sample_for(size), len(data.vectors))
        sample = torch.randperm(len(data.vectors), generator=torch.Generator().manual_seed(0))[:n]
        for name, fit in TRIALS.items():
            start = time.process_time()
            codebook, assign = fit(data, sample, size)
            fitted = time.process_time()
            codes = assign()
            assigned = time.process_time()
            row = {
                "codebook": name,
                "centroids": len(codebook),
                "sample": n,
                "fit_cpu_s": round(fitted - start, 1),
                "assign_cpu_s": round(assigned - fitted, 1),
            } | measure(data, codebook, codes)
            rows.append(row)
            print(json.dumps(row), flush=True)
    report = {
        "machine": f"{cpu()}, torch {torch.__version__}, one thread",
        "passages": data.passages,
        "tokens": len(data.vectors),
        "queries": len(data.queries),
        "rows": rows,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
