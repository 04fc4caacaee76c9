"""Does an index survive its writers being killed, its files being damaged, and everybody reading while one writes?

Kills: writers are killed at random moments of adding, replacing, deleting, merging, fitting a codebook, building and
resuming, under limits so low that all of this happens all the time; after each kill the whole index is compared with
what had been acknowledged. Flips: one random bit of one file is flipped; a process of its own opens the index, searches
and reads everything, and `find_faults(full=True)` looks for the damage. Readers: 16 threads of one process and four
processes search and read while another one writes; every answer is compared with what had been committed at some moment
of the call.

    python benchmarks/attack.py [--quick] [--out benchmarks/results/attack.json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import platform
import random
import re
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cpu

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "index" / "local"))
import crash_writer as writer

from ragatouille_xm.config import SearchConfig
from ragatouille_xm.corpus.filters import parse_filter
from ragatouille_xm.errors import RagatouilleXMError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.verify import find_faults
from ragatouille_xm.types import Passage, TokenVectors

LONGEST_WAIT = 0.15  # seconds from the start of a writer to its death
PATIENCE = 30  # seconds until a process hangs
THREADS, PROCESSES = 16, 4
DELETED = "deleted between search and fetch"

# ---- kills


def kills(folder: Path, n: int) -> dict[str, Any]:
    """Kill `n` writers; return how many were in the middle of which call, and what was wrong."""
    chance, nursery = random.Random(0), writer.Nursery(folder / "index")
    held: writer.Documents = {}
    text_of: dict[int, str] = {}
    during: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    faults = []
    for kill in range(n):
        nursery.start(kill, held, {"resume": 1} if kill % 10 < 3 else writer.ACTIONS)
        time.sleep(chance.uniform(0, LONGEST_WAIT))
        entries = nursery.kill()
        before, after = writer.replay(entries, held)
        during[next((each["action"] for each in reversed(entries) if "action" in each), "none")] += 1
        try:
            assert entries[-1]["do"] != "failed", entries[-1]
            found = writer.check(nursery.folder)
            assert found in (before, after), "neither what it held before the call nor after"
            for pid, text in (pair for pairs in found.values() for pair in pairs):
                assert text_of.setdefault(pid, text) == text, f"pid {pid} was used again"
        except (AssertionError, Exception) as error:
            faults.append({"kill": kill, "during": entries[-1]["do"], "error": describe(error)})
            break  # what it holds now is not known
        outcomes["between two calls" if before == after else "not done" if found == before else "done"] += 1
        held = found
    nursery.stop()
    return {"kills": kill + 1, "during": dict(during), "the call was": dict(outcomes), "faults": faults}


def describe(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}: {frames[-1].line})" if frames else ""
    return re.sub(r"/\S+/", "…/", f"{type(error).__name__}: {error}")[:300] + where


# ---- flips

QUERIES = [writer.vectors_of(f"query {i}")[None] for i in range(3)]
FILTERS = [
    None,
    {"language": "fr"},
    {"number": {"$gte": 10}},
    {"tags": {"$in": ["a", "c"]}},
    {"day": {"$lt": "2024-01-20"}},
    {"$not": {"tags": "b"}},
    {"document_id": {"$in": ["d3", "d7", "d30"]}},
]


def make_index(folder: Path) -> None:
    """Make an index with several segments, postings, deletes, a buffer, and metadata of all kinds."""
    index = LocalIndex.create(folder, **writer.KEPT)
    for start, end in ((0, 40), (40, 70), (70, 90), (90, 94)):
        first = index.reserve(end - start)
        passages = [
            Passage(
                first + i - start,
                f"d{i // 2}",
                f"the text of passage {i} " * (1 + i % 4),
                ("fr", "de", "zh-TW")[i % 3],
                {
                    "number": i / 2,
                    "tags": ["a", "b", "c"][: i % 4],
                    "day": f"2024-01-{1 + i % 28:02}",
                    "deep": {"n": i},
                },
            )
            for i in range(start, end)
        ]
        blocks = [writer.vectors_of(passage.text) for passage in passages]
        index.add(passages, TokenVectors(torch.cat(blocks), torch.tensor([len(block) for block in blocks])))
        if end == 90:
            index.optimize(refit=True)
            index.delete(["d2", "d40"])
            again = index.reserve(30)
            passages = [Passage(again + i, f"e{i}", f"another {i}", "fr", {"number": i}) for i in range(30)]
            blocks = [writer.vectors_of(passage.text) for passage in passages]
            index.add(passages, TokenVectors(torch.cat(blocks), torch.tensor([len(block) for block in blocks])))
    index.close()


def look(folder: Path) -> dict[str, Any]:
    """Return what each of some calls returns or raises."""
    found: dict[str, Any] = {}
    index: Any = None

    def note(name: str, call: Callable[[], Any]) -> Any:
        try:
            found[name] = ("answer", call())
        except RagatouilleXMError as error:
            found[name] = ("own error", describe(error))
        except BaseException as error:
            found[name] = ("foreign error", describe(error))
        return found[name]

    def open_index() -> int:
        nonlocal index
        index = LocalIndex.open(folder)
        return len(index)

    if note("open", open_index)[0] == "answer":
        note("languages", index.languages)
        note("contains", lambda: sorted(index.contains([f"d{i}" for i in range(60)]), key=str))
        for i, condition in enumerate(map(parse_filter, FILTERS)):
            for j, query in enumerate(QUERIES if condition is None else QUERIES[1:2]):
                note(f"search {FILTERS[i]} {j}", lambda q=query, c=condition: hits(index.search(q, 5, filter=c)))
            note(f"exact search {FILTERS[i]}", lambda c=condition: hits(
                index.search(QUERIES[0], 200, filter=c, config=SearchConfig(exact=True))))  # fmt: skip
            note(f"scroll {FILTERS[i]}", lambda c=condition: read(index, c))
        note("fetch", lambda: [(p.pid, p.document_id, p.text, p.language, p.metadata) for p in index.fetch(PIDS)])
    note("faults", lambda: [f"{fault.where}: {fault.what}" for fault in find_faults(folder, full=True)])
    return found


PIDS: list[int] = []  # that are in the index


def hits(found: Any) -> Any:
    return found.pids.tolist(), np.round(found.scores.astype(float), 4).tolist()


def read(index: LocalIndex, condition: Any) -> Any:
    rows = []
    for passages, vectors in index.scroll(condition, with_vectors=True):
        assert vectors is not None
        for p, block in zip(passages, vectors, strict=True):
            digest = hashlib.sha256(block.numpy().tobytes()).hexdigest()[:12]
            rows.append((p.pid, p.document_id, p.text, p.language, p.metadata, digest))
    return rows


def in_child(function: Callable[[], Any]) -> tuple[str, Any]:
    """Return what a function returns in a forked process, or how that came to its end."""
    reader, out = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        with os.fdopen(out, "wb") as pipe:
            pickle.dump(function(), pipe)
            pipe.flush()
        os._exit(0)
    os.close(out)
    content, give_up = b"", time.monotonic() + PATIENCE
    while True:
        ready, _, _ = select.select([reader], [], [], max(give_up - time.monotonic(), 0))
        if not ready:
            os.kill(child, signal.SIGKILL)
            break
        block = os.read(reader, 2**20)
        if not block:
            break
        content += block
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if not ready:
        return "hang", None
    if status:
        return "crash", f"status {status}"
    return "returned", pickle.loads(content)


def flips(folder: Path, n: int) -> dict[str, Any]:
    """Flip `n` bits, one at a time; return what came of it."""
    base, place = folder / "base", folder / "flipped"
    make_index(base)
    shutil.copytree(base, place)
    _, PIDS[:] = in_child(lambda: [p.pid for passages, _ in LocalIndex.open(place).scroll() for p in passages])
    _, expected = in_child(lambda: look(place))
    assert all(kind == "answer" for kind, _ in expected.values()), expected
    assert expected["faults"][1] == []
    files = sorted(path.name for path in base.iterdir() if path.name != "write.lock")
    chance, pages = random.Random(1), Pages(base / "index.db")
    outcomes: Counter[str] = Counter()
    by_kind: dict[str, Counter[str]] = {}
    places: Counter[str] = Counter()  # of flips that are not noticed
    bad, missed = [], []
    for _ in range(n):
        name = "index.db" if chance.random() < 0.5 else chance.choice(files)
        content = bytearray((base / name).read_bytes())
        bit = chance.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        (place / name).write_bytes(content)
        end, found = in_child(lambda: look(place))
        shutil.copyfile(base / name, place / name)
        for left in place.glob("*.db-*"):
            left.unlink()
        outcome, detail = judge(end, found, expected)
        noticed = end == "returned" and found["faults"] != ("answer", [])
        kind = "index.db" if name == "index.db" else "." + name.partition(".")[2].partition("-")[0]
        outcomes[f"{outcome}; {'noticed' if noticed else 'not noticed'} by find_faults"] += 1
        by_kind.setdefault(kind, Counter())[outcome] += 1
        there = pages.describe(bit // 8) if kind == "index.db" else "content"
        flip = f"{kind}, bit {bit % 8} of byte {bit // 8}: {there}"
        if outcome not in ("right answers", "own error"):
            bad.append(f"{outcome}, {'noticed' if noticed else 'not noticed'}: {flip}; {detail}")
        if not noticed:
            missed.append(flip)
            places[there if there.startswith("unused") else flip] += 1
    return {
        "flips": n,
        "bytes": {re.sub("-[0-9a-f]{12}", "", name): (base / name).stat().st_size for name in files},
        "outcomes": dict(outcomes),
        "outcomes_by_file": {kind: dict(counts) for kind, counts in by_kind.items()},
        "wrong": bad,
        "not_noticed_by_find_faults": dict(places.most_common()),
        "each_that_was_not_noticed": missed,
    }


def judge(end: str, found: Any, expected: dict[str, Any]) -> tuple[str, str]:
    if end != "returned":
        return end, str(found)
    for name, (kind, value) in found.items():
        if kind == "foreign error":
            return kind, f"{name}: {value}"
        if name != "faults" and kind == "answer" and value != expected[name][1]:
            return "wrong answer", name
    if found["open"][0] != "answer":
        return "own error", found["open"][1]
    answers = {kind for name, (kind, _) in found.items() if name != "faults"}
    return ("own error" if "own error" in answers else "right answers"), ""


class Pages:
    """What lies where in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._size = int.from_bytes(self._content[16:18], "big") or 65536
        connection = sqlite3.connect(path)
        roots = dict(connection.execute("SELECT rootpage, name FROM sqlite_master WHERE rootpage > 0"))
        connection.close()
        self._owner: dict[int, str] = {}
        for root, name in {1: "the schema", **roots}.items():
            self._walk(root, name)

    def _number(self, place: int, size: int) -> int:
        return int.from_bytes(self._content[place : place + size], "big")

    def _header(self, page: int) -> tuple[int, int, int, int]:
        """Return where a page begins, where its header is, its kind, and where its cells' pointers end."""
        start = (page - 1) * self._size
        header = start + (100 if page == 1 else 0)
        kind = self._content[header]
        end = header + (12 if kind in (2, 5) else 8) + 2 * self._number(header + 3, 2)
        return start, header, kind, end

    def _walk(self, page: int, name: str) -> None:
        self._owner[page] = name
        start, header, kind, end = self._header(page)
        if kind in (2, 5):
            for pointer in range(header + 12, end, 2):
                self._walk(self._number(start + self._number(pointer, 2), 4), name)
            self._walk(self._number(header + 8, 4), name)

    def describe(self, byte: int) -> str:
        page = byte // self._size + 1
        if byte < 100:
            return f"the header of the file, byte {byte}"
        if page not in self._owner:
            return "a page that is free, or overflows from another one"
        start, header, _, end = self._header(page)
        owner, cells = self._owner[page], start + (self._number(header + 5, 2) or 65536)
        if byte < end:
            return f"the header of a page of {owner}"
        if byte < cells:
            return f"unused space in a page of {owner}"
        block = self._number(header + 1, 2)
        while block:
            if start + block <= byte < start + block + self._number(start + block + 2, 2):
                return f"unused space in a page of {owner}"
            block = self._number(start + block, 2)
        return f"rows of {owner}"


