from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.server import ServerSettings, create_app

TEXTS = {
    "station": "La gare est derrière le marché.",
    "library": "Die Bibliothek ist am Abend offen.",
    "museum": "The museum shows old maps of the town.",
}

Serve = Callable[..., TestClient]


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

    def start(indexes: tuple[str, ...] = ("town",), **settings: object) -> TestClient:
        client = TestClient(create_app(rag, indexes, ServerSettings(**settings)), raise_server_exceptions=False)  # type: ignore[arg-type]
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve()
