"""Qdrant's own engine in the process: what a client is asked for, carried out by shards of qdrant-edge.

It is one shard of a server, without the server: requests, replicas and networks are not there.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

DATATYPES = {"float16": "Float16", "turbo8": "Turbo8", "turbo4": "Turbo4"}


class EdgeClient:
    """Stands in for a `qdrant_client.QdrantClient`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shards, self.aliases = folder, {}, {}
        self.turn = threading.RLock()
        self._client = SimpleNamespace(rest_uri="edge")

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name.startswith("_") or not callable(found):
            return found

        def in_turn(*given: Any, **named: Any) -> Any:
            with self.turn:
                return found(*given, **named)

        return in_turn

    def _shard(self, name: str) -> edge.EdgeShard:
        name = self.aliases.get(name, name)
        if name not in self.shards:
            raise UnexpectedResponse(404, "Not found", f"Collection `{name}` doesn't exist!".encode(), {})
        return self.shards[name]

    def _update(self, name: str, operation: edge.UpdateOperation) -> None:
        self._shard(name).update(operation)

    # ---- collections

    def create_collection(self, collection_name: str, vectors_config: Any, **_: Any) -> None:
        [(vector, params)] = vectors_config.items()
        place = self.folder / collection_name
        place.mkdir(parents=True)
        tokens = edge.EdgeVectorParams(
            size=params.size,
            distance=edge.Distance.Dot,
            multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
            datatype=getattr(edge.VectorStorageDatatype, DATATYPES[params.datatype.value]),
            hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10),
        )
        self.shards[collection_name] = edge.EdgeShard.create(str(place), edge.EdgeConfig(vectors={vector: tokens}))

    def delete_collection(self, collection_name: str) -> None:
        self.shards.pop(collection_name).close()
        self.aliases = {alias: name for alias, name in self.aliases.items() if name != collection_name}

    def create_payload_index(self, collection_name: str, field_name: str, field_schema: Any) -> None:
        assert field_schema.value == "keyword"
        self._update(
            collection_name, edge.UpdateOperation.create_field_index(field_name, edge.PayloadSchemaType.Keyword)
        )

    def get_aliases(self) -> Any:
        pairs = self.aliases.items()
        return SimpleNamespace(aliases=[SimpleNamespace(alias_name=a, collection_name=c) for a, c in pairs])

    def update_collection_aliases(self, change_aliases_operations: Any) -> None:
        for each in change_aliases_operations:
            if isinstance(each, models.DeleteAliasOperation):
                del self.aliases[each.delete_alias.alias_name]
            else:
                self.aliases[each.create_alias.alias_name] = each.create_alias.collection_name

    def create_vector_name(self, collection_name: str, vector_name: str, vector_name_config: Any) -> None:
        assert vector_name_config.sparse is not None
        self._update(collection_name, edge.UpdateOperation.create_sparse_vector(vector_name))

    def delete_vector_name(self, collection_name: str, vector_name: str) -> None:
        self._update(collection_name, edge.UpdateOperation.delete_vector_name(vector_name))

    # ---- points

    def upsert(self, collection_name: str, points: Any, wait: bool) -> None:
        made = [edge.Point(_id(p.id), _vector(p.vector), _json(p.payload)) for p in points]
        self._update(collection_name, edge.UpdateOperation.upsert_points(made))

    def update_vectors(self, collection_name: str, points: Any, wait: bool) -> None:
        made = [edge.PointVectors(_id(p.id), _vector(p.vector)) for p in points]
        self._update(collection_name, edge.UpdateOperation.update_vectors(made))

    def set_payload(self, collection_name: str, payload: Any, points: Any, ordering: Any = None, wait: bool = True):
        assert isinstance(points, models.Filter)
        self._update(collection_name, edge.UpdateOperation.set_payload_by_filter(_filter(points), _json(payload)))

    def delete(self, collection_name: str, points_selector: Any, wait: bool) -> None:
        self._update(collection_name, edge.UpdateOperation.delete_points_by_filter(_filter(points_selector)))

    def retrieve(self, collection_name: str, ids: Any, with_payload: Any, with_vectors: Any = False) -> Any:
        shard = self._shard(collection_name)
        found = shard.retrieve([_id(i) for i in ids], with_payload=_wanted(with_payload), with_vector=with_vectors)
        return [_record(each) for each in found]

    def scroll(self, collection_name: str, scroll_filter: Any, offset: Any, limit: int, with_payload, with_vectors):
        request = edge.ScrollRequest(
            offset=_id(offset), limit=limit, filter=_filter(scroll_filter),
            with_payload=_wanted(with_payload), with_vector=with_vectors,
        )  # fmt: skip
        records, following = self._shard(collection_name).scroll(request)
        return [_record(each) for each in records], following

    def count(self, collection_name: str, count_filter: Any, exact: bool) -> Any:
        request = edge.CountRequest(filter=_filter(count_filter), exact=exact)
        return SimpleNamespace(count=self._shard(collection_name).count(request))

    def facet(self, collection_name: str, key: str, limit: int, exact: bool) -> Any:
        return self._shard(collection_name).facet(edge.FacetRequest(key, limit=limit, exact=exact))

    def query_points(
        self, collection_name: str, query: Any, using: Any = None, prefetch: Any = None, query_filter: Any = None,
        limit: int = 10, with_payload: Any = False, with_vectors: Any = False,
    ) -> Any:  # fmt: skip
        where, first = _filter(query_filter), None
        if prefetch is not None:
            sparse = edge.SparseVector(prefetch.query.indices, prefetch.query.values)
            nearest = edge.Query.Nearest(sparse, using=prefetch.using)
            first = [edge.Prefetch(limit=prefetch.limit, query=nearest, filter=_filter(prefetch.filter))]
        if isinstance(query, models.SampleQuery):
            wanted = edge.Sample.Random
        else:
            wanted = edge.Query.Nearest(np.asarray(query, np.float32), using=using)
        request = edge.QueryRequest(
            limit=limit, query=wanted, prefetches=first, filter=where,
            with_payload=_wanted(with_payload), with_vector=with_vectors,
        )  # fmt: skip
        return SimpleNamespace(points=[_record(each) for each in self._shard(collection_name).query(request)])

    def close(self) -> None:
        for shard in self.shards.values():
            with suppress(Exception):
                shard.close()


