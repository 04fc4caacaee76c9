"""Train the demo checkpoint: language adapters on raw text, then late interaction on English pairs alone.

    OMP_NUM_THREADS=1 python benchmarks/demo_checkpoint/train.py --data ../shared/data/A --cache /tmp/demo-training

One call does it all: split → text (apt) → adapters → English → the best point by validation → delta, log and curves. A
call that was killed goes on from `--cache`, which keeps each adapter and the state of the second stage at its checks,
and ends with the same weights; a whole new run needs an empty one. Of the 11 layers the upper five train, with the
head; embeddings stay as they are, and so do the adapters in the second stage (`adapters.py`, `english.py`).

No title of a language other than English is trained on. An adapter is kept if it helps: in the `WATCHED` languages by
the validation titles, in the others by losses on pages held out. The best point of the second stage is that of the
watched languages' mean.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adapters import Task, train_adapter
from curves import draw
from english import train_english
from halves import Halves
from record import Entry, Record
from safetensors.torch import load_file, save_file
from text import PACKAGES, Section, prepare
from validation import Validation

from ragatouille_xm.demo.checkpoint import RECIPE
from ragatouille_xm.demo.delta import write_delta
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.model.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
DELTA = "integrations/demo/ragatouille_xm_demo/delta.safetensors"
SEED = 5
WATCHED = ("en", "de", "ja", "ru", "tr")


class Watch:
    """Measures a model on the watched languages.

    No adapter of the lower layers trains, so what comes out of them is the same throughout.
    """

    def __init__(self, model: Halves, data: Path, cache: Path, record: Record) -> None:
        self.model, self.record = model, record
        self.sets = {language: Validation.read(model, data, language, cache) for language in WATCHED}

    def check(self, of: str, step: int) -> float:
        """Log the measures; return the mean MRR@10."""
        found = {language: self.measure(language) for language in self.sets}
        mean = sum(each["mrr@10"] for each in found.values()) / len(found)
        self.record.add(stage="validation", of=of, step=step, mean=mean, languages=found)
        return mean

    def measure(self, language: str) -> dict[str, float]:
        return self.sets[language].measure(self.model)


def helps(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Say whether an adapter is worth keeping: by validation if it was measured, else by the held-out losses."""
    if "validation" in before:
        return bool(after["validation"]["mrr@10"] > before["validation"]["mrr@10"])
    return bool(sum(after["held-out losses"].values()) < sum(before["held-out losses"].values()))


def make_adapter(task: Task, watch: Watch, path: Path) -> None:
    """Train one adapter, judge it, and keep both the tensors and the verdict."""

    def measures() -> dict[str, Any]:
        found: dict[str, Any] = {"held-out losses": task.check()}
        return found | ({"validation": watch.measure(task.language)} if task.language in WATCHED else {})

    watch.record.drop(lambda entry: entry.get("language") == task.language)
    before = measures()
    trained = train_adapter(task, watch.record, SEED)
    after = measures()
    save_file({name: value.contiguous() for name, value in trained.items()}, path)
    watch.record.add(stage="adapter", language=task.language, before=before, after=after, kept=helps(before, after),
                     pairs=len(task.pairs), held_out=len(task.held_out))  # fmt: skip
    watch.record.keep()


def make_adapters(model: Halves, sections: Mapping[str, list[Section]], watch: Watch, cache: Path) -> list[str]:
    """Train what `cache` does not have; put those that are kept into the model, and return their names."""
    names = []
    for language in PACKAGES:
        path = cache / f"adapter-{language}.safetensors"
        task = Task(model, language, sections[language], sections["en"])
        if watch.record.find(stage="adapter", language=language) is None or not path.is_file():
            untouched = model.backbone.bank[task.adapter]
            make_adapter(task, watch, path)
            model.backbone.bank._resident[task.adapter] = untouched
        verdict: Entry = watch.record.find(stage="adapter", language=language) or {}
        if not verdict["kept"]:
            continue
        names.append(task.adapter)
        for tensor in model.free_adapter(task.adapter):
            tensor.requires_grad_(False)
        into = model.trained([task.adapter])
        for key, value in load_file(path).items():
            into[key].copy_(value)
    return names


def write(model: Halves, names: Sequence[str], path: Path) -> None:
    weights = model.encoder.checkpoint.weights
    trained = {name: value.float().numpy() for name, value in model.trained(names).items()}
    base: dict[str, np.ndarray[Any, Any]] = {name: weights.get(name).float().numpy() for name in trained}
    changed = {name: value for name, value in trained.items() if not np.array_equal(value, base[name])}
    delta = write_delta(path, base, changed, RECIPE)
    print(path, f"{path.stat().st_size / 1e6:.1f} MB, {len(changed)} tensors, checksum {delta.checksum[:8]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data" / "A")
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages, text, and what is trained")
    parser.add_argument("--log", type=Path, default=ROOT / "benchmarks" / "results" / "demo_training.jsonl")
    parser.add_argument("--delta", type=Path, default=ROOT / DELTA)
    options = parser.parse_args()
    logging.getLogger("ragatouille_xm").setLevel(logging.ERROR)  # sections are cut to their beginnings
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    record = Record(options.cache / "log.jsonl")
    sections = prepare(options.data, options.cache)
    model = Halves(Encoder(load_checkpoint("demo-untrained"), device="cpu", dtype="float32"))
    watch = Watch(model, options.data, options.cache, record)
    if record.find(of="untrained") is None:
        watch.check("untrained", 0)
        record.keep()
    names = make_adapters(model, sections, watch, options.cache)
    check: Callable[[int], float] = lambda step: watch.check("english", step)  # noqa: E731
    train_english(model, sections["en"], check, record, options.cache / "english.pt", SEED)
    write(model, names, options.delta)
    shutil.copyfile(record.path, options.log)
    draw(options.log, options.cache / "training.png")


if __name__ == "__main__":
    main()
