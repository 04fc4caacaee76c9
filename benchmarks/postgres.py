"""Does an index in PostgreSQL survive kills and failovers, and what does it cost over a folder?

Kills: a writer on one machine and a reader on another are killed at random moments; then both, and at times a new
machine, must have all that was acknowledged, and nothing by halves. Failovers: a primary with a synchronous standby;
all processes of the primary are killed while a writer writes, and the standby is promoted. Hosts: server and writer in
one network namespace, a reader in another, which checks every hit. Speed: searches over a warm replica and over a
folder, by turns; the time from a commit to its visibility in another process; a cold machine's first answer.

Servers run with fsync off: processes are killed here, not machines.

    python benchmarks/postgres.py kills=300 failovers=50 hosts=10000 speed=20000 [--out results.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cpu

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "index" / "local"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "postgres"))
import crash_writer as writer
from servers import Server, binaries, running

from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.postgres.server import PostgresServer
from ragatouille_xm.types import Passage, TokenVectors

FORK = multiprocessing.get_context("fork")
DIM, TOKENS, QUERY = 128, 32, 32
STORED = {"dim": DIM, "checkpoint": "random", "fingerprint": "0", "settings": {}}


@contextmanager
def machine(folder: Path, name: str):
    """Have indexes of servers opened as another machine does, with a cache of its own."""
    before = os.environ.get("RAGATOUILLE_XM_CACHE")
    os.environ["RAGATOUILLE_XM_CACHE"] = str(folder / name)
    try:
        yield
    finally:
        os.environ.pop("RAGATOUILLE_XM_CACHE")
        if before is not None:
            os.environ["RAGATOUILLE_XM_CACHE"] = before


def read_for_ever(place: str, cache: str) -> None:
    os.environ["RAGATOUILLE_XM_CACHE"] = cache
    index = writer.open_at(place)
    with suppress(KeyboardInterrupt):
        while True:
            for _ in index.scroll(with_vectors=True):
                index.search(writer.vectors_of("any")[None], 5)


def verdict(found: Any, entries: list[dict[str, Any]], held: Any, counts: Counter[str]) -> None:
    """Count whether an index is what it must be after the calls of a writer that was killed."""
    said = next((entry["error"] for entry in entries if entry["do"] == "failed"), None)
    before, after = writer.replay([entry for entry in entries if entry["do"] != "failed"], held)
    if found not in (before, after):
        counts["WRONG"] += 1
        print("WRONG", entries[-3:], flush=True)
    elif said and "does not say whether" not in said and found != before:
        counts["WRONG: the error said that nothing was stored"] += 1
        print("WRONG", said, entries[-3:], flush=True)
    elif before != after:
        counts["in a call, done" if found == after else "in a call, undone"] += 1
    else:
        counts["between calls, or in one that changes no document"] += 1
    counts["acknowledged calls"] += sum(entry["do"] == "done" for entry in entries)
    if said:
        counts[re.sub(r"postgresql://\S+", "…", said)[:90]] += 1


def judged(
    place: str, folder: Path, machines: Sequence[str], entries: list[dict[str, Any]], held: Any, counts: Counter[str]
) -> Any:
    """Return what machines find after a writer was killed; count whether it is right, and the same on all of them."""
    shutil.rmtree(folder / "new", ignore_errors=True)
    found = None
    for each in machines:
        with machine(folder, each):
            seen = writer.check(place)
        if found is not None and seen != found:
            counts["WRONG: machines differ"] += 1
        found = seen
    verdict(found, entries, held, counts)
    return found


def kills(folder: Path, rounds: int, until: float) -> dict[str, Any]:
    chance, counts = random.Random(1), Counter[str]()
    with running() as server, machine(folder, "writer"):
        place = f"{server.url()}#kills"
        nursery, held = writer.Nursery(folder / "unused", place), {}
        for number in range(rounds):
            nursery.start(number, held)
            reader = FORK.Process(target=read_for_ever, args=(place, str(folder / "reader")))
            reader.start()
            time.sleep(chance.uniform(0, 0.8))
            os.kill(reader.pid, signal.SIGKILL)
            entries = nursery.kill()
            reader.join()
            machines = ("writer", "reader", "new") if number % 5 == 0 else ("writer", "reader")
            held = judged(place, folder, machines, entries, held, counts)
            if number % 20 == 19:
                print(number + 1, dict(counts), flush=True)
            if time.monotonic() > until:
                break
        nursery.stop()
    return {"rounds": number + 1, "outcomes": dict(counts)}


def failovers(folder: Path, rounds: int, until: float) -> dict[str, Any]:
    chance, counts = random.Random(2), Counter[str]()
    waits: list[float] = []
    nursery: writer.Nursery | None = None
    primary = Server()
    with machine(folder, "writer"):
        standby = stand_by(primary)
        held: Any = {}
        try:
            for number in range(rounds):
                place = f"{primary.url()}#failovers".replace(
                    f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/"
                ).replace("#", "?target_session_attrs=read-write#")
                nursery = nursery.at(place) if nursery else writer.Nursery(folder / "unused", place)
                nursery.start(number, held)
                time.sleep(chance.uniform(0, 1.0))
                primary.kill()
                start = time.monotonic()
                standby.promote()
                waits.append(time.monotonic() - start)
                time.sleep(chance.uniform(0, 0.5))
                entries = nursery.kill()
                primary.remove()
                primary, standby = standby, stand_by(standby)
                held = judged(f"{primary.url()}#failovers", folder, ("writer", "new"), entries, held, counts)
                if number % 5 == 4:
                    print(number + 1, dict(counts), flush=True)
                if time.monotonic() > until:
                    break
        finally:
            if nursery:
                nursery.stop()
            primary.remove()
            standby.remove()
    return {"rounds": number + 1, "outcomes": dict(counts), "promotion_s": round(statistics.median(waits), 2)}


def stand_by(primary: Server) -> Server:
    """Return a standby of a server, which waits for it with every commit from now on."""
    standby = Server(primary=primary)
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")
    while ("sync",) not in primary.sql("SELECT sync_state FROM pg_stat_replication"):
        time.sleep(0.02)
    return standby


# ---- two hosts

HOSTS = {"xm-writer": "10.77.0.1", "xm-reader": "10.77.0.2"}


def hosts(folder: Path, searches: int, until: float) -> dict[str, Any]:
    """Two network namespaces that a pair of virtual interfaces joins: one has the server and a writer, one reads."""
    ip = lambda *words: subprocess.run(["ip", *words], check=True)  # noqa: E731
    for name in HOSTS:
        ip("netns", "add", name)
    try:
        ip("link", "add", "xm0", "netns", "xm-writer", "type", "veth", "peer", "name", "xm1", "netns", "xm-reader")
        for (name, address), link in zip(HOSTS.items(), ("xm0", "xm1"), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        server = Server(address=HOSTS["xm-writer"], namespace="xm-writer")
        try:
            place = f"{server.url('postgres')}#hosts"
            inside = {name: ["ip", "netns", "exec", name] for name in HOSTS}
            script = [sys.executable, __file__, "--place", place]
            environment = os.environ | {"RAGATOUILLE_XM_CACHE": str(folder / "writer")}
            subprocess.run([*inside["xm-writer"], *script, "--make"], check=True, env=environment)
            with machine(folder, "writer"):
                nursery = writer.Nursery(folder / "unused", place, inside["xm-writer"])
                nursery.start(7, {}, {"add": 8, "replace": 5, "delete": 3, "optimize": 4, "refit": 1})
            environment["RAGATOUILLE_XM_CACHE"] = str(folder / "reader")
            found = subprocess.run(
                [*inside["xm-reader"], *script, "--read", str(searches)],
                check=True,
                env=environment,
                capture_output=True,
                text=True,
            )
            entries = nursery.kill()
            nursery.stop()
            return json.loads(found.stdout) | {"writes": sum(entry["do"] == "done" for entry in entries)}
        finally:
            server.remove()
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name], check=False)


def read(place: str, searches: int) -> dict[str, Any]:
    """Search an index that changes, and check every hit: its text has that score, and is one that was written."""
    index, chance = writer.open_at(place), random.Random(3)
    counts, commits, start = Counter[str](), set(), time.monotonic()
    while len(index) < 20:
        time.sleep(0.05)
    for _ in range(searches):
        query = writer.vectors_of(f"query {chance.random()}")[None]
        hits = index.search(query, 10)
        commits.add(index.meta.state)
        pids = [pid for pid in hits.pids[0].tolist() if pid >= 0]
        try:
            passages = index.fetch(pids)
        except KeyError:
            counts["searches with a hit that was deleted before it was fetched"] += 1
            continue
        for passage, score in zip(passages, hits.scores[0].tolist(), strict=False):
            expected = float((query[0] @ writer.vectors_of(passage.text).T).amax(1).sum())
            right = abs(score - expected) < 0.01 and re.fullmatch(r"d\d+ \S+ \d", passage.text)
            counts["right" if right else "WRONG"] += 1
        counts["searches"] += 1
    return {"hits": dict(counts), "commits_seen": len(commits), "seconds": round(time.monotonic() - start, 1)}


# ---- speed


def speed(folder: Path, passages: int, until: float) -> dict[str, Any]:
    with running() as server, machine(folder, "first"):
        postgres = PostgresServer(server.url())
        start = time.monotonic()
        with postgres.build("speed", **STORED) as build:
            fill(build, passages)
        built = time.monotonic() - start
        start = time.monotonic()
        with LocalIndex.build(folder / "folder", **STORED) as build:
            fill(build, passages)
        folder_built = time.monotonic() - start
        index, local = postgres.open("speed"), LocalIndex.open(folder / "folder")
        result = {"passages": passages, "build_s": round(built, 1), "folder_build_s": round(folder_built, 1)}
        result["search"] = compare(index, local, lambda each, query: each.search(query, 10))
        result["search_and_fetch"] = compare(
            index, local, lambda each, query: each.fetch(each.search(query, 10).pids[0].tolist())
        )
        with machine(folder, "cold"):
            start = time.monotonic()
            cold = PostgresServer(server.url()).open("speed")
            cold.search(queries(1)[0], 10)
            seconds = time.monotonic() - start
        size = sum(path.stat().st_size for path in cold.folder.iterdir())
        result["cold"] = {"seconds": round(seconds, 2), "bytes": size, "MB_a_second": round(size / seconds / 1e6)}
        result["bytes"] = {
            "vectors_and_postings": sum(path.stat().st_size for path in cold.folder.glob("segment-*")),
            "database": (cold.folder / "index.db").stat().st_size,
            "server": server.sql("SELECT pg_database_size('texts')")[0][0],
        }
        result["visible_ms"] = visibility(server, folder)
        result["add_ms"] = additions(index, local, passages)
        return result


def fill(target: Any, passages: int) -> None:
    source = np.random.default_rng(0)
    centres = source.standard_normal((2000, DIM)).astype(np.float32)
    for start in range(0, passages, 500):
        rows = centres[source.integers(0, len(centres), 500 * TOKENS)] + source.standard_normal((500 * TOKENS, DIM)) / 2
        vectors = torch.nn.functional.normalize(torch.from_numpy(rows.astype(np.float32)), dim=1)
        some = [Passage(start + i, f"d{start + i}", f"text {start + i} " * 30, "en", {"n": i}) for i in range(500)]
        target.add(some, TokenVectors(vectors, torch.full((500,), TOKENS)))


def queries(n: int) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    return [torch.nn.functional.normalize(torch.randn(1, QUERY, DIM, generator=source), dim=2) for _ in range(n)]


def compare(index: LocalIndex, local: LocalIndex, call: Any) -> dict[str, Any]:
    """Return median times over the server's index and the folder's, by turns, and the median ratio of neighbours."""
    times: dict[str, list[float]] = {"server": [], "folder": []}
    for query in queries(200):
        for name, each in (("server", index), ("folder", local)):
            start = time.perf_counter()
            call(each, query)
            times[name].append(time.perf_counter() - start)
    kept = {name: np.array(each[20:]) * 1000 for name, each in times.items()}
    ratio = float(np.median(kept["server"] / kept["folder"]))
    return {name: round(float(np.median(each)), 2) for name, each in kept.items()} | {"ratio": round(ratio, 3)}


def additions(index: LocalIndex, local: LocalIndex, first: int) -> dict[str, float]:
    result = {}
    for name, each in (("server", index), ("folder", local)):
        times = []
        for i in range(30):
            passage = Passage(first + i, "added", "text", "en")
            vectors = TokenVectors(queries(1)[0][0], torch.tensor([QUERY]))
            start = time.perf_counter()
            each.add([passage], vectors)
            times.append(time.perf_counter() - start)
        result[name] = round(statistics.median(times) * 1000, 1)
    return result


def visibility(server: Server, folder: Path, changes: int = 100) -> dict[str, float]:
    """Return how long after a commit another process, with a replica of its own, has it."""
    seen, ours = FORK.Pipe()
    other = FORK.Process(target=watch, args=(server.url(), str(folder / "watching"), seen, changes))
    other.start()
    index = PostgresServer(server.url()).open("speed")
    first = index.reserve(changes)
    ours.send(first)
    assert ours.recv() == "ready"
    delays = []
    for i in range(changes):
        vectors = TokenVectors(queries(1)[0][0], torch.tensor([QUERY]))
        index.add([Passage(first + i, f"seen {i}", "text", "en")], vectors)
        committed = time.monotonic()
        delays.append((ours.recv() - committed) * 1000)
    other.join()
    return {
        "median": round(statistics.median(delays), 1),
        "p95": round(float(np.quantile(delays, 0.95)), 1),
        "largest": round(max(delays), 1),
    }


def watch(url: str, cache: str, connection: Any, changes: int) -> None:
    os.environ["RAGATOUILLE_XM_CACHE"] = cache
    torch.set_num_threads(1)
    index = PostgresServer(url).open("speed")
    connection.recv()
    connection.send("ready")
    for i in range(changes):
        while not index.contains([f"seen {i}"]):
            time.sleep(0.001)
        connection.send(time.monotonic())


def machine_info() -> dict[str, Any]:
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "threads": 1,
        "torch": torch.__version__,
    }


TASKS = {"kills": kills, "failovers": failovers, "hosts": hosts, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="kills=N, failovers=N, hosts=N, speed=N")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "postgres.json")
    parser.add_argument("--minutes", type=float, default=1e6, help="for each task: kills and failovers end then")
    parser.add_argument("--place", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for module, limit, value in writer.LIMITS if "speed" not in str(arguments.tasks) else ():
        setattr(module, limit, value)
    if arguments.place:
        if arguments.make:
            with writer.build_at(arguments.place):
                pass
        else:
            print(json.dumps(read(arguments.place, arguments.read)))
        return
    for task in arguments.tasks:
        name, _, size = task.partition("=")
        with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as folder:
            start = time.monotonic()
            result = TASKS[name](Path(folder), int(size), start + 60 * arguments.minutes)
            result["took_s"] = round(time.monotonic() - start)
        kept = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        home = binaries()
        version = subprocess.run([home / "postgres", "-V"], capture_output=True, text=True, check=True).stdout.strip()
        kept |= {name: result, "machine": machine_info(), "server": version}
        arguments.out.write_text(json.dumps(kept, indent=1) + "\n")
        print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
