"""What becomes due as an index grows and shrinks: segments are merged, and the codebook is fitted again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..files import storage_errors, sync
from ..quantization.codebook import Codebook, needs_codebook
from ..quantization.faiss_kmeans import uses_faiss
from ..quantization.packing import SAMPLE as PACKING_SAMPLE
from ..quantization.packing import Packing
from ..quantization.scalar import quantize_shared
from .buffer import insert_buffered
from .folder import LEXICAL, new_codebook_name, new_segment_name, postings_suffix
from .lexical import merge_lists
from .postings import merge_postings, write_postings
from .segment import SegmentView
from .snapshot import Snapshot
from .state import CodebookMeta, FileMeta, SegmentMeta, State
from .storages import STORAGES, Storage
from .vector_writer import VectorWriter
from .vectors import Rows, Vectors

logger = logging.getLogger(__name__)

MOST_DELETED = 0.2  # of a segment
TOKENS_BLOCK = 2**16  # assigned to centroids, or copied, at once


# ---- the merge policy


def find_merge(segments: Sequence[SegmentMeta]) -> list[SegmentMeta]:
    """Return the segments that are due to become one, largest first.

    A segment that is smaller than all smaller ones together joins these: so `n` passages are in at most log2(n) + 2
    segments, and one is rewritten at most log2(n) times. Segments with many deletes join too.

    Examples
    --------
    >>> sizes = [900, 300, 300, 300]
    >>> [segment.passages for segment in find_merge([SegmentMeta(f"segment-{n}", n, n, {}) for n in sizes])]
    [300, 300, 300]
    """
    ordered = sorted(segments, key=lambda segment: -segment.live)
    first, smaller = len(ordered), 0
    for i in reversed(range(len(ordered))):
        if ordered[i].live < smaller:
            first = i
        smaller += ordered[i].live
    worn = [segment for segment in ordered[:first] if segment.deletes > MOST_DELETED * segment.passages]
    return worn + ordered[first:]


def has_changed(state: State) -> bool:
    """Return whether the index has more segments or fewer passages than after a build, or others than its codebook."""
    fitted = abs(state.growth - 1) < 0.01
    return len(state.segments) > 1 or any(segment.deleted for segment in state.segments) or not fitted


def codebook_is_due(state: State) -> bool:
    """Return whether the index needs its first codebook, or another one."""
    return needs_codebook(state.passages, state.tokens, state.codebook.tokens if state.codebook else None)


# ---- merging


def merge_segments(
    folder: Path, snapshot: Snapshot, chosen: Sequence[SegmentMeta], storage: Storage | None = None
) -> State:
    """Write the live passages of some segments as one, in a smaller storage if one is given; return the next state.

    Vectors are copied bit by bit where their storage stays, and postings moved; the database has nothing to do with it.

    Raises
    ------
    StorageError
        If the files cannot be written.
    """
    state, names = snapshot.state, {segment.name for segment in chosen}
    logger.info("merging %d of %d segments of %s", len(names), len(state.segments), folder)
    views = [view for view in snapshot.views if view.segment.name in names]
    kept = [segment for segment in state.segments if segment.name not in names]
    pids = np.sort(np.concatenate([view.segment.table.pids[view.rows()] for view in views]))
    if not len(pids):
        return state.committed(segments=tuple(kept))
    storage = storage or state.storage
    packing = (snapshot.packing or fit_packing(views)) if storage.is_packed else None
    writer = VectorWriter(folder, new_segment_name(), state.meta.dim, storage, packing)
    try:
        for view in views:
            table, vectors = view.segment.table, view.segment.vectors
            for rows in vectors.read_once(view.rows(), TOKENS_BLOCK):
                if storage.is_packed and vectors.packing is None:
                    writer.add(table.pids[rows], vectors.vectors_of(rows))
                else:
                    planes = vectors.stored(rows, len(storage.planes))
                    writer.copy(table.pids[rows], table.lengths[rows], table.scales[rows], planes)
        files = dict(writer.finish(pids))
        if state.codebook is not None:
            end = postings_suffix(state.codebook.name)
            sources = [
                (view.segment.postings, _new_rows(view, pids)) for view in views if view.segment.postings is not None
            ]
            files[end] = merge_postings(folder / f"{writer.name}{end}", len(pids), sources)
        if state.meta.lexical:
            lists = [
                (view.segment.lexical, _new_rows(view, pids)) for view in views if view.segment.lexical is not None
            ]
            files[LEXICAL] = merge_lists(folder / f"{writer.name}{LEXICAL}", len(pids), lists)
        with storage_errors(folder):
            sync(folder)
    except BaseException:
        writer.discard()
        raise
    return state.committed(segments=(*kept, SegmentMeta(writer.name, len(pids), writer.tokens, files)))


def _new_rows(view: SegmentView, pids: Rows) -> NDArray[np.int32]:
    """Return the row that each passage of a segment gets in the table of some pids; -1 for a deleted one."""
    rows = np.searchsorted(pids, view.segment.table.pids).astype(np.int32)
    return rows if view.live is None else np.where(view.live, rows, np.int32(-1))


def convert(folder: Path, connection: sqlite3.Connection, snapshot: Snapshot, word: str) -> State:
    """Write an index in a smaller storage: segments as one, and the buffer; return the next state.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    state, storage = snapshot.state, STORAGES[word]
    state = merge_segments(folder, snapshot, state.segments, storage) if state.segments else state.committed()
    if snapshot.buffer is not None and state.storage.has_residuals:
        vectors = snapshot.buffer.segment.vectors
        rows = np.arange(len(vectors))
        connection.execute("DELETE FROM buffer")
        codes = vectors.take(rows, residuals=False)
        insert_buffered(connection, vectors.table.pids.tolist(), vectors.table.lengths, codes, snapshot.buffer.pieces)
    return replace(state, meta=replace(state.meta, storage=word))


