"""Does detection pick the right adapter? Per language, for queries and passages, against langdetect.

    python benchmarks/languages.py --data ../shared/langid/dev.jsonl --out benchmarks/results/languages.json

The data are JSON lines with ``adapter`` (the right one), ``kind`` (``query`` or ``passage``) and ``text``; lines with
``extra`` are left out. Macro accuracy is the mean over adapters. The systems:

- ``py3langid``: the default detector, all 81 languages as candidates;
- ``py3langid_14``: the same with the 14 languages of mMARCO as candidates, on texts in these;
- ``langdetect``, ``langdetect_14``: the named alternative through the same interface, with its fallbacks;
- ``langdetect_alone``: what langdetect itself answers, seeded, with every code mapped to an adapter.

No hint is given. Times are CPU time in one thread, the best of three runs, without loading.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ragatouille_xm.languages import ADAPTERS, to_adapter, to_language
from ragatouille_xm.text.detect import make_detector

MMARCO = "ar_AR zh_CN nl_XX en_XX fr_XX de_DE hi_IN id_ID it_IT ja_XX pt_XX ru_RU es_XX vi_VN"
KINDS = ("query", "passage")
REPEATS = 3

Picker = Callable[[Sequence[str]], list[str | None]]


def through_detector(name: str, adapters: Sequence[str]) -> Picker:
    detector = make_detector(name)
    candidates = [to_language(adapter) for adapter in adapters]
    return lambda texts: [to_adapter(found.language) for found in detector.detect(texts, candidates)]


def langdetect_alone(texts: Sequence[str]) -> list[str | None]:
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0

    def pick(text: str) -> str | None:
        try:
            return to_adapter(detect(text), nearest=False)
        except LangDetectException:
            return None

    return [pick(text) for text in texts]


def evaluate(pick: Picker, rows: Sequence[dict[str, Any]], adapters: Sequence[str]) -> dict[str, Any]:
    pick([rows[0]["text"]])  # loads the model
    measured: dict[str, Any] = {}
    accuracies: dict[str, list[float]] = defaultdict(list)
    for kind in KINDS:
        chosen = [row for row in rows if row["kind"] == kind and row["adapter"] in adapters]
        seconds = float("inf")
        for _ in range(REPEATS):
            start = time.process_time()
            picked = pick([row["text"] for row in chosen])
            seconds = min(seconds, time.process_time() - start)
        right: dict[str, list[bool]] = defaultdict(list)
        for row, adapter in zip(chosen, picked, strict=True):
            right[row["adapter"]].append(adapter == row["adapter"])
        for adapter in adapters:
            accuracies[adapter].append(round(100 * sum(right[adapter]) / len(right[adapter]), 1))
        measured[kind] = {
            "texts": len(chosen),
            "macro_accuracy": round(sum(sum(each) / len(each) for each in right.values()) / len(right) * 100, 2),
            "microseconds_per_text": round(seconds / len(chosen) * 1e6),
        }
    return {**measured, "adapters": dict(accuracies)}


def environment() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), cpu)
    packages = {name: version(name) for name in ("py3langid", "langdetect", "numpy")}
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), **packages}


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=root / "../shared/langid/dev.jsonl")
    parser.add_argument("--out", type=Path, default=root / "benchmarks/results/languages.json")
    options = parser.parse_args()
    lines = options.data.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if not row.get("extra")]
    few = MMARCO.split()
    systems: dict[str, tuple[Picker, Sequence[str]]] = {
        "py3langid": (through_detector("py3langid", ADAPTERS), ADAPTERS),
        "py3langid_14": (through_detector("py3langid", few), few),
        "langdetect": (through_detector("langdetect", ADAPTERS), ADAPTERS),
        "langdetect_14": (through_detector("langdetect", few), few),
        "langdetect_alone": (langdetect_alone, ADAPTERS),
    }
    results: dict[str, Any] = {"adapters_hold": "[accuracy on queries, on passages], percent"}
    results["environment"] = environment()
    for name, (pick, adapters) in systems.items():
        results[name] = evaluate(pick, rows, adapters)
        print(name, *(f"{kind} {results[name][kind]}" for kind in KINDS))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in results.items())
    options.out.write_text("{\n" + text + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
