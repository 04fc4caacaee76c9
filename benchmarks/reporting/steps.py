"""The parts of a search and of a build: the first stage, its codebook, a query's steps, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .page import Json, Results, Section, machine_of, number, table
from .plots import Panel, Plot, Series
from .search import CORPORA, STEPS

ENGINE = (
    "Build, disk and memory are those of the storage engine before `index.db`. "
    "`benchmarks/index.py` compares it with today's."
)


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    if found := results.get("first_stage"):
        yield _first_stage(found)
    if found := results.get("shortcuts-avx2"):
        yield _shortcuts(found, "A query, step by step", "shortcuts-avx2")
    if found := results.get("shortcuts"):
        yield _shortcuts(found, "A query, step by step, with VNNI", "shortcuts")
    if found := results.get("kernels"):
        yield _kernels(found)
    if found := results.get("codebooks"):
        yield _codebooks(found)
    if found := results.get("memory"):
        yield _memory(found)


def _first_stage(result: Json) -> Section:
    sizes = result["sizes"]
    names = list(next(iter(sizes.values()))["settings"])
    shown = {"force_fast": "`force_fast=True`", "exact": "`exact=True`"}
    body = [
        [f"{size['passages']:,}", f"{size['codebook']['centroids']:,}",
         *(f"{each['overlap']:.3f} / {100 * each['mrr']:.1f} / {number(each['cpu_ms'], 2)}"
           for each in (size["settings"][name] for name in names))]
        for size in sizes.values()
    ]  # fmt: skip
    largest = list(sizes.values())[-1]
    book, floor = largest["codebook"], largest["floor_ms"]
    return Section(
        "The first stage",
        "How much of the exact top 10 does the first stage find on real texts, and what does a query cost?",
        ("first_stage.py", "first_stage.json"),
        machine_of(result),
        "Overlap with the exact top 10 / MRR@10 in percent / CPU milliseconds for a query on one thread. Sections of "
        f"LibreOffice's help in 14 languages, cut at {result['max_length']} tokens; their titles are the queries.\n\n"
        + table(["passages", "centroids", *(shown.get(name, name) for name in names)], body)
        + f"\n\nThe floor of exact search over {largest['passages']:,} passages is {number(floor['exact'])} ms, of the "
        f"default {number(floor['the default'])} ms: MaxSim's operations at the rate of 8-bit products, "
        f"{number(result['int8_gops'])} G a second. The codebook is searched in two levels: "
        f"{100 * book['tokens_at_the_nearest']:.0f} % of the tokens get their nearest centroid, and the similarity "
        f"lost is {number(book['similarity_lost'], 2)} on average.",
        missed=("`force_fast=True` had half of today's candidates and probes, and the short list was longer.",),
    )


def _shortcuts(result: Json, title: str, file: str) -> Section:
    rows = result["rows"]
    usual = [row for row in rows if row.get("setting") != "fast"]
    pruned, every = (usual[-1]["means"][f"share in the candidates{end}"] for end in ("", ", all lists"))
    columns = [f"{_said(row)} ({row['candidates']:,} candidates)" for row in rows]
    body: list[list[object]] = [[what, *(number(row["ms"][step], 2) for row in rows)] for step, what in STEPS.items()]
    body.append(["first stage with all lists, for comparison",
                 *(number(row["ms"]["first stage, all lists"], 2) for row in rows)])  # fmt: skip
    for name, what in (
        ("rows of the brief query", "rows of the pooled query, of 32"),
        ("share in the candidates", "share of the exact ten in the candidates"),
        ("share in the candidates, all lists", "the same with all lists"),
        ("share in a short list of 20", "share of the exact ten in a short list of 20"),
    ):
        body.append([what, *(number(row["means"][name]) for row in rows)])
    return Section(
        title,
        "Where does the time of a query go, and what do the shortcuts lose?",
        ("shortcuts.py", f"{file}.json"),
        machine_of(result),
        "CPU milliseconds of each step on one thread, each query asked once, and what is left of the exact ten.\n\n"
        + table(["", *columns], body),
        Plot(
            file, "Milliseconds of each step of a query in the default setting, by passages", "passages", "CPU ms",
            [Panel("", [Series(what, [CORPORA[row["corpus"]].split()[0] for row in usual],
                               [row["ms"][step] for row in usual]) for step, what in STEPS.items()])],
            bars=True, log_y=True,
        ),
        missed=(
            f"Over {CORPORA[usual[-1]['corpus']]}, the first stage leaves out the centroids of small weight, and loses "
            f"{number(every - pruned, 1)} of the exact ten for it.",
        )
        if every > pruned
        else (),
    )  # fmt: skip


def _said(row: Json) -> str:
    fast = row.get("setting") == "fast"
    return f"{CORPORA[row['corpus']]}{', `force_fast=True`' if fast else ''}"


def _kernels(result: Json) -> Section:
    counts = sorted({row["rows"] for row in result["products"]})
    by_way: dict[str, dict[int, Json]] = {}
    for row in result["products"]:
        by_way.setdefault(row["way"], {})[row["rows"]] = row
    body = [
        [way, *(f"{number(rows[n]['ms_products'])} / {number(rows[n]['ms_with_maxima'])}" for n in counts)]
        for way, rows in by_way.items()
    ]
    floors = by_way["NumKong"]
    body.append(["floor", *(number(floors[n]["floor_ms"]) for n in counts)])
    said = {
        "force_fast": "`force_fast=True`", "the default": "the default", "exact": "`exact=True`",
        "assigning_131072_tokens": "assigning 131,072 tokens", "fitting_131072_tokens": "fitting to as many",
    }  # fmt: skip
    searches = [
        [what, *(f"{number(each[name]['ms_before'])} → {number(each[name]['ms_now'])}" for each in result["searches"])]
        for name, what in said.items()
    ]
    used, first = result["instructions"], result["searches"][0]
    parts = first["ms_of_the_default's_steps"]
    return Section(
        "Products of integers",
        "How fast are inner products of 8-bit integers on a CPU without instructions for them, and a search by them?",
        ("kernels.py", "kernels.json"),
        machine_of(result),
        f"The CPU has {', '.join(used['of the CPU'])}; NumKong used its kernels {', '.join(used['of NumKong'])}, torch "
        f"those for {used['of torch']}. Milliseconds for 100,000 tokens of 128 numbers, 4,096 at a time: products / "
        "products and the maximum over each passage. All are exact; 7-bit queries are coarser ones. The floor is at "
        f"{number(result['best_gops_of_numkong'])} G operations a second, which NumKong reaches with long rows.\n\n"
        + table(["", *(f"{n} rows" for n in counts)], body)
        + "\n\nCPU milliseconds of a query, and of a codebook, by float32 products (before) → by NumKong. What comes "
        "out is the same to the bit.\n\n"
        + table(["", *(f"{each['passages']:,} passages" for each in result["searches"])], searches),
        missed=(
            "The default was to take 0.3 of its time before, which these products alone do not give: on an idle core, "
            "float32 products are nearly as fast where a query has 32 rows. Milliseconds of its steps at "
            f"{first['passages']:,} passages: " + ", ".join(f"{name} {number(ms)}" for name, ms in parts.items()) + ".",
            "CPUs with VNNI or AMX, and Arm, were not measured.",
        ),
    )


def _codebooks(result: Json) -> Section:
    rows = result["rows"]
    at = list(rows[0]["recall"])
    body = [
        [f"{row['codebook']}, {row['centroids']:,} centroids", number(row["fit_cpu_s"]), number(row["assign_cpu_s"]),
         *(number(row["recall"][n]) for n in at), number(row["similarity_to_centroid"])]
        for row in rows
    ]  # fmt: skip
    return Section(
        "Codebooks",
        "Which codebook finds most of the exact top 10, and at which cost?",
        ("codebooks.py", "codebooks.json"),
        machine_of(result),
        f"{result['passages']:,} real passages with {result['tokens']:,} tokens, {result['queries']} queries. The "
        "share of the exact top 10 among so many candidates of the first stage; CPU seconds on one thread.\n\n"
        + table(["", "fit, s", "assign, s", *(f"{n} candidates" for n in at), "similarity to the centroid"], body),
        Plot(
            "codebooks", "Share of the exact ten among the candidates, for each codebook", "candidates",
            "share of the exact ten",
            [Panel("", [Series(f"{row['codebook']}, {row['centroids']:,}", [int(n) for n in at],
                               [row["recall"][n] for n in at]) for row in rows])],
            log_x=True,
        ),
        missed=("faiss has no row for the larger codebook: it had not fitted it within the time it was given.",),
    )  # fmt: skip


def _memory(result: Json) -> Section:
    build, search = result["build"], result["search_in_a_new_process"]
    peak, adding = build["peak_mib_above_start"], build["peak_mib_above_start_while_adding"]
    rows: list[tuple[str, Any]] = [
        ("adding, s (with making the vectors)", number(build["seconds_adding_with_making_the_vectors"])),
        ("codebook and finishing, s", number(build["seconds_codebook_and_sealing"])),
        ("peak while adding, MiB resident (of its own)", f"{adding['resident']} ({adding['anonymous']})"),
        ("peak of the build, MiB resident (of its own)", f"{peak['resident']} ({peak['anonymous']})"),
        ("on disk, MiB", f"{result['disk_mib']:,}"),
        ("opening in a new process, s", number(search["seconds_opening"])),
    ]
    return Section(
        "Memory of a build",
        "How much memory, time and disk does an index of short passages take, above the model?",
        ("memory.py", "memory.json"),
        machine_of(result),
        f"{result['passages']:,} passages of {result['mean_tokens']} random token vectors in place of the encoder's, "
        "one thread; memory above that of the process at its start.\n\n" + table(["", ""], rows),
        missed=("Random vectors have no neighbours, so this says nothing about what a search finds.", ENGINE),
    )
