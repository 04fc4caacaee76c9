"""From the start of a process to its first answer: how long, and what of it is torch's import?

    python benchmarks/start.py --before CHECKOUT [--before-python PYTHON] [--rounds 7]

Two ways: ``ragatouille-xm search`` and a script of five lines, over an index of the demo checkpoint with three
documents, the language of the query detected. ``--before`` is a checkout of the state to compare with. Each run is a
process of its own, on one thread and one core, after one that is not counted; the two states take turns. Values are
medians, up to the first line of the answer, and (``end_``) up to the end of the process. CPU seconds are the kernel's
for the process; they vary less than those that pass where the machine is shared.

The stages are measured in further runs of the script, whose imports are counted apart from what they interrupt: torch,
transformers, all others; then what is left of the start of Python, loading the checkpoint, opening the index, and the
search.
"""

from __future__ import annotations

import argparse
import builtins
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
TEXTS = {
    "a.txt": "Die Bibliothek öffnet um neun Uhr.",
    "b.txt": "Le pont traverse la rivière.",
    "c.txt": "The octopus has three hearts and blue blood.",
}
QUERY = "Wann öffnet die Bibliothek?"
INDEX = ".ragatouille/colbert/indexes/small"
SCRIPT = f"""\
from ragatouille_xm import RAGPretrainedModel

RAG = RAGPretrainedModel.from_index("{INDEX}")
for result in RAG.search("{QUERY}", k=3):
    print(result["content"])
"""
COMMAND = ["-m", "ragatouille_xm.cli"]
WAYS = {"command": [*COMMAND, "search", "small", QUERY], "script": ["-c", SCRIPT]}
STAGES = ("Python", "torch", "transformers", "other imports", "checkpoint", "index", "search")

Row = dict[str, Any]


