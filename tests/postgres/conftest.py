from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

pytest.importorskip("psycopg")

from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.postgres.server import PostgresServer

from ..contracts.strategies import DIM
from ..index.scratch import scratch
from .servers import Server, binaries, shared

if binaries() is None:
    pytest.skip("there is no PostgreSQL here", allow_module_level=True)

Node = Callable[..., LocalIndex]


@pytest.fixture
def postgres() -> Server:
    return shared()


@pytest.fixture
def name() -> str:
    return f"index-{uuid4().hex[:8]}"


@pytest.fixture
def node(postgres: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Return what opens the index of this test on one machine or another, and makes it if need be."""
    with ExitStack() as stack:
        folders: dict[int, Path] = {}

        def open_on(machine: int, url: str | None = None) -> LocalIndex:
            if machine not in folders:
                folders[machine] = stack.enter_context(scratch())
            monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(folders[machine]))
            server = PostgresServer(url or postgres.url())
            stack.callback(server.close)
            if name not in server.names():
                make(server, name)
            index = server.open(name)
            stack.callback(index.close)
            return index

        yield open_on


def make(server: PostgresServer, name: str, **options: object) -> None:
    with server.build(name, dim=DIM, checkpoint="tiny", fingerprint="0", settings={}, **options):
        pass