def fit_packing(views: Sequence[SegmentView]) -> Packing:
    """Fit a packing to a sample of the live token vectors of some segments, the same whenever they are the same."""
    source = np.random.default_rng(0)
    tokens = sum(int(view.segment.table.lengths[view.rows()].sum()) for view in views)
    sample = []
    for view in views:
        rows = view.rows()
        some = np.sort(source.permutation(rows)[: int(np.ceil(PACKING_SAMPLE / max(tokens, 1) * len(rows)))])
        sample += [view.segment.vectors.vectors_of(block).vectors for block in view.segment.vectors.read_once(some)]
    return Packing.fit(torch.cat(sample))


# ---- codebooks


def refit(folder: Path, snapshot: Snapshot) -> State:
    """Fit a new codebook and write the postings of all segments anew; return the next state.

    Raises
    ------
    StorageError
        If the files cannot be written.
    """
    state = snapshot.state
    codebook = fit_codebook(snapshot)
    name = new_codebook_name()
    codebook.save(folder / name)
    meta = CodebookMeta(name, state.tokens, FileMeta.of(folder / name))
    vectors = {view.segment.name: view.segment.vectors for view in snapshot.views}
    segments = []
    for segment in state.segments:
        end = postings_suffix(name)
        posted = assign_postings(folder / f"{segment.name}{end}", vectors[segment.name], codebook)
        files = {kind: file for kind, file in segment.files.items() if not _is_postings(kind, state)}
        segments.append(replace(segment, files={**files, end: posted}))
    with storage_errors(folder):
        sync(folder)
    return state.committed(segments=tuple(segments), codebook=meta)


def _is_postings(end: str, state: State) -> bool:
    return state.codebook is not None and end == postings_suffix(state.codebook.name)


def fit_codebook(snapshot: Snapshot) -> Codebook:
    """Fit a codebook to a sample of the token vectors of an index, the same whenever these are the same."""
    tokens = snapshot.state.tokens
    size = Codebook.size_for(tokens)
    wanted = Codebook.sample_for(size)
    source = np.random.default_rng(0)
    largest = max(float(view.segment.table.scales.max()) for view in snapshot.views)
    sample, size_of_sample = np.empty((wanted, snapshot.state.meta.dim), np.int8), 0
    for view in snapshot.views:
        rows, vectors = view.rows(), view.segment.vectors
        some = np.sort(source.permutation(rows)[: int(np.ceil(wanted / max(tokens, 1) * len(rows)))])
        for block in vectors.read_once(some):
            codes, _ = quantize_shared(vectors.vectors_of(block).vectors[: wanted - size_of_sample], largest)
            sample[size_of_sample : size_of_sample + len(codes)] = codes
            size_of_sample += len(codes)
    sample = sample[:size_of_sample]
    logger.info("fitting %d centroids to %d of %d token vectors", size, len(sample), tokens)
    return Codebook.fit_codes(sample, size, use_faiss=uses_faiss(snapshot.state.meta.settings))


def assign_postings(path: Path, vectors: Vectors, codebook: Codebook) -> FileMeta:
    """Write which passages of a segment have which centroid. Raise `StorageError` if that is not possible."""

    def assigned() -> Iterator[tuple[NDArray[np.int32], Rows]]:
        for rows in vectors.read_once(tokens=TOKENS_BLOCK):
            codes = vectors.take(rows, residuals=False).codes
            yield codebook.assign_codes(codes), vectors.table.lengths[rows]

    return write_postings(path, len(codebook), assigned())
