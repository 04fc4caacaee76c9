"""A server in the process: HTTP requests, as the client sends them, carried out by the client's local mode.

It is no Qdrant; it shows that requests and answers go through JSON and HTTP unharmed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
from pydantic import BaseModel, TypeAdapter
from qdrant_client import QdrantClient, models

Route = Callable[[QdrantClient, str, Any], Any]


def _selected(body: Any) -> Any:
    return body.filter if getattr(body, "filter", None) is not None else body.points


ROUTES: dict[tuple[str, str], tuple[Any, Route]] = {
    ("GET", "aliases"): (None, lambda c, n, b: c.get_aliases()),
    ("POST", "collections/aliases"): (
        models.ChangeAliasesOperation,
        lambda c, n, b: c.update_collection_aliases(change_aliases_operations=b.actions),
    ),
    ("GET", "exists"): (None, lambda c, n, b: {"exists": c.collection_exists(n)}),
    ("PUT", "index"): (models.CreateFieldIndex, lambda c, n, b: _done()),
    ("PUT", "points"): (models.PointsList, lambda c, n, b: c.upsert(n, points=b.points)),
    ("POST", "points"): (
        models.PointRequest,
        lambda c, n, b: c.retrieve(n, ids=b.ids, with_payload=b.with_payload, with_vectors=b.with_vector),
    ),
    ("POST", "points/scroll"): (models.ScrollRequest, lambda c, n, b: _scroll(c, n, b)),
    ("POST", "points/query"): (models.QueryRequest, lambda c, n, b: _query(c, n, b)),
    ("POST", "facet"): (models.FacetRequest, lambda c, n, b: c.facet(n, key=b.key, limit=b.limit, exact=b.exact)),
    ("POST", "points/count"): (models.CountRequest, lambda c, n, b: c.count(n, count_filter=b.filter)),
    ("POST", "points/delete"): (models.FilterSelector, lambda c, n, b: c.delete(n, points_selector=b.filter)),
    ("POST", "points/payload"): (
        models.SetPayload,
        lambda c, n, b: c.set_payload(n, payload=b.payload, points=_selected(b)),
    ),
    ("PUT", "points/vectors"): (models.UpdateVectors, lambda c, n, b: c.update_vectors(n, points=b.points)),
}


def _done() -> models.UpdateResult:
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _scroll(client: QdrantClient, name: str, body: Any) -> Any:
    points, offset = client.scroll(
        name, scroll_filter=body.filter, limit=body.limit, offset=body.offset,
        with_payload=body.with_payload, with_vectors=body.with_vector,
    )  # fmt: skip
    return {"points": [_plain(point) for point in points], "next_page_offset": offset}


def _query(client: QdrantClient, name: str, body: Any) -> Any:
    nearest = body.query.nearest if isinstance(body.query, models.NearestQuery) else body.query
    prefetch = body.prefetch
    if prefetch is not None and isinstance(prefetch.query, models.NearestQuery):
        prefetch = prefetch.model_copy(update={"query": prefetch.query.nearest})
    return client.query_points(
        name, query=nearest, using=body.using, prefetch=prefetch, query_filter=body.filter, limit=body.limit,
        with_payload=body.with_payload, with_vectors=body.with_vector or False,
    )  # fmt: skip


def _create(client: QdrantClient, name: str, content: bytes) -> bool:
    body = models.CreateCollection.model_validate_json(content)
    return client.create_collection(name, vectors_config=body.vectors, sparse_vectors_config=body.sparse_vectors)


def _vector_name(client: QdrantClient, name: str, vector: str, request: httpx.Request) -> Any:
    if request.method == "DELETE":
        return client.delete_vector_name(name, vector)
    config = models.SparseVectorNameConfig.model_validate_json(request.content)
    return client.create_vector_name(name, vector, config)


def _plain(answer: Any) -> Any:
    if isinstance(answer, BaseModel):
        return answer.model_dump(mode="json")
    return [_plain(each) for each in answer] if isinstance(answer, list) else answer


def served(key: str | None = None) -> httpx.MockTransport:
    """Return what a client of `qdrant_client` takes for the way to a server, which wants a key."""
    client = QdrantClient(":memory:")
    turn = threading.Lock()

    def handle(request: httpx.Request) -> httpx.Response:
        if key is not None and request.headers.get("api-key") != key:
            return httpx.Response(401, json={"status": {"error": "wrong key"}})
        parts = request.url.path.strip("/").split("/")
        name, rest = (parts[1], "/".join(parts[2:])) if parts[0] == "collections" and len(parts) > 1 else ("", "")
        with turn:
            try:
                if rest.startswith("vectors/"):
                    answer: Any = _vector_name(client, name, rest.removeprefix("vectors/"), request)
                elif name and not rest and name != "aliases":
                    answer = {
                        "PUT": lambda: _create(client, name, request.content),
                        "DELETE": lambda: client.delete_collection(name),
                    }[request.method]()
                else:
                    model, route = ROUTES[request.method, rest or "/".join(parts)]
                    body = None if model is None else TypeAdapter(model).validate_json(request.content)
                    answer = route(client, name, body)
            except ValueError as error:
                if "not found" not in str(error):
                    raise
                return httpx.Response(404, json={"status": {"error": str(error)}})
        return httpx.Response(200, content=json.dumps({"result": _plain(answer), "status": "ok", "time": 0.0}))

    return httpx.MockTransport(handle)