# ---- readers


class History:
    """What the index held after each call of the writer, as its journal tells."""

    def __init__(self, journal: Path) -> None:
        self._file = journal.open("rb")
        self._lock = threading.Lock()
        self._states: list[writer.Documents] = [{}]
        self._pending = False
        self._line = b""
        self.in_parts = 0  # lines that were seen before all of them was written

    def window(self) -> tuple[int, int]:
        """Return the number of calls that have returned, and of those that have begun."""
        with self._lock:
            for block in iter(self._file.readline, b""):
                self._line += block
                if not self._line.endswith(b"\n"):
                    self.in_parts += 1
                    break
                entry, self._line = json.loads(self._line), b""
                if entry["do"] == "done":
                    self._pending = False
                elif entry["do"] == "begin":
                    self._states.append(self._states[-1])
                    self._pending = True
                else:
                    self._states[-1] = writer.apply(self._states[-2], entry)
            return len(self._states) - 1 - self._pending, len(self._states) - 1

    def between(self, first: int, last: int) -> list[writer.Documents]:
        return self._states[first : last + 1]


def compare_for(folder: Path, journal: Path, seconds: float, threads: int) -> dict[str, Any]:
    """Search and read on some threads, and compare every answer with what was there at some moment of the call."""
    index, history, counts, faults = LocalIndex.open(folder), History(journal), Counter[str](), list[str]()
    give_up = time.monotonic() + seconds

    def work(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < give_up and len(faults) < 10:
            call = chance.choice([check_scroll, check_exact, check_exact, check_filter, check_first_stage])
            try:
                first, _ = history.window()
                fits = call(index, chance)
                _, last = history.window()
                if fits is None:
                    counts[DELETED] += 1
                    continue
                counts[call.__name__] += 1
                if not any(fits(state) for state in history.between(first, last)):
                    faults.append(f"{call.__name__} fits none of the states {first} to {last}")
            except BaseException as error:
                faults.append(f"{call.__name__}: {describe(error)}")

    workers = [threading.Thread(target=work, args=(os.getpid() * 100 + i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"calls": dict(counts), "lines_seen_in_parts": history.in_parts, "faults": faults}


Fits = Callable[[writer.Documents], bool]
KNOWN_SCORES: dict[tuple[int, str], float] = {}


def score(query: int, text: str) -> float:
    """Return MaxSim of one of the queries and a text, by its definition."""
    key = query, text
    if key not in KNOWN_SCORES:
        KNOWN_SCORES[key] = float((QUERIES[query][0] @ writer.vectors_of(text).T).max(1).values.sum())
    return KNOWN_SCORES[key]


def check_scroll(index: LocalIndex, chance: random.Random) -> Fits:
    found: writer.Documents = {}
    for passages, _ in index.scroll(batch_size=chance.choice([7, 256])):
        for passage in passages:
            found.setdefault(passage.document_id, []).append((passage.pid, passage.text))
    return lambda state: found == state


def check_exact(index: LocalIndex, chance: random.Random) -> Fits | None:
    return check_hits(index, chance, SearchConfig(exact=True), None)


def check_filter(index: LocalIndex, chance: random.Random) -> Fits | None:
    names = chance.sample(writer.NAMES, 5)
    exact = SearchConfig(exact=True)
    return check_hits(index, chance, exact, names)


def check_first_stage(index: LocalIndex, chance: random.Random) -> Fits | None:
    return check_hits(index, chance, SearchConfig(), None)


def check_hits(index: LocalIndex, chance: random.Random, config: SearchConfig, names: list[str] | None) -> Fits | None:
    """Search, fetch the texts, and return what tells whether that fits a state."""
    query, k = chance.randrange(len(QUERIES)), chance.choice([1, 5, 20])
    condition = None if names is None else parse_filter({"document": {"$in": names}})
    found = index.search(QUERIES[query], k, filter=condition, config=config)
    pids = [pid for pid in found.pids[0].tolist() if pid >= 0]
    scores = found.scores[0][: len(pids)].tolist()
    assert sorted(zip([-each for each in scores], pids, strict=True)) == list(
        zip([-each for each in scores], pids, strict=True)
    ), "the hits are in no order"
    try:
        texts = [passage.text for passage in index.fetch(pids)]
    except KeyError:
        return None
    assert np.allclose(scores, [score(query, text) for text in texts], atol=2e-3), "a score is not that of its text"

    def fits(state: writer.Documents) -> bool:
        admitted = {pid: text for name, pairs in state.items() if names is None or name in names for pid, text in pairs}
        if len(pids) != min(k, len(admitted)) or any(
            admitted.get(pid) != text for pid, text in zip(pids, texts, strict=True)
        ):
            return False
        best = sorted((score(query, text) for text in admitted.values()), reverse=True)[:k]
        return not config.exact or bool(np.allclose(scores, best, atol=2e-3))

    return fits


def readers(folder: Path, seconds: float) -> dict[str, Any]:
    nursery = writer.Nursery(folder / "index")
    nursery.start(7, {})
    with multiprocessing.get_context("fork").Pool(PROCESSES + 1, maxtasksperchild=1) as pool:
        tasks = [(nursery.folder, nursery.journal, seconds, n) for n in [THREADS] + [1] * PROCESSES]
        results = pool.starmap(compare_for, tasks, chunksize=1)
    entries = nursery.kill()
    nursery.stop()
    calls: Counter[str] = Counter()
    for result in results:
        calls.update(result["calls"])
    return {
        "seconds": seconds,
        "threads": THREADS,
        "processes": PROCESSES,
        "commits_and_other_calls_of_the_writer": sum(entry["do"] == "done" for entry in entries),
        "writer_failed": [entry for entry in entries if entry["do"] == "failed"],
        "not_compared": {DELETED: calls.pop(DELETED, 0)},
        "calls": dict(calls),
        "journal_lines_seen_in_parts": sum(result["lines_seen_in_parts"] for result in results),
        "faults": [fault for result in results for fault in result["faults"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 kills, 50 flips, 5 seconds of reading")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "attack.json")
    options = parser.parse_args()
    if options.quick:
        options.kills, options.flips, options.seconds = 20, 50, 5
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for module, name, value in writer.LIMITS:
        setattr(module, name, value)
    memory = Path("/dev/shm")
    report: dict[str, Any] = {
        "question": (__doc__ or "").partition("\n")[0],
        "machine": {"cpu": cpu(), "cores": os.cpu_count(),
                    "python": platform.python_version(), "torch": torch.__version__, "sqlite": sqlite3.sqlite_version},
    }  # fmt: skip
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "kills": lambda folder: kills(folder, options.kills),
        "flips": lambda folder: flips(folder, options.flips),
        "readers": lambda folder: readers(folder, options.seconds),
    }
    for name, part in parts.items():
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            report[name] = part(Path(folder))
        report[name]["took_s"] = round(time.monotonic() - start)
        print(name, json.dumps(report[name])[:2000], flush=True)
    options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
