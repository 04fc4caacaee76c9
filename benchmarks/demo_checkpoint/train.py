"""Train the demo checkpoint: adapters of eight languages on raw text, then late interaction on English pairs alone.

    python benchmarks/demo_checkpoint/train.py --data ../shared/data/A --cache /tmp/demo-training

With `--adapters-only` several processes can share the first stage; what `--cache` holds is not made again, so a whole
new run needs an empty one. The committed log is of three processes on two shared cores: the eight adapters in two of
them at once, the rest in the third; together 11 minutes of one core.

Split → text (apt) → adapters → English → the best point by validation → delta, log and curves. Of the 11 layers the
upper five train, with the head; embeddings stay as they are, and so do the adapters in the second stage. No title of a
language other than English is trained on, and of the other languages only `WATCHED` are looked at in choosing.

1. Adapters, of each language apart: a sentence must find the rest of its section (the inverse cloze task of Lee et al.
   2019, arXiv:1906.00300) among the sections of its batch, half of which come from the same pages.
2. English: a title must find its section among those of its batch, a third of which come from the same pages.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curves import draw
from halves import Halves
from text import Section, prepare
from torch import Tensor
from validation import Validation

from ragatouille_xm.demo.checkpoint import RECIPE
from ragatouille_xm.demo.delta import write_delta
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.training.losses import in_batch_softmax_loss, late_interaction_scores

ROOT = Path(__file__).parents[2]
DELTA = "integrations/demo/ragatouille_xm_demo/delta.safetensors"
SEED = 5
LANGUAGES = ("en", "de", "ja", "ru", "es", "fr", "id", "it")
WATCHED = ("en", "de", "ja", "ru", "tr")
TEMPERATURE = 0.25  # where the untrained scores are best calibrated
ADAPTERS = {"steps": 40, "batch": 16, "near": 8, "rate": 2e-4}
ENGLISH = {"steps": 120, "batch": 24, "near": 8, "rate": 2e-5, "head_rate": 1e-4, "checks": 3}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")

Log = Callable[..., None]


def draw_places(n: int, size: int, near: int, rng: random.Random) -> list[int]:
    """Draw places of a batch: `near` neighbours, the rest from anywhere."""
    start = rng.randrange(n - near)
    neighbours = range(start, start + near)
    return [*neighbours, *(i for i in rng.sample(range(n), size) if i not in neighbours)][:size]


def optimise(
    groups: Sequence[tuple[Sequence[Tensor], float]], steps: int, loss_of: Callable[[], Tensor]
) -> Iterator[tuple[int, float]]:
    """Take steps with AdamW, a linear warm-up over a tenth and a linear decay; yield each step's number and loss."""
    optimizer = torch.optim.AdamW([{"params": list(p), "lr": rate} for p, rate in groups], weight_decay=0.01)
    rates = [rate for _, rate in groups]
    for step in range(1, steps + 1):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(10 * step / steps, (steps + 1 - step) / (0.9 * steps), 1)
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([tensor for p, _ in groups for tensor in p], 1.0)
        optimizer.step()
        yield step, loss.item()


def contrast(model: Halves, queries: Sequence[Any], passages: Sequence[Any], adapter: str) -> Tensor:
    vectors, scored = model.upper(passages, adapter)
    scores = late_interaction_scores(model.upper(queries, adapter)[0], vectors, scored)
    return in_batch_softmax_loss(scores / TEMPERATURE)


# the two stages


def sentences_of(section: Section) -> list[str]:
    return [each for each in _SENTENCE_END.split(section.body) if len(each.encode()) > 25]


def train_adapter(model: Halves, language: str, sections: Sequence[Section], log: Log) -> dict[str, Tensor]:
    """Train one language's adapter; return its tensors by their names in the checkpoint."""
    adapter = model.encoder.adapters.adapter_for(language) or ""
    tensors = model.free_adapter(adapter)
    usable = [found for section in sections if len(found := sentences_of(section)) > 1]
    rng = random.Random(SEED)
    tokens = 0

    def loss() -> Tensor:
        nonlocal tokens
        asked, rest = [], []
        for i in draw_places(len(usable), ADAPTERS["batch"], ADAPTERS["near"], rng):
            chosen = rng.randrange(len(usable[i]))
            asked.append(usable[i][chosen])
            rest.append(" ".join(usable[i][:chosen] + usable[i][chosen + 1 :]))
        queries, passages = model.queries(asked, adapter), model.passages(rest, adapter)
        tokens += sum(len(half.states) for half in queries + passages)
        return contrast(model, queries, passages, adapter)

    for step, value in optimise([(tensors, ADAPTERS["rate"])], ADAPTERS["steps"], loss):
        log(stage="adapters", language=language, step=step, loss=value, tokens=tokens)
    for tensor in tensors:
        tensor.requires_grad_(False)
    return {name: value for name, value in model.trained([adapter]).items() if adapter in name}


