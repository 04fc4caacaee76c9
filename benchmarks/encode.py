"""How fast are texts encoded, how near the machine's limit is that, and what does int8 cost in quality?

Each system encodes the same real texts in a process of its own: this package in float32, int8 and bfloat16,
transformers' XmodModel with `lang_ids`, and, by `--peer-python`, sentence-transformers, PyLate and colbert-ai with one
adapter. Tokens are real ones, padding not counted; batches are whole, and a sample over all lengths. Memory is the
peak of what is resident, pages of files included (`peak_rss_mb`), and that without what imports took (`model_mb`);
texts are tokenised elsewhere, and peers', which tokenise themselves, is the whole.

    python benchmarks/encode.py --base FOLDER [--quick] [--peer-python PATH ...] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import cpu

SHARED = Path(__file__).parents[2] / "shared"
FLOP_PER_TOKEN = {"base": 184e6}
OURS = {"ours float32": ("float32", None), "ours int8": ("float32", "int8"), "ours bfloat16": ("bfloat16", None)}
PEERS = ("sentence-transformers", "pylate", "colbert-ai")
LANGUAGES = (1, 3, 14, 40)
LENGTH = 256


def read_texts(options: argparse.Namespace, n_languages: int, total: int) -> list[tuple[str, str]]:
    """Return (text, language) pairs, as many of each language: data A up to 14 languages, dev.jsonl beyond."""
    by_language: dict[str, list[str]] = defaultdict(list)
    if n_languages <= 14:
        for folder in sorted(path for path in options.data.iterdir() if (path / "collection.tsv").is_file()):
            lines = (folder / "collection.tsv").read_text(encoding="utf-8").split("\n")
            by_language[folder.name] = [line.split("\t", 1)[1] for line in lines if line]
    else:
        pieces: dict[str, list[str]] = defaultdict(list)
        for line in options.langid.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            pieces[row["lang"]].append(row["text"])
        for language, texts in pieces.items():  # short texts, put together to a passage's length
            by_language[language] = [" ".join(texts[i : i + 12]) for i in range(0, len(texts) - 11, 12)]
    wanted = ["fr"] if n_languages == 1 else list(by_language)[:n_languages]
    return [(text, language) for language in wanted for text in by_language[language][: total // len(wanted)]]


def gemm_rate(threads: int) -> dict[str, float]:
    """Return GFLOP/s of float32 at the base size's feed-forward shape: torch's `linear`, and oneDNN's packed one."""
    import torch

    from ragatouille_xm.model.linear import PackedLinear

    torch.set_num_threads(threads)
    x, weight, bias = torch.randn(2048, 768), torch.randn(3072, 768), torch.randn(3072)
    packed = PackedLinear(weight, bias)
    result = {}
    for name, run in (("linear", lambda: torch.nn.functional.linear(x, weight, bias)), ("oneDNN", lambda: packed(x))):
        with torch.inference_mode():
            result[name] = round(2 * 2048 * 768 * 3072 / best(run, 8) / 1e9, 1)
    return result


