"""A part of an index: a Qdrant Edge shard and token vectors, which never change once others may read them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from ...errors import IndexDamagedError, StorageError
from ...types import Passage, TokenVectors
from ..files import check_space, is_foreign, is_full, storage_errors, sync_tree
from .edge_filters import TERMS, any_of
from .edge_payload import OWN, passage_of, payload_of
from .inventory import check_sizes, write_inventory
from .manifest import PART, WAY_OUT, PartEntry
from .vectors import TokenStore

T = TypeVar("T")

AT_ONCE = 256  # passages read
POINTS_AT_ONCE = 1024  # given to the engine
FILTERS_KEPT = 16  # of which a part remembers whom they admit
ASKED = 2  # passages that are looked up in the time in which the engine is asked about one


class Part:
    """A handle on one shard and the token vectors of its passages. Searching is safe from many threads.

    Opening and closing a shard writes to its folder, and what a stale handle writes destroys what another one has
    added since; over files that nobody changes it is the same bytes again. That is why a part that others may read
    is never added to.
    """

    def __init__(self, folder: Path, shard: edge.EdgeShard, tokens: TokenStore) -> None:
        self.folder = folder
        self.tokens = tokens
        self._shard = shard
        self.passages = int(shard.info().points_count)
        self._masks: OrderedDict[str, NDArray[np.bool_] | None] = OrderedDict()
        self._lock = Lock()

    @classmethod
    def create(cls, index: Path, dim: int, storage: str) -> Part:
        """Make an empty one in the folder of an index. Raise `StorageError` if that is not possible."""
        folder = index / f"{PART}{uuid4().hex[:12]}"  # that never was: readers know parts by their names
        with storage_errors(folder):
            folder.mkdir()
            part = cls(folder, edge.EdgeShard.create(str(folder), _config()), _tokens(folder, dim, storage))
            part._index("document_id", "language")
            return part

    def _index(self, *fields: str) -> None:
        """Have the engine look up texts of `fields` in memory."""
        for name in fields:
            self._shard.update(edge.UpdateOperation.create_field_index(name, edge.PayloadSchemaType.Keyword))

    @classmethod
    def load(cls, folder: Path, dim: int, storage: str, passages: int | None = None) -> Part:
        """Open one, which must hold as many passages as given.

        Raises
        ------
        IndexDamagedError
            If it is not there or not whole.
        StorageError
            If the folder cannot be written to, which the engine needs even for reading.
        """
        try:
            check_sizes(folder)
            part = cls(folder, edge.EdgeShard.load(str(folder)), _tokens(folder, dim, storage))
            part.tokens.map()
            found = len(part.tokens.table.pids)
        except BaseException as error:
            if not is_foreign(error):
                raise
            if folder.is_dir() and not os.access(folder, os.W_OK):
                raise StorageError(
                    f"{str(folder)!r} cannot be written to: {error}. The engine needs that even for reading: "
                    "change the permissions, or copy the index."
                ) from error
            if is_full(folder):
                raise StorageError(
                    f"The disk of {str(folder)!r} is full: {error}. The engine needs some room even for reading; the "
                    "index is as it was. Free some disk space, and try again."
                ) from error
            raise _damaged(folder, error) from error
        if passages not in (None, part.passages) or part.passages != found:
            part.close()
            raise _damaged(folder, f"it holds {part.passages} passages, vectors of {found}, instead of {passages}")
        return part

    @classmethod
    def reopen(cls, folder: Path, dim: int, storage: str, below: int) -> Part:
        """Open one that was never sealed, to go on with it, as it was at a `flush` or later: its pids `below` a limit.

        Raises
        ------
        IndexDamagedError
            If it is not there, or does not hold what it should.
        """
        try:
            part = cls(folder, edge.EdgeShard.load(str(folder)), _tokens(folder, dim, storage))
            if late := [pid for pid in part.pids() if pid >= below]:
                part.remove(late)
            if not part.tokens.recover(part.pids()):
                raise OSError("it has passages without token vectors")
            return part
        except BaseException as error:
            if not is_foreign(error):
                raise
            raise _damaged(folder, error) from error

    @property
    def entry(self) -> PartEntry:
        """What a manifest says of it."""
        return PartEntry(self.folder.name, self.passages, int(self.tokens.table.lengths.sum()))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not is_foreign(error):
                raise
            raise _damaged(self.folder, error) from error

    # ---- writing, while it is nobody else's

    def append(self, passages: Sequence[Passage], vectors: TokenVectors) -> None:
        """Store passages, overwriting those of the same pid.

        Raises
        ------
        InputError
            If the engine cannot hold a text or the metadata; nothing was stored.
        StorageError
            If there is no room, in which case nothing was stored, or if writing fails.
        """
        points = self._points(passages)
        check_space(self.folder.parent, 2 * vectors.vectors.numel() + sum(_room_for(point.payload) for point in points))
        self.tokens.append([passage.pid for passage in passages], vectors)
        self._put(points)

    def copy(self, passages: Sequence[Passage], source: Part) -> None:
        """Store passages of another part, their vectors bit by bit."""
        points = self._points(passages)
        pids = [passage.pid for passage in passages]
        rows = source.tokens.table.rows_of(pids)
        self.tokens.write(pids, source.tokens.table.lengths[rows], source.tokens.take(rows, fine=True))
        self._put(points)

    def _points(self, passages: Sequence[Passage]) -> list[edge.Point]:
        payloads = [payload_of(passage) for passage in passages]
        if any(TERMS in payload for payload in payloads) and TERMS not in self._shard.info().payload_schema:
            with storage_errors(self.folder):
                self._index(TERMS)
        return [edge.Point(passage.pid, {}, payload) for passage, payload in zip(passages, payloads, strict=True)]

    def _put(self, points: Sequence[edge.Point]) -> None:
        self._masks.clear()
        for some in batches_of(iter(points), POINTS_AT_ONCE):
            with storage_errors(self.folder):
                self._shard.update(edge.UpdateOperation.upsert_points(some))
        self.passages = int(self._shard.info().points_count)

    def remove(self, pids: Sequence[int]) -> None:
        """Forget passages."""
        with storage_errors(self.folder):
            self._shard.update(edge.UpdateOperation.delete_points(list(pids)))
        self.tokens.remove(pids)
        self._masks.clear()
        self.passages = int(self._shard.info().points_count)

    def seal(self) -> None:
        """Have all of it on the disk, in the form in which it is found fast. It must not be changed afterwards."""
        self.tokens.seal()
        self.tokens.map()
        with storage_errors(self.folder):
            self._shard.optimize()
            self._shard.flush()
            self._shard.close()
            # The first opening after a change tidies up files, which two readers must not do at once.
            self._shard = edge.EdgeShard.load(str(self.folder))
            write_inventory(self.folder)
            sync_tree(self.folder)

    def flush(self) -> None:
        """Write everything out: a process that dies later does not take it along."""
        with storage_errors(self.folder):
            self._shard.flush()

    # ---- reading

    def admitted(self, key: str, where: edge.Filter) -> NDArray[np.bool_]:
        """Return which rows of the table a filter admits: ``(n,)`` bool. It is remembered.

        Parameters
        ----------
        key : str
            A name of the filter: the same for the same, and no other has it.
        where : qdrant_edge.Filter
        """
        with self._lock:
            mask = self._masks.get(key)
        if mask is None:
            mask = np.zeros(len(self.tokens.table.pids), np.bool_)
            mask[self.tokens.table.rows_of(self.pids(where))] = True
            self._remember(key, mask)
        return mask

    def to_ask(self, key: str, where: edge.Filter, wanted: int) -> int:
        """Return how many candidates to ask about, with `filtered`, until about `wanted` are admitted.

        It is 0 if `admitted` is no more work than that. Looking up whom a broad filter admits takes long, and pays
        only if it comes again, so that it is left for the second time.
        """
        with self._lock:
            if key in self._masks:
                return 0
        with self._reading():
            few = max(self._shard.count(edge.CountRequest(exact=False, filter=where)), 1)
        enough = ceil(wanted * self.passages / few)
        if few <= ASKED * enough:
            return 0
        self._remember(key, None)
        return enough

    def _remember(self, key: str, mask: NDArray[np.bool_] | None) -> None:
        with self._lock:
            self._masks[key] = mask
            self._masks.move_to_end(key)
            while len(self._masks) > FILTERS_KEPT:
                self._masks.popitem(last=False)

    def filtered(self, pids: Iterable[int], where: edge.Filter) -> list[int]:
        """Return those of some pids that a filter admits."""
        return self.pids(edge.Filter(must=[where, edge.HasIdCondition(set(pids))]))

    def languages(self, where: edge.Filter | None) -> dict[str, int]:
        """Return the number of passages of each language."""
        with self._reading():
            request = edge.FacetRequest("language", limit=max(self.passages, 1), exact=True, filter=where)
            return {str(hit.value): hit.count for hit in self._shard.facet(request).hits}

    def of_documents(self, document_ids: Sequence[str]) -> list[tuple[int, str]]:
        """Return the pid and the document id of all passages of the documents."""
        where = edge.Filter(must=[any_of("document_id", document_ids)])
        fields = edge.PayloadSelector.Include(["document_id"])
        records = self._records(where, fields, self.passages)
        return [(int(record.id), (record.payload or {})["document_id"]) for record in records]

    def pids(self, where: edge.Filter | None = None) -> list[int]:
        """Return the pids that `where` admits, growing."""
        return [int(record.id) for record in self._records(where, False, self.passages)]

    def holds(self, pids: Sequence[int]) -> set[int]:
        """Return those of `pids` that are here."""
        with self._reading():
            return {int(record.id) for record in self._shard.retrieve(list(pids), False, False)}

    def retrieve(self, pids: Iterable[int]) -> list[Passage]:
        """Return those of the passages that are here, in any order."""
        with self._reading():
            fields = edge.PayloadSelector.Include(list(OWN))
            return [_passage(record) for record in self._shard.retrieve(list(pids), fields, False)]

    def read(self, where: edge.Filter | None = None) -> Iterator[Passage]:
        """Yield the passages that `where` admits, by growing pid."""
        fields = edge.PayloadSelector.Include(list(OWN))
        return (_passage(record) for record in self._records(where, fields, AT_ONCE))

    def vectors_of(self, pids: Sequence[int]) -> TokenVectors:
        """Return the token vectors, float32, of passages that are here, given by growing pid."""
        return self.tokens.vectors_of(self.tokens.table.rows_of(pids))

    def _records(self, where: edge.Filter | None, fields: Any, at_once: int) -> Iterator[edge.Record]:
        offset = None
        while True:
            request = edge.ScrollRequest(
                offset=offset,
                limit=max(at_once, 1),
                filter=where,
                with_payload=fields,
                with_vector=False,
            )
            with self._reading():
                records, offset = self._shard.scroll(request)
            yield from records
            if offset is None:
                return

    def close(self) -> None:
        """Release files and memory."""
        self.tokens.close()
        with storage_errors(self.folder):
            self._shard.close()


def _config() -> edge.EdgeConfig:
    # Passages have no vectors there. The engine wants at least one name for some.
    return edge.EdgeConfig(
        vectors={},
        sparse_vectors={"none": edge.EdgeSparseVectorParams()},
        max_search_threads=1,
        wal_enabled=False,
    )


def _tokens(folder: Path, dim: int, storage: str) -> TokenStore:
    return TokenStore(folder, dim, fine=storage == "int16")


def _damaged(folder: Path, error: object) -> IndexDamagedError:
    return IndexDamagedError(f"{str(folder)!r}, a part of the index, cannot be read: {error}. {WAY_OUT}")


def _room_for(payload: Any) -> int:
    """Return about how many bytes a payload takes: itself, and what it is found by."""
    if isinstance(payload, str):
        return 2 * len(payload.encode())
    if isinstance(payload, dict):
        return sum(map(_room_for, payload.values()))
    return sum(map(_room_for, payload)) if isinstance(payload, list) else 8


def _passage(record: edge.Record) -> Passage:
    return passage_of(int(record.id), record.payload or {})


def batches_of(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield up to `size` at a time."""
    while batch := list(islice(items, size)):
        yield batch
