"""An index folder of colbert-ai or RAGatouille, opened and checked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import IndexNotFoundError
from ...types import Passage, TokenVectors
from .codec import NBITS, ResidualCodec
from .files import (
    BUCKETS,
    CENTROIDS,
    IVF,
    METADATA,
    PLAN,
    blaming,
    checked,
    damaged,
    load_tensor,
    load_tensors,
    read_json,
    read_object,
    whole_number,
)
from .records import Collection, Record, read_records

_IN_HUB_CACHE = re.compile(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\][0-9a-f]+[/\\]?$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The compressed vectors of a run of passages, mapped from disk.

    Attributes
    ----------
    codes : torch.Tensor
        Shape ``(t,)``, whole numbers.
    residuals : torch.Tensor
        Shape ``(t, packed_dim)``, uint8.
    """

    codes: torch.Tensor
    residuals: torch.Tensor


@dataclass(frozen=True, slots=True)
class PlaidFolder:
    """What a folder holds.

    Attributes
    ----------
    folder : Path
    checkpoint : str
        Hub id or folder of the checkpoint that filled it, as far as the folder knows.
    doc_maxlen : int
        Most tokens of a passage.
    codec : ResidualCodec
    lengths : torch.Tensor
        Shape ``(n,)``, int64: tokens of each passage; 0 for one that was deleted.
    starts : torch.Tensor
        Shape ``(n + 1,)``, int64: row of each passage's first vector, and of the end.
    chunks : tuple of Chunk
    inverted : torch.Tensor
        Shape ``(at least L,)``, whole numbers: the passages of each centroid, one centroid after the other.
    ends : torch.Tensor
        Shape ``(P,)``, int64: where in `inverted` the passages of each centroid end; the last is ``L``.
    records : list of (Record or None)
        Of each passage; None for one that was deleted.
    """

    folder: Path
    checkpoint: str
    doc_maxlen: int
    codec: ResidualCodec
    lengths: torch.Tensor
    starts: torch.Tensor
    chunks: tuple[Chunk, ...]
    inverted: torch.Tensor
    ends: torch.Tensor
    records: list[Record | None]

    @staticmethod
    def recognises(path: Path) -> bool:
        """Return whether there is such a folder at `path`, whole or not."""
        return path.is_dir() and any((path / name).is_file() for name in (METADATA, PLAN, CENTROIDS))

    @classmethod
    def open(cls, path: str | Path, collection: Collection | None = None) -> PlaidFolder:
        """Open a folder. Vectors stay on disk; texts, document ids and metadata are read.

        Parameters
        ----------
        path : str or Path
        collection : str, Path or sequence of str, optional
            The texts, for a folder that has none: see `read_records`.

        Raises
        ------
        IndexNotFoundError
            If there is no such folder at `path`.
        IndexDamagedError
            If a file of it is missing, damaged, or does not agree with the others.
        InputError
            If `collection` is not usable.
        """
        folder = Path(path)
        if not cls.recognises(folder):
            raise IndexNotFoundError(
                f"There is no index of colbert-ai at {str(folder)!r}: it has no {METADATA}. Check the path."
            )
        metadata = read_object(folder / METADATA)
        with blaming(folder / METADATA):
            config = metadata["config"]
            if not isinstance(config, dict):
                raise ValueError(f"config is {str(config)[:80]!r}, not an object")
            n_chunks, dim, nbits = whole_number(metadata, "num_chunks"), whole_number(config, "dim"), config["nbits"]
            doc_maxlen = 256 if config.get("doc_maxlen") is None else whole_number(config, "doc_maxlen")
            if whole_number(config, "nbits") not in NBITS:
                raise ValueError(f"nbits is {nbits}")
            checkpoint = _checkpoint(config)
        codec = _read_codec(folder, dim, nbits)
        pairs = [_read_chunk(folder, number, codec) for number in range(n_chunks)]
        lengths = torch.cat([lengths for _, lengths in pairs])
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        inverted, ends = _read_inverted(folder, len(codec.centroids), len(lengths))
        records = read_records(folder, config, (lengths > 0).tolist(), collection)
        chunks = tuple(chunk for chunk, _ in pairs)
        return cls(folder, checkpoint, doc_maxlen, codec, lengths, starts, chunks, inverted, ends, records)

    def close(self) -> None:
        """Do nothing: mapped files are let go of with their tensors."""

    def passages(self, language: str | None, default: str) -> list[Passage | None]:
        """Return the passages by pid, None for those that were deleted.

        Parameters
        ----------
        language : str or None
            Of all of them.
        default : str
            Where that is None, of those whose language the folder does not tell.
        """
        return [
            each and Passage(pid, each.document_id, each.text, language or each.language or default, each.metadata)
            for pid, each in enumerate(self.records)
        ]

    def codes(self, pids: torch.Tensor) -> torch.Tensor:
        """Return the codes of all tokens of passages ``(n,)``, growing."""
        return torch.cat([chunk.codes[rows].long() for chunk, rows in self._rows(pids)])

    def vectors(self, pids: torch.Tensor) -> TokenVectors:
        """Return the decoded token vectors of passages ``(n,)``, growing."""
        blocks = [self.codec.decode(chunk.codes[rows], chunk.residuals[rows]) for chunk, rows in self._rows(pids)]
        return TokenVectors(torch.cat([torch.empty(0, self.codec.dim), *blocks]), self.lengths[pids])

    def _rows(self, pids: torch.Tensor) -> list[tuple[Chunk, torch.Tensor]]:
        """Return the rows of passages ``(n,)``, growing, in each of the chunks."""
        lengths = self.lengths[pids]
        before = torch.repeat_interleave(self.starts[pids] - (lengths.cumsum(0) - lengths), lengths)
        rows = before + torch.arange(len(before))
        first, found = 0, []
        for chunk in self.chunks:
            bounds = torch.searchsorted(rows, torch.tensor([first, first + len(chunk.codes)]))
            found.append((chunk, rows[bounds[0] : bounds[1]] - first))
            first += len(chunk.codes)
        return found


