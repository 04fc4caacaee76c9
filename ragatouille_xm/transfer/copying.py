"""Copying an index into another one: in batches, resumed where a copy was broken off, and compared before it counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from tqdm import tqdm

from ..config import SearchConfig
from ..corpus.filters import Compare
from ..errors import IndexDamagedError
from ..index.base import IndexWriter, PassageIndex
from ..index.local.reader import LocalReader
from ..index.meta import OtherBuildError
from ..types import Passage, TokenVectors

logger = logging.getLogger(__name__)

COPY_BATCH = 512  # passages of one commit, or more if a document has more
CHANGED = "the original was changed meanwhile"
READ_BATCH = 4096  # passages without vectors
COMPARED_PASSAGES, COMPARED_QUERIES, COMPARED_ROWS, COMPARED_HITS = 500, 8, 16, 10
TOLERANCE = {"int16": 1e-3, "int8": 2e-2, "int4": 2e-2}  # of a similarity
EXACT = SearchConfig(exact=True)

Read: TypeAlias = Callable[[int], Iterator[tuple[list[Passage], TokenVectors | None]]]


@dataclass(frozen=True)
class Target:
    """A copy while it is being filled.

    Attributes
    ----------
    writer : IndexWriter
    reader : callable
        Returns a context that gives what the copy has so far, to be read.
    first_pid : int
        Where its pids begin.
    """

    writer: IndexWriter
    reader: Callable[[], AbstractContextManager[PassageIndex | LocalReader]]
    first_pid: int


@dataclass(frozen=True)
class Transfer:
    """One index, and how its copy is made.

    Attributes
    ----------
    source : PassageIndex or LocalReader
    read : callable
        Given a pid, reads all passages of larger ones with their vectors, by growing pid, and perhaps others.
    open_target : callable
        Begins to build the copy; given True, resumes a build that was broken off.
    discard : callable
        Removes a copy that differs.
    tolerance : float
        By which a similarity may differ.
    """

    source: PassageIndex | LocalReader
    read: Read
    open_target: Callable[[bool], AbstractContextManager[Target]]
    discard: Callable[[], None]
    tolerance: float


class _Changed(Exception):  # noqa: N818
    """What the copy has so far is not the beginning of the source."""


class _Differs(Exception):  # noqa: N818
    """How the copy differs."""


def carry_out(transfer: Transfer, *, progress: bool) -> int:
    """Fill the copy, resuming it if that is possible, and compare; return how many passages it has.

    Raises
    ------
    IndexDamagedError
        If the copy differs; it is removed.
    """
    try:
        return _attempt(transfer, progress, resume=True)
    except (_Changed, OtherBuildError):  # it is a copy of another index, or of an earlier state of this one
        logger.warning("the interrupted copy cannot be resumed: beginning again")
        return _attempt(transfer, progress, resume=False)


def _attempt(transfer: Transfer, progress: bool, *, resume: bool) -> int:
    try:
        with transfer.open_target(resume) as target:
            pids, last_pids = _pids(transfer.source)
            with target.reader() as copy:
                copied, _ = _pids(copy)
            if copied != [pid + target.first_pid for pid in pids[: len(copied)]]:
                raise _Changed
            _copy(transfer.read, target, pids, last_pids, len(copied), progress)
            with target.reader() as copy:
                _compare(transfer.source, copy, pids, target.first_pid, transfer.tolerance)
            return len(pids)
    except _Differs as error:
        if resume:  # otherwise nothing is left of it
            transfer.discard()
        raise IndexDamagedError(f"The copy differs: {error}. It was removed; try again.") from error


def _pids(index: PassageIndex | LocalReader) -> tuple[list[int], dict[str, int]]:
    """Return all pids of an index in ascending order, and the last pid of each document."""
    pids: list[int] = []
    last_pids: dict[str, int] = {}
    for passages, _ in index.scroll(batch_size=READ_BATCH):
        pids += [passage.pid for passage in passages]
        last_pids |= {passage.document_id: passage.pid for passage in passages}
    return pids, last_pids


def _copy(
    read: Read, target: Target, pids: list[int], last_pids: Mapping[str, int], copied: int, progress: bool
) -> None:
    """Copy all passages but the first `copied`, in ascending order."""
    with tqdm(
        total=len(pids), initial=copied, desc="copying", unit="passage", disable=None if progress else True
    ) as bar:
        stream = _read_after(read, pids[copied - 1] if copied else -1)
        for passages, vectors in _whole_documents(stream, last_pids):
            target.writer.add([replace(each, pid=each.pid + target.first_pid) for each in passages], vectors)
            bar.update(len(passages))


def _read_after(read: Read, pid: int) -> Iterator[tuple[Passage, torch.Tensor]]:
    """Yield the passages of larger pids with their token vectors ``(t, dim)``, by growing pid."""
    for passages, vectors in read(pid):
        if vectors is not None and passages[-1].pid > pid:
            yield from (pair for pair in zip(passages, vectors, strict=True) if pair[0].pid > pid)


def _whole_documents(
    stream: Iterator[tuple[Passage, torch.Tensor]], last_pids: Mapping[str, int]
) -> Iterator[tuple[list[Passage], TokenVectors]]:
    """Yield batches of at least `COPY_BATCH` passages, and the rest; each has all passages of its documents."""
    passages: list[Passage] = []
    blocks: list[torch.Tensor] = []
    last_pid = -1  # of all documents in the batch
    for passage, block in stream:
        if passage.document_id not in last_pids:
            raise _Differs(CHANGED)
        passages.append(passage)
        blocks.append(block)
        last_pid = max(last_pid, last_pids[passage.document_id])
        if len(passages) >= COPY_BATCH and passage.pid == last_pid:
            yield passages, TokenVectors.of_blocks(blocks, blocks[0].shape[1])
            passages, blocks = [], []
    if passages:
        yield passages, TokenVectors.of_blocks(blocks, blocks[0].shape[1])


def _compare(
    source: PassageIndex | LocalReader,
    copy: PassageIndex | LocalReader,
    pids: Sequence[int],
    shift: int,
    tolerance: float,
) -> None:
    """Raise `_Differs` unless counts, some passages, and the best hits for some of their vectors are the same."""
    if (n_passages := len(copy)) != len(pids):
        raise _Differs(f"it has {n_passages} passages instead of {len(pids)}")
    if (languages := copy.languages()) != (expected := source.languages()):
        raise _Differs(f"its passages are of the languages {languages} instead of {expected}")
    if not pids:
        return
    random = np.random.default_rng(0)
    sample = sorted(random.choice(pids, min(COMPARED_PASSAGES, len(pids)), replace=False).tolist())
    try:
        passages = source.fetch(sample)
    except KeyError as error:
        raise _Differs(CHANGED) from error
    try:
        copies = copy.fetch([pid + shift for pid in sample])
    except KeyError as error:
        raise _Differs(f"the passage {error} is missing") from error
    for passage, other in zip(passages, copies, strict=True):
        if other != replace(passage, pid=passage.pid + shift):
            raise _Differs(f"the passage {passage.pid} of document {passage.document_id!r} is another one")
    documents = Compare("document_id", "$in", tuple(dict.fromkeys(passage.document_id for passage in passages)))
    queried = random.choice(sample, min(COMPARED_QUERIES, len(sample)), replace=False).tolist()
    for pid, query in _queries(source, documents, queried).items():
        hits = source.search(query[None], COMPARED_HITS, filter=documents, config=EXACT)
        others = copy.search(query[None], COMPARED_HITS, filter=documents, config=EXACT)
        scores, other_scores = hits.scores[0], others.scores[0]
        margin = tolerance * len(query)
        if not np.allclose(scores, other_scores, atol=margin, rtol=0):
            raise _Differs(
                f"the best scores for the vectors of passage {pid} are {other_scores.tolist()} "
                f"instead of {scores.tolist()}"
            )
        certain = set((hits.pids[0][scores > scores[-1] + margin] + shift).tolist())  # among the best despite rounding
        if missing := certain - set(others.pids[0].tolist()):
            raise _Differs(f"the best hits for the vectors of passage {pid} lack the passages {sorted(missing)}")


def _queries(source: PassageIndex | LocalReader, documents: Compare, pids: Sequence[int]) -> dict[int, torch.Tensor]:
    """Return the first token vectors ``(q, dim)`` of passages of the documents, as queries."""
    found = {}
    for passages, vectors in source.scroll(documents, with_vectors=True):
        for passage, rows in zip(passages, vectors or (), strict=True):
            if passage.pid in pids:
                found[passage.pid] = rows[:COMPARED_ROWS].float()
    return found
