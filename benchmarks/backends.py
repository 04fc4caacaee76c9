"""Would another runtime encode faster on a CPU than this package: torch.compile, ONNX Runtime, OpenVINO?

Every system runs the same batches of real texts of one language through the same checkpoint, on one thread, in a
process of its own. An exported graph has one language's adapters, so 81 languages would be 81 graphs, or one that
gathers adapters by an input: neither is measured. Exported graphs always get the mask; this package leaves it out where
a batch has no padding. `tokens_per_cpu_s` counts the process's own time, which another process on the machine changes
less than the wall clock's; batches are run twice, and the first time, when runtimes meet the shapes, is
`first_tokens_per_cpu_s`. `peak_rss_mb` is taken after the batches of that size; small ones run first. Vectors are
compared with this package's in float32, over real tokens and the query.

    python benchmarks/backends.py --base FOLDER [--systems NAME ...] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from encode import OURS, SHARED, memory, write_plan
from machine import cpu

ADAPTER = "fr_XX"
SYSTEMS = (
    *OURS, "torch eager", "onnxruntime float32", "onnxruntime int8",
    "openvino f32", "openvino bf16", "torch.compile frozen", "torch.compile",
)  # fmt: skip
GRAPHS = {"float32": "float32.onnx", "int8": "int8.onnx"}
SIZES = {512: 1, 2048: 4}  # tokens of a batch, and the threads for which encode.py plans such batches
QUERIES = 15
Forward = Callable[[Any, Any], Any]


def unpacked(folder: str) -> Any:
    """Return the model with nn.Linear throughout, adapters too, and one language for every batch."""
    import torch
    from torch import nn

    from ragatouille_xm.model.checkpoint import load_checkpoint
    from ragatouille_xm.model.colbert import ColBERT
    from ragatouille_xm.model.linear import PackedAdapter
    from ragatouille_xm.model.xmod import XmodEncoder

    def linear(weight: Any, bias: Any) -> nn.Linear:
        layer = nn.Linear(1, 1)
        layer.weight, layer.bias = (nn.Parameter(each, requires_grad=False) for each in (weight, bias))
        return layer

    class OneLanguage(XmodEncoder):
        """Adapters as modules: a compiler then takes their weights for constants, as it does the others."""

        def fix(self, name: str) -> None:
            pairs = [(linear(*each[:2]), linear(*each[2:])) for each in self.bank[name]]
            self.fixed = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)
            self.whole = [(tuple(PackedAdapter(*pair) for pair in pairs), 0, sys.maxsize)]

        def _segments(self, adapters: Any) -> Any:
            return self.whole

    opened = load_checkpoint(folder)
    backbone = OneLanguage.load(opened.config, opened.weights, torch.device("cpu"), torch.float32)
    backbone.fix(ADAPTER)
    return ColBERT(backbone, opened.weights.get("linear.weight"))


def export(folder: str, target: Path) -> dict[str, Any]:
    """Write the ONNX graph of ids and mask → unit vectors, with any number of rows and any length."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    model = unpacked(folder)

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.linear = model.backbone, nn.Parameter(model.linear, requires_grad=False)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.backbone(input_ids, attention_mask, ())
            return nn.functional.normalize(hidden @ self.linear.T, dim=-1)

    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=512)}
    example = torch.randint(5, 1000, (3, 40)), torch.ones(3, 40, dtype=torch.int64)
    start = time.perf_counter()
    with torch.no_grad():
        torch.onnx.export(
            Graph().eval(), example, str(target), input_names=["input_ids", "attention_mask"], external_data=True,
            output_names=["vectors"], dynamo=True, opset_version=18, dynamic_shapes=(axes, axes), verbose=False,
        )  # fmt: skip
    return {"convert_s": round(time.perf_counter() - start, 1)}


