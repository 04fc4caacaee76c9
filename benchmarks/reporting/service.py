"""A service under load."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table

AIM_MS = 3.0


def sections(results: Results) -> Iterator[Section]:
    """Yield the section, if its result is there."""
    if found := results.get("service"):
        yield _service(found)


def _service(result: Json) -> Section:
    measures = ("per_second", "p50_ms", "p99_ms")
    lines = [["in a process, without a service", 1, *(result["in_process"][name] for name in measures)]]
    lines += [
        [
            "queries encoded together" if row["batch_size"] > 1 else "queries encoded one by one",
            row["clients"], *(row[name] for name in measures),
        ]
        for row in result["rows"]
    ]  # fmt: skip
    cost = result["cost_ms"]
    missed = [f"Clients and service share {result['machine']['cores']} cores (load {result['load_average']})."]
    if cost > AIM_MS:
        missed.insert(0, f"The aim was {number(AIM_MS)} ms above a call in the process; it is {number(cost)}.")
    return Section(
        "A service under load",
        "What does a service add to a search, and how many queries does it answer?",
        ("service.py", "service.json"),
        machine_of(result),
        f"Over the loopback address, {result['passages']} passages, {result['queries']} questions in turns, one thread "
        f"for the model. The service adds {number(cost)} ms to the median.\n\n"
        + table(["", "clients", "queries a second", "median, ms", "99th percentile, ms"], lines),
        missed=tuple(missed),
    )