class Side(NamedTuple):
    """One of the two states that are compared."""

    checkout: Path
    python: str

    def run(self, arguments: list[str], folder: Path) -> tuple[Row, str]:
        """Run Python on one thread and one core; return what it took, and its output."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        own = {"PYTHONPATH": str(self.checkout), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        core = sorted(os.sched_getaffinity(0))[-1]
        own["STARTED"], start = str(time.time()), time.perf_counter()
        process = subprocess.Popen(
            [self.python, *arguments], cwd=folder, env=os.environ | threads | own,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        assert process.stdout is not None
        output = process.stdout.readline()
        row = {"wall_s": time.perf_counter() - start, "cpu_s": cpu_seconds(process.pid)}
        output += process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{arguments} failed in {self.checkout}")
        end = {"end_wall_s": time.perf_counter() - start, "end_cpu_s": used.ru_utime + used.ru_stime}
        return row | end, output

    def commit(self) -> str:
        """Return the commit, with its modules compiled so that no run waits for that."""
        subprocess.run([self.python, "-m", "compileall", "-q", self.checkout / "ragatouille_xm"], check=True)
        commit, changed = self._git("rev-parse", "--short", "HEAD"), self._git("diff", "HEAD", "--", "ragatouille_xm")
        return f"{commit}, changed" if changed else commit

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.checkout), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process that is still there; of one that has ended and was not waited for, too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Clock:
    """Counts seconds by stage; imports apart from what they interrupt."""

    def __init__(self) -> None:
        self.spent: dict[str, Counter[str]] = {"wall_s": Counter(), "cpu_s": Counter()}
        self.stage = STAGES[0]
        self._last = self._now()
        self._import = builtins.__import__
        builtins.__import__ = self._counted

    def _now(self) -> dict[str, float]:
        return {"wall_s": time.perf_counter(), "cpu_s": time.process_time()}

    def enter(self, stage: str) -> str:
        """Count for `stage` from now on; return what was counted for until now."""
        now, before = self._now(), self.stage
        for kind, value in now.items():
            self.spent[kind][before] += value - self._last[kind]
        self._last, self.stage = now, stage
        return before

    def _counted(self, name: str, *arguments: Any, **options: Any) -> Any:
        stage = name.split(".")[0]
        if self.stage in ("torch", "transformers"):
            return self._import(name, *arguments, **options)
        before = self.enter(stage if stage in ("torch", "transformers") else "other imports")
        try:
            return self._import(name, *arguments, **options)
        finally:
            self.enter(before)


def stages() -> None:
    """Do what the script does, in steps; print what each took. Runs in a process of its own."""
    started, cpu = time.time() - float(os.environ["STARTED"]), time.process_time()
    clock = Clock()
    clock.spent["wall_s"]["Python"], clock.spent["cpu_s"]["Python"] = started, cpu
    from ragatouille_xm import RAGPretrainedModel

    clock.enter("checkpoint")
    model = RAGPretrainedModel.from_pretrained("demo", index_root=".ragatouille")
    clock.enter("index")
    model.catalog.get("small")
    clock.enter("search")
    model.search(QUERY, k=3)
    clock.enter("")
    print(json.dumps(clock.spent))


def machine() -> Row:
    from machine import cpu  # not in a process of `-P`, which does not find what is beside this script

    versions = "import torch, transformers; print(torch.__version__, transformers.__version__)"
    found = subprocess.run([sys.executable, "-c", versions], stdout=subprocess.PIPE, text=True, check=True)
    torch, transformers = found.stdout.split()
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "torch": torch,
        "transformers": transformers,
    }


def beside(rows: dict[str, list[Row]]) -> Row:
    """Return the median of each value before and after, and their ratio."""
    result: Row = {}
    for key in rows["after"][0]:
        before, after = (statistics.median(row[key] for row in rows[name]) for name in ("before", "after"))
        ratio = round(after / before, 3) if before else None
        result[key] = {"before": round(before, 3), "after": round(after, 3), "ratio": ratio}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout")
    parser.add_argument("--before-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "start.json")
    given = parser.parse_args()
    sides = {
        "before": Side(given.before.resolve(), given.before_python),
        "after": Side(HERE.parent, sys.executable),
    }
    content: Row = {
        "question": (__doc__ or "").split("\n\n")[0],
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "rounds": given.rounds,
        **{name: {"commit": side.commit()} for name, side in sides.items()},
    }
    taken: dict[str, dict[str, list[Row]]] = {way: {name: [] for name in sides} for way in (*WAYS, "stages")}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name for name in sides}
        for name, side in sides.items():
            (folders[name] / "docs").mkdir(parents=True)
            for file, text in TEXTS.items():
                (folders[name] / "docs" / file).write_text(text, encoding="utf-8")
            side.run([*COMMAND, "index", "docs", "--name", "small", "--checkpoint", "demo"], folders[name])
        for turn in range(given.rounds + 1):
            for name in list(sides) if turn % 2 == 0 else reversed(sides):
                side, folder = sides[name], folders[name]
                rows = {way: side.run(arguments, folder)[0] for way, arguments in WAYS.items()}
                spent = json.loads(side.run([str(Path(__file__).resolve()), "stages"], folder)[1])
                rows["stages"] = {f"{stage} {kind}": spent[kind].get(stage, 0.0) for kind in spent for stage in STAGES}
                for way, row in rows.items():
                    taken[way][name] += [row] if turn else []
            print(f"{turn} of {given.rounds} rounds", flush=True)
    content |= {way: beside(taken[way]) for way in WAYS}
    split = beside(taken["stages"])
    content["stages"] = {stage: {kind: split[f"{stage} {kind}"] for kind in ("wall_s", "cpu_s")} for stage in STAGES}
    content["load_average"] = round(os.getloadavg()[0], 1)
    given.out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for what, row in {**{way: content[way] for way in WAYS}, **content["stages"]}.items():
        print(f"{what:14}", *(f"{kind} {row[kind]['before']:6.2f} → {row[kind]['after']:5.2f}" for kind in row))


if __name__ == "__main__":
    stages() if sys.argv[1:] == ["stages"] else main()
