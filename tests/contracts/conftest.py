"""The engines under contract. To hold another engine to it, write a factory like those below and name it in `ENGINES`.

A factory is a context manager that yields an `Engine`: how to make an empty index of width `DIM`, how to load it again
where it is persistent, how far a score may be from MaxSim in float32, given that queries have at most 6 rows, and what
of the contract it does not keep, in the words of `TRANSACTIONS`, `TIES` and `EXACT_RANGES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from uuid import uuid4

import pytest
import torch
from qdrant_client import QdrantClient

from ragatouille_xm.errors import PassageIndexError
from ragatouille_xm.index.base import PassageIndex
from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.qdrant.server import QdrantServer

from ..index.edge import EdgeClient
from ..index.scratch import scratch
from ..postgres.servers import binaries, shared
from .strategies import DIM

TRANSACTIONS = "an addition counts as a whole at its end, and an update is never seen in half"
TIES = "of passages with the same score, those of the smaller pids come"
EXACT_RANGES = "whole numbers beyond 2**53 are in a range as 64-bit floats are"


@dataclass
class Engine:
    """One index, which may be closed and loaded again."""

    create: Callable[[], PassageIndex]
    tolerance: float
    load: Callable[[], PassageIndex] | None = None
    not_kept: frozenset[str] = frozenset()
    index: PassageIndex = field(init=False)

    def open(self) -> PassageIndex:
        self.index = self.create()
        return self.index

    def needs(self, promise: str) -> None:
        """Skip a test of what this engine does not promise."""
        if promise in self.not_kept:
            pytest.skip(f"not promised here: {promise}")

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
def qdrant(client: QdrantClient) -> Iterator[Engine]:
    server, name = QdrantServer(client), f"contract-{uuid4().hex}"

    def create() -> PassageIndex:
        with server.build(name, dim=DIM, checkpoint="tiny", fingerprint="0", settings={}):
            pass
        return server.open(name)

    not_kept = {TRANSACTIONS, TIES} | ({EXACT_RANGES} if server.local else set())
    yield Engine(create, 3e-3, lambda: server.open(name), frozenset(not_kept))
    with suppress(PassageIndexError, KeyError):
        client.delete_collection(server.names()[name])


@contextmanager
def qdrant_edge() -> Iterator[Engine]:
    with scratch() as folder, closing(EdgeClient(folder)) as client, qdrant(client) as engine:
        yield engine


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
    "qdrant": lambda: qdrant(QdrantClient(":memory:")),
    "qdrant-edge": qdrant_edge,
}
if binaries() is not None and find_spec("psycopg") is not None:
    ENGINES["postgres"] = postgres
if "QDRANT_URL" in os.environ:  # a real server
    ENGINES["qdrant-server"] = lambda: qdrant(
        QdrantClient(url=os.environ["QDRANT_URL"], api_key=os.environ.get("QDRANT_API_KEY"), timeout=20)
    )


SLOW = {
    "local",
    "local-int8",
    "local-int4",
    "local-gpu",
    "local-gpu-int8",
    "local-gpu-int4",
    "postgres",
    "qdrant-edge",
    "qdrant-server",
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
