"""Building an index in a cluster: in a collection of its own, which takes the place of the old one in one step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from ...errors import IndexFormatError, IndexNotFoundError, InputError, PassageIndexError
from ..local.build import first_manifest
from ..local.manifest import Manifest, PartEntry
from .client import Cluster
from .index import ClusterIndex
from .points import create_collection
from .state import State, lease_seconds, read_state

logger = logging.getLogger(__name__)

DRAFT = ".draft"  # the alias of a collection that is being filled


def create(cluster: Cluster, name: str, **description: Any) -> ClusterIndex:
    """Make an empty index, where there is none, and open it. Parameters as for `build`.

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
) -> Iterator[ClusterIndex]:
    """Build an index from nothing, in the place of the one of that name, if there is one.

    The new one is there as a whole once the context ends; until then, and if it ends with an exception, the old one
    serves on.

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
    ClusterIndex
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
    manifest = first_manifest(dim, checkpoint, fingerprint, settings, storage)
    first = _beginning(cluster, name)
    manifest = replace(manifest, first_pid=first, next_pid=first)
    draft = _draft(cluster, name, manifest, resume)
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
    """Remove what a build of that name has left behind."""
    collection = cluster.aliases().get(name + DRAFT)
    if collection is not None:
        cluster.call("delete_collection", collection_name=collection)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 200 or any(c in name for c in '<>:"/\\|?*\0\x1f') or name.endswith(DRAFT):
        raise InputError(f"index_name={name!r} cannot be a name in a cluster. Use letters, digits, '-' and '_'.")


def _beginning(cluster: Cluster, name: str) -> int:
    """Return where the pids begin: behind those of the index that is replaced, for searches under way."""
    try:
        return read_state(cluster, name).manifest.next_pid
    except IndexNotFoundError:
        return 0


def _draft(cluster: Cluster, name: str, manifest: Manifest, resume: bool) -> ClusterIndex:
    """Return the collection to fill: the one that a build left behind, or a new one."""
    alias = name + DRAFT
    try:
        left = ClusterIndex.open(cluster, alias)
    except (IndexNotFoundError, IndexFormatError):
        left = None
    if left is not None:
        collection = left.collection
        with left.writing(lease_seconds(cluster) + 1):  # as long as one who has died keeps others out
            if resume and _is_same(left.manifest, manifest):
                logger.info("going on with the build of %s at %d passages", name, len(left))
                return ClusterIndex.open(cluster, collection)
        cluster.call("delete_collection", collection_name=collection)
    collection = f"{name}-{manifest.build[:12]}"
    create_collection(cluster, State(replace(manifest, parts=(PartEntry(collection, 0, 0),)), {}))
    cluster.point_aliases({alias: collection})
    return ClusterIndex.open(cluster, collection)


def _is_same(left: Manifest, wanted: Manifest) -> bool:
    """Return whether a build can go on with what is left of another. Raise `InputError` for other settings."""
    for field in ("fingerprint", "dim", "storage", "settings"):
        there, here = getattr(left, field), getattr(wanted, field)
        if there != here:
            raise InputError(
                f"The build that was broken off has {field} {there!r}, this one {here!r}: it cannot go on with that. "
                "Give the same checkpoint and settings, or begin again."
            )
    return left.first_pid == wanted.first_pid
