"""The application: routes, errors, limits, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from .. import __version__
from ..pretrained import RAGPretrainedModel
from . import problems
from .heads import Heads
from .limits import Limits
from .metrics import Measured, Metrics
from .routes import documents, model, page, search, status
from .service import Service
from .settings import ServerSettings

STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 422, 500, 503, 504, 507)
DESCRIPTION = "Passages in 81 languages: every text and every query goes through the adapter of its own language."


def create_app(
    model_: RAGPretrainedModel, indexes: Sequence[str], settings: ServerSettings = ServerSettings()
) -> FastAPI:
    """Return an ASGI application that serves indexes.

    Parameters
    ----------
    model_ : RAGPretrainedModel
    indexes : sequence of str
        Names of indexes that the model has, the default first.
    settings : ServerSettings

    Raises
    ------
    InputError
        If there is no index.
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If an index cannot be opened.
    """
    service = Service(model_, indexes, settings)
    metrics = Metrics()
    model_.encoder.join_queries(settings.batch_size, settings.batch_window, metrics.batch.observe)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.ready = False

    app = FastAPI(
        title="ragatouille-xm",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service, app.state.metrics = service, metrics
    problems.install(app)
    for routes in (search, documents, model, status, page):
        app.include_router(routes.router, responses=problems.described(*STATUSES))
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Heads)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app
