"""How fast are inner products of 8-bit integers on this machine, and what is a search by each kind of them?

    python benchmarks/kernels.py SOURCE [--passages 300 1000] [--queries 20] [--without alder icelake ...]

Products of 100,000 tokens with 8 and with 32 rows of a query, 128 numbers each, 4,096 tokens at a time as a search has
them; then the maximum over each passage of 100. ``SOURCE`` holds token vectors of real passages and queries
(`benchmarks/search_peers/encode.py`): an index of so many passages of each language is fitted, assigned and searched
by NumKong, and by float32 products as it was done before without 8-bit instructions, in turn. Milliseconds are CPU
time on one thread: of products the least of all rounds, of searches the median over queries of the least of each.

``--without`` keeps NumKong from using kernels that this machine has; set ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY for
the others. The floor is the operations over the rate that NumKong reaches with 1,024 rows of 1,024 numbers on each
side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numkong
import numpy as np
import torch
from first_stage import SETTINGS, K, build
from inside import search_of
from machine import cpu, instructions
from shortcuts import pooled

from ragatouille_xm.index.local import search as searching
from ragatouille_xm.index.local import vectors
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.search import Search, rank, shortlist
from ragatouille_xm.index.local.vectors import SCORED_BLOCK
from ragatouille_xm.index.quantization import codebook, query
from ragatouille_xm.index.quantization.codebook import Codebook
from ragatouille_xm.index.quantization.products import dot_products
from ragatouille_xm.index.quantization.scalar import quantize_shared

DIM, TOKENS, PASSAGE, ROUNDS = 128, 100_000, 100, 15
LONG = 1024  # rows and their numbers, for the floor
SEARCHED = ("force_fast", "the default", "exact")
BEFORE_BLOCK = 16_384  # scored at once before

Products = Callable[[int, int], Any]  # of the tokens from the first to before the last


def by_floats(left: Any, right: Any) -> Any:
    """Multiply as it was done without 8-bit instructions: exact, since sums are below 2^24."""
    return (torch.from_numpy(left).float() @ torch.from_numpy(right).float().T).to(torch.int32).numpy()


def by_int_mm(left: Any, right: Any) -> Any:
    return torch._int_mm(torch.from_numpy(left), torch.from_numpy(right).T).numpy()


class OneDNN:
    """Products of unsigned integers with signed ones of 7 bits: pairs of them fit into 16 bits, without VNNI."""

    def __init__(self, right: Any) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(torch.from_numpy(right), None)
        self._ones, self._zeros = torch.ones(len(right)), torch.zeros(len(right), dtype=torch.int64)

    def __call__(self, left: torch.Tensor) -> Any:
        ones, zeros = self._ones, self._zeros
        return torch.ops.onednn.qlinear_pointwise(
            left, 1.0, 128, self._packed, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        ).numpy()


def cpu_ms(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def ways(codes: Any, rows: Any) -> dict[str, tuple[Products, Any]]:
    """Return how to multiply a run of codes, and what must come out."""
    expected = codes.astype(np.float64) @ rows.T.astype(np.float64)
    seven = (rows // 2).astype(np.int8)
    floats, rows_as_floats = torch.from_numpy(codes).float(), torch.from_numpy(rows).float()
    unsigned = (torch.from_numpy(codes).to(torch.int16) + 128).to(torch.uint8)
    onednn = OneDNN(seven)
    return {
        "NumKong": (lambda first, end: dot_products(codes[first:end], rows), expected),
        "torch, as floats (before)": (lambda first, end: by_floats(codes[first:end], rows), expected),
        "torch._int_mm (before, with VNNI)": (lambda first, end: by_int_mm(codes[first:end], rows), expected),
        "oneDNN, 7-bit queries": (lambda first, end: onednn(unsigned[first:end]), codes.astype(float) @ seven.T),
        "float32 alone, codes being floats": (
            lambda first, end: (floats[first:end] @ rows_as_floats.T).numpy(), expected,
        ),
    }  # fmt: skip


def measure_products(n_rows: int, rate: float) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    codes, rows = (generator.integers(-127, 128, (n, DIM), np.int8) for n in (TOKENS, n_rows))
    starts = np.arange(0, SCORED_BLOCK // PASSAGE * PASSAGE, PASSAGE)
    step = len(starts) * PASSAGE
    spans = [(first, min(first + step, TOKENS)) for first in range(0, TOKENS, step)]
    multiplied = ways(codes, rows)
    exact = {
        name: bool((np.concatenate([multiply(*span) for span in spans]) == expected).all())
        for name, (multiply, expected) in multiplied.items()
    }

    def maxima(multiply: Products) -> None:
        for first, end in spans:
            np.maximum.reduceat(multiply(first, end), starts[: (end - first) // PASSAGE])

    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, (multiply, _) in multiplied.items():
            taken[name, "products"].append(cpu_ms(lambda multiply=multiply: [multiply(*span) for span in spans]))
            taken[name, "and_maxima"].append(cpu_ms(lambda multiply=multiply: maxima(multiply)))
    operations = 2 * TOKENS * n_rows * DIM
    return [
        {
            "way": name,
            "rows": n_rows,
            "ms_products": round(min(taken[name, "products"]), 2),
            "ms_with_maxima": round(min(taken[name, "and_maxima"]), 2),
            "gops": round(operations / min(taken[name, "products"]) / 1e6, 1),
            "exact": exact[name],
            "floor_ms": round(operations / rate / 1e6, 2),
        }
        for name in exact
    ]


def best_rate() -> float:
    """Return billions of operations a second where rows are long, and little time goes into anything else."""
    left, right = (np.random.default_rng(n).integers(-127, 128, (LONG, LONG), np.int8) for n in (0, 1))
    packed = numkong.dots_pack(right)
    return 2 * LONG**3 / min(cpu_ms(lambda: numkong.dots_packed(left, packed)) for _ in range(30)) / 1e6


def before() -> ExitStack:
    """Search and fit as before: a query's rows were on the left, and more tokens scored at once."""
    stack = ExitStack()
    stack.enter_context(patch.object(query, "dot_products", lambda codes, rows: by_floats(rows, codes).T))
    stack.enter_context(patch.object(codebook, "dot_products", by_floats))
    stack.enter_context(patch.object(vectors, "SCORED_BLOCK", BEFORE_BLOCK))
    return stack


