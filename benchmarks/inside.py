"""The inside of a search, for benchmarks that look at its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.search import Search
from ragatouille_xm.index.local.snapshot import Snapshot


@contextmanager
def search_of(folder: Path, k: int, config: SearchConfig = SearchConfig()) -> Iterator[tuple[Search, Snapshot]]:
    """Yield a search of the index in a folder, and the snapshot that it searches."""
    with closing(LocalIndex.open(folder)) as index:
        snapshot = index._read(lambda _, snapshot: snapshot)
        with index._database.snapshot() as connection:
            yield Search(snapshot, connection, k, None, config), snapshot