def best(run: Callable[[], object], times: int) -> float:
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def write_plan(options: argparse.Namespace, checkpoint: Path, n_languages: int, threads: int, target: Path) -> None:
    """Tokenise, plan batches, and write a sample over all lengths, the padding share and a query to `target`.

    This is not done where a system is measured: tokeniser, texts and imports would count as its memory.
    """
    import torch

    from ragatouille_xm.encoder import token_budget
    from ragatouille_xm.languages import AdapterTable
    from ragatouille_xm.model.checkpoint import load_checkpoint
    from ragatouille_xm.text.batching import plan_batches
    from ragatouille_xm.text.tokenizer import ColBERTTokenizer

    demo, opened = load_checkpoint("demo"), load_checkpoint(checkpoint)
    tokenizer = ColBERTTokenizer(demo.folder, demo.settings, 512)  # a random checkpoint has no tokeniser of its own
    table = AdapterTable(opened.adapters, opened.default_adapter)
    texts = read_texts(options, n_languages, options.texts)
    tokens = tokenizer.documents([text for text, _ in texts], LENGTH)
    adapters = [str(table.adapter_for(table.resolve(language))) for _, language in texts]
    lengths = [len(each.ids) for each in tokens]
    torch.set_num_threads(threads)
    budget = token_budget(torch.device("cpu"))
    batches = plan_batches(lengths, adapters, budget)
    padding = 1 - sum(lengths) / sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    wanted = options.batches * 2048 // budget
    step = max(1, len(batches) // wanted)
    rows = []
    for batch in batches[step // 2 :: step][:wanted]:
        laid = tokenizer.pad([tokens[i] for i in batch])
        rows.append((laid.input_ids, laid.attention_mask, [adapters[i] for i in batch], sum(lengths[i] for i in batch)))
    query = tokenizer.pad(tokenizer.queries(["Où se trouve le document ?"]))
    plan = {
        "rows": rows,
        "padding": padding,
        "budget": budget,
        "query": (query.input_ids, query.attention_mask, ["fr_XX"]),
    }
    torch.save(plan, target)


def loader(system: str, folder: str) -> Callable[[], Callable[..., Any]]:
    """Import what a system needs, and return what loads it."""
    import torch

    if system in OURS:
        from ragatouille_xm.model.checkpoint import load_checkpoint
        from ragatouille_xm.model.colbert import ColBERT

        dtype, quantize = OURS[system]

        def ours() -> Callable[..., Any]:
            model = ColBERT.load(load_checkpoint(folder), torch.device("cpu"), getattr(torch, dtype))
            model.pack(quantize)
            return model

        return ours
    from transformers import XmodModel

    def theirs() -> Callable[..., Any]:
        xmod = XmodModel.from_pretrained(folder, add_pooling_layer=False).eval()
        names = {name: i for i, name in enumerate(xmod.config.languages)}

        @torch.inference_mode()
        def run(ids: Any, mask: Any, adapters: list[str]) -> Any:
            lang_ids = torch.tensor([names[name] for name in adapters])
            return xmod(input_ids=ids, attention_mask=mask, lang_ids=lang_ids).last_hidden_state

        return run

    return theirs


def memory(field: str) -> int:
    """Return a field of this process's memory, in MB: VmHWM is the peak of what is resident, files included."""
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0]) // 1024


def measure(system: str, folder: str, plan: str, threads: int) -> dict[str, Any]:
    """Measure one system on one corpus; runs in a process of its own, which does nothing else."""
    import torch

    torch.set_num_threads(threads)
    load = loader(system, folder)
    corpus = torch.load(plan)
    imports = memory("VmRSS")
    start = time.perf_counter()
    model = load()
    loaded = time.perf_counter() - start
    for ids, mask, adapters, _ in corpus["rows"]:  # adapters are read, and memory is found, before the clock runs
        model(ids[:, :8], mask[:, :8], adapters)
    seconds = cpu = 0.0
    for ids, mask, adapters, _ in corpus["rows"]:
        start, started = time.perf_counter(), time.process_time()
        model(ids, mask, adapters)
        seconds, cpu = seconds + time.perf_counter() - start, cpu + time.process_time() - started
    tokens = sum(row[3] for row in corpus["rows"])
    query = 1e3 * best(lambda: model(*corpus["query"]), 5)
    peak = memory("VmHWM")
    return {
        "batches": len(corpus["rows"]), "batch_tokens": corpus["budget"], "real_tokens": tokens,
        "tokens_per_s": round(tokens / seconds), "cpu_s": round(cpu, 2), "wall_s": round(seconds, 2),
        "padding": round(corpus["padding"], 4),
        "load_s": round(loaded, 2), "query_ms": round(query, 1), "peak_rss_mb": peak, "imports_mb": imports,
        "model_mb": peak - imports, "end_anonymous_mb": memory("RssAnon"), "end_file_mb": memory("RssFile"),
    }  # fmt: skip


