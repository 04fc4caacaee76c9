"""The roles of the guide have the rights that they need, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ragatouille_xm.errors import DatabaseError, IndexNotFoundError
from ragatouille_xm.index.postgres.schema import SCHEMA
from ragatouille_xm.index.postgres.server import PostgresServer

from ..contracts.strategies import assert_search, everything, passage, put, query
from .conftest import make
from .servers import PASSWORD, Server, running

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "postgresql.md"
if not GUIDE.exists():
    pytest.skip("the guide is not here", allow_module_level=True)
RIGHTS, TENANTS, REMOVE = re.findall(
    r"^```sql\n(.+?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path))
    with running() as server:
        for role in ("reader", "writer", "other", "stranger"):
            server.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        yield server


def as_role(server: Server, role: str) -> PostgresServer:
    return PostgresServer(server.url(user=role))


def test_readers_read_and_writers_write(server: Server) -> None:
    with pytest.raises(
        DatabaseError, match="may not make them: permission denied for database .* Have the owner"
    ) as no:
        make(as_role(server, "writer"), "town")
    assert PASSWORD not in str(no.value)
    server.sql(SCHEMA)
    server.sql(RIGHTS)
    make(as_role(server, "writer"), "town")
    written = as_role(server, "writer").open("town")
    put(written, *(passage(i, f"d{i}") for i in range(5)))
    written.optimize(refit=True)
    read = as_role(server, "reader").open("town")
    assert_search(read, query("q"), 5, [passage(i, f"d{i}") for i in range(5)], 1e-3)
    for call in (
        lambda: put(read, passage(9)),
        lambda: read.delete(["d1"]),
        lambda: make(as_role(server, "reader"), "b"),
    ):
        with pytest.raises(DatabaseError, match=r"refuses: permission denied for table .*; docs/guide/postgresql.md"):
            call()
    with pytest.raises(DatabaseError, match="refuses: permission denied for schema ragatouille_xm"):
        as_role(server, "stranger").open("town")
    assert len(read) == 5
    for refused in ("DROP TABLE ragatouille_xm.passage", "UPDATE ragatouille_xm.server SET format = 9"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(server.url(user="writer")) as session:
            session.execute(refused)
    server.sql(REMOVE)
    assert as_role(server, "reader").names() == []
    assert server.sql("SELECT count(*) FROM ragatouille_xm.block") == [(0,)]


def test_tenants_do_not_see_each_other(server: Server) -> None:
    server.sql(SCHEMA)
    server.sql(RIGHTS)
    server.sql("GRANT writer TO other")
    server.sql(TENANTS)
    for role in ("writer", "other"):
        make(as_role(server, role), f"{role}-town")
        put(as_role(server, role).open(f"{role}-town"), passage(0, role))
        assert as_role(server, role).names() == [f"{role}-town"]
        assert [p.document_id for p in everything(as_role(server, role).open(f"{role}-town"))] == [role]
        with psycopg.connect(server.url(user=role)) as session:
            assert session.execute("SELECT document_id FROM ragatouille_xm.passage").fetchall() == [(role,)]
    with pytest.raises(IndexNotFoundError):
        as_role(server, "writer").open("other-town")
    with pytest.raises(DatabaseError, match="row-level security"):
        make(as_role(server, "writer"), "other-village")
