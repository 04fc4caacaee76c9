"""Building an index in a cluster: in a collection of its own, which replaces the old one in one step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from qdrant_client import models

from ...corpus.filters import Compare
from ...errors import ClusterError, IndexFormatError, IndexNotFoundError, InputError, PassageIndexError
from ...types import Passage, TokenVectors
from ..base import IndexWriter
from ..lexical import PieceCounts
from ..meta import IndexMeta, check_resumable, new_meta
from .client import Cluster
from .filters import TERMS
from .index import ClusterIndex
from .lease import lease_seconds
from .payload import VECTORS
from .points import slot
from .state import BORN, DIED, MANIFEST_ID, State, read_state

logger = logging.getLogger(__name__)

DRAFT = ".draft"  # the alias of a collection that is being filled
DATATYPES = {"int16": "float16", "int8": "turbo8"}  # as the server calls them


class ClusterBuild(ClusterIndex):
    """An index in the making, which nobody sees until it is complete. Make one with `build`.

    Implements `ragatouille_xm.index.base.IndexBuild`. Each call is a commit; a build that is resumed begins with
    what they stored.
    """

    @property
    def first_pid(self) -> int:
        """The first pid of this build."""
        return self.meta.first_pid

    def add(
        self,
        passages: Sequence[Passage],
        vectors: TokenVectors,
        pieces: PieceCounts | None = None,
        *,
        replace: bool = True,
    ) -> None:
        """Store documents, replacing those of them that are here. Raises what `ClusterIndex.add` does."""
        super().add(passages, vectors, pieces, replace=replace)

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[IndexWriter]:
        """Yield the build itself: what was added before a failure stays."""
        yield self

    def passages_of(self, document_ids: Sequence[str]) -> list[Passage]:
        """Return the passages of the documents, by growing pid. Unknown ids are passed over."""
        batches = self.scroll(Compare("document_id", "$in", tuple(document_ids)))
        return [passage for passages, _ in batches for passage in passages]

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, each once."""
        view = self._view()
        seen: set[str] = set()
        for record in view.points.records(view.everything, ["document_id"]):
            if (document_id := record.payload["document_id"]) not in seen:
                seen.add(document_id)
                yield document_id


def create(cluster: Cluster, name: str, **description: Any) -> ClusterIndex:
    """Create an empty index, where there is none, and open it. Parameters as for `build`.

    Raises
    ------
    InputError
        If there is one already.
    """
    if name in cluster.aliases():
        raise InputError(f"There is an index {name!r} at {cluster.url} already. Open it, or replace it with build().")
    with build(cluster, name, **description):
        pass
    return ClusterIndex.open(cluster, name)


@contextmanager
def build(
    cluster: Cluster,
    name: str,
    *,
    dim: int,
    checkpoint: str,
    fingerprint: str,
    settings: Mapping[str, Any],
    storage: str = "int16",
    resume: bool = False,
) -> Iterator[ClusterBuild]:
    """Build an index from nothing, replacing the one of that name if there is one.

    The new index replaces the old one as a whole once the context ends. Until then, and if it ends with an exception,
    the old one stays.

    Parameters
    ----------
    cluster : Cluster
    name : str
        Becomes an alias of the collection.
    dim : int
        Width of a token vector.
    checkpoint : str
        Name of the checkpoint that fills the index.
    fingerprint : str
        Hash of its weights.
    settings : mapping
        JSON values to keep with the index.
    storage : str
        ``"int16"``, or ``"int8"`` in about half the space, for which the server must know the datatype ``turbo8``.
    resume : bool
        Go on with a build that was broken off; nothing is lost if this one fails.

    Yields
    ------
    ClusterBuild
        To be filled.

    Raises
    ------
    InputError
        If the build to resume is of another checkpoint or has other settings, or `name` cannot be one.
    IndexFormatError
        If a collection of that name is not ours.
    IndexLockedError
        If another client is building an index of that name.
    ClusterError
        If the cluster fails.
    """
    _check_name(name)
    meta, first = new_meta(dim, checkpoint, fingerprint, settings, storage), _first_pid(cluster, name)
    draft = _open_draft(cluster, name, replace(meta, first_pid=first, next_pid=first), resume)
    keep, collection, old = resume, draft.collection, cluster.aliases().get(name)
    try:
        with draft.writing():
            yield draft
            draft.optimize()
            cluster.point_aliases({name: collection}, drop=[name + DRAFT])
            keep = True
            draft.name = name
    except BaseException:
        if not keep:
            with suppress(PassageIndexError):
                cluster.call("delete_collection", collection_name=collection)
        raise
    if old is not None and old != collection:
        try:
            cluster.call("delete_collection", collection_name=old)
        except PassageIndexError as error:  # the new index counts all the same
            logger.warning("the collection %s at %s could not be removed: %s", old, cluster.url, error)


