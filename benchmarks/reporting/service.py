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
    lines = [
        [
            "queries encoded together" if row["batch_size"] > 1 else "queries encoded one by one",
            row["clients"], *(row[name] for name in measures),
        ]
        for row in result["rows"]
    ]  # fmt: skip
    parts = ("p50_ms", "cost_ms", "cpu_ms", "cost_cpu_ms")
    costs = [[row["way"], *(row[name] for name in parts)] for row in result["cost"]]
    added = {row["way"]: row["cost_cpu_ms"] for row in result["cost"]}
    own, whole = added["service, over a socket"], added["service, with RAGClient"]
    load = result["load_average"]
    missed = [
        f"Clients and service share {result['machine']['cores']} cores with whatever else ran: the load was "
        f"{load['cost']} for the first table, {load['rows']} for the second."
    ]
    if own > AIM_MS:
        missed.insert(0, f"The aim was {number(AIM_MS)} ms above a call in the process; it is {number(own)}.")
    return Section(
        "A service under load",
        "What does a service add to a search, and how many queries does it answer?",
        ("service.py", "service.json"),
        machine_of(result),
        f"Over the loopback address, {result['passages']} passages, {result['queries']} questions in turns, one thread "
        f"for the model. The service adds {number(own)} ms of processor time to a query, and {number(whole)} ms with "
        "that of `RAGClient`. Each question is asked in all three ways in turn; differences are medians, question by "
        "question. Time that passed depends on what else the machine does; processor time does not.\n\n"
        + table(["one client", "median, ms", "more than in the process", "processor, ms", "more"], costs)
        + "\n\nUnder load, with queries that come together encoded in one pass and without:\n\n"
        + table(["", "clients", "queries a second", "median, ms", "99th percentile, ms"], lines),
        missed=tuple(missed),
    )