def quantise(source: Path, target: Path) -> dict[str, Any]:
    """Write the graph with 8-bit weights, a scale a channel; activations get one scale for a whole batch as it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    start = time.perf_counter()
    quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=True)
    return {"convert_s": round(time.perf_counter() - start, 1)}


def torch_forward(system: str, folder: str) -> Callable[[], Forward]:
    import torch

    from ragatouille_xm.model.checkpoint import load_checkpoint
    from ragatouille_xm.model.colbert import ColBERT

    torch.set_num_threads(1)

    def load() -> Forward:
        if system in OURS:
            dtype, quantize = OURS[system]
            model = ColBERT.load(load_checkpoint(folder), torch.device("cpu"), getattr(torch, dtype))
            model.pack(quantize)
        else:
            model = unpacked(folder)
        if system.startswith("torch.compile"):
            import torch._inductor.config as inductor

            inductor.freezing = system.endswith("frozen")
            compiled: Any = torch.compile(model.backbone, dynamic=True)
            model.backbone = compiled

        def run(ids: Any, mask: Any) -> Any:
            adapters = [ADAPTER] * (len(ids) if system in OURS else 1)  # a list of another length is compiled again
            return model(torch.from_numpy(ids), torch.from_numpy(mask), adapters).numpy()

        return run

    return load


def loader(system: str, folder: str, scratch: Path) -> Callable[[], Forward]:
    """Import what a system needs, and return what loads it."""
    runtime, _, kind = system.partition(" ")
    if runtime == "onnxruntime":
        import onnxruntime

        def with_onnxruntime() -> Forward:
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads = settings.inter_op_num_threads = 1
            graph = str(scratch / GRAPHS[kind])
            session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
            return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

        return with_onnxruntime
    if runtime == "openvino":
        import openvino

        def with_openvino() -> Forward:
            settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": kind}
            compiled = openvino.Core().compile_model(str(scratch / GRAPHS["float32"]), "CPU", settings)
            return lambda ids, mask: compiled([ids, mask])[0]

        return with_openvino
    return torch_forward(system, folder)


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of the processor, and of the clock."""
    start, started = time.perf_counter(), time.process_time()
    run()
    return time.process_time() - started, time.perf_counter() - start


def measure(system: str, folder: str, scratch: Path) -> dict[str, Any]:
    """Measure one system; runs in a process of its own, which does nothing else."""
    load = loader(system, folder, scratch)
    plan = np.load(scratch / "plan.npz")
    query = plan["query_ids"], plan["query_mask"]
    imports, made = memory("VmRSS"), []
    load_s = timed(lambda: made.append(load()))[1]
    run = made[0]
    first_s = timed(lambda: (run(*query), run(plan["512_1_ids"], plan["512_1_mask"])))[1]
    queries = [timed(lambda: run(*query)) for _ in range(QUERIES)]
    sizes: dict[int, dict[str, Any]] = {}
    for size in SIZES:
        batches = [(plan[f"{size}_{i}_ids"], plan[f"{size}_{i}_mask"]) for i in range(int(plan[f"{size}_n"]))]
        tokens = sum(int(mask.sum()) for _, mask in batches)
        first, again = (np.sum([timed(partial(run, *each)) for each in batches], 0) for _ in range(2))
        sizes[size] = {
            "real_tokens": tokens, "tokens_per_cpu_s": round(tokens / again[0]), "cpu_s": round(again[0], 2),
            "tokens_per_s": round(tokens / again[1]), "wall_s": round(again[1], 2),
            "first_tokens_per_cpu_s": round(tokens / first[0]), "peak_rss_mb": memory("VmHWM"),
        }  # fmt: skip
    some = [query, *((plan[f"512_{i}_ids"], plan[f"512_{i}_mask"]) for i in range(0, int(plan["512_n"]), 2))]
    vectors = np.concatenate([run(*each)[each[1].astype(bool)] for each in some])
    if system == "ours float32":
        np.save(scratch / "vectors.npy", vectors)
    ours = np.load(scratch / "vectors.npy")
    cpu, wall = (1e3 * statistics.median(each[i] for each in queries) for i in (0, 1))
    better = max(sizes, key=lambda size: sizes[size]["tokens_per_cpu_s"])
    return {
        "tokens_per_cpu_s": sizes[better]["tokens_per_cpu_s"], "batch_tokens": better,
        "query_cpu_ms": round(cpu, 1), "query_wall_ms": round(wall, 1), "load_s": round(load_s, 2),
        "first_query_and_batch_s": round(first_s, 2), "imports_mb": imports,
        "max_abs_difference": float(f"{np.abs(vectors - ours).max():.2g}"),
        "mean_cosine": round(float((vectors * ours).sum(1).mean()), 5), "by_batch_tokens": sizes,
    }  # fmt: skip