def discard(cluster: Cluster, name: str) -> None:
    """Delete what a build of that name that was broken off has stored."""
    collection = cluster.aliases().get(name + DRAFT)
    if collection is not None:
        cluster.call("delete_collection", collection_name=collection)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 200 or any(c in name for c in '<>:"/\\|?*\0\x1f') or name.endswith(DRAFT):
        raise InputError(f"index_name={name!r} cannot be a name in a cluster. Use letters, digits, '-' and '_'.")


def _first_pid(cluster: Cluster, name: str) -> int:
    """Return where the pids begin: after those of the index that is replaced, for searches under way."""
    try:
        return read_state(cluster, name).meta.next_pid
    except IndexNotFoundError:
        return 0


def _open_draft(cluster: Cluster, name: str, meta: IndexMeta, resume: bool) -> ClusterBuild:
    """Return the collection to fill: that of a build that was broken off, or a new one."""
    alias = name + DRAFT
    try:
        draft = ClusterBuild.open(cluster, alias)
    except (IndexNotFoundError, IndexFormatError):
        draft = None
    if draft is not None:
        collection = draft.collection
        with draft.writing(lease_seconds(cluster) + 1):  # as long as a builder that has died keeps others out
            if resume:
                check_resumable(draft.meta, meta)
                if draft.meta.first_pid == meta.first_pid:
                    logger.info("going on with the build of %s at %d passages", name, len(draft))
                    return ClusterBuild.open(cluster, collection)
        cluster.call("delete_collection", collection_name=collection)
    collection = f"{name}-{meta.build[:12]}"
    _create_collection(cluster, State(meta, collection))
    cluster.point_aliases({alias: collection})
    return ClusterBuild.open(cluster, collection)


def _create_collection(cluster: Cluster, state: State) -> None:
    """Create the collection of an empty index. Raise `ClusterError` if that is not possible."""
    name, meta, config = state.collection, state.meta, cluster.config
    if meta.storage not in DATATYPES:
        raise InputError(f"storage={meta.storage!r} is not kept by a cluster. Use {' or '.join(map(repr, DATATYPES))}.")
    if DATATYPES[meta.storage] not in {each.value for each in models.Datatype}:
        raise InputError(f"storage={meta.storage!r} in a cluster takes a newer qdrant-client (1.18 or later).")
    tokens = models.VectorParams(
        size=meta.dim,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        datatype=models.Datatype(DATATYPES[meta.storage]),
        on_disk=config.on_disk,
        hnsw_config=models.HnswConfigDiff(m=0),  # no graph over token vectors
    )
    try:
        cluster.call(
            "create_collection",
            collection_name=name,
            vectors_config={VECTORS: tokens},
            sparse_vectors_config={slot(version): models.SparseVectorParams() for version in (0, 1)},
            shard_number=config.shards,
            replication_factor=config.replicas,
            write_consistency_factor=config.write_consistency or config.replicas,
            on_disk_payload=True,
        )
    except ClusterError:
        if not cluster.call("collection_exists", collection_name=name):  # a first attempt may have gone through
            raise
    if not cluster.local:  # its local mode has no indexes of payloads
        kinds = {"document_id": "keyword", "language": "keyword", TERMS: "keyword"}
        for field, kind in (kinds | dict.fromkeys(("pid", BORN, DIED), "integer")).items():
            cluster.call(
                "create_payload_index",
                collection_name=name,
                field_name=field,
                field_schema=models.PayloadSchemaType(kind),
                wait=True,
            )
    payload = {**state.payload(), "writer": "", "until": 0}
    manifest_point = models.PointStruct(id=MANIFEST_ID, vector={}, payload=payload)
    cluster.call("upsert", collection_name=name, points=[manifest_point], wait=True)
