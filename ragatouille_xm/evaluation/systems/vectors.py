"""One vector per document, in blocks on disk, searched exhaustively."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from .base import Found

_COMPLETE = "complete"


class VectorStore:
    """Document vectors in the order of the collection. An interrupted build resumes after its last block.

    Parameters
    ----------
    folder : Path
        Holds ``00000.npy`` (n, dim) float32, ``00000.ids`` (id, tab, language), and so on; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._ids: list[list[str]] = []
        self._languages: Counter[str] = Counter()
        for file in sorted(folder.glob("*.ids")):
            self._note([line.split("\t") for line in file.read_text(encoding="utf-8").split("\n")[:-1]])

    def __len__(self) -> int:
        """Return the number of stored documents."""
        return sum(len(ids) for ids in self._ids)

    @property
    def complete(self) -> bool:
        """Whether all documents of the collection are stored."""
        return (self.folder / _COMPLETE).exists()

    @property
    def languages(self) -> list[str]:
        """Languages of the documents, most frequent first; empty for systems without languages."""
        return [language for language, _ in self._languages.most_common() if language]

    def append(self, ids: Sequence[str], vectors: torch.Tensor, languages: Sequence[str]) -> None:
        """Store a block atomically, with the language (or ``""``) of each document."""
        rows = [list(pair) for pair in zip(ids, languages, strict=True)]
        stem = self.folder / f"{len(self._ids):05d}"
        with open(f"{stem}.tmp", "wb") as file:
            np.save(file, vectors.float().numpy())
        os.replace(f"{stem}.tmp", f"{stem}.npy")
        temporary = stem.with_suffix(".tmp")
        temporary.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(temporary, stem.with_suffix(".ids"))  # the ids last: without them, a block does not count
        self._note(rows)

    def finish(self) -> None:
        """Record that all documents are stored."""
        (self.folder / _COMPLETE).touch()

    def search(self, queries: torch.Tensor, k: int) -> list[Found]:
        """Return the `k` documents with the largest dot products for each query, ties in the collection's order.

        Parameters
        ----------
        queries : torch.Tensor
            Shape ``(Q, dim)``, float32.
        """
        scores = torch.empty(len(queries), 0)
        positions = torch.empty(len(queries), 0, dtype=torch.int64)
        for start, block in self._blocks():
            products = queries @ block.T
            best, columns = products.topk(min(k, len(block)), dim=1)
            scores, positions = torch.cat([scores, best], 1), torch.cat([positions, columns + start], 1)
            scores, kept = scores.topk(min(k, scores.shape[1]), dim=1)
            positions = positions.gather(1, kept)
        names = [each for ids in self._ids for each in ids]
        return [
            [
                (names[position], score)
                for score, position in sorted(zip(*row, strict=True), key=lambda x: (-x[0], x[1]))
            ]
            for row in zip(scores.tolist(), positions.tolist(), strict=True)
        ]

    def _note(self, rows: Sequence[Sequence[str]]) -> None:
        self._ids.append([row[0] for row in rows])
        self._languages.update(row[1] for row in rows)

    def _blocks(self) -> Iterator[tuple[int, torch.Tensor]]:
        start = 0
        for i, ids in enumerate(self._ids):
            yield start, torch.from_numpy(np.load(self.folder / f"{i:05d}.npy"))
            start += len(ids)
