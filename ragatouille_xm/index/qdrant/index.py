"""An index in Qdrant: one collection, found by an alias."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from qdrant_client import models

from ...config import SearchConfig
from ...corpus.fields import Field, summarize_fields
from ...corpus.filters import Condition
from ...errors import IndexFormatError, IndexNotFoundError, PassageIndexError
from ...types import Calibration, Hits, Passage, TokenVectors
from ..hits import Scored, near, query_rows, to_hits
from ..lexical import PieceCounts
from ..meta import Described, IndexMeta
from ..quantization.faiss_kmeans import uses_faiss
from ..validation import PidSequence, check_add, check_batch_size, check_pieces, check_search
from .filters import any_of, compile_filter
from .first_stage import FirstStage
from .points import OWN, PASSAGE, VECTORS, passage_of, points_of, vectors_of

if TYPE_CHECKING:
    from .server import QdrantServer

STATE = "ragatouille_xm.2"  # the index's description, by the version of the format
STATE_ID = str(UUID(int=1))  # passages have whole numbers as ids
RECORDS, NUMBERS = 2048, 2**22  # in one answer: points without vectors, and numbers of vectors of 128 tokens
LANGUAGES = 1000  # more than there are


def state_point(meta: IndexMeta) -> models.PointStruct:
    """Return the point in which an empty index says what it is."""
    names = ("dim", "checkpoint", "fingerprint", "settings", "storage", "build", "first_pid")
    stored = json.dumps({name: getattr(meta, name) for name in names})  # as text, which comes back as it is
    payload = {STATE: stored, "next_pid": meta.next_pid, "calibration": "null"}
    return models.PointStruct(id=STATE_ID, vector={}, payload=payload)


class QdrantIndex(Described):
    """Passages in Qdrant, for searching and for writing.

    Implements `ragatouille_xm.index.base.PassageIndex` and `IndexBuild`, except for what Qdrant does not promise: an
    addition is stored batch by batch, and an update writes the new passages before it removes the old ones, so that a
    search meanwhile may find both. Make one with `ragatouille_xm.index.qdrant.server.QdrantServer.build`.

    Parameters
    ----------
    server : QdrantServer
    name : str
        Of the index, or of its collection.
    replace : bool
        Whether what is added replaces other passages of the same documents.
    """

    def __init__(self, server: QdrantServer, name: str, *, replace: bool = False) -> None:
        self.server = server
        self.name = name
        self._replace = replace
        self._closed = False
        self._counted = 0  # the counter is at least here
        self.first_stage = FirstStage(self)
        self.dim = self.meta.dim
        self.batch = max(NUMBERS // (128 * self.dim), 1)  # points that are read with vectors in one request

    def call(self, operation: str, **arguments: Any) -> Any:
        """Call a method of the client on the collection: see `QdrantServer.call`."""
        if self._closed:
            raise PassageIndexError(f"The index {self.folder} was closed. Open it again.")
        return self.server.call(operation, collection_name=self.name, **arguments)

    # ---- what there is

    @property
    def folder(self) -> str:
        """Address of the server and name of the index: what messages name."""
        return f"{self.server.url}/{self.name}"

    @property
    def meta(self) -> IndexMeta:
        """The description of the index, and how far it has come."""
        try:
            [point] = self.call("retrieve", ids=[STATE_ID], with_payload=True)
            stored, kept = (json.loads(point.payload[name]) for name in (STATE, "calibration"))
            return IndexMeta(
                **stored, next_pid=int(point.payload["next_pid"]), calibration=kept and Calibration.of(kept)
            )
        except IndexNotFoundError as error:
            names = ", ".join(sorted(self.server.names())) or "none yet"
            raise IndexNotFoundError(
                f"There is no index {self.name!r} in Qdrant at {self.server.url}. Its names: {names}."
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise IndexFormatError(
                f"The collection {self.folder} is no index that this version of ragatouille-xm reads: it lacks "
                f"{STATE!r}, or that is damaged ({error!r}). Choose another name, or index the documents again."
            ) from error

    def __len__(self) -> int:
        return self._count(models.Filter())

    def languages(self) -> dict[str, int]:
        """Return the number of passages of each language, most frequent first, ties by code."""
        hits = self.call("facet", key="language", limit=LANGUAGES, exact=True).hits
        counts = ((hit.value, hit.count) for hit in hits if hit.count)  # 0 where all have been removed
        return dict(sorted(counts, key=lambda pair: (-pair[1], pair[0])))

    def fields(self) -> list[Field]:
        """Return the metadata fields and what they hold, by name; all passages are read for that."""
        return summarize_fields(passage for passages, _ in self.scroll() for passage in passages)

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, each once."""
        records = self.records(models.Filter(), ["document_id"])
        yield from dict.fromkeys(record.payload["document_id"] for record in records)

    def contains(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of `document_ids` that have passages here."""
        records = self.records(any_of("document_id", document_ids), ["document_id"])
        return {record.payload["document_id"] for record in records}

    def passages_of(self, document_ids: Sequence[str]) -> list[Passage]:
        """Return the passages of the documents, by growing pid. Unknown ids are passed over."""
        return list(map(passage_of, self.records(any_of("document_id", document_ids), OWN)))

    # ---- reading

    def records(
        self, where: models.Condition, fields: Sequence[str] = (), *, vectors: bool = False, start: int = 0
    ) -> Iterator[Any]:
        """Yield the points of passages that `where` admits, by growing pid from `start`, with some of their payload."""
        offset: Any = start
        while offset is not None:
            among, limit = models.Filter(must=[PASSAGE, where]), self.batch if vectors else RECORDS
            wanted: Any = {"with_payload": list(fields) or False, "with_vectors": [VECTORS] if vectors else False}
            points, offset = self.call("scroll", scroll_filter=among, offset=offset, limit=limit, **wanted)
            yield from points

    def _count(self, where: models.Filter) -> int:
        return int(self.call("count", count_filter=models.Filter(must=[PASSAGE, where]), exact=True).count)

    def _points(self, pids: Sequence[int], *, vectors: bool = False) -> list[Any]:
        """Return the points of passages, in that order. Raise `KeyError` for a pid that is not here."""
        wanted, found = iter({pid for pid in pids if pid >= 0}), dict[int, Any]()
        while batch := list(islice(wanted, self.batch if vectors else RECORDS)):
            with_vectors = [VECTORS] if vectors else False
            points = self.call("retrieve", ids=batch, with_payload=OWN, with_vectors=with_vectors)
            found |= {point.id: point for point in points}
        return [found[pid] for pid in pids]

    def fetch(self, pids: Sequence[int]) -> list[Passage]:
        """Return the passages of `pids`, in that order. Raise `KeyError` for a pid that is not here."""
        return [passage_of(point) for point in self._points(pids)]

    def vectors(self, pids: Sequence[int]) -> TokenVectors:
        """Return the token vectors of `pids` as they are stored, in that order. Raise `KeyError` as `fetch` does."""
        return vectors_of(self._points(pids, vectors=True), self.dim)

    def around(self, pids: Sequence[int], n: int) -> dict[int, list[Passage]]:
        """Return, for each of `pids` that is here, the passages of its document from `n` before to `n` after it."""
        among = models.HasIdCondition(has_id=[pid for pid in pids if pid >= 0])
        here = {record.id: record.payload["document_id"] for record in self.records(among, ["document_id"])}
        growing: dict[str, list[int]] = {}
        for record in self.records(any_of("document_id", here.values()), ["document_id"]):
            growing.setdefault(record.payload["document_id"], []).append(record.id)
        return {pid: self.fetch(near(growing[document_id], pid, n)) for pid, document_id in here.items()}

    def scroll(
        self, filter: Condition | None = None, *, with_vectors: bool = False, batch_size: int = 256, after: int = -1
    ) -> Iterator[tuple[list[Passage], TokenVectors | None]]:
        """Yield everything that `filter` admits, of pids after `after`, in batches, by growing pid."""
        check_batch_size(batch_size)
        stream = self.records(compile_filter(filter), OWN, vectors=with_vectors, start=after + 1)
        while batch := list(islice(stream, batch_size)):
            yield list(map(passage_of, batch)), vectors_of(batch, self.dim) if with_vectors else None

    def reading(self) -> AbstractContextManager[None]:
        """Return a context without effect: each call reads what there is."""
        return nullcontext()

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits: see `PassageIndex.search`.

        With a codebook, a first stage picks candidates by their centroids, and MaxSim decides among these, in one
        request; ``config.exact`` scores everything. Of passages with the same score, Qdrant takes those that it likes.
        """
        check_search(queries, k, self.dim)
        where, rows, found = compile_filter(filter), query_rows(queries), []
        for row, prefetch in zip(rows, self.first_stage.prefetches(rows, k, where, config), strict=True):
            best = self._ranked(row, k, where, prefetch)
            if prefetch is not None and len(best) < k:  # it overlooks passages that share no centroid with the query
                best = self._ranked(row, k, where, None)
            found.append(best)
        return to_hits(found, k)

    def _ranked(
        self, row: NDArray[np.float32], k: int, where: models.Filter, prefetch: models.Prefetch | None
    ) -> Scored:
        wanted: Any = {"query": row.tolist(), "using": VECTORS, "query_filter": where, "limit": k}
        hits = self.call("query_points", prefetch=prefetch, with_payload=False, **wanted).points
        return sorted(((hit.id, hit.score) for hit in hits), key=lambda hit: (-hit[1], hit[0]))

    # ---- writing

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again.

        The counter is in one point, which is changed if it is still what was read, and read again.
        """
        PidSequence(0).reserve(n)  # refuses what is no number of pids
        while True:
            first, mine = self.meta.next_pid, uuid4().hex
            unchanged = models.FieldCondition(key="next_pid", match=models.MatchValue(value=first))
            self._set_state({"next_pid": first + n, "counted_by": mine}, unchanged)
            [point] = self.call("retrieve", ids=[STATE_ID], with_payload=["counted_by"])
            if point.payload["counted_by"] == mine:
                self._counted = first + n
                return first

    def _set_state(self, payload: Mapping[str, Any], *conditions: models.Condition) -> None:
        """Change what the index says of itself, if it meets the conditions."""
        where = models.Filter(must=[models.HasIdCondition(has_id=[STATE_ID]), *conditions])
        strong = models.WriteOrdering.STRONG  # one after the other, wherever they are sent
        self.call("set_payload", payload=dict(payload), points=where, ordering=strong, wait=True)

    def add(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, then remove the others of their documents.

        It takes several requests. If one fails for good, those before it count, and the same call again completes it.
        Raise `InputError` before the first if they cannot be stored.
        """
        check_add(passages, vectors, self.dim)
        check_pieces(pieces, len(passages), expected=False)
        if not passages:
            return
        pids, others = [passage.pid for passage in passages], list[Any]()
        if replace or self._replace:  # as they are now: what somebody else writes meanwhile stays
            records = self.records(any_of("document_id", (passage.document_id for passage in passages)))
            others = list({record.id for record in records} - set(pids))
        for points in points_of(passages, vectors, self.first_stage.codebook()):
            if max(pids) >= self._counted:  # they are from elsewhere, as when an index is moved
                behind = models.FieldCondition(key="next_pid", range=models.Range(lt=max(pids) + 1))
                self._set_state({"next_pid": max(pids) + 1}, behind)
                self._counted = max(pids) + 1
            self.call("upsert", points=points, wait=True)
        if others:
            where = models.Filter(must=[models.HasIdCondition(has_id=others)])
            self.call("delete", points_selector=where, wait=True)

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[QdrantIndex]:
        """Yield a writer whose calls count one by one: what was stored before a failure stays."""
        yield QdrantIndex(self.server, self.name, replace=replace)

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many there were. Unknown ids do no harm."""
        where = models.Filter(must=[any_of("document_id", document_ids)])
        if n_passages := self._count(where):
            self.call("delete", points_selector=where, wait=True)
        return n_passages

    def calibrate(self, calibration: Calibration) -> None:
        """Keep a calibration with the index. What a search finds does not change."""
        self._set_state({"calibration": json.dumps(asdict(calibration))})

    def optimize(self, *, refit: bool = False) -> None:
        """Fit a codebook to what the index has become, if that is due. Meanwhile others may search, and add."""
        self.first_stage.optimize(len(self), refit=refit, use_faiss=uses_faiss(self.settings))

    def close(self) -> None:
        """Close the index; the connection stays open. Closing twice is allowed."""
        self._closed = True