def child(options: argparse.Namespace, job: str, scratch: Path) -> dict[str, Any]:
    """Run this script on one job; return its row, or why there is none."""
    command = [sys.executable, __file__, "--base", options.base, "--one", job, str(scratch)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor")}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line] or ["no message"]
        return {"absent": re.sub(r"/\S+", "…", lines[-1])[:200]}  # paths of this machine are nobody else's business
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def one(job: str, folder: str, scratch: Path) -> dict[str, Any]:
    """Do one job: export, quantise, or measure a system."""
    if job == "float32":
        return export(folder, scratch / GRAPHS[job])
    if job in GRAPHS:
        return quantise(scratch / GRAPHS["float32"], scratch / GRAPHS[job])
    return measure(job, folder, scratch)


def write_batches(options: argparse.Namespace, scratch: Path) -> None:
    """Write the batches and the query as arrays: runtimes other than torch need not import it."""
    import torch

    arrays: dict[str, Any] = {}
    for size, threads in SIZES.items():
        write_plan(options, options.base, 1, threads, scratch / "plan.pt")
        plan = torch.load(scratch / "plan.pt")
        arrays[f"{size}_n"] = len(plan["rows"])
        for i, (ids, mask, *_) in enumerate(plan["rows"]):
            arrays |= {f"{size}_{i}_ids": ids.numpy(), f"{size}_{i}_mask": mask.long().numpy()}
        arrays |= {"query_ids": plan["query"][0].numpy(), "query_mask": plan["query"][1].long().numpy()}
    np.savez(scratch / "plan.npz", **arrays)


def run_all(options: argparse.Namespace, scratch: Path) -> None:
    packages = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino")
    report: dict[str, Any] = {
        "question": " ".join(__doc__.split("\n\n")[0].split()),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "threads": 1,
                    "python": platform.python_version(), **{name: version(name) for name in packages}},
        "adapter": ADAPTER, "graphs": {}, "rows": [],
    }  # fmt: skip
    write_batches(options, scratch)
    for system in options.systems:
        runtime, _, kind = system.partition(" ")
        wanted = {"onnxruntime": ["float32", kind], "openvino": ["float32"]}.get(runtime, [])
        for graph in wanted:
            if graph not in report["graphs"]:
                done = child(options, graph, scratch)
                files = scratch.glob(GRAPHS[graph] + "*")
                report["graphs"][graph] = done | {"file_mb": sum(file.stat().st_size for file in files) // 10**6}
                print(graph, report["graphs"][graph], flush=True)
        load = round(os.getloadavg()[0], 2)
        row = {"system": system, "load_average": load, **child(options, system, scratch)}
        report["rows"].append(row)
        print(row, flush=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="base", help="a checkpoint of the base size (benchmarks/load.py makes one)")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "A")
    parser.add_argument("--texts", type=int, default=1400)
    parser.add_argument("--batches", type=int, default=2, help="of 2,048 tokens, or as many smaller ones")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "backends.json")
    parser.add_argument("--one", nargs=2, metavar=("JOB", "SCRATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], options.base, Path(options.one[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        run_all(options, Path(scratch))


if __name__ == "__main__":
    main()
