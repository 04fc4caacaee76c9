"""Does a GPU encode as the CPU does, and how fast?

    python benchmarks/encode_device.py [--device cuda] [--small] [--out FILE]

The same batches go through the model on the CPU in float32 and on the device in float32 and bfloat16, and the vectors
are compared: the largest difference of a number, and the least cosine between a token's two vectors. A difference
beyond `BOUNDS` is a failure. The checkpoints are a random one of the published size (`load.py`), which needs nothing
but torch and transformers, and the demo checkpoint on its sample collection, where that is installed. Speed is in real
tokens a second, over batches of the size that suits the device, in one language and in fourteen, and in milliseconds
for one query. ``--small`` takes a small random checkpoint and few tokens: it shows that the script works.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from load import LANGUAGES, build

from ragatouille_xm.encoder import token_budget
from ragatouille_xm.errors import RagatouilleXMError
from ragatouille_xm.model.checkpoint import Checkpoint, load_checkpoint
from ragatouille_xm.model.colbert import ColBERT

HERE = Path(__file__).parent
BOUNDS = {"float32": 1e-3, "bfloat16": 0.03}  # of the difference of two numbers of unit vectors
TOKENS, QUERY, REPEATS = 256, 32, 10
COMPARED = 28  # texts
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


class Batch(NamedTuple):
    """Rows of a batch, those of one adapter side by side."""

    ids: torch.Tensor
    mask: torch.Tensor
    adapters: list[str]

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        return self.ids.to(device), self.mask.to(device), self.adapters

    @property
    def tokens(self) -> int:
        return int(self.mask.sum())


def drawn(rows: int, length: int, languages: int, ragged: bool = True) -> Batch:
    """Return a batch of random tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 250_000, (rows, length), generator=generator)
    ends = torch.randint(length // 4, length + 1, (rows, 1), generator=generator) if ragged else length
    mask = (torch.arange(length) < ends).long()
    return Batch(ids * mask + 1 - mask, mask, [LANGUAGES[i * languages // rows] for i in range(rows)])


def sample(checkpoint: Checkpoint, rows: int) -> Batch:
    """Return a batch of the demo's sample collection."""
    from ragatouille_xm.demo import demo_sample
    from ragatouille_xm.languages import AdapterTable
    from ragatouille_xm.text.tokenizer import ColBERTTokenizer

    tokenizer = ColBERTTokenizer(checkpoint.folder, checkpoint.settings, 512)
    table = AdapterTable(checkpoint.adapters, checkpoint.default_adapter)
    texts = [(str(table.adapter_for(table.resolve(each.language))), each.text) for each in demo_sample()]
    chosen = sorted(texts[:: max(1, len(texts) // rows)])
    laid = tokenizer.pad(tokenizer.documents([text for _, text in chosen], TOKENS))
    return Batch(laid.input_ids, laid.attention_mask, [adapter for adapter, _ in chosen])


@torch.inference_mode()
def parity(checkpoint: Checkpoint, batch: Batch, device: torch.device) -> Iterator[dict[str, Any]]:
    """Compare the vectors of a batch on the device, in each type, with those of the CPU in float32."""
    there = batch.mask.bool()
    right = ColBERT.load(checkpoint, torch.device("cpu"), torch.float32)(*batch)[there]
    for name, bound in BOUNDS.items():
        model = ColBERT.load(checkpoint, device, getattr(torch, name))
        found = model(*batch.on(device)).float().cpu()[there]
        worst = float((found - right).abs().max())
        yield {
            "dtype": name,
            "tokens": batch.tokens,
            "largest_difference": round(worst, 6),
            "least_cosine": round(float(torch.cosine_similarity(found, right).min()), 6),
            "within_bound": worst <= bound,
        }


@torch.inference_mode()
def speed(checkpoint: Checkpoint, device: torch.device, rows: int, length: int) -> Iterator[dict[str, Any]]:
    """Measure full batches in one language and in fourteen, and a query, in each type."""
    for name in BOUNDS:
        model = ColBERT.load(checkpoint, device, getattr(torch, name))
        row: dict[str, Any] = {"dtype": name, "batch": rows, "length": length}
        for languages in (1, len(LANGUAGES)):
            batch = drawn(rows, length, languages)
            taken = seconds(device, lambda batch=batch, model=model: model(*batch.on(device)))  # type: ignore[misc]
            row[f"tokens_per_s_{languages}"] = round(batch.tokens / taken)
        query = drawn(1, QUERY, 1, ragged=False)
        row["query_ms"] = round(1e3 * seconds(device, lambda q=query, model=model: model(*q.on(device))), 2)  # type: ignore[misc]
        yield row


def seconds(device: torch.device, call: Callable[[], object]) -> float:
    """Return the seconds that a call takes until the device is idle, the best of some."""
    taken = []
    for _ in range(REPEATS + 1):  # the first reads adapters
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="few tokens of a small checkpoint, to try the script")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "encode_device.json")
    given = parser.parse_args()
    device = torch.device(given.device)
    report: dict[str, Any] = {
        "question": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "torch": torch.__version__,
        },
        "bounds": BOUNDS, "parity": [], "speed": [],
    }  # fmt: skip
    rows, length, compared = (4, 64, 4) if given.small else (max(token_budget(device) // TOKENS, 1), TOKENS, COMPARED)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / "random", LANGUAGES, **(SMALL if given.small else {}))
        random = load_checkpoint(Path(folder) / "random")
        batch = drawn(compared, TOKENS, len(LANGUAGES))
        report["parity"] += [{"checkpoint": "random"} | row for row in parity(random, batch, device)]
        report["speed"] += list(speed(random, device, rows, length))
    try:
        demo = load_checkpoint("demo")
        report["parity"] += [{"checkpoint": "demo"} | row for row in parity(demo, sample(demo, compared), device)]
    except RagatouilleXMError as error:
        report["parity"].append({"checkpoint": "demo", "absent": str(error).splitlines()[0]})
    print(json.dumps(report, indent=1))
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    if not all(row.get("within_bound", True) for row in report["parity"]):
        raise SystemExit("encode_device.py: the device does not encode as the CPU does")


if __name__ == "__main__":
    main()
