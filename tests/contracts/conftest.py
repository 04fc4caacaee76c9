"""The engines under contract. To hold another engine to it, write a factory like those below and name it in `ENGINES`.

A factory is a context manager that yields an `Engine`: how to make an empty index of width `DIM`, how to load it again
where it is persistent, and how far a score may be from MaxSim in float32, given that queries have at most 6 rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from uuid import uuid4

import pytest
import torch
from qdrant_client import QdrantClient

from ragatouille_xm.errors import PassageIndexError
from ragatouille_xm.index.base import PassageIndex
from ragatouille_xm.index.cluster.build import create
from ragatouille_xm.index.cluster.client import Cluster
from ragatouille_xm.index.cluster.index import ClusterIndex
from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.index.local.index import LocalIndex

from ..index.scratch import scratch
from ..index.wire import served
from ..postgres.servers import binaries, shared
from .strategies import DIM


@dataclass
class Engine:
    """One index, which may be closed and loaded again."""

    create: Callable[[], PassageIndex]
    tolerance: float
    load: Callable[[], PassageIndex] | None = None
    index: PassageIndex = field(init=False)

    def open(self) -> PassageIndex:
        self.index = self.create()
        return self.index

    @property
    def persistent(self) -> bool:
        return self.load is not None

    def reopen(self) -> PassageIndex:
        self.index.close()
        self.index = self.load()
        return self.index


@contextmanager
def exact(dtype: torch.dtype, tolerance: float) -> Iterator[Engine]:
    yield Engine(lambda: ExactIndex(DIM, dtype=dtype), tolerance)


@contextmanager
def local(storage: str, tolerance: float, search_device: str | None = None) -> Iterator[Engine]:
    def kept(index: LocalIndex) -> LocalIndex:
        if search_device is not None:
            index.to_device(search_device)
        return index

    with scratch() as folder:
        yield Engine(
            lambda: kept(
                LocalIndex.create(folder, dim=DIM, checkpoint="", fingerprint="", settings={}, storage=storage)
            ),
            tolerance,
            lambda: kept(LocalIndex.open(folder)),
        )


@contextmanager
def cluster(client: QdrantClient) -> Iterator[Engine]:
    cluster, name = Cluster(client), f"contract-{uuid4().hex}"
    yield Engine(
        lambda: create(cluster, name, dim=DIM, checkpoint="tiny", fingerprint="0", settings={}),
        3e-3,
        lambda: ClusterIndex.open(cluster, name),
    )
    with suppress(PassageIndexError):
        client.delete_collection(cluster.aliases()[name])


@contextmanager
def postgres() -> Iterator[Engine]:
    from ragatouille_xm.index.postgres.server import PostgresServer

    server, name = PostgresServer(shared().url()), f"contract-{uuid4().hex}"

    def create() -> PassageIndex:
        with server.build(name, dim=DIM, checkpoint="tiny", fingerprint="0", settings={}):
            pass
        return server.open(name)

    with scratch() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGATOUILLE_XM_CACHE", str(folder))
        yield Engine(create, 1e-3, lambda: server.open(name))
    server.close()


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ENGINES: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "exact": lambda: exact(torch.float32, 1e-5),
    "exact-half": lambda: exact(torch.float16, 3e-3),
    "local": lambda: local("int16", 1e-3),
    "local-int8": lambda: local("int8", 0.1),
    "local-int4": lambda: local("int4", 0.1),
    "local-gpu": lambda: local("int16", 3e-3, DEVICE),
    "local-gpu-int8": lambda: local("int8", 0.1, DEVICE),
    "local-gpu-int4": lambda: local("int4", 0.1, DEVICE),
    "cluster": lambda: cluster(QdrantClient(":memory:")),
    "cluster-http": lambda: cluster(QdrantClient("http://host:6333", check_compatibility=False, transport=served())),
}
if binaries() is not None and find_spec("psycopg") is not None:
    ENGINES["postgres"] = postgres
if "QDRANT_URL" in os.environ:  # a real server
    ENGINES["server"] = lambda: cluster(
        QdrantClient(url=os.environ["QDRANT_URL"], api_key=os.environ.get("QDRANT_API_KEY"), timeout=20)
    )


SLOW = {
    "local",
    "local-int8",
    "local-int4",
    "local-gpu",
    "local-gpu-int8",
    "local-gpu-int4",
    "cluster-http",
    "postgres",
    "server",
}  # a write waits for the disk, or goes through JSON


def examples(name: str, count: int) -> int:
    """Return how many random examples to try: fewer where each of them takes long."""
    return count // 5 if name in SLOW else count


@contextmanager
def opened(name: str) -> Iterator[Engine]:
    """Open an empty index of the engine `name`, and close it at the end."""
    with ENGINES[name]() as engine:
        engine.open()
        try:
            yield engine
        finally:
            engine.index.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with opened(request.param) as engine:
        yield engine


@pytest.fixture
def index(engine: Engine) -> PassageIndex:
    return engine.index
