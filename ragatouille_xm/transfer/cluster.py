"""Between an index folder and a Qdrant cluster. Nothing is encoded again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..catalog import open_index
from ..config import SearchConfig
from ..corpus.filters import Compare
from ..errors import IndexDamagedError, InputError
from ..index.base import IndexWriter, PassageIndex
from ..index.cluster.build import build, discard
from ..index.cluster.client import Cluster
from ..index.cluster.index import ClusterIndex
from ..index.local.index import LocalIndex
from ..index.local.reader import LocalReader
from ..index.plaid.folder import PlaidFolder
from ..index.quantization.codebook import Codebook
from ..types import Calibration, Passage, TokenVectors

logger = logging.getLogger(__name__)

COPY_BATCH = 512  # passages of one commit, or more if a document has more
READ_BATCH = 4096  # passages without vectors
COMPARED_PASSAGES, COMPARED_QUERIES, COMPARED_ROWS, COMPARED_HITS = 500, 8, 16, 10
TOLERANCE = {"int16": 1e-3, "int8": 2e-2, "int4": 2e-2}  # of a similarity
EXACT = SearchConfig(exact=True)


def push_index(
    source: str | Path,
    cluster: Cluster,
    name: str,
    *,
    storage: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> int:
    """Copy an index of ours from a folder into a cluster; return how many passages it has.

    The passages keep their pids (unless the index replaces another), and the folder's codebook goes along. The index
    becomes visible as a whole once everything has been copied and compared. A push that was broken off is resumed.

    Parameters
    ----------
    source : str or Path
        Folder of the index; is not changed.
    cluster : Cluster
    name : str
        Of the index in the cluster.
    storage : str, optional
        How the cluster stores token vectors: see `ragatouille_xm.index.cluster.build.build`; by default as the folder.
    overwrite : bool
        Replace an index of that name.
    progress : bool
        Show a progress bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index at `source`; `IndexDamagedError` also if the copy differs, which is then removed.
    InputError
        If there is an index of that name.
    ClusterError
        If the cluster fails. Call it again to resume.
    """
    if not overwrite and name in cluster.aliases():
        raise InputError(f"There is an index {name!r} at {cluster.url} already. Choose another name, or overwrite it.")
    index = open_index(source)
    try:
        if isinstance(index, PlaidFolder):
            raise InputError(f"The index at {str(source)!r} is of colbert-ai's format: convert it first.")
        meta = index.meta
        description = meta.description | {"storage": storage or meta.storage}
        del description["lexical"]  # a cluster keeps no pieces
        target = partial(_cluster_target, cluster, name, description, index.codebook())
        tolerance = max(TOLERANCE[meta.storage], TOLERANCE[description["storage"]])
        n_passages = _transfer(_Transfer(index, target, partial(discard, cluster, name), tolerance), progress)
        _calibrate(index.calibration, ClusterIndex.open(cluster, name))
        return n_passages
    finally:
        index.close()


def pull_index(
    cluster: Cluster, name: str, target: str | Path, *, overwrite: bool = False, progress: bool = False
) -> int:
    """Copy an index from a cluster into a folder; return how many passages it has.

    The passages keep their pids (unless the index replaces another). The index becomes visible as a whole once
    everything has been copied and compared. A pull that was broken off is resumed.

    Parameters
    ----------
    cluster : Cluster
    name : str
        Of the index in the cluster; is not changed.
    target : str or Path
        Folder of the new index.
    overwrite : bool
        Replace an index at `target`.
    progress : bool
        Show a progress bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError, ClusterError
        If there is no usable index of that name; `IndexDamagedError` also if the copy differs, which is then removed.
    PassageIndexError
        If the index in the cluster changes too much meanwhile.
    InputError
        If there is an index at `target`.
    StorageError
        If the folder cannot be written.
    """
    folder = Path(target)
    if not overwrite and LocalIndex.exists(folder):
        raise InputError(f"There is an index at {str(target)!r} already. Choose another folder, or overwrite it.")
    index = ClusterIndex.open(cluster, name)
    meta = index.meta
    open_target = partial(_local_target, folder, meta.description)

    def discard() -> None:
        with suppress(_Changed), open_target(False):  # replaces the build that failed, and fails itself
            raise _Changed

    n_passages = _transfer(_Transfer(index, open_target, discard, TOLERANCE[meta.storage]), progress)
    with closing(LocalIndex.open(folder)) as copy:
        _calibrate(index.calibration, copy)
    return n_passages


def _calibrate(calibration: Calibration | None, copy: LocalIndex | ClusterIndex) -> None:
    """Take over the calibration of the source."""
    if calibration is not None:
        copy.calibrate(calibration.shifted(copy.meta.first_pid))


@dataclass(frozen=True)
class _Target:
    """The copy while it is being filled.

    Attributes
    ----------
    writer : IndexWriter
    reader : callable
        Opens what the copy has so far.
    first_pid : int
        Where its pids begin.
    """

    writer: IndexWriter
    reader: Callable[[], LocalReader | ClusterIndex]
    first_pid: int


@dataclass(frozen=True)
class _Transfer:
    """One index, and how its copy is made.

    Attributes
    ----------
    source : PassageIndex
    open_target : callable
        Begins to build the copy; given True, resumes a build that was broken off.
    discard : callable
        Removes a copy that differs.
    tolerance : float
        By which a similarity may differ.
    """

    source: PassageIndex
    open_target: Callable[[bool], AbstractContextManager[_Target]]
    discard: Callable[[], None]
    tolerance: float


@contextmanager
def _local_target(folder: Path, description: Mapping[str, Any], resume: bool) -> Iterator[_Target]:
    with LocalIndex.build(folder, **description, resume=resume) as draft:
        yield _Target(draft, draft.reader, draft.first_pid)


@contextmanager
def _cluster_target(
    cluster: Cluster, name: str, description: Mapping[str, Any], codebook: tuple[Codebook, int] | None, resume: bool
) -> Iterator[_Target]:
    with build(cluster, name, **description, resume=resume) as draft:
        if codebook is not None and draft.state.codebook is None:
            draft.use_codebook(*codebook)
        yield _Target(draft, lambda: draft, draft.first_pid)


class _Changed(Exception):  # noqa: N818
    """What the copy has so far is not the beginning of the source."""


class _Differs(Exception):  # noqa: N818
    """How the copy differs."""


def _transfer(transfer: _Transfer, progress: bool) -> int:
    """Fill the copy, resuming it if that is possible, and compare; return how many passages it has."""
    try:
        return _attempt(transfer, progress, resume=True)
    except (_Changed, InputError):  # it is a copy of another index, or of an earlier state of this one
        logger.warning("the interrupted copy cannot be resumed: beginning again")
        return _attempt(transfer, progress, resume=False)


def _attempt(transfer: _Transfer, progress: bool, *, resume: bool) -> int:
    try:
        with transfer.open_target(resume) as target:
            pids, last_pids = _pids(transfer.source)
            copied, _ = _pids(target.reader())
            if copied != [pid + target.first_pid for pid in pids[: len(copied)]]:
                raise _Changed
            _copy(transfer.source, target, pids, last_pids, len(copied), progress)
            _compare(transfer.source, target, pids, transfer.tolerance)
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
    source: PassageIndex, target: _Target, pids: list[int], last_pids: Mapping[str, int], copied: int, progress: bool
) -> None:
    """Copy all passages but the first `copied`, in ascending order."""
    with tqdm(
        total=len(pids), initial=copied, desc="copying", unit="passage", disable=None if progress else True
    ) as bar:
        stream = _read_after(source, pids[copied - 1] if copied else -1)
        for passages, vectors in _whole_documents(stream, last_pids):
            target.writer.add([replace(each, pid=each.pid + target.first_pid) for each in passages], vectors)
            bar.update(len(passages))


def _read_after(source: PassageIndex, pid: int) -> Iterator[tuple[Passage, torch.Tensor]]:
    """Yield the passages of larger pids with their token vectors ``(t, dim)``, by growing pid."""
    if isinstance(source, ClusterIndex):
        stream = source.scroll(with_vectors=True, batch_size=COPY_BATCH, after=pid)
    else:
        stream = source.scroll(with_vectors=True, batch_size=COPY_BATCH)
    for passages, vectors in stream:
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
        passages.append(passage)
        blocks.append(block)
        last_pid = max(last_pid, last_pids[passage.document_id])
        if len(passages) >= COPY_BATCH and passage.pid == last_pid:
            yield passages, _concat(blocks)
            passages, blocks = [], []
    if passages:
        yield passages, _concat(blocks)


def _concat(blocks: Sequence[torch.Tensor]) -> TokenVectors:
    return TokenVectors(torch.cat(list(blocks)), torch.tensor([len(block) for block in blocks]))


def _compare(source: PassageIndex, target: _Target, pids: Sequence[int], tolerance: float) -> None:
    """Raise `_Differs` unless counts, some passages, and the best hits for some of their vectors are the same."""
    copy, shift = target.reader(), target.first_pid
    if (n_passages := len(copy)) != len(pids):
        raise _Differs(f"it has {n_passages} passages instead of {len(pids)}")
    if (languages := copy.languages()) != (expected := source.languages()):
        raise _Differs(f"its passages are of the languages {languages} instead of {expected}")
    if not pids:
        return
    random = np.random.default_rng(0)
    sample = sorted(random.choice(pids, min(COMPARED_PASSAGES, len(pids)), replace=False).tolist())
    passages = source.fetch(sample)
    for passage, other in zip(passages, copy.fetch([pid + shift for pid in sample]), strict=True):
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


def _queries(source: PassageIndex, documents: Compare, pids: Sequence[int]) -> dict[int, torch.Tensor]:
    """Return the first token vectors ``(q, dim)`` of passages of the documents, as queries."""
    found = {}
    for passages, vectors in source.scroll(documents, with_vectors=True):
        for passage, rows in zip(passages, vectors or (), strict=True):
            if passage.pid in pids:
                found[passage.pid] = rows[:COMPARED_ROWS].float()
    return found
