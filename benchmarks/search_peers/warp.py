"""xtr-warp-rs: WARP, which looks only into the lists of a few centroids and imputes what it did not see there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search_peers.system import Corpus, K, Search


def build_warp(nbits: int) -> Callable[[Corpus, Path], None]:
    """Return what builds an index from vectors in a file, as its documentation has it for what is large."""

    def build(corpus: Corpus, folder: Path) -> None:
        from xtr_warp import XTRWarp

        with tempfile.TemporaryDirectory() as given:
            (Path(given) / "vectors_0.npy").symlink_to(str(corpus.vectors.filename))
            np.save(Path(given) / "vectors_0.doclens.npy", corpus.lengths)
            XTRWarp(str(folder / "index")).create(Path(given), device="cpu", nbits=nbits, show_progress=False)

    return build


def warp(**options: Any) -> Callable[[Path, Corpus], Search]:
    def open_index(folder: Path, corpus: Corpus) -> Search:
        import torch
        from xtr_warp import XTRWarp

        threads = torch.get_num_threads()
        index = XTRWarp(str(folder / "index")).load(device="cpu")

        def find(query: np.ndarray[Any, Any]) -> list[int]:
            asked = torch.from_numpy(query[None])
            found = index.search(asked, top_k=K, num_threads=threads, show_progress=False, **options)
            return [int(position) for position, _ in found[0]]

        return find

    return open_index


WARP = {  # its default chooses all of them by the size of the index
    "default": warp(),
    "nprobe=32": warp(nprobe=32),
    "nprobe=128, bound=4000": warp(nprobe=128, bound=4000),
}