def measure_peer(options: argparse.Namespace, system: str, folder: str, threads: int) -> dict[str, Any]:
    """Measure a peer on one language, with one adapter, in its own environment: imports nothing of this package."""
    import torch

    torch.set_num_threads(threads)
    texts = [text for text, _ in read_texts(options, 1, min(options.texts, 16 * options.batches))]
    encode: Callable[[list[str]], Any]
    if system == "colbert-ai":
        from colbert.infra import ColBERTConfig
        from colbert.modeling.checkpoint import Checkpoint

        colbert = Checkpoint(folder, colbert_config=ColBERTConfig(doc_maxlen=LENGTH, checkpoint=folder))
        backbone, tokenizer = colbert.bert, colbert.doc_tokenizer.tok

        def encode(some: list[str]) -> Any:
            return colbert.docFromText(some, bsize=32)
    else:
        if system == "pylate":
            from pylate import models

            model = models.ColBERT(folder, document_length=LENGTH, device="cpu")
        else:
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(folder, device="cpu")
            model.max_seq_length = LENGTH
        backbone, tokenizer = model[0].auto_model, model.tokenizer
        extra = {"is_query": False} if system == "pylate" else {}

        def encode(some: list[str]) -> Any:
            return model.encode(some, batch_size=32, show_progress_bar=False, **extra)

    backbone.set_default_language("fr_XX")
    names = ("torch", "transformers", system)
    tokens = sum(min(LENGTH, len(ids)) for ids in tokenizer(texts)["input_ids"])
    encode(texts[:2])
    start = time.perf_counter()
    encode(texts)
    return {
        "real_tokens": tokens, "tokens_per_s": round(tokens / (time.perf_counter() - start)),
        "peak_rss_mb": memory("VmHWM"), "versions": {name: version(name) for name in names},
    }  # fmt: skip


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """Return MRR@10 of the demo checkpoint within each language, exact MaxSim, for float32 and the others."""
    import torch
    from ir_measures import Qrel, ScoredDoc
    from retrieval import Set, averaged, measured

    from ragatouille_xm.encoder import Encoder
    from ragatouille_xm.scoring import maxsim

    torch.set_num_threads(options.threads[-1])
    folders = sorted(path for path in options.data.iterdir() if (path / "collection.tsv").is_file())
    sets = [Set.read(path).few(options.queries, options.passages) for path in folders[:: 5 if options.quick else 1]]
    report: dict[str, Any] = {}
    vectors: dict[str, dict[str, Any]] = {}
    for name, (dtype, quantize) in OURS.items():
        encoder = Encoder.from_pretrained("demo", device="cpu", dtype=dtype, quantize=quantize)
        vectors[name] = {
            s.language: (
                encoder.encode_queries(list(s.queries.values()), [s.language] * len(s.queries)),
                encoder.encode_documents(list(s.passages.values()), [s.language] * len(s.passages), max_length=LENGTH),
            )
            for s in sets
        }
    pairs = [(name, name) for name in OURS] + [("ours float32", "ours int8")]
    for of_queries, of_passages in pairs:
        found = {}
        for s in sets:
            queries, passages = vectors[of_queries][s.language][0], vectors[of_passages][s.language][1]
            values, places = maxsim(queries, passages.vectors, passages.lengths).topk(10)
            ids = list(s.passages)
            run = [
                ScoredDoc(qid, ids[i], score)
                for qid, *row in zip(s.queries, places.tolist(), values.tolist(), strict=True)
                for i, score in zip(*row, strict=True)
            ]
            found[s.language] = measured(run, [Qrel(qid, qid, 1) for qid in s.queries])
        label = of_queries if of_queries == of_passages else f"queries {of_queries}, passages {of_passages}"
        report[label] = {language: row["mrr@10"] for language, row in averaged(found).items()}
    return report


