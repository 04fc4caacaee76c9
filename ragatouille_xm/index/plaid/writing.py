"""The files of a colbert-ai folder, written in one pass over the passages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...types import Passage, TokenVectors
from .codec import ResidualCodec
from .files import (
    AVERAGE,
    BUCKETS,
    CENTROIDS,
    COLLECTION,
    DOCUMENT_IDS,
    DOCUMENT_METADATA,
    IVF,
    LANGUAGES,
    METADATA,
    PLAN,
)

_PLACE = "\0"  # of the texts in the configuration


class Writer:
    """Compresses passages and writes them; `finish` writes what can be told only at the end.

    Parameters
    ----------
    folder : Path
        Empty.
    codec : ResidualCodec
    chunk : int
        Most passages of a file.
    """

    def __init__(self, folder: Path, codec: ResidualCodec, chunk: int) -> None:
        self._folder = folder
        self._codec = codec
        self._chunk = chunk
        self._n_chunks = 0
        self.n_passages = 0
        self._n_tokens = 0
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []  # codes and residuals of each passage
        self._sizes = torch.zeros(len(codec.centroids), dtype=torch.int64)  # passages of each centroid
        self._described: set[str] = set()
        self._collection = _Stream(folder / COLLECTION, "[]")
        self._languages = _Stream(folder / LANGUAGES, "[]")
        self._ids = _Stream(folder / DOCUMENT_IDS, "{}")
        self._metadata = _Stream(folder / DOCUMENT_METADATA, "{}")
        self._streams = (self._collection, self._languages, self._ids, self._metadata)

    def add(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        """Write passages behind those that were added before."""
        codes, residuals = self._codec.encode(vectors.vectors.cpu())
        lengths = vectors.lengths.tolist()
        for passage, *block in zip(passages, codes.split(lengths), residuals.split(lengths), strict=True):
            self._pending.append((block[0], block[1]))
            self._describe(passage)
            if len(self._pending) == self._chunk:
                self._flush()

    def _describe(self, passage: Passage) -> None:
        number = self.n_passages + len(self._pending) - 1
        self._collection.write(passage.text)
        self._languages.write(passage.language)
        self._ids.write(passage.document_id, key=str(number))
        if passage.metadata is not None and passage.document_id not in self._described:
            self._described.add(passage.document_id)
            self._metadata.write(dict(passage.metadata), key=passage.document_id)

    def _flush(self) -> None:
        """Write a chunk."""
        if not self._pending:
            return
        codes, residuals = (torch.cat(column) for column in zip(*self._pending, strict=True))
        lengths = [len(codes_) for codes_, _ in self._pending]
        name = self._n_chunks
        torch.save(codes, self._folder / f"{name}.codes.pt")
        torch.save(residuals, self._folder / f"{name}.residuals.pt")
        self._write_json(f"doclens.{name}.json", lengths)
        counts = {"passage_offset": self.n_passages, "num_passages": len(lengths)}
        counts |= {"num_embeddings": len(codes), "embedding_offset": self._n_tokens}
        self._write_json(f"{name}.metadata.json", counts)
        self._sizes += _pairs(codes, lengths, 0)[0].bincount(minlength=len(self._sizes))
        self._n_chunks, self.n_passages = name + 1, self.n_passages + len(lengths)
        self._n_tokens += len(codes)
        self._pending = []

    def finish(self, average: float, *, name: str, checkpoint: str, doc_maxlen: int) -> None:
        """Write the rest: codec, inverted lists, configuration.

        Parameters
        ----------
        average : float
            Mean absolute residual.
        name : str
            Of the index.
        checkpoint : str
            Hub id or folder.
        doc_maxlen : int
            Most tokens of a passage.
        """
        self._flush()
        for stream in self._streams:
            stream.end()
        if not self._described:
            (self._folder / DOCUMENT_METADATA).unlink()
        codec = self._codec
        torch.save(codec.centroids.half(), self._folder / CENTROIDS)
        torch.save((codec.cutoffs, codec.weights), self._folder / BUCKETS)
        torch.save(torch.tensor(average), self._folder / AVERAGE)
        torch.save((self._inverted(), self._sizes), self._folder / IVF)
        self._configure({"checkpoint": checkpoint, "index_name": name, "doc_maxlen": doc_maxlen}, name)

    def close(self) -> None:
        """Let go of the files, finished or not."""
        for stream in self._streams:
            stream.close()

    def _inverted(self) -> torch.Tensor:
        """Return the passages of each centroid, one centroid after the other, int32."""
        inverted = torch.empty(int(self._sizes.sum()), dtype=torch.int32)
        free = self._sizes.cumsum(0) - self._sizes  # next place of each centroid
        first = 0
        for number in range(self._n_chunks):
            codes = torch.load(self._folder / f"{number}.codes.pt", weights_only=True)
            lengths = json.loads((self._folder / f"doclens.{number}.json").read_bytes())
            of, pids = _pairs(codes, lengths, first)
            sizes = of.bincount(minlength=len(free))
            within = torch.arange(len(of)) - (sizes.cumsum(0) - sizes)[of]
            inverted[free[of] + within] = pids.int()
            free += sizes
            first += len(lengths)
        return inverted

    def _configure(self, settings: dict[str, Any], name: str) -> None:
        codec = self._codec
        config = {"dim": codec.dim, "nbits": codec.nbits, "similarity": "cosine", "interaction": "colbert", **settings}
        counts: dict[str, Any] = {"num_chunks": self._n_chunks, "num_partitions": len(codec.centroids)}
        average = self._n_tokens / self.n_passages
        plan = counts | {"num_embeddings_est": self._n_tokens, "avg_doclen_est": average}
        self._write_json(PLAN, {"config": config, **plan})
        counts |= {"num_embeddings": self._n_tokens, "avg_doclen": average}
        counts["RAGatouille"] = {"index_config": {"index_type": "PLAID", "index_name": name}}
        # colbert-ai looks for the texts in the configuration.
        start, end = json.dumps({"config": config | {"collection": _PLACE}, **counts}).split(json.dumps(_PLACE))
        with (self._folder / METADATA).open("wb") as file, (self._folder / COLLECTION).open("rb") as texts:
            file.write(start.encode())
            shutil.copyfileobj(texts, file)
            file.write(end.encode())

    def _write_json(self, name: str, value: object) -> None:
        (self._folder / name).write_text(json.dumps(value), encoding="utf-8")


def _pairs(codes: torch.Tensor, lengths: Sequence[int], first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centroids and the passages of each pair of the two that belong together, growing, each pair once."""
    n = len(lengths)
    pids = torch.repeat_interleave(torch.arange(n), torch.tensor(lengths))
    keys = (codes.long() * n + pids).unique()
    return keys // n, keys % n + first


class _Stream:
    """A JSON list or object, written item by item in ASCII: colbert-ai reads in the encoding of the locale."""

    def __init__(self, path: Path, brackets: str) -> None:
        self._file = path.open("w", encoding="ascii")
        self._separator, self._end = brackets[0], brackets[1]

    def write(self, value: object, *, key: str | None = None) -> None:
        name = "" if key is None else f"{json.dumps(key)}: "
        self._file.write(f"{self._separator}{name}{json.dumps(value)}")
        self._separator = ",\n"

    def end(self) -> None:
        self._file.write(self._end if self._separator == ",\n" else self._separator + self._end)
        self._file.close()

    def close(self) -> None:
        self._file.close()
