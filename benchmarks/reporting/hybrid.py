"""What BM25 over pieces adds to MaxSim."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table


def sections(results: Results) -> Iterator[Section]:
    """Yield the section if its results are there."""
    if found := results.get("hybrid"):
        yield _hybrid(found)


def _hybrid(result: Json) -> Section:
    return Section(
        "Hybrid search",
        "What does BM25 over the tokeniser's pieces add to MaxSim, and what does it cost?",
        ("hybrid.py", "hybrid.json"),
        machine_of(result),
        f"{_found(result['quality'])}\n\n{_costs(result['cost'])}\n\n{_times(result['speed'])}",
        missed=(
            "Case folding, the weight and the number of candidates were chosen on these queries.",
            "Other work ran beside it on the machine: of the times, only ratios mean something.",
        ),
    )


def _found(quality: Json) -> str:
    grid = {(row["texts"], row["k1"], row["b"]): row["mrr"] for row in quality["lexical"]}
    [used] = [key for key in grid if key[0] == "plain"]
    best = max((key for key in grid if key[0] == "folded"), key=lambda key: grid[key])
    sums = {(row["weight"], row["listed"]): row["mrr"] for row in quality["sums"]}
    ranks = {row["weight"]: row["mrr"] for row in quality["reciprocal_ranks"]}
    listed = sorted({n for _, n in sums})
    rows = [[f"{w:.1f}", *(f"{sums[w, n]:.1f}" for n in listed), f"{ranks[w]:.1f}"] for w in sorted(ranks)]
    return (
        f"{quality['passages']:,} sections of LibreOffice's help in 14 languages in one index, {quality['queries']} "
        f"queries, their titles; MRR@10, %. MaxSim alone has **{quality['maxsim']:.1f}**, BM25 alone "
        f"**{grid['folded', *used[1:]]:.1f}** ({grid[used]:.1f} without case folding), and both together, as "
        f"`hybrid=True` adds them, **{quality['hybrid']:.1f}** (against MaxSim, paired randomisation: "
        f"p = {quality['p']:.4f}; without case folding {quality['hybrid_plain']:.1f}). k1 and b are {used[1]} and "
        f"{used[2]}; the best of 20 pairs, {best[1]} and {best[2]}, have {grid[best]:.1f}. By the weight of BM25, "
        "and how many candidates each names; on the right, reciprocal ranks of the best 100 instead of scores:\n\n"
    ) + table(["weight", *(f"best {n}" for n in listed), "ranks"], rows)


def _costs(costs: Json) -> str:
    rows = [
        [
            f'`storage="{row["storage"]}"`',
            *(f"{row[key] / 1e6:.0f} MB" for key in ("bytes_without", "bytes_with")),
            f"{row['bytes_with'] / row['bytes_without'] - 1:.1%}",
            *(number(row[key]) for key in ("build_s_without", "build_s_with")),
        ]
        for row in costs
    ]
    return (
        "The same index without and with pieces, its texts not counted, built from vectors that are there already, in "
        f"CPU seconds. Tokenising the texts once more takes {number(costs[0]['tokenising_s'])} s.\n\n"
    ) + table(["", "bytes", "with pieces", "more", "build, s", "with pieces"], rows)


def _times(speed: Json) -> str:
    each = (
        f"{row['passages']:,} passages: {number(row['default'])} and {number(row['hybrid'])}, {row['ratio']:.2f} times"
        for row in speed
    )
    return f"CPU milliseconds of a query that is encoded already, k = 10, default and hybrid: {'; '.join(each)}."
