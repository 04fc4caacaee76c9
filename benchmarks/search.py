"""Search beside other engines, in one run: quality, time, memory and disk, over real and over synthetic token vectors.

    python benchmarks/search.py SOURCE --scratch FOLDER --corpora real-10000 real-100000 synthetic-300000 \\
        --peer-python PATH ... [--systems "ours" "fast-plaid, 4 bit"] [--threads 1 2]

``SOURCE`` holds real token vectors and queries (`benchmarks/search_peers/encode.py`). Each build, and each setting of a
search, runs in a process of its own, in the Python environment that has the system's package. Overlap is that of the
top 10 with exact MaxSim; how often the very best comes first stands beside it. Seconds and milliseconds are CPU time of
all threads and processes, the median over queries; building does not include encoding. A build that takes longer than
``--limit``, or more than ``--memory`` without mapped files, is stopped and says so. Rows that are there are not
measured again without ``--again``. With ``--keep``, each index stays in its corpus's folder under ``--scratch`` and is
not built again, so ``--again`` measures searches alone.

The floor of a search is MaxSim's arithmetic over the passages that it scores, at the rate of the machine's matrix
product on one thread: of float32 for exact search by torch, of 8-bit integers for this package.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from first_stage import gflops, int8_gops
from machine import cpu, has_vnni, instructions
from search_peers.corpora import corpora
from search_peers.system import K
from search_peers.systems import SYSTEMS

from ragatouille_xm.config import SearchConfig

HERE = Path(__file__).parent
BATCH = "many queries in one call"
PATH = re.compile(r"/\S+")  # of this machine: nobody else's business


def results() -> Path:
    """Return the file of this kind of machine: what matters to a search is whether it has VNNI."""
    return HERE / "results" / f"search-{'vnni' if has_vnni() else 'avx2' if 'avx2' in instructions() else 'other'}.json"


def child(python: str, threads: int, given: argparse.Namespace, *arguments: str) -> dict[str, Any]:
    """Run a measurement in a process; return its row, or why there is none."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS")
    own = SYSTEMS[arguments[1]].environment
    paths = os.pathsep.join(map(str, (HERE, HERE.parent)))  # this package is the one beside the script
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": paths} | own
    start = time.monotonic()
    process = subprocess.Popen(
        [python, "-m", "search_peers.child", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if threads == 1:
        os.sched_setaffinity(process.pid, {sorted(os.sched_getaffinity(0))[0]})
    why = ""
    while True:
        try:
            out, errors = process.communicate(timeout=2)
            break
        except subprocess.TimeoutExpired:
            taken = time.monotonic() - start
            own = own_mb(process.pid)
            if taken > given.limit or own > 1000 * given.memory:
                why = f"stopped after {taken:.0f} s with {own} MB of its own"
                for each in family(process.pid):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()
    if process.returncode or why:
        return {"absent": why or PATH.sub("…", (errors.strip().splitlines() or ["no message"])[-1])[:200]}
    row: dict[str, Any] = json.loads(out.splitlines()[-1])
    return row


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def own_mb(pid: int) -> int:
    """Return what a process and all that it started have resident, mapped files not counted."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = each.memory_info()
            total += memory.rss - memory.shared
    return total // 2**20


def judged(row: dict[str, Any], corpus: Path) -> dict[str, Any]:
    """Replace what was found by how good it is."""
    if "found" not in row:
        return row
    found, best = row.pop("found"), np.load(corpus / "exact.npy")
    row["overlap"] = round(
        float(np.mean([len(set(f) & set(b)) / K for f, b in zip(found, best.tolist(), strict=True)])), 4
    )
    if any(len(each) > K for each in found):  # candidates, in no order
        return row
    row["best_first"] = round(float(np.mean([f[:1] == b[:1] for f, b in zip(found, best.tolist(), strict=True)])), 4)
    if (corpus / "answers.npy").exists():
        pairs = zip(found, np.load(corpus / "answers.npy").tolist(), strict=True)
        row["mrr@10"] = round(100 * float(np.mean([1 / (1 + f.index(a)) if a in f else 0.0 for f, a in pairs])), 2)
    return row


class Report:
    """The rows so far, on the disk after each."""

    def __init__(self, path: Path, given: argparse.Namespace) -> None:
        self.path = path
        self._again = given.again
        self.content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"corpora": {}, "rows": []}
        self.content |= {
            "question": " ".join((__doc__ or "").split("\n\n")[0].split()),
            "machine": {
                "cpu": cpu(),
                "cores": os.cpu_count(),
                "torch": torch.__version__,
                "gflops_one_thread": round(gflops(), 1),
                "int8_gops_one_thread": round(int8_gops(), 1),
            },
            "limits": {"seconds": given.limit, "own_gb": given.memory},
        }

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in ("corpus", "system", "setting", "threads"))

    def wanted(self, **row: Any) -> bool:
        return self._again or self._key(row) not in map(self._key, self.content["rows"])

    def gave_up(self, **base: Any) -> bool:
        """Return whether there is a build that did not come to its end."""
        key = self._key(base | {"setting": "build", "threads": 1})
        return not self._again and any(self._key(row) == key and "absent" in row for row in self.content["rows"])

    def note(self, **row: Any) -> None:
        rows = [old for old in self.content["rows"] if self._key(old) != self._key(row)]
        self.content["rows"] = [*rows, row | {"load_average": round(os.getloadavg()[0], 1)}]
        print(json.dumps(self.content["rows"][-1]), flush=True)
        self.path.write_text(json.dumps(self.content, indent=1) + "\n")


def pythons(given: argparse.Namespace) -> dict[str, str]:
    """Return the environment of each package that was found."""
    found = {}
    for python in (sys.executable, *given.peer_python):
        for package in {system.package for system in SYSTEMS.values()} - set(found):
            if not subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode:
                found[package] = python
    return found


def measure(report: Report, corpus: Path, name: str, given: argparse.Namespace, python: str) -> None:
    """Build one system's index over one corpus, and search it with each of its settings."""
    system = SYSTEMS[name]
    base = {"corpus": corpus.name, "system": name}
    todo = [(setting, threads) for setting in system.settings for threads in given.threads]
    if system.batch is not None:
        todo.append((BATCH, given.threads[-1]))
    todo = [(setting, threads) for setting, threads in todo if report.wanted(**base, setting=setting, threads=threads)]
    if not todo or report.gave_up(**base):
        return
    kept = corpus / f"index-{re.sub('[^a-z0-9]+', '-', name.lower())}"
    where = corpus / f"{kept.name}.partial"  # another run's may be beside it
    if given.keep and kept.exists():
        where = kept
    else:
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir()
        built = child(python, 1, given, "build", name, str(corpus), str(where))
        report.note(**base, setting="build", threads=1, **built)
        if "absent" in built:
            todo = []
        elif given.keep:
            where = where.rename(kept)  # whole, or not there
    for setting, threads in todo:
        if setting == BATCH:
            row = child(python, threads, given, "batch", name, str(corpus), str(where))
        else:
            row = child(python, threads, given, "search", name, setting, str(corpus), str(where))
        if setting.startswith("1 in "):
            row.pop("found", None)  # the exact top 10 is of all passages
        report.note(**base, setting=setting, threads=threads, **judged(row, corpus))
    if where != kept:
        shutil.rmtree(where, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--corpora", nargs="+", default=["real-10000", "real-100000"])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--peer-python", action="append", default=[], help="python of an environment with peers")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--limit", type=float, default=3600, help="seconds of a build or of a setting's searches")
    parser.add_argument("--memory", type=float, default=20, help="GB of its own that a process may hold")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave indexes there, and search those that are")
    parser.add_argument("--out", type=Path, default=results())
    given = parser.parse_args()
    torch.set_num_threads(1)  # for the rates that floors are of
    report, found = Report(given.out, given), pythons(given)
    for corpus in corpora(given.source, given.scratch, given.corpora, given.queries, K):
        lengths = np.load(corpus / "lengths.npy")
        operations = 2 * 32 * 128 * float(lengths.mean()) / 1e6
        floor = operations / report.content["machine"]["gflops_one_thread"]
        floor_int8 = operations / report.content["machine"]["int8_gops_one_thread"]
        report.content["corpora"][corpus.name] = {
            "passages": len(lengths),
            "tokens": int(lengths.sum()),
            "queries": len(np.load(corpus / "queries.npy")),
            "floor_ms_exact_by_torch": round(floor * len(lengths), 1),
            "floor_ms_exact": round(floor_int8 * len(lengths), 1),
            "floor_ms_default": round(floor_int8 * SearchConfig().candidates_for(K, len(lengths)), 2),
        }
        for name in given.systems:
            if SYSTEMS[name].package in found:
                measure(report, corpus, name, given, found[SYSTEMS[name].package])
            else:
                report.note(corpus=corpus.name, system=name, setting="build", threads=1, absent="not installed")


if __name__ == "__main__":
    main()
