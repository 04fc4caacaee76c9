"""How fast is training, beside colbert-ai's, on the same small model and the same batches?

    python benchmarks/training.py --peer-python PATH [--steps 10] [--device cuda] [--out FILE]

The model is a random X-MOD (384 wide, 6 layers) without dropout, in which embeddings and adapters are frozen; a batch
has 16 queries of 32 tokens, each with a positive and a negative of about 90. colbert-ai's own loop needs a GPU (it
wraps the model for one), so its model, tokeniser, losses and optimiser run in the loop's order without that wrapper;
everything goes through the adapter of English. Both sides' losses of the first step are in the result: they are the
same number, so that both did the same work. CPU seconds are of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import cpu

ROOT = Path(__file__).parents[1]
SHAPE = {
    "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
BATCH, WARM = 16, 2
WORDS = ["the", "of", "and", "is", "in", "to", "a", "library", "book", "opens", "river", "train", "bread", "garden"]


def write_inputs(folder: Path, steps: int) -> None:
    """Write a checkpoint and triplets of texts."""
    sys.path.insert(0, str(ROOT / "tests"))
    from reference.tiny import build_tiny_xmod

    build_tiny_xmod(folder / "model", languages=["en_XX", "fr_XX"], dim=128, metadata={"marker": "insert"}, **SHAPE)
    generator = random.Random(0)

    def text(words: int) -> str:
        return " ".join(generator.choice(WORDS) for _ in range(words))

    rows = [[text(8), text(generator.randint(60, 120)), text(generator.randint(60, 120))] for _ in range(BATCH * steps)]
    (folder / "triplets.json").write_text(json.dumps(rows), encoding="utf-8")


def measure(step: Any, rows: list[list[str]], synchronise: Any) -> dict[str, Any]:
    """Run `step` on each batch; return its pace and the losses."""
    losses, tokens = [], 0
    for start in range(0, len(rows), BATCH):
        if start == WARM * BATCH:
            synchronise()
            cpu, wall, tokens = time.process_time(), time.perf_counter(), 0
        loss, n_tokens = step(rows[start : start + BATCH])
        losses.append(loss)
        tokens += n_tokens
    synchronise()
    n, cpu, wall = len(losses) - WARM, time.process_time() - cpu, time.perf_counter() - wall
    return {
        "cpu_ms_per_step": round(1e3 * cpu / n, 1), "wall_ms_per_step": round(1e3 * wall / n, 1),
        "tokens_per_cpu_s": round(tokens / cpu), "tokens_per_s": round(tokens / wall),
        "first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4),
    }  # fmt: skip


def ours(folder: Path, device: str, chunk_size: int | None) -> dict[str, Any]:
    import torch

    from ragatouille_xm.encoder import Encoder
    from ragatouille_xm.model.checkpoint import load_checkpoint
    from ragatouille_xm.training import TrainingConfig, TrainingExample
    from ragatouille_xm.training.loop import Trainer
    from ragatouille_xm.training.objective import Retrieval
    from ragatouille_xm.training.runs import Run
    from ragatouille_xm.training.setup import make_accelerator, prepare_checkpoint

    rows = json.loads((folder / "triplets.json").read_text(encoding="utf-8"))
    steps = len(rows) // BATCH
    config = TrainingConfig(
        batch_size=BATCH, steps=steps, learning_rate=1e-4, warmup=0, chunk_size=chunk_size, precision="no"
    )
    run = Run(folder / "run", config, resume=False)
    accelerator = make_accelerator("no", device)
    base = prepare_checkpoint(load_checkpoint(folder / "model"), config)
    encoder = Encoder(base, device=accelerator.device, dtype="float32")
    trainer = Trainer(run, encoder, Retrieval(encoder, config, "en"), config, accelerator)
    done = iter(range(steps))

    def step(batch: list[list[str]]) -> tuple[float, int]:
        return trainer.step(next(done), iter([TrainingExample(q, p, (n,)) for q, p, n in batch]))

    return measure(step, rows, torch.cuda.synchronize if device == "cuda" else lambda: None)


def colbert_ai(folder: Path, device: str) -> dict[str, Any]:
    import torch
    from colbert.infra import ColBERTConfig
    from colbert.modeling.colbert import ColBERT
    from colbert.modeling.tokenization import DocTokenizer, QueryTokenizer

    rows = json.loads((folder / "triplets.json").read_text(encoding="utf-8"))
    ColBERT.try_load_torch_extensions = classmethod(lambda cls, use_gpu: None)  # compiled for searching only
    config = ColBERTConfig.load_from_checkpoint(str(folder / "model"))
    config.configure(checkpoint=str(folder / "model"), nway=2, use_ib_negatives=True, bsize=BATCH)
    model = ColBERT(str(folder / "model"), config).to(device).train()
    model.bert.set_default_language("en_XX")
    for name, value in model.bert.named_parameters():
        value.requires_grad = not ("embeddings" in name or "adapter_modules" in name or "pooler" in name)
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, eps=1e-8)
    queries, documents = QueryTokenizer(config), DocTokenizer(config)

    def step(batch: list[list[str]]) -> tuple[float, int]:
        asked = queries.tensorize([row[0] for row in batch])
        passages = documents.tensorize([text for row in batch for text in row[1:]])
        scores, in_batch = model(asked, passages)
        labels = torch.zeros(len(batch), dtype=torch.long, device=device)
        loss = torch.nn.CrossEntropyLoss()(scores.view(-1, 2), labels) + in_batch
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item(), int(asked[1].sum() + passages[1].sum())

    return measure(step, rows, torch.cuda.synchronize if device == "cuda" else lambda: None)


def in_process(python: str, system: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [python, __file__, "--system", system, "--folder", str(folder), "--device", options.device]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "COLBERT_LOAD_TORCH_EXTENSION_VERBOSE": "0",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="a Python that has colbert-ai")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "training.json")
    parser.add_argument("--system", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.system:
        run = {"ours": lambda: ours(options.folder, options.device, None),
               "ours, gradient cache of 8": lambda: ours(options.folder, options.device, 8),
               "colbert-ai": lambda: colbert_ai(options.folder, options.device)}[options.system]  # fmt: skip
        print(json.dumps(run()))
        return
    report: dict[str, Any] = {
        "question": str(__doc__).splitlines()[0], "device": options.device, "cpu": cpu(),
        "model": SHAPE, "batch": BATCH, "steps": options.steps, "systems": {},
    }  # fmt: skip
    systems = [("ours", sys.executable), ("ours, gradient cache of 8", sys.executable)]
    if options.peer_python:
        systems.append(("colbert-ai", options.peer_python))
    for system, python in systems:
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(Path(folder), options.steps + WARM)
            report["systems"][system] = in_process(python, system, Path(folder), options)
        print(system, report["systems"][system], flush=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
