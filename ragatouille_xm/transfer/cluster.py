"""Between an index folder and a Qdrant cluster, without encoding anything again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from ..catalog import open_index
from ..config import SearchConfig
from ..corpus.filters import Compare
from ..errors import IndexDamagedError, InputError
from ..index.base import PassageIndex
from ..index.cluster.build import build, discard
from ..index.cluster.client import Cluster
from ..index.cluster.index import ClusterIndex
from ..index.local.build import beginning
from ..index.local.index import EdgeIndex
from ..index.local.manifest import MANIFEST, Manifest
from ..index.plaid.folder import PlaidFolder
from ..types import Passage, TokenVectors

logger = logging.getLogger(__name__)

BATCH = 512  # passages of one commit
PASSAGES_COMPARED, QUERIES_COMPARED, ROWS_COMPARED, BEST_COMPARED = 500, 8, 16, 10
TOLERANCE = {"int16": 1e-3, "int8": 2e-2}  # of a similarity
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

    The passages keep their numbers (unless the index replaces another), and the folder's codebook goes along. The index
    is there as a whole, once everything has been copied and compared. A push that was broken off goes on where it was.

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
        Draw a bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index at `source`; `IndexDamagedError` also if the copy differs, which is then removed.
    InputError
        If there is an index of that name.
    ClusterError
        If the cluster fails. Call it again to go on.
    """
    if not overwrite and name in cluster.aliases():
        raise InputError(f"There is an index {name!r} at {cluster.url} already. Choose another name, or overwrite it.")
    index = open_index(source)
    try:
        if isinstance(index, PlaidFolder):
            raise InputError(f"The index at {str(source)!r} is of colbert-ai's format: convert it first.")
        manifest = index.manifest
        codebook = index.codebook()

        def prepare(draft: ClusterIndex) -> int:
            if codebook is not None and manifest.codebook is not None and draft.manifest.codebook is None:
                draft.use_codebook(codebook, manifest.codebook.tokens)
            return draft.manifest.first_pid

        kind = storage or manifest.storage
        making = partial(build, cluster, name, **_description(manifest, kind))
        _move(
            _Move(index, making, prepare, partial(discard, cluster, name), _tolerance(manifest.storage, kind)), progress
        )
        return len(index)
    finally:
        index.close()