def _id(given: Any) -> Any:
    return UUID(given) if isinstance(given, str) else given


def _json(payload: Any) -> Any:
    return json.loads(json.dumps(payload))


def _wanted(payload: Any) -> Any:
    return payload if isinstance(payload, bool) else edge.PayloadSelector.Include(list(payload))


def _record(found: Any) -> Any:
    return SimpleNamespace(id=found.id, payload=found.payload, vector=found.vector, score=getattr(found, "score", None))


def _vector(named: Any) -> Any:
    return {
        name: edge.SparseVector(each.indices, each.values)
        if isinstance(each, models.SparseVector)
        else np.asarray(each, np.float32)
        for name, each in named.items()
    }


def _filter(condition: Any) -> Any:
    if condition is None:
        return None
    parts = {name: [_condition(each) for each in getattr(condition, name) or []] for name in ("must", "must_not")}
    should = condition.should and [_condition(each) for each in condition.should]
    return edge.Filter(must=parts["must"], must_not=parts["must_not"], should=should)


def _condition(given: Any) -> Any:
    match given:
        case models.Filter():
            return _filter(given)
        case models.HasIdCondition():
            return edge.HasIdCondition({_id(each) for each in given.has_id})
        case models.HasVectorCondition():
            return edge.HasVectorCondition(given.has_vector)
        case models.IsEmptyCondition():
            return edge.IsEmptyCondition(given.is_empty.key)
        case models.IsNullCondition():
            return edge.IsNullCondition(given.is_null.key)
        case models.FieldCondition(match=models.MatchValue(value=value)):
            value = np.bool_(value) if isinstance(value, bool) else value  # which its Python side takes for a number
            return edge.FieldCondition(given.key, match=edge.MatchValue(value))
        case models.FieldCondition(match=models.MatchAny(any=values)):
            return edge.FieldCondition(given.key, match=edge.MatchAny(values))
        case models.FieldCondition(range=models.Range() as bounds):
            return edge.FieldCondition(given.key, range=edge.RangeFloat(**bounds.model_dump()))
    raise NotImplementedError(given)
