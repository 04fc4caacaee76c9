"""fast-plaid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search_peers.system import Corpus, K, Search


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
