"""This package's index in a folder, and exact MaxSim by its scoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search_peers.system import Corpus, K, Search

SELECTIVITIES = (1, 10, 1_000, 100_000)  # one passage in so many has the value 0
ADDED_BEFORE, ADDED_AFTER = 2, 1  # tokens of a passage that are not of its text: <s>, the marker; </s>


def build_ours(storage: str, pooling: int = 1, metadata: bool = False) -> Callable[[Corpus, Path], None]:
    """Return what builds an index, pooled as `indexing.py` does it."""

    def build(corpus: Corpus, folder: Path) -> None:
        import torch

        from ragatouille_xm.index.local.index import LocalIndex
        from ragatouille_xm.pooling import pool_tokens
        from ragatouille_xm.types import Passage, TokenVectors

        description: dict[str, Any] = {"dim": 128, "checkpoint": "", "fingerprint": "", "settings": {}}
        with LocalIndex.build(folder / "index", storage=storage, **description) as draft:
            for first, vectors, lengths in corpus.blocks():
                passages = [
                    Passage(i, str(i), "", "en", {f"of_{n}": i % n for n in SELECTIVITIES} if metadata else None)
                    for i in range(first, first + len(lengths))
                ]
                given = TokenVectors(torch.from_numpy(vectors), torch.from_numpy(np.array(lengths)))
                draft.add(passages, pool_tokens(given, added(lengths), pooling) if pooling > 1 else given)

    return build


def added(lengths: np.ndarray[Any, Any]) -> list[bool]:
    """Return which tokens of these passages the tokeniser added to the text."""
    return [i < ADDED_BEFORE or i >= length - ADDED_AFTER for length in lengths.tolist() for i in range(length)]


def build_nothing(corpus: Corpus, folder: Path) -> None:
    """Build no index: everything is read from the corpus."""


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


def exact(folder: Path, corpus: Corpus) -> Search:
    import torch

    from ragatouille_xm.scoring import maxsim

    vectors, lengths = torch.from_numpy(corpus.vectors), torch.from_numpy(corpus.lengths)
    return lambda query: maxsim(torch.from_numpy(query[None]), vectors, lengths)[0].topk(K).indices.tolist()


SMALLER = {
    "50 candidates, 8 probes": ours(candidates=50, probes=8),
    "150 candidates, 16 probes": ours(candidates=150, probes=16),
    "fast": ours(fast=True),
    "default": ours(),
    "exact": ours(exact=True),
}
OURS = SMALLER | {"default, first stage alone": candidates_of_ours, "8,000 candidates": ours(candidates=8000)}
FILTERED = {"no filter": ours()} | {f"1 in {n}": filtered(n) for n in SELECTIVITIES}
