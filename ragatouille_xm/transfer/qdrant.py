"""Between an index folder and Qdrant. Nothing is encoded again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..files import absolute
from ..index.local.index import LocalIndex
from ..index.meta import check_storage
from ..index.qdrant.index import QdrantIndex
from ..index.qdrant.server import QdrantServer
from ..index.quantization.codebook import Codebook
from ..types import Calibration
from .copying import TOLERANCE, Target, Transfer, carry_out
from .endpoints import check_folder, check_name, own_index


def push_index(
    source: str | Path,
    server: QdrantServer,
    name: str,
    *,
    storage: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> int:
    """Copy an index of ours from a folder into Qdrant; return how many passages it has.

    The passages keep their pids (unless the index replaces another), and the folder's codebook goes along; pieces for
    hybrid search do not. The index becomes visible as a whole once everything has been copied and compared. A push that
    was broken off is resumed.

    Parameters
    ----------
    source : str or Path
        Folder of the index; is not changed. Others may write to it: what counts at the beginning is copied.
    server : QdrantServer
    name : str
        Of the index in Qdrant.
    storage : str, optional
        How Qdrant stores token vectors: one of `ragatouille_xm.config.STORAGES`; by default as the folder.
    overwrite : bool
        Replace an index of that name.
    progress : bool
        Show a progress bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index at `source`; `IndexDamagedError` also if the copy differs, which is then removed.
    InputError
        If there is an index of that name, none can have it, or there is no such storage.
    DatabaseError
        If the server fails. Call it again to resume.
    """
    check_name(server, name, overwrite)
    with own_index(source, ": convert it first.") as opened, opened.pinned() as index:
        meta = index.meta
        storage = storage or meta.storage
        check_storage(storage)
        description = meta.description | {"storage": storage, "lexical": False}
        target = partial(_qdrant_target, server, name, description, index.codebook(), len(index))
        tolerance = max(TOLERANCE[meta.storage], TOLERANCE[storage])
        n_passages = carry_out(
            Transfer(
                index, lambda _: index.scroll(with_vectors=True), target, partial(server.discard, name), tolerance
            ),
            progress=progress,
        )
        _calibrate(index.calibration, server.open(name))
        return n_passages


def pull_index(
    server: QdrantServer, name: str, target: str | Path, *, overwrite: bool = False, progress: bool = False
) -> int:
    """Copy an index from Qdrant into a folder; return how many passages it has.

    The passages keep their pids (unless the index replaces another). The index becomes visible as a whole once
    everything has been copied and compared. A pull that was broken off is resumed.

    Parameters
    ----------
    server : QdrantServer
    name : str
        Of the index in Qdrant; is not changed.
    target : str or Path
        Folder of the new index.
    overwrite : bool
        Replace an index at `target`.
    progress : bool
        Show a progress bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError, DatabaseError
        If there is no usable index of that name; `IndexDamagedError` also if the copy differs, which is then removed.
        It differs if the index is changed meanwhile.
    InputError
        If there is an index at `target`, or that is no path.
    StorageError
        If the folder cannot be written.
    """
    folder = absolute(target)
    check_folder(folder, overwrite)
    index = server.open(name)
    meta = index.meta
    open_target = partial(_local_target, folder, meta.description)

    def discard() -> None:
        with suppress(_Discarded), open_target(False):  # replaces the build that failed, and fails itself
            raise _Discarded

    transfer = Transfer(
        index, lambda pid: index.scroll(with_vectors=True, after=pid), open_target, discard, TOLERANCE[meta.storage]
    )
    n_passages = carry_out(transfer, progress=progress)
    with closing(LocalIndex.open(folder)) as copy:
        _calibrate(index.calibration, copy)
    return n_passages


class _Discarded(Exception):  # noqa: N818
    pass


def _calibrate(calibration: Calibration | None, copy: LocalIndex | QdrantIndex) -> None:
    """Take over the calibration of the source."""
    if calibration is not None:
        copy.calibrate(calibration.shifted(copy.meta.first_pid))


@contextmanager
def _local_target(folder: Path, description: Mapping[str, Any], resume: bool) -> Iterator[Target]:
    with LocalIndex.build(folder, **description, resume=resume) as draft:
        yield Target(draft, lambda: closing(draft.reader()), draft.first_pid)


@contextmanager
def _qdrant_target(
    server: QdrantServer,
    name: str,
    description: Mapping[str, Any],
    codebook: tuple[Codebook, int] | None,
    passages: int,
    resume: bool,
) -> Iterator[Target]:
    with server.build(name, **description, resume=resume) as draft:
        if codebook is not None and draft.first_stage.codebook() is None:
            draft.first_stage.use(codebook[0], passages)
        writer = server.open(draft.name)  # which replaces nothing: a document may be half there
        yield Target(writer, lambda: nullcontext(draft), draft.first_pid)
