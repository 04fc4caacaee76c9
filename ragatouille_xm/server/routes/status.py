"""Whether the service is there, and how it is doing."""

from __future__ import annotations

import logging
from functools import partial

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ...errors import RagatouilleXMError
from ..metrics import Metrics
from ..problems import Problem
from ..service import Service
from .access import Open, Reading

logger = logging.getLogger(__name__)
router = APIRouter(tags=["status"])


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    """Answer."""
    return {"status": "live"}


@router.get("/health/ready", summary="Requests are welcome")
async def ready(service: Open) -> dict[str, str]:
    """Answer, or say 503 while the service stops."""
    if not service.ready:
        raise Problem(503, "The service is stopping.")
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(service: Reading, request: Request) -> Response:
    """Return counters in Prometheus's text form."""
    found: Metrics = request.app.state.metrics
    for name in service.indexes:
        found.passages.labels(name).set(await service.read(partial(_passages, service, name)))
    return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)


def _passages(service: Service, name: str) -> float:
    """Return how many passages an index has; NaN if it was removed or cannot be read, which hides no other metric."""
    try:
        return len(service.index(name).index)
    except RagatouilleXMError:
        logger.warning("the passages of the index %r cannot be counted", name, exc_info=True)
        return float("nan")
