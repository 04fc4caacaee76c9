"""What every engine promises while several threads use it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from .conftest import TRANSACTIONS
from .strategies import assert_search, everything, passage, put, query

# --- Threads


def test_searching_while_documents_are_replaced_sees_one_version_of_each(engine):
    engine.needs(TRANSACTIONS)
    index = engine.index
    documents, versions = [f"d{i}" for i in range(4)], 7
    done = threading.Event()
    version_of: dict[int, tuple[str, int]] = {}

    def store(version):
        pids = iter(range(first := index.reserve(8), first + 8))
        passages = [passage(next(pids), d, f"{d} {version} {i}") for d in documents for i in range(2)]
        version_of.update({p.pid: (p.document_id, version) for p in passages})
        put(index, *passages, replace=True)

    def write():
        try:
            for version in range(1, versions):
                store(version)
                if version % 3 == 0:
                    index.optimize()
        finally:
            done.set()

    def read(i):
        rounds = 0
        while rounds < 3 or not done.is_set():
            if i == 0:  # the others only search, so that nothing makes them wait for the writer
                assert sum(index.languages().values()) == 8
            hits = index.search(query(f"reader {i}"), 20)
            found = [version_of[pid] for pid in hits.pids[0].tolist() if pid != -1]
            assert Counter(d for d, _ in found) == dict.fromkeys(documents, 2)
            assert len({version for _, version in found}) == 1
            rounds += 1

    store(0)
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, i) for i in range(3)]
        writer = pool.submit(write)
        for future in (writer, *readers):
            future.result(timeout=120)
    assert {version_of[p.pid][1] for p in everything(index)} == {versions - 1}


def test_writing_from_many_threads(engine):
    index = engine.index

    def write(name):
        for i in range(3):
            first = index.reserve(2)
            put(index, passage(first, f"{name} {i}"), passage(first + 1, f"{name} {i}"))
        index.delete([f"{name} 0"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, ["a", "b", "c", "d"]))
    found = everything(index)
    assert len(index) == len(found) == 16
    assert index.contains([f"{name} {i}" for name in "abcd" for i in range(3)]) == {
        f"{name} {i}" for name in "abcd" for i in range(1, 3)
    }
    assert_search(index, query("q"), 10, found, engine.tolerance)
