"""colbert-ai's PLAID over token vectors that are there: its indexer and its search, without its encoder.

Needs a C++ compiler and ninja: the first search compiles extensions, once per user.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search_peers.system import Corpus, K, Search


def build_colbert(nbits: int) -> Callable[[Corpus, Path], None]:
    """Return what builds an index with colbert-ai's own settings, in one process, as its launcher does."""

    def build(corpus: Corpus, folder: Path) -> None:
        import torch
        from colbert.data import Collection
        from colbert.indexing.collection_indexer import CollectionIndexer
        from colbert.indexing.index_saver import IndexSaver
        from colbert.infra import ColBERTConfig, RunConfig
        from colbert.infra.launcher import Launcher

        lengths, ends = corpus.lengths, np.cumsum(corpus.lengths)

        class Encoded(CollectionIndexer):
            """Indexes passages that are positions in the corpus, and encodes them by looking there."""

            def __init__(self, config: ColBERTConfig) -> None:
                self.config, self.verbose, self.use_gpu = config, 0, False
                self.rank, self.nranks = config.rank, config.nranks
                self.collection = Collection(data=list(range(len(lengths))))
                self.encoder, self.saver = self, IndexSaver(config)

            def encode_passages(self, positions: list[int]) -> tuple[torch.Tensor, list[int]]:
                rows = np.concatenate([corpus.vectors[ends[i] - lengths[i] : ends[i]] for i in positions])
                return torch.from_numpy(rows).float(), lengths[positions].tolist()

        (folder / "index").mkdir()
        config = ColBERTConfig(index_path=str(folder / "index"), nbits=nbits, dim=corpus.vectors.shape[1])
        launcher = Launcher(lambda given: Encoded(given).run([]), RunConfig(nranks=1, avoid_fork_if_possible=True))
        launcher.launch_without_fork(config)

    return build


def colbert(**options: Any) -> Callable[[Path, Corpus], Search]:
    def open_index(folder: Path, corpus: Corpus) -> Search:
        import torch
        from colbert.infra import ColBERTConfig
        from colbert.modeling.colbert import ColBERT
        from colbert.search.index_storage import IndexScorer

        ColBERT.try_load_torch_extensions(use_gpu=False)  # its models would load this one
        ranker, config = IndexScorer(str(folder / "index"), use_gpu=False), ColBERTConfig(**options)

        def find(query: np.ndarray[Any, Any]) -> list[int]:
            found: list[int] = ranker.rank(config, torch.from_numpy(query[None]))[0][:K]
            return found

        return find

    return open_index


COLBERT = {  # what its `Searcher` chooses for at most 10, at most 100 and at most 1,024 results
    "default": colbert(ncells=1, centroid_score_threshold=0.5, ndocs=256),
    "ncells=2, threshold=0.45, ndocs=1024": colbert(ncells=2, centroid_score_threshold=0.45, ndocs=1024),
    "ncells=4, threshold=0.4, ndocs=4096": colbert(ncells=4, centroid_score_threshold=0.4, ndocs=4096),
}