def real(source: Path, passages: int, queries: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return vectors and lengths of so many passages of each language, and so many queries of each."""
    parts, lengths = [], []
    for path in sorted((source / "A").glob("*.npz")):
        with np.load(path) as part:
            lengths.append(part["lengths"][:passages])
            parts.append(part["vectors"][: lengths[-1].sum()])
    asked = np.load(source / "queries.npz")["queries"]
    some = asked[:: max(len(asked) // (queries * len(lengths)), 1)].astype(np.float32)
    return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(np.concatenate(lengths)), torch.from_numpy(some)


def measure_search(source: Path, folder: Path, passages: int, n_queries: int) -> dict[str, Any]:
    tokens, lengths, queries = real(source, passages, n_queries)
    build(folder, tokens, lengths)
    result: dict[str, Any] = {"passages": len(lengths), "tokens": len(tokens), "queries": len(queries)}
    with search_of(folder, K) as (search_steps, snapshot):
        fitted = snapshot.codebook
        result["ms_of_the_default's_steps"] = steps(search_steps, queries.numpy())
    assert fitted is not None
    codes = quantize_shared(tokens[: 2**17])[0]
    for name, call in {
        "fitting": lambda: Codebook.fit_codes(codes, len(fitted)).centroids.numpy().tobytes(),
        "assigning": lambda: fitted.assign_codes(codes).tobytes(),
    }.items():
        result[f"{name}_131072_tokens"] = compare(lambda _, call=call: call(), [0], 3)
    index = LocalIndex.open(folder)
    for name in SEARCHED:

        def search(number: int, name: str = name) -> bytes:
            hits = index.search(queries[number : number + 1], K, config=SETTINGS[name])
            return bytes(hits.pids.tobytes() + hits.scores.tobytes())

        result[name] = compare(search, list(range(len(queries))), 3 if name == "exact" else 7)
    index.close()
    return result


def steps(search: Search, queries: Any) -> dict[str, float]:
    """Return CPU milliseconds of each step of a query, and within scoring all candidates by their codes."""
    taken: dict[str, list[list[float]]] = defaultdict(list)

    def step(name: str, call: Callable[[], Any]) -> Any:
        results: list[Any] = []
        taken[name].append([cpu_ms(lambda: results.append(call())) for _ in range(5)])
        return results[-1]

    for rows in queries:
        asked = step("rounding and pooling", lambda rows=rows: pooled(rows))
        chosen = step("first stage", lambda asked=asked: search._candidates(asked))
        few = step(
            "candidates by codes", lambda asked=asked, chosen=chosen: shortlist(asked, chosen, searching.SHORTLIST * K)
        )
        step("ranking the short list", lambda asked=asked, few=few: rank(asked, few, K))
        blocks = [
            (view.segment.vectors, block)
            for view, numbers in chosen
            for block in view.segment.vectors.blocks(numbers, SCORED_BLOCK)
        ]
        codes = step(
            "of candidates by codes: copying",
            lambda blocks=blocks: [stored.take(block, residuals=False).codes for stored, block in blocks],
        )
        step(
            "of candidates by codes: products",
            lambda codes=codes, asked=asked: [dot_products(each, asked.pooled.codes) for each in codes],
        )
    return {name: round(statistics.median(min(each) for each in values), 2) for name, values in taken.items()}


def compare(call: Callable[[int], bytes], numbers: list[int], rounds: int) -> dict[str, Any]:
    """Return CPU milliseconds before and now, in turn, and whether the same came out."""
    taken: dict[str, dict[int, list[float]]] = {"before": defaultdict(list), "now": defaultdict(list)}
    found: dict[str, list[bytes]] = {}
    for _ in range(rounds):
        for way, entered in (("before", before()), ("now", ExitStack())):
            with entered:
                found[way] = []
                for number in numbers:
                    taken[way][number].append(cpu_ms(lambda number=number, way=way: found[way].append(call(number))))
    ms = {way: statistics.median(min(each) for each in times.values()) for way, times in taken.items()}
    return {
        "ms_before": round(ms["before"], 2),
        "ms_now": round(ms["now"], 2),
        "ratio": round(ms["now"] / ms["before"], 3),
        "same_to_the_bit": found["before"] == found["now"],
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path)
    options.add_argument("--passages", type=int, nargs="+", default=[300, 1000], help="of each language")
    options.add_argument("--queries", type=int, default=20, help="of each language")
    options.add_argument("--without", nargs="*", default=[], help="kernels of NumKong that are not to be used")
    options.add_argument("--out", type=Path, default=Path("benchmarks/results/kernels.json"))
    given = options.parse_args()
    torch.set_num_threads(1)
    for name in given.without:
        numkong.disable_capability(name)
    rate = best_rate()
    result: dict[str, Any] = {
        "machine": f"{cpu()}, torch {torch.__version__}, NumKong {numkong.__version__}, one thread",
        "instructions": {
            "of the CPU": [
                name for name in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8") if name in instructions()
            ],
            "of NumKong": [name for name, on in numkong.get_capabilities().items() if on],
            "of torch": torch.backends.cpu.get_cpu_capability(),
            "set": {n: os.environ[n] for n in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY") if n in os.environ},
        },
        "best_gops_of_numkong": round(rate, 1),
        "products": [row for n_rows in (8, 32) for row in measure_products(n_rows, rate)],
        "searches": [],
    }
    print(json.dumps(result, indent=1), flush=True)
    for passages in given.passages:
        with tempfile.TemporaryDirectory() as folder:
            result["searches"].append(measure_search(given.source, Path(folder) / "index", passages, given.queries))
        print(json.dumps(result["searches"][-1], indent=1), flush=True)
    result["load_average"] = round(os.getloadavg()[0], 1)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
