from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.server.app import create_app
from ragatouille_xm.server.settings import ServerSettings

TEXTS = {
    "station": "La gare est derrière le marché.",
    "library": "Die Bibliothek ist am Abend offen.",
    "museum": "The museum shows old maps of the town.",
}

Serve = Callable[..., TestClient]
Listen = Callable[..., str]


@pytest.fixture
def rag(folder: Path, tmp_path: Path) -> Iterator[RAGPretrainedModel]:
    model = RAGPretrainedModel.from_pretrained(folder, verbose=0, index_root=str(tmp_path), device="cpu")
    model.index(
        list(TEXTS.values()),
        list(TEXTS),
        [{"year": year} for year in (2019, 2021, 2023)],
        index_name="town",
        languages=["fr", "de", "en"],
    )
    yield model
    model.close()


@pytest.fixture
def serve(rag: RAGPretrainedModel) -> Iterator[Serve]:
    """Return what serves the index ``town`` with settings, and gives a client."""
    clients: list[TestClient] = []

    def start(indexes: tuple[str, ...] = ("town",), **settings: Any) -> TestClient:
        client = TestClient(create_app(rag, indexes, ServerSettings(**settings)), raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve()


@pytest.fixture
def listen(rag: RAGPretrainedModel) -> Iterator[Listen]:
    """Return what serves indexes on a port of this machine, and gives the address."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(indexes: tuple[str, ...] = ("town",), **settings: Any) -> str:
        app = create_app(rag, indexes, ServerSettings(**settings))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join()
