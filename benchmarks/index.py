"""The index engine without encoding, before and after its redesign: building, opening, writing, searching, filtering.

    python benchmarks/index.py SOURCE --scratch FOLDER --before CHECKOUT [--before-python PYTHON] \\
        [--sizes 5 1000 100000 1000000] [--only build open search filters write] [--quick]

``SOURCE`` holds real token vectors and queries (`benchmarks/search_peers/encode.py`). A size beyond it is of mixtures
of them, cut off at 64 tokens beyond 100,000 passages, as those of `benchmarks/search.py` are. ``--before`` is a
checkout of the state to compare with. Each measure of each engine runs in a process of its own, on one thread and one
core. The two take turns, and who is first changes from round to round. A value is the median of the rounds, or the
worst of them where it is called worst. Building and writing have one round. What an earlier run has written of the same
two states on the same machine stays, unless it is measured again.

- build: CPU and wall seconds; peaks of memory; the folder on the disk, as allocated and as it looks. Memory:
  ``peak_anonymous`` is sampled and counts what the process has for itself (``RssAnon``), from the start of the process
  and above the start of the build; ``ru_maxrss`` is the kernel's and counts mapped files too.
- open: a new process opens an index and asks one query. ``written_bytes`` is the kernel's count for the process until
  it has closed the index; ``files_changed`` counts files and folders that are new, gone or touched.
- write: so many documents in a row are added, then as many replaced, then as many deleted, on a copy of the index; each
  change is followed by ``optimize()``, as the retriever does. Of a size below 1,000 also a plain copy of the folder
  after twenty additions.
- search: queries of 32 rows, k = 10, each asked once before. Overlap is with exact MaxSim over vectors of 16 bits.
- filters: each in a new process, after some queries without a filter, on its first and on its second use.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from machine import cpu

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package beside this file, whatever is installed
from index_engine.corpora import SMALL, corpus
from search_peers.child import size_of

HERE = Path(__file__).parent
MEASURES = ("build", "open", "search", "filters", "write")  # the last may use the index up
FILTERS = ("narrow", "broad", "broad_range")
QUERIES, EXACT_QUERIES, EXACT_UP_TO = 30, 10, 100_000  # of a corpus; exact ones, and passages up to which there are
GROWS = 1.3  # an index, at the most, beside the vectors that it is made of

Row = dict[str, Any]


class Side(NamedTuple):
    """One of the two states that are compared."""

    checkout: Path
    python: str

    def measure(self, name: str, *arguments: object) -> Row:
        """Take a measure in a process of its own, on one thread and one core."""
        threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
        own = {"PYTHONPATH": f"{self.checkout}:{HERE}", "PYTHONSAFEPATH": "1"}
        core = sorted(os.sched_getaffinity(0))[-1]
        os.sync()  # what others wrote is not waited for here
        done = subprocess.run(
            [self.python, "-m", "index_engine.child", name, str(self.checkout), *map(str, arguments)],
            env=os.environ | dict.fromkeys(threads, "1") | own, stdout=subprocess.PIPE, check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        row: Row = json.loads(done.stdout.splitlines()[-1])
        return row

    def description(self) -> Row:
        """Return the commit and what it has, with its modules compiled so that no measure waits for that."""
        subprocess.run([self.python, "-m", "compileall", "-q", self.checkout / "ragatouille_xm"], check=True)
        commit, changed = self._git("rev-parse", "--short", "HEAD"), self._git("diff", "HEAD", "--", "ragatouille_xm")
        return {"commit": f"{commit}, changed" if changed else commit, **self.measure("versions")}

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.checkout), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def machine() -> Row:
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "torch": torch.__version__,
    }


def on_disk(folder: Path) -> Row:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "allocated_bytes": size_of(folder),
        "apparent_bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
    }


class Work(NamedTuple):
    """The measures over one corpus."""

    corpus: Path
    others: Path  # the corpus that additions are taken from
    indexes: Path
    given: argparse.Namespace

    def folder(self, name: str) -> Path:
        return self.indexes / f"{self.corpus.name}-{name}"

    def build(self, name: str, side: Side) -> Row:
        folder = self.folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        row = side.measure("build", partial, self.corpus)
        partial.rename(folder)
        return row | on_disk(folder)

    def open(self, name: str, side: Side) -> Row:
        return side.measure("open", self.folder(name), self.corpus)

    def write(self, name: str, side: Side) -> Row:
        with_copy = self.copy(name)
        row = side.measure("write", with_copy, self.others, self.given.writes)
        shutil.rmtree(with_copy)
        if len(np.load(self.corpus / "lengths.npy")) < SMALL:
            added, plain = self.copy(name), self.indexes / "plain"
            side.measure("twenty", added, self.others)
            shutil.copytree(added, plain)
            row |= {f"copy_after_20_adds_{key}": value for key, value in on_disk(plain).items()}
            shutil.rmtree(added)
            shutil.rmtree(plain)
        return row

    def copy(self, name: str) -> Path:
        """Copy an index, holes in its files as they are; where there is no room for that, take it."""
        folder, copy = self.folder(name), self.indexes / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        if shutil.disk_usage(self.indexes).free < GROWS * size_of(folder):
            return folder.rename(copy)
        subprocess.run(["cp", "-a", folder, copy], check=True)
        return copy

    def search(self, name: str, side: Side) -> Row:
        best = np.load(self.corpus / "exact.npy").tolist()[: self.given.queries]
        exact = EXACT_QUERIES if len(np.load(self.corpus / "lengths.npy")) <= EXACT_UP_TO else 0
        row = side.measure("search", self.folder(name), self.corpus, self.given.queries, exact)
        pairs = zip(row["default_found"], best, strict=True)
        return row | {"overlap": statistics.mean(len(set(f) & set(b)) / len(b) for f, b in pairs)}

    def filters(self, name: str, side: Side) -> Row:
        row: Row = {}
        for each in FILTERS:
            row |= side.measure("filters", self.folder(name), self.corpus, each)
        return row

    def sides(self, sides: dict[str, Side]) -> Iterator[dict[str, Side]]:
        """Yield both sides, or one after the other where the disk cannot hold two indexes and a copy."""
        needed = 3 * GROWS * (self.corpus / "vectors.npy").stat().st_size
        together = shutil.disk_usage(self.indexes).free > needed
        yield from [sides] if together else ({name: side} for name, side in sides.items())

    def rows(self, sides: dict[str, Side]) -> Iterator[tuple[str, dict[str, list[Row]]]]:
        """Take all measures; yield the name of each and its rows of each side, once both have it."""
        rows: dict[str, dict[str, list[Row]]] = {what: {name: [] for name in sides} for what in self.given.only}
        for some in self.sides(sides):
            for name, side in some.items():
                if "build" in rows:
                    rows["build"][name].append(self.build(name, side))
                elif not self.folder(name).exists():
                    self.build(name, side)
            for what in MEASURES:
                do: Callable[[str, Side], Row] = getattr(self, what)
                turns = 0 if what not in rows or what == "build" else 1 if what == "write" else self.given.rounds
                for turn in range(turns):
                    for name in list(some) if turn % 2 == 0 else reversed(some):
                        rows[what][name].append(do(name, some[name]))
                if what in rows and all(rows[what].values()):
                    yield what, rows[what]
            if not self.given.keep:
                for name in some:
                    shutil.rmtree(self.folder(name), ignore_errors=True)


def beside(rows: dict[str, list[Row]]) -> Row:
    """Return each value before and after, and their ratio; lists of hits only say how often they are the same."""
    result: Row = {}
    for key in rows["before"][0]:
        if key.endswith("_found"):
            before, after = (rows[name][0][key] for name in ("before", "after"))
            same = statistics.mean(one == other for one, other in zip(before, after, strict=True))
            result[key.replace("_found", "_same_hits")] = same
            continue
        taken = max if "worst" in key else statistics.median
        before, after = (round(taken([row[key] for row in rows[name]]), 4) for name in ("before", "after"))
        result[key] = {"before": before, "after": after, "ratio": round(after / before, 3) if before else None}
    return result


def table(size: int, measures: Row) -> str:
    lines = [f"{f'{size:,} passages':44}{'before':>16}{'after':>16}{'ratio':>9}"]
    for what in MEASURES:
        for key, value in measures.get(what, {}).items():
            if isinstance(value, dict):
                before, after = (f"{value[name]:,.{0 if value[name] >= 1000 else 2}f}" for name in ("before", "after"))
                lines.append(f"  {f'{what} {key}':42}{before:>16}{after:>16}{value['ratio'] or '':>9}")
            elif key.endswith("_same_hits"):
                lines.append(f"  {f'{what} {key}':42}{value:>32.2f}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--scratch", type=Path, required=True, help="for corpora, which stay, and indexes")
    parser.add_argument("--before", type=Path, required=True, help="a checkout")
    parser.add_argument("--before-python", default=sys.executable)
    parser.add_argument("--after", type=Path, default=HERE.parent, help="a checkout; by default this one")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--quick", action="store_true", help="few repetitions of small sizes, to try")
    parser.add_argument("--keep", action="store_true", help="leave indexes there, for --only without build")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.sizes = given.sizes or ([5, 1000] if given.quick else [5, 1000, 100_000, 1_000_000])
    given.rounds, given.writes, given.queries = (1, 5, 10) if given.quick else (3, 200, QUERIES)
    given.out = given.out or (given.scratch / "quick.json" if given.quick else HERE / "results" / "index.json")
    return given


def main() -> None:
    given = arguments()
    sides = {
        "before": Side(given.before.resolve(), given.before_python),
        "after": Side(given.after.resolve(), sys.executable),
    }
    header = {
        "question": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "machine": machine(),
        "threads": 1,
        "repetitions": {"rounds": given.rounds, "changes": given.writes, "queries": given.queries},
        **{name: side.description() for name, side in sides.items()},
    }
    content: Row = json.loads(given.out.read_text()) if given.out.exists() else {}
    if {key: content.get(key) for key in header} != header:  # of another state, or another machine
        content = header | {"sizes": {}}
    indexes = given.scratch / "indexes"
    indexes.mkdir(parents=True, exist_ok=True)
    for size in given.sizes:
        others, folder = (corpus(given.source, given.scratch, n, QUERIES) for n in (SMALL, size))
        lengths, entry = np.load(folder / "lengths.npy"), content["sizes"].setdefault(str(size), {})
        entry |= {"corpus": folder.name, "passages": len(lengths), "tokens": int(lengths.sum())}
        for what, rows in Work(folder, others, indexes, given).rows(sides):
            now = {"date": datetime.date.today().isoformat(), "load_average": round(os.getloadavg()[0], 1)}
            entry[what] = beside(rows) | now
            given.out.write_text(json.dumps(content, indent=1) + "\n")
        print(table(size, entry), flush=True)


if __name__ == "__main__":
    main()
