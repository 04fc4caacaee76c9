"""Train the trained demo checkpoint's adapters of weak languages on parallel text, and add them to its delta.

    OMP_NUM_THREADS=1 python benchmarks/demo_checkpoint/distil.py --cache /tmp/demo-adapters [--languages ha,am]

The training is the product's: `ragatouille_xm.training.distil_language_adapter`, as `ragatouille-xm add-language
--pairs` does it, on the pairs of `parallel.py`. A run that was killed goes on. An adapter joins the delta unless
held-out pairs say that its start was better; all other tensors of the delta stay as they are, to the bit.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from parallel import HELD_OUT, LANGUAGES, joined, pairs
from safetensors import safe_open
from train import DELTA, ROOT

from ragatouille_xm.demo import demo_checkpoint
from ragatouille_xm.demo.checkpoint import RECIPE
from ragatouille_xm.demo.delta import add_to_delta
from ragatouille_xm.languages import ADAPTERS, AdapterTable
from ragatouille_xm.training import distil_language_adapter, read_pairs
from ragatouille_xm.training.translation import PAIRS

STEPS, EVERY, BATCH, RATE = 40, 20, 12, 1e-3
RESULTS = ROOT / "benchmarks" / "results" / "demo_adapters.json"


def train(language: str, cache: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train a language's adapter, or go on with it; return what to report."""
    found = pairs(language, cache)
    used = {name: each for name, each in found.items() if name != HELD_OUT.get(language)}
    texts = read_pairs(*zip(*(text for each in used.values() for text in joined(each)), strict=True))
    run, start = cache / f"run-{language}", time.process_time()
    config = replace(PAIRS, steps=options.steps, batch_size=BATCH, learning_rate=options.rate, validate_every=EVERY,
                     save_every=EVERY, precision="no")  # fmt: skip
    best = distil_language_adapter("demo", language, texts, run, config, resume=True, device="cpu", progress=False)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "pairs": {name: len(each) for name, each in used.items()},
        "held out": {name: len(each) for name, each in found.items() if name not in used},
        "steps": options.steps,
        "best step": int(best.name.removeprefix("step-")),
        "validation": {entry["step"]: round(100 * entry["validation"], 2) for entry in log if "validation" in entry},
        "cpu_s": round(time.process_time() - start),
    }


def adapter_of(checkpoint: Path, name: str) -> dict[str, Any]:
    """Return the tensors of an adapter."""
    with safe_open(checkpoint / "model.safetensors", "np") as file:
        return {key: file.get_tensor(key) for key in file.keys() if f".{name}." in key}  # noqa: SIM118


def add_adapters(cache: Path, path: Path) -> None:
    """Put the adapters of all runs that end into the delta, unless their start was best."""
    untrained = demo_checkpoint(trained=False)
    base: dict[str, Any] = {}
    trained: dict[str, Any] = {}
    table = AdapterTable(ADAPTERS, "en_XX")
    for language, row in json.loads(RESULTS.read_text(encoding="utf-8"))["training"].items():
        if row["best step"]:
            name = table.adapter_for(language) or ""
            best = cache / f"run-{language}" / f"step-{row['best step']:06d}"
            base, trained = base | adapter_of(untrained, name), trained | adapter_of(best, name)
    delta = add_to_delta(path, base, trained, RECIPE)
    print(path, f"{path.stat().st_size / 1e6:.1f} MB, checksum {delta.checksum[:8]}", *delta.adapters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages and runs")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--delta", type=Path, default=ROOT / DELTA)
    options = parser.parse_args()
    for language in options.languages.split(","):
        row = train(language, options.cache, options)
        report = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"training": {}}
        report["training"][language] = row
        RESULTS.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(language, row, flush=True)
    add_adapters(options.cache, options.delta)


if __name__ == "__main__":
    main()
