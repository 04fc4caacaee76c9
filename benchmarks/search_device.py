"""Exact MaxSim over every passage on a GPU: milliseconds, beside torch and the fused kernels on PyPI.

    python benchmarks/search_device.py [--passages 1000000] [--length 80] [--queries 1 64] [--device cuda] [--out FILE]

Vectors are random unit ones: their values do not change what a kernel does. All systems score the same passages in the
same process; those that are not installed (``late-interaction-kernels``, ``flash-maxsim``) or do not work say why.
A time is the best of ten, from when the device is idle until it is idle again. Beside it stand the share of the rate at
which the device reads memory, counting each vector once, and that of its rate for products of float16 matrices, both
measured here: the larger of them says how near the floor a system is. On a CPU it shows that the script works.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from ragatouille_xm import scoring

DIM, ROWS, REPEATS = 128, 32, 10
AT_ONCE = 2**24 // DIM  # vectors in one call of a kernel that counts numbers with 31 bits
HERE = Path(__file__).parent


class Data:
    """Queries, and passages of equal length in both storages."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.device, self.length = torch.device(given.device), given.length
        self.vectors = torch.empty(given.passages * given.length, DIM, dtype=torch.float16, device=self.device)
        for some in self.vectors.split(2**20):
            some.copy_(normalize(torch.randn(some.shape, device=self.device), dim=1))
        self.lengths = torch.full((given.passages,), given.length, device=self.device)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.queries = normalize(torch.randn(max(given.queries), ROWS, DIM, device=self.device), dim=2)

    def in_integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        codes = torch.empty(self.vectors.shape, dtype=torch.int8, device=self.device)
        scales = torch.empty(len(codes), device=self.device)
        for first in range(0, len(codes), 2**20):
            some = self.vectors[first : first + 2**20].float() * 256
            codes[first : first + 2**20] = some.round().clamp(-127, 127)
            scales[first : first + 2**20] = 1 / codes[first : first + 2**20].float().norm(dim=1)
        return codes, scales


def systems(data: Data) -> dict[str, Callable[[], Callable[[torch.Tensor], torch.Tensor]]]:
    """Return what makes each system ready, which gives what scores queries: ``(Q, q, dim)`` → ``(Q, n)``."""

    def ours(storage: str) -> Callable[[torch.Tensor], torch.Tensor]:
        from ragatouille_xm.scoring_triton import maxsim

        if storage == "float16":
            return lambda queries: maxsim(queries, data.vectors, data.starts, data.lengths)
        codes, scales = data.in_integers()
        return lambda queries: maxsim(queries, codes, data.starts, data.lengths, scales)

    def by_torch() -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda queries: scoring._unfused(queries, data.vectors, data.starts, data.lengths, None)

    def in_calls(score: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]) -> Any:
        """Return what scores a block of passages at a time, whose ends are counted from its start."""
        n = AT_ONCE // data.length
        blocks = data.vectors.split(n * data.length)
        ends = [torch.arange(0, len(b) + 1, data.length, dtype=torch.int32, device=data.device) for b in blocks]
        return lambda queries: torch.cat([score(queries, b, e) for b, e in zip(blocks, ends, strict=True)], 1)

    def late_interaction_kernels() -> Callable[[torch.Tensor], torch.Tensor]:
        from late_interaction_kernels import maxsim_varlen

        def score(queries: torch.Tensor, vectors: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
            starts = torch.arange(0, len(queries) * ROWS + 1, ROWS, dtype=torch.int32, device=data.device)
            return maxsim_varlen(queries.flatten(0, 1).half(), vectors, starts, ends, ROWS, data.length)

        return in_calls(score)

    def flash_maxsim() -> Callable[[torch.Tensor], torch.Tensor]:
        from flash_maxsim import flash_maxsim

        def score(queries: torch.Tensor, vectors: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
            return torch.stack([flash_maxsim(query.half(), vectors, doc_lengths=ends) for query in queries])

        return in_calls(score)

    return {
        "ours, float16": lambda: ours("float16"),
        "ours, int8": lambda: ours("int8"),
        "torch": by_torch,
        "late-interaction-kernels": late_interaction_kernels,
        "flash-maxsim": flash_maxsim,
    }


def seconds(device: torch.device, call: Callable[[], object], repeats: int = REPEATS) -> float:
    taken = []
    for _ in range(repeats + 1):  # the first compiles
        idle(device)
        start = time.perf_counter()
        call()
        idle(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def idle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rates(device: torch.device) -> dict[str, float]:
    """Return what the device reaches: GB read in a second, and TFLOP of products of float16 matrices."""
    size = 2**30 if device.type == "cuda" else 2**26
    numbers, side = torch.ones(size // 2, dtype=torch.float16, device=device), 8192 if device.type == "cuda" else 512
    square = torch.ones(side, side, dtype=torch.float16, device=device)
    return {
        "read_gb_s": size / seconds(device, numbers.amax) / 1e9,
        "float16_tflops": 2 * side**3 / seconds(device, lambda: square @ square) / 1e12,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--length", type=int, default=80, help="tokens of a passage")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "search_device.json")
    given = parser.parse_args()
    torch.manual_seed(0)
    data = Data(given)
    reached = rates(data.device)
    name = torch.cuda.get_device_name(data.device) if data.device.type == "cuda" else "CPU"
    report: dict[str, Any] = {
        "question": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "machine": {"device": name, "torch": torch.__version__} | {key: round(r, 3) for key, r in reached.items()},
        "passages": given.passages, "tokens_of_each": given.length, "rows_of_a_query": ROWS, "rows": [],
    }  # fmt: skip
    right = scoring._unfused(data.queries[:1], data.vectors, data.starts, data.lengths, None)
    for system, ready in systems(data).items():
        row: dict[str, Any] = {"system": system}
        try:
            score = ready()
            row["worst_error"] = round(float((score(data.queries[:1]) - right).abs().max()), 4)
            for count in given.queries:
                queries = data.queries[:count]
                taken = seconds(data.device, lambda queries=queries, score=score: score(queries))  # type: ignore[misc]
                read = data.vectors.numel() * (1 if "int8" in system else 2) / taken / 1e9
                computed = 2 * ROWS * count * data.vectors.numel() / taken / 1e12
                row[f"{count} queries"] = {
                    "ms": round(1000 * taken, 2),
                    "of_memory_rate": round(read / reached["read_gb_s"], 3),
                    "of_float16_rate": round(computed / reached["float16_tflops"], 3),
                }
        except Exception as error:
            row["absent"] = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        report["rows"].append(row)
        print(json.dumps(row), flush=True)
        if data.device.type == "cuda":
            torch.cuda.empty_cache()
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