def _read_codec(folder: Path, dim: int, nbits: int) -> ResidualCodec:
    centroids = load_tensor(folder / CENTROIDS, 2, integer=False)
    if centroids.shape[1] != dim or not len(centroids):
        raise damaged(folder / CENTROIDS, f"has the shape {tuple(centroids.shape)}, but {METADATA} wants (P, {dim})")
    buckets = load_tensors(folder / BUCKETS)
    with blaming(folder / BUCKETS):
        cutoffs, weights = (checked(each, 1, integer=False) for each in buckets)
        codec = ResidualCodec(centroids, cutoffs, weights)
    if codec.nbits != nbits:
        raise damaged(folder / BUCKETS, f"is of {codec.nbits} bits, but {METADATA} says {nbits}")
    return codec


def _read_chunk(folder: Path, number: int, codec: ResidualCodec) -> tuple[Chunk, torch.Tensor]:
    """Return a chunk and the lengths of its passages."""
    path = folder / f"doclens.{number}.json"
    doclens = read_json(path)
    with blaming(path):
        if not isinstance(doclens, list) or not all(type(each) is int for each in doclens):
            raise ValueError("not a list of whole numbers")
        lengths = torch.from_numpy(np.array(doclens, dtype=np.int64))
        if (lengths < 0).any():
            raise ValueError("a negative length")
    path = folder / f"{number}.codes.pt"
    codes = load_tensor(path, 1, integer=True)
    tokens = len(codes)
    if (lengths > tokens).any() or int(lengths.sum()) != tokens:
        raise damaged(path, f"has {tokens} tokens, not as many as doclens.{number}.json")
    if not _all_within(codes, len(codec.centroids) - 1):
        raise damaged(path, f"names centroids that {CENTROIDS} does not have")
    path = folder / f"{number}.residuals.pt"
    residuals = load_tensor(path, 2, integer=True)
    if residuals.dtype != torch.uint8 or tuple(residuals.shape) != (tokens, codec.packed_dim):
        raise damaged(
            path, f"has the shape {tuple(residuals.shape)}, not {(tokens, codec.packed_dim)} as {METADATA} wants it"
        )
    return Chunk(codes, residuals), lengths


def _read_inverted(folder: Path, partitions: int, n_passages: int) -> tuple[torch.Tensor, torch.Tensor]:
    path = folder / IVF
    content = load_tensors(path)
    with blaming(path):
        pids, lengths = (checked(each, 1, integer=True) for each in content)
        ends = lengths.long().cumsum(0)
        fits = _all_within(lengths, len(pids)) and int(ends[-1]) <= len(pids)  # zeros may follow
        if len(lengths) != partitions or not fits:
            raise ValueError(f"{len(pids)} passages of {len(lengths)} centroids")
        if not _all_within(pids, max(n_passages, 1) - 1):
            raise ValueError(f"passages that are not among the {n_passages}")
    return pids, ends


def _all_within(numbers: torch.Tensor, largest: int) -> bool:
    return not len(numbers) or 0 <= int(numbers.min()) <= int(numbers.max()) <= largest


def _checkpoint(config: dict[str, Any]) -> str:
    """Return the hub id or folder of the checkpoint; a hub id too where it is a folder of another machine's cache."""
    name = config.get("checkpoint") or config.get("model_name") or ""
    if not isinstance(name, str):
        raise ValueError(f"checkpoint is {str(name)[:80]!r}, not a name")
    cached = _IN_HUB_CACHE.search(name)
    return f"{cached[1]}/{cached[2]}" if cached and not os.path.isdir(name) else name