def pull_index(
    cluster: Cluster, name: str, target: str | Path, *, overwrite: bool = False, progress: bool = False
) -> int:
    """Copy an index from a cluster into a folder; return how many passages it has.

    The passages keep their numbers (unless the index replaces another). The index is there as a whole, once everything
    has been copied and compared. A pull that was broken off goes on where it was.

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
        Draw a bar.

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
    if not overwrite and (folder / MANIFEST).exists():
        raise InputError(f"There is an index at {str(target)!r} already. Choose another folder, or overwrite it.")
    index = ClusterIndex.open(cluster, name)
    manifest, first = index.manifest, beginning(folder)
    making = partial(EdgeIndex.build, folder, **_description(manifest, manifest.storage))

    def throw_away() -> None:
        with making(resume=False):  # takes the place of the one that failed, and ends badly itself
            raise _Changed

    _move(_Move(index, making, lambda _: first, throw_away, _tolerance(manifest.storage)), progress)
    return len(index)


class _Changed(Exception):  # noqa: N818
    """What is there is not the beginning of what is to be copied."""


class _Making(Protocol):
    def __call__(self, *, resume: bool) -> AbstractContextManager[Any]: ...


class _Prepare(Protocol):
    def __call__(self, draft: Any, /) -> int: ...


class _Discard(Protocol):
    def __call__(self) -> None: ...


@dataclass(frozen=True)
class _Move:
    """One index, and how its copy is made.

    Attributes
    ----------
    source : EdgeIndex or ClusterIndex
    making : callable
        The context in which the copy is filled.
    prepare : callable
        What is done with the copy first; returns how much larger its pids are.
    discard : callable
        Removes a copy that has failed.
    tolerance : float
        By which a similarity may differ.
    """

    source: EdgeIndex | ClusterIndex
    making: _Making
    prepare: _Prepare
    discard: _Discard
    tolerance: float


def _description(manifest: Manifest, storage: str) -> dict[str, Any]:
    names = ("dim", "checkpoint", "fingerprint", "settings")
    return {**{name: getattr(manifest, name) for name in names}, "storage": storage}


def _tolerance(*storages: str) -> float:
    return max(TOLERANCE[storage] for storage in storages)


def _move(move: _Move, progress: bool) -> None:
    """Fill the copy, going on with what is there of it if that is possible, and compare."""
    try:
        _attempt(move, progress, resume=True)
    except (_Changed, InputError):  # of another index, or of this one as it was
        logger.warning("what is there of a copy cannot be gone on with: beginning again")
        _attempt(move, progress, resume=False)


def _attempt(move: _Move, progress: bool, *, resume: bool) -> None:
    try:
        with move.making(resume=resume) as draft:
            shift = move.prepare(draft)
            pids, there = _pids(move.source), _pids(draft)
            if there != [pid + shift for pid in pids[: len(there)]]:
                raise _Changed
            _copy(move.source, draft, shift, there[-1] - shift if there else -1, len(pids), progress)
            _compare(move.source, draft, shift, pids, move.tolerance)
    except _Differs as error:
        if resume:  # otherwise nothing is left of it
            with suppress(_Changed):
                move.discard()
        raise IndexDamagedError(f"The copy differs: {error}. It was removed; move the index again.") from error


class _Differs(Exception):  # noqa: N818
    """How the copy differs."""


def _pids(index: PassageIndex) -> list[int]:
    return [passage.pid for passages, _ in index.scroll(batch_size=4096) for passage in passages]


def _copy(
    source: EdgeIndex | ClusterIndex, draft: PassageIndex, shift: int, after: int, total: int, progress: bool
) -> None:
    """Copy the passages behind the pid `after`, in order, each batch a commit."""
    with tqdm(total=total, desc="copying", unit="passage", disable=None if progress else True) as bar:
        for passages, vectors in _behind(source, after):
            draft.add([replace(passage, pid=passage.pid + shift) for passage in passages], vectors)
            bar.update(len(passages))


def _behind(source: EdgeIndex | ClusterIndex, after: int) -> Iterator[tuple[list[Passage], TokenVectors]]:
    stream: Iterator[tuple[list[Passage], TokenVectors | None]]
    if isinstance(source, ClusterIndex):
        stream = source.scroll(with_vectors=True, batch_size=BATCH, after=after)
    else:
        stream = source.scroll(with_vectors=True, batch_size=BATCH)
    for passages, vectors in stream:
        if vectors is None:
            continue
        new = sum(passage.pid > after for passage in passages)
        if new == len(passages):
            yield passages, vectors
        elif new:  # they are in order
            blocks = list(vectors)[-new:]
            yield passages[-new:], TokenVectors(torch.cat(blocks), vectors.lengths[-new:])


def _compare(source: PassageIndex, copy: PassageIndex, shift: int, pids: Sequence[int], tolerance: float) -> None:
    """Raise `_Differs` unless counts, some passages, and the best for some of their vectors are the same."""
    if (here := len(copy)) != len(pids):
        raise _Differs(f"it has {here} passages instead of {len(pids)}")
    if (here_by := copy.languages()) != (there_by := source.languages()):
        raise _Differs(f"its passages are of the languages {here_by} instead of {there_by}")
    if not pids:
        return
    chosen = np.random.default_rng(0)
    some = sorted(chosen.choice(pids, min(PASSAGES_COMPARED, len(pids)), replace=False).tolist())
    passages = source.fetch(some)
    for passage, other in zip(passages, copy.fetch([pid + shift for pid in some]), strict=True):
        if other != replace(passage, pid=passage.pid + shift):
            raise _Differs(f"the passage {passage.pid} of document {passage.document_id!r} is another one")
    documents = tuple(dict.fromkeys(passage.document_id for passage in passages))
    vectors_of = _some_vectors(source, documents, chosen.choice(some, min(QUERIES_COMPARED, len(some)), replace=False))
    for pid, rows in vectors_of.items():
        among = Compare("document_id", "$in", documents)
        mine, theirs = (each.search(rows[None], BEST_COMPARED, filter=among, config=EXACT) for each in (source, copy))
        scores, others = mine.scores[0], theirs.scores[0]
        far = tolerance * len(rows)
        if not np.allclose(scores, others, atol=far, rtol=0):
            raise _Differs(
                f"the best scores for the vectors of passage {pid} are {others.tolist()} instead of {scores.tolist()}"
            )
        clear = set((mine.pids[0][scores > scores[-1] + far] + shift).tolist())  # whom no rounding puts out
        if missing := clear - set(theirs.pids[0].tolist()):
            raise _Differs(f"the best for the vectors of passage {pid} lack the passages {sorted(missing)}")


def _some_vectors(source: PassageIndex, documents: tuple[str, ...], pids: Sequence[int]) -> dict[int, torch.Tensor]:
    """Return the first rows ``(q, dim)`` of passages of the documents."""
    wanted, found = {int(pid) for pid in pids}, {}
    for passages, vectors in source.scroll(Compare("document_id", "$in", documents), with_vectors=True):
        blocks = iter(vectors) if vectors is not None else iter(())
        for passage, rows in zip(passages, blocks, strict=True):
            if passage.pid in wanted:
                found[passage.pid] = rows[:ROWS_COMPARED].float()
    return found