def train_english(model: Halves, sections: Sequence[Section], check: Callable[[int], float], log: Log) -> None:
    """Train the upper layers and the head; end with the tensors that were best by `check`."""
    titles = Counter(section.title for section in sections)
    pairs = [s for s in sections if titles[s.title] == 1 and len(s.title) > 6]
    queries = model.queries([s.title for s in pairs], "en_XX")
    passages = model.passages([s.body for s in pairs], "en_XX")
    rng = random.Random(SEED)
    tokens = 0

    def loss() -> Tensor:
        nonlocal tokens
        places = draw_places(len(pairs), ENGLISH["batch"], ENGLISH["near"], rng)
        tokens += sum(len(half[i].states) for half in (queries, passages) for i in places)
        return contrast(model, [queries[i] for i in places], [passages[i] for i in places], "en_XX")

    free = model.free_encoder()
    best, kept = check(0), [tensor.detach().clone() for tensor in free]
    groups = [(free[:-1], ENGLISH["rate"]), (free[-1:], ENGLISH["head_rate"])]
    for step, value in optimise(groups, ENGLISH["steps"], loss):
        log(stage="english", step=step, loss=value, tokens=tokens, pairs=len(pairs))
        if step % (ENGLISH["steps"] // ENGLISH["checks"]) == 0 and (found := check(step)) > best:
            best, kept = found, [tensor.detach().clone() for tensor in free]
    with torch.no_grad():
        for tensor, value in zip(free, kept, strict=True):
            tensor.copy_(value).requires_grad_(False)


# the whole


def logger_to(path: Path) -> Log:
    start = time.process_time()

    def log(**entry: Any) -> None:
        entry["cpu_s"] = round(time.process_time() - start, 1)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}) + "\n")

    return log


def adapters(model: Halves, languages: Sequence[str], sections: Any, cache: Path, log: Log) -> list[str]:
    """Train the adapters that `cache` does not have yet and put all of them into the model; return their names."""
    from safetensors.torch import load_file, save_file

    names = []
    for language in languages:
        path = cache / f"adapter-{language}.safetensors"
        if not path.is_file():
            trained = train_adapter(model, language, sections[language], log)
            save_file({name: value.contiguous() for name, value in trained.items()}, path)
        name = model.encoder.adapters.adapter_for(language) or ""
        names.append(name)
        for tensor in model.free_adapter(name):
            tensor.requires_grad_(False)
        into = model.trained([name])
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
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages, text and trained adapters")
    parser.add_argument("--log", type=Path, default=ROOT / "benchmarks" / "results" / "demo_training.jsonl")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "demo_training.png")
    parser.add_argument("--delta", type=Path, default=ROOT / DELTA)
    parser.add_argument("--adapters-only", help="train these languages' adapters, by commas, into the cache, and stop")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    log = logger_to(options.cache / "log.jsonl")
    sections = prepare(options.data, options.cache)
    model = Halves(Encoder(load_checkpoint("demo-untrained"), device="cpu", dtype="float32"))
    if options.adapters_only:
        adapters(model, options.adapters_only.split(","), sections, options.cache, log)
        return
    check = watch(model, options, log)
    check("untrained", 0)
    names = adapters(model, LANGUAGES, sections, options.cache, log)
    train_english(model, sections["en"], lambda step: check("english", step), log)
    write(model, names, options.delta)
    shutil.copyfile(options.cache / "log.jsonl", options.log)
    draw(options.log, options.picture)


def watch(model: Halves, options: argparse.Namespace, log: Log) -> Callable[[str, int], float]:
    """Return what measures the model on the watched languages.

    No adapter of the lower layers trains, so what comes out of them is the same throughout.
    """
    sets = {language: Validation.read(model, options.data, language, options.cache) for language in WATCHED}

    def check(stage: str, step: int) -> float:
        found = {language: each.measure(model) for language, each in sets.items()}
        mean = sum(each["mrr@10"] for each in found.values()) / len(found)
        log(stage="validation", of=stage, step=step, mean=mean, languages=found)
        return mean

    return check


if __name__ == "__main__":
    main()