def child(
    options: argparse.Namespace, python: str, system: str, folder: Path, plan: Path, threads: int
) -> dict[str, Any]:
    """Run this script on one measurement; return its row, or why there is none."""
    given = ["--data", str(options.data), "--texts", str(options.texts), "--batches", str(options.batches)]
    command = [python, __file__, *given, "--one", system, str(folder), str(plan), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
        return {"absent": re.sub(r"/\S+", "…", why)}  # paths of this machine are nobody else's business
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def with_tokenizer(tokenizer: Path, model: Path, target: Path) -> Path:
    """Return a folder with a checkpoint's files and another's tokeniser: peers take nothing else."""
    for source in (tokenizer, model):
        for file in source.iterdir():
            if source == model or file.name != "model.safetensors":
                (target / file.name).unlink(missing_ok=True)
                (target / file.name).symlink_to(file.resolve())
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="base", help="a checkpoint of the base size (benchmarks/load.py makes one)")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "A")
    parser.add_argument("--langid", type=Path, default=SHARED / "langid" / "dev.jsonl")
    parser.add_argument("--peer-python", action="append", default=[], help="python of an environment with peers")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--texts", type=int, default=1400)
    parser.add_argument("--batches", type=int, default=6, help="of 2,048 tokens, or as many smaller ones")
    parser.add_argument("--queries", type=int)
    parser.add_argument("--passages", type=int)
    parser.add_argument("--quick", action="store_true", help="one thread, four batches, a part of the quality sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "encode.json")
    parser.add_argument("--one", nargs=4, metavar=("SYSTEM", "FOLDER", "PLAN", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.threads, options.batches, options.queries, options.passages = [1], 4, 20, 60
    if options.one:
        system, folder, plan, threads = options.one
        if system in PEERS:
            row = measure_peer(options, system, folder, int(threads))
        else:
            row = measure(system, folder, plan, int(threads))
        print(json.dumps(row))
        return
    with tempfile.TemporaryDirectory() as scratch:
        run_all(options, Path(scratch))


def run_all(options: argparse.Namespace, scratch: Path) -> None:
    import torch
    import transformers

    from ragatouille_xm.model.checkpoint import load_checkpoint

    report: dict[str, Any] = {
        "question": " ".join(__doc__.split("\n\n")[0].split()),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "torch": torch.__version__,
                    "transformers": transformers.__version__, "python": platform.python_version(),
                    "load_average_at_start": os.getloadavg()[0]},
        "flop_per_token": FLOP_PER_TOKEN, "gemm_gflops": {t: gemm_rate(t) for t in options.threads}, "rows": [],
    }  # fmt: skip

    def note(**row: Any) -> None:
        if "tokens_per_s" in row and row["checkpoint"] == "base":
            floor = report["gemm_gflops"][row["threads"]]["oneDNN"] * 1e9 / FLOP_PER_TOKEN["base"]
            row["floor_tokens_per_s"], row["share_of_gemm"] = round(floor), round(row["tokens_per_s"] / floor, 3)
        report["rows"].append(row)
        print(row, flush=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")

    folders = {"base": load_checkpoint(options.base).folder.resolve(), "demo": load_checkpoint("demo").folder}
    (scratch / "peers").mkdir()
    for_peers = with_tokenizer(folders["demo"], folders["base"], scratch / "peers")
    for threads in options.threads:
        for label, folder in folders.items():
            for n in LANGUAGES:
                plan = scratch / f"{label}-{n}-{threads}.pt"
                write_plan(options, folder, n, threads, plan)
                for system in (*OURS, "transformers"):
                    row = child(options, sys.executable, system, folder, plan, threads)
                    note(checkpoint=label, system=system, languages=n, threads=threads, **row)
        for number, python in enumerate(options.peer_python, start=1):
            for system in PEERS:
                row = child(options, python, system, for_peers, scratch, threads)
                if row.get("absent", "").startswith("ModuleNotFoundError"):
                    continue  # an environment has the peers that it has
                note(checkpoint="base", system=system, languages=1, threads=threads, environment=number, **row)
    report["mrr@10"] = quality(options)
    print(report["mrr@10"])
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
