"""The systems under measurement: each builds from token vectors, and answers a query with positions of passages.

Imports are inside the functions: each system runs in the Python environment that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from search_peers.colbert_ai import COLBERT, build_colbert
from search_peers.system import Corpus, K, Search, System

# this package


def build_ours(storage: str, metadata: bool = False) -> Callable[[Corpus, Path], None]:
    def build(corpus: Corpus, folder: Path) -> None:
        import torch

        from ragatouille_xm.index.local.index import LocalIndex
        from ragatouille_xm.types import Passage, TokenVectors

        description: dict[str, Any] = {"dim": 128, "checkpoint": "", "fingerprint": "", "settings": {}}
        with LocalIndex.build(folder / "index", storage=storage, **description) as draft:
            for first, vectors, lengths in corpus.blocks():
                passages = [
                    Passage(i, str(i), "", "en", {f"of_{n}": i % n for n in SELECTIVITIES} if metadata else None)
                    for i in range(first, first + len(lengths))
                ]
                draft.add(passages, TokenVectors(torch.from_numpy(vectors), torch.from_numpy(np.array(lengths))))

    return build


SELECTIVITIES = (1, 10, 1_000, 100_000)  # one passage in so many has the value 0


def ours(**options: Any) -> Callable[[Path, Corpus], Search]:
    def open_index(folder: Path, corpus: Corpus) -> Search:
        import torch

        from ragatouille_xm.config import SearchConfig
        from ragatouille_xm.index.local.index import LocalIndex

        index, config = LocalIndex.open(folder / "index"), SearchConfig(**options)
        return lambda query: index.search(torch.from_numpy(query[None]), K, config=config).pids[0].tolist()

    return open_index


def candidates_of_ours(folder: Path, corpus: Corpus) -> Search:
    """Return what finds the candidates of the default alone: the first stage, whose recall is the overlap."""
    import torch
    from inside import search_of

    torch.set_num_threads(1)
    opened = search_of(folder / "index", K)  # stays open with `find`
    search, _ = opened.__enter__()

    def find(query: np.ndarray[Any, Any]) -> list[int]:
        [chosen] = search.chosen([query])
        return [pid for view, rows in chosen for pid in view.segment.table.pids[rows].tolist()]

    find.opened = opened  # type: ignore[attr-defined]

    return find


def batch_of_ours(folder: Path) -> Callable[[np.ndarray[Any, Any]], object]:
    import torch

    from ragatouille_xm.index.local.index import LocalIndex

    index = LocalIndex.open(folder / "index")
    return lambda queries: index.search(torch.from_numpy(queries), K)


def filtered(one_in: int) -> Callable[[Path, Corpus], Search]:
    def open_index(folder: Path, corpus: Corpus) -> Search:
        import torch

        from ragatouille_xm.corpus.filters import parse_filter
        from ragatouille_xm.index.local.index import LocalIndex

        index, condition = LocalIndex.open(folder / "index"), parse_filter({f"of_{one_in}": 0})
        wanted = min(K, -(-len(corpus.lengths) // one_in))

        def search(query: np.ndarray[Any, Any]) -> list[int]:
            found: list[int] = index.search(torch.from_numpy(query[None]), K, filter=condition).pids[0].tolist()
            assert sum(pid >= 0 and pid % one_in == 0 for pid in found) == wanted, "not a full answer"
            return found

        return search

    return open_index


OURS = {
    "fast": ours(fast=True),
    "250 candidates, 16 probes": ours(candidates=250, probes=16),
    "400 candidates, 32 probes": ours(candidates=400, probes=32),
    "default": ours(),
    "default, first stage alone": candidates_of_ours,
    "8,000 candidates": ours(candidates=8000),
    "exact": ours(exact=True),
}


def exact(folder: Path, corpus: Corpus) -> Search:
    import torch

    from ragatouille_xm.scoring import maxsim

    vectors, lengths = torch.from_numpy(corpus.vectors), torch.from_numpy(corpus.lengths)
    return lambda query: maxsim(torch.from_numpy(query[None]), vectors, lengths)[0].topk(K).indices.tolist()


# fast-plaid


def build_fast_plaid(nbits: int) -> Callable[[Corpus, Path], None]:
    def build(corpus: Corpus, folder: Path) -> None:
        import torch
        from fast_plaid import search

        documents = [
            torch.from_numpy(each.copy())
            for _, vectors, lengths in corpus.blocks()
            for each in np.split(vectors, np.cumsum(lengths)[:-1])
        ]
        search.FastPlaid(str(folder / "index"), device="cpu").create(documents, nbits=nbits)

    return build


def fast_plaid(**options: Any) -> Callable[[Path, Corpus], Search]:
    def open_index(folder: Path, corpus: Corpus) -> Search:
        import torch
        from fast_plaid import search

        index = search.FastPlaid(str(folder / "index"), device="cpu")

        def find(query: np.ndarray[Any, Any]) -> list[int]:
            found = index.search(torch.from_numpy(query[None]), top_k=K, show_progress=False, **options)
            return [int(position) for position, _ in found[0]]

        return find

    return open_index


FAST_PLAID = {
    "default": fast_plaid(),
    "n_ivf_probe=4, n_full_scores=512": fast_plaid(n_ivf_probe=4, n_full_scores=512),
    "n_ivf_probe=32, n_full_scores=8192": fast_plaid(n_ivf_probe=32, n_full_scores=8192),
}


# LanceDB


def build_lance(corpus: Corpus, folder: Path) -> None:
    import lancedb
    import pyarrow as pa

    schema = pa.schema([("position", pa.int64()), ("vector", pa.list_(pa.list_(pa.float32(), 128)))])

    def batches() -> Iterator[pa.RecordBatch]:
        for first, vectors, lengths in corpus.blocks():
            rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), 128)
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
            positions = pa.array(np.arange(first, first + len(lengths)))
            yield pa.RecordBatch.from_arrays([positions, pa.ListArray.from_arrays(offsets, rows)], schema=schema)

    table = lancedb.connect(str(folder / "index")).create_table("t", data=batches(), schema=schema)
    table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_PQ")


def lance(probes: int, refine: int) -> Callable[[Path, Corpus], Search]:
    def open_index(folder: Path, corpus: Corpus) -> Search:
        import lancedb

        table = lancedb.connect(str(folder / "index")).open_table("t")

        def find(query: np.ndarray[Any, Any]) -> list[int]:
            search = table.search(query, vector_column_name="vector").nprobes(probes).refine_factor(refine).limit(K)
            return [row["position"] for row in search.select(["position"]).to_list()]

        return find

    return open_index


# faiss brings an OpenBLAS that does not know the newest processors: its own choice takes four times as long on them.
AVX512 = Path("/proc/cpuinfo").exists() and "avx512f" in Path("/proc/cpuinfo").read_text()
FAISS = {"OPENBLAS_CORETYPE": "SkylakeX"} if AVX512 else {}

SYSTEMS = {
    "ours": System("ragatouille_xm", build_ours("int16"), OURS, batch_of_ours),
    "ours, int8": System("ragatouille_xm", build_ours("int8"), OURS),
    "ours, with filters": System(
        "ragatouille_xm",
        build_ours("int16", metadata=True),
        {"no filter": ours()} | {f"1 in {n}": filtered(n) for n in SELECTIVITIES},
    ),
    "exact MaxSim": System("ragatouille_xm", lambda corpus, folder: None, {"torch": exact}),
    "fast-plaid, 4 bit": System("fast_plaid", build_fast_plaid(4), FAST_PLAID),
    "fast-plaid, 2 bit": System("fast_plaid", build_fast_plaid(2), FAST_PLAID),
    "colbert-ai PLAID, 4 bit": System("colbert", build_colbert(4), COLBERT, None, "colbert-ai", FAISS),
    "colbert-ai PLAID, 2 bit": System("colbert", build_colbert(2), COLBERT, None, "colbert-ai", FAISS),
    "LanceDB IVF_PQ": System(
        "lancedb", build_lance, {"default probes, refine 10": lance(20, 10), "refine 40": lance(20, 40)}
    ),
}
