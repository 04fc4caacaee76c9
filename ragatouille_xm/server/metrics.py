"""What Prometheus may know of a service."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
QUERIES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ragatouille_xm_requests", "Requests.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "ragatouille_xm_request_seconds", "Time to answer.", ("method", "route"), buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.under_way = Gauge("ragatouille_xm_requests_under_way", "Requests under way.", registry=self.registry)
        self.batch = Histogram(
            "ragatouille_xm_query_batch", "Queries encoded in one pass.", buckets=QUERIES, registry=self.registry
        )
        self.passages = Gauge("ragatouille_xm_passages", "Passages of an index.", ("index",), registry=self.registry)


class Measured:
    """ASGI middleware that counts and times requests by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), "500"

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        with self._metrics.under_way.track_inprogress():
            try:
                await self._app(scope, receive, counted)
            finally:
                route = getattr(scope.get("route"), "path", "other")  # not the path: anybody can invent one
                self._metrics.requests.labels(scope["method"], route, status).inc()
                self._metrics.seconds.labels(scope["method"], route).observe(time.perf_counter() - start)
