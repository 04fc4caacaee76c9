"""Searching and building beside other engines, and searching under filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .page import Json, Results, Section, machine_of, number, table
from .plots import Panel, Plot, Series

CORPORA = {
    "real-4200": "4,200 real passages",
    "real-10000": "10,000 real passages",
    "real-100000": "100,000 real passages",
    "mixed-100000": "100,000 mixtures of these",
    "mixed-1000000": "1,000,000 mixtures of these",
    "synthetic-100000": "100,000 synthetic, without topics",
    "synthetic-1000000": "1,000,000 synthetic, without topics",
}
SYSTEMS = {
    "ours": "this package",
    "ours, int8": 'this package, `storage="int8"`',
    "ours, int4": 'this package, `storage="int4"`',
    "ours, pooling 2": "this package, `pooling=2`",
    "ours, int4, pooling 2": 'this package, `storage="int4", pooling=2`',
    "exact MaxSim": "exact MaxSim in torch",
    "WARP, 4 bit": "WARP (xtr-warp-rs), 4 bit",
    "WARP, 2 bit": "WARP (xtr-warp-rs), 2 bit",
    "colbert-ai PLAID, 4 bit": "colbert-ai PLAID, 4 bit",
    "colbert-ai PLAID, 2 bit": "colbert-ai PLAID, 2 bit",
    "fast-plaid, 4 bit": "fast-plaid, 4 bit",
    "fast-plaid, 2 bit": "fast-plaid, 2 bit",
    "LanceDB IVF_PQ": "LanceDB IVF_PQ",
}
ENGINES = ("this package", "WARP", "colbert-ai PLAID", "fast-plaid", "LanceDB")  # what names of systems begin with
SETTINGS = {"fast": "`force_fast=True`", "exact": "`exact=True`", "torch": ""}
GROWING = ("real-4200", "real-10000", "real-100000", "mixed-1000000")
BUILD, MANY, STAGE = "build", "many queries in one call", "default, first stage alone"
FILTERED = {
    "no filter": "no filter", "1 in 1": "every passage", "1 in 10": "1 passage in 10", "1 in 1000": "1 in 1,000",
    "1 in 100000": "1 in 100,000",
}  # fmt: skip
PLAID = "colbert-ai PLAID, 4 bit"
STEPS = {  # of a query, by their names in `shortcuts.py`
    "brief query": "pooling the query",
    "first stage": "the first stage",
    "short list": "scoring all candidates by their codes",
    "ranking": "ranking the best by both files",
}
ASKED = {"colbert-ai PLAID": 0.15, "fast-plaid": 0.15, "WARP": 0.5}  # of each one's time, at no worse overlap
OLDER = (
    "Measured with the engine before `index.db` and NumKong: build, disk, memory and the times of this package are not "
    "today's, nor is what `force_fast=True` finds: it had half of today's candidates and probes. "
    "[Above](#search-beside-other-engines) are today's, on a machine without VNNI."
)

Rows = dict[tuple[str, str, str, int], Json]


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    without, with_vnni = results.get("search-avx2"), results.get("search-vnni")
    if without:
        yield _search(without, "Search beside other engines", "search-avx2", list(_limits(without)))
        yield _sizes(without)
        yield _asked(without, results.get("shortcuts-avx2") or {"rows": []})
        yield _growth(without)
    if with_vnni:
        yield _search(with_vnni, "Search beside other engines, with VNNI", "search-vnni", [OLDER, *_older(with_vnni)])
        yield _filters(with_vnni)


def rows_of(result: Json) -> Rows:
    """Return the rows by corpus, system, setting and threads."""
    return {(r["corpus"], r["system"], r["setting"], r["threads"]): r for r in result["rows"]}


def searches(rows: Rows, corpus: str, system: str) -> dict[str, Json]:
    """Return the rows of searches for the best ten on one thread, by setting."""
    return {
        key[2]: row
        for key, row in rows.items()
        if key[:2] == (corpus, system) and key[3] == 1 and "overlap" in row and key[2] != STAGE
    }


# ---- beside other engines


def _search(result: Json, title: str, name: str, limits: Sequence[str]) -> Section:
    rows = rows_of(result)
    corpora = {name: what for name, what in CORPORA.items() if name in result["corpora"]}
    described = [
        f"{what} with {number(given['tokens'] / given['passages'])} tokens each and {given['queries']} queries"
        for name, what in corpora.items()
        for given in [result["corpora"][name]]
    ]
    how = (
        "Overlap is the share of the exact top 10 that is found. MRR@10 is in percent. Milliseconds for a query are "
        "CPU time on one thread, and the time that passes on two. Resident memory is measured during searches; the "
        "part that is not mapped files is in brackets. A build does not include encoding. The floor is the time that "
        "the arithmetic alone takes at the machine's rate of 8-bit products, "
        f"{number(result['machine']['int8_gops_one_thread'])} G a second.\n\n"
        f"Collections: {'; '.join(described)}. The real ones are token vectors of LibreOffice's help in the demo "
        "checkpoint; the mixtures are halves of two of them, moved a little."
    )
    return Section(
        title,
        "How good, how fast and how large is an index, beside the engines that people use for late interaction?",
        ("search.py", f"{name}.json"),
        machine_of(result),
        how
        + "\n\n"
        + "\n\n".join(_corpus(name, what, rows, result["corpora"][name]) for name, what in corpora.items()),
        _overlap_plot(rows, name, [corpus for corpus in corpora if corpus != "mixed-100000"]),  # real ones say more
        limits,
    )


def _corpus(corpus: str, what: str, rows: Rows, given: Json) -> str:
    header = ["", "overlap@10", "MRR@10", "ms, 1 thread", "ms, 2 threads", "resident MB", "build, CPU s",
              "build, peak MB", "bytes a token"]  # fmt: skip
    body: list[list[object]] = []
    for system, name in SYSTEMS.items():
        build = rows.get((corpus, system, BUILD, 1), {})
        settings = [key[2] for key in rows if key[:2] == (corpus, system) and key[3] == 1]
        for setting in settings:
            row = rows[corpus, system, setting, 1]
            if "absent" in row:
                body.append([f"{name}: {row['absent']}", *[""] * 8])
            if setting in (BUILD, MANY, STAGE) or "absent" in row:
                continue
            first = setting == next((s for s in ("default", *settings) if s in settings and s != BUILD), None)
            body.append(_line(_named(name, setting, given), row, rows.get((corpus, system, setting, 2)),
                              build if first and system != "exact MaxSim" else {}))  # fmt: skip
    many = [rows[key] for key in rows if key[0] == corpus and key[1] == "ours" and key[2] == MANY]
    said = "".join(
        f" {row['queries']:,} queries in one call take {number(row['wall_s'])} s on {_threads(row['threads'])}."
        for row in many[:1]
    )
    stage = rows.get((corpus, "ours", STAGE, 1))
    if stage:
        said = (
            f" The first stage alone takes {number(_ms(stage))} ms, and its candidates hold {number(stage['overlap'])} "
            f"of the exact ten.{said}"
        )
    floor = (
        f"The floor of the default is {number(given['floor_ms_default'])} ms for 32 rows of a query; similar rows "
        "count as one, so that it can be passed."
    )
    return f"### {what}\n\n{table(header, body)}\n\n{floor}{said}"


def _threads(n: int) -> str:
    return "one thread" if n == 1 else f"{n} threads"


def _named(name: str, setting: str, given: Json) -> str:
    shown = SETTINGS.get(setting, setting)
    if setting == "exact":
        shown += f" (floor: {number(given['floor_ms_exact'])} ms)"
    return f"{name}, {shown}" if shown else f"{name} (floor: {number(given['floor_ms_exact_by_torch'])} ms)"


def _line(name: str, row: Json, second: Json | None, build: Json) -> list[object]:
    return [
        f"**{name}**" if name == "this package, default" else name,
        number(row.get("overlap")), f"{row['mrr@10']:.1f}" if "mrr@10" in row else "",
        number(_ms(row)), number(second.get("again_wall_ms", second["wall_ms"])) if second else "",
        f"{row['resident_mb']:,} ({row['anonymous_mb']:,})",
        number(build["cpu_s"]) if build else "", f"{build['peak_mb']:,}" if build else "",
        number(build["bytes_per_token"]) if build else "",
    ]  # fmt: skip


def _ms(row: Json) -> float:
    ms: float = row.get("again_cpu_ms", row["cpu_ms"])  # of the second round, if there was one
    return ms


def _overlap_plot(rows: Rows, name: str, corpora: Sequence[str]) -> Plot:
    shown = ("ours", "ours, int4", "WARP, 4 bit", "colbert-ai PLAID, 4 bit", "fast-plaid, 4 bit", "LanceDB IVF_PQ")
    panels = []
    for corpus in corpora:
        points = {
            system: sorted((_ms(row), row["overlap"]) for row in searches(rows, corpus, system).values())
            for system in shown
        }
        series = [
            Series(SYSTEMS[system].replace("`", ""), [x for x, _ in some], [y for _, y in some])
            for system, some in points.items()
            if some
        ]
        if len(series) > 1:
            panels.append(Panel(CORPORA[corpus], series))
    return Plot(
        name, "Overlap with the exact ten against the time for a query: this package and other engines, by size",
        "CPU ms for a query", "overlap@10 with exact search", panels, log_x=True,
    )  # fmt: skip


# ---- latency by size


def _growth(result: Json) -> Section:
    rows, body, series = rows_of(result), [], []
    given = {name: each["passages"] for name, each in result["corpora"].items() if name in GROWING}
    sizes = dict(sorted(given.items(), key=lambda item: item[1]))
    lines = [("ours", "fast"), ("ours", "default"), ("ours", "exact")]
    lines += [(system, None) for system in ("exact MaxSim", PLAID, "LanceDB IVF_PQ")]
    for system, setting in lines:
        found = {corpus: searches(rows, corpus, system) for corpus in sizes}
        wanted = {corpus: its.get(setting or _default(its)) for corpus, its in found.items() if its}
        ms = {corpus: _ms(row) for corpus, row in wanted.items() if row}
        name = SYSTEMS[system] + (f", {SETTINGS.get(setting, setting)}" if setting else "")
        body.append([name, *(number(ms.get(corpus)) for corpus in sizes)])
        series.append(Series(name.replace("`", ""), [sizes[corpus] for corpus in ms], list(ms.values())))
    return Section(
        "Latency by size",
        "How does the time for a query grow with the number of passages?",
        ("search.py", "search-avx2.json"),
        machine_of(result),
        "CPU milliseconds for a query on one thread, by number of passages; the million are mixtures. Engines without "
        "a setting are in their default one. What each finds is in the section above.\n\n"
        + table(["", *(f"{size:,}" for size in sizes.values())], body),
        Plot("latency", "Milliseconds for a query against the number of passages", "passages", "CPU ms for a query",
             [Panel("", series)], log_x=True, log_y=True),
    )  # fmt: skip


# ---- bytes against quality


def _sizes(result: Json) -> Section:
    rows, panels, body = rows_of(result), [], []
    for corpus in (name for name in CORPORA if name.startswith("real")):
        points: dict[str, list[tuple[float, float]]] = {engine: [] for engine in ENGINES}
        for system, name in SYSTEMS.items():
            build, found = rows.get((corpus, system, BUILD, 1), {}), searches(rows, corpus, system)
            if "bytes_per_token" not in build or not found or system == "exact MaxSim":
                continue
            setting, best = _default(found), max(found.values(), key=lambda row: row["overlap"])
            row = found[setting]
            points[next(engine for engine in ENGINES if name.startswith(engine))].append(
                (build["bytes_per_token"], row["mrr@10"])
            )
            body.append([
                f"{CORPORA[corpus]}: {name}", number(build["bytes_per_token"]), number(row["overlap"]),
                f"{row['mrr@10']:.1f}", number(_ms(row)), number(best["overlap"]), f"{best['mrr@10']:.1f}",
            ])  # fmt: skip
        series = [
            Series(engine, [x for x, _ in sorted(some)], [y for _, y in sorted(some)])
            for engine, some in points.items()
            if some
        ]
        if series:
            panels.append(Panel(CORPORA[corpus], series))
    header = ["", "bytes a token", "overlap@10", "MRR@10", "ms", "overlap@10, most accurate setting", "MRR@10"]
    exact = ", ".join(
        f"{row['mrr@10']:.1f} over {CORPORA[key[0]]}"
        for key, row in rows.items()
        if key[1:3] == ("exact MaxSim", "torch")
    )
    return Section(
        "Size and quality beside other engines",
        "What does a smaller index lose, here and elsewhere?",
        ("search.py", "search-avx2.json"),
        machine_of(result),
        "Bytes on the disk for each token vector that was given, in the default setting of each engine and in its most "
        f"accurate one of those measured. MRR@10 of exact MaxSim is {exact}.\n\n" + table(header, body),
        Plot("sizes", "MRR@10 in the default setting against bytes a token: this package and other engines",
             "bytes a token", "MRR@10, %", panels, log_x=True),
    )  # fmt: skip


def _default(found: dict[str, Json]) -> str:
    return "default" if "default" in found else next(iter(found))


# ---- what was asked


def _asked(result: Json, steps: Json) -> Section:
    rows, body = rows_of(result), []
    for corpus, said in CORPORA.items():
        own = [
            (_ms(row), row["overlap"], f"{SYSTEMS[system]}, {SETTINGS.get(setting, setting)}")
            for system in SYSTEMS
            if system.startswith("ours")
            for setting, row in searches(rows, corpus, system).items()
        ]
        for system, name in SYSTEMS.items():
            bound = next((share for engine, share in ASKED.items() if system.startswith(engine)), None)
            for setting, row in searches(rows, corpus, system).items() if bound else ():
                equal = [each for each in own if each[1] >= row["overlap"]]
                if not equal:
                    continue
                ms, overlap, which = min(equal)
                ratio = ms / _ms(row)
                body.append([
                    f"{said}: {name}, {setting}", number(row["overlap"]), number(_ms(row)), which, number(overlap),
                    number(ms), f"{ratio:.2f}{'' if ratio <= bound else ' ✗'}", bound,
                ])  # fmt: skip
    header = ["", "overlap@10", "ms", "this package at no worse overlap", "overlap@10", "ms", "ratio", "asked"]
    return Section(
        "What was asked of a search",
        "Is this package as much faster than each engine, at no worse overlap, as it should be?",
        ("search.py", "search-avx2.json"),
        machine_of(result),
        "CPU milliseconds on one thread; of this package, the fastest setting of any storage that finds no fewer of "
        f"the exact ten. ✗: missed.\n\n{table(header, body)}\n\n{_out_of_reach(result, steps)}",
    )


def _out_of_reach(result: Json, steps: Json) -> str:
    """Say what a quick search spends its time on, where more than all of it was asked for."""
    rows, said = rows_of(result), []
    for step in (row for row in steps["rows"] if row["setting"] == "fast"):
        peer = rows.get((step["corpus"], PLAID, "default", 1), {})
        bound = ASKED["colbert-ai PLAID"] * _ms(peer) if "overlap" in peer else 0.0
        if sum(step["ms"][name] for name in STEPS) > bound > 0:
            parts = ", ".join(f"{number(step['ms'][name], 2)} for {what}" for name, what in STEPS.items())
            said.append(f"over {CORPORA[step['corpus']]}, {number(bound)} ms are asked; it takes {parts}")
    return (
        "PLAID's quick settings find fewer of the exact ten than the others, and are not passed as far as was asked. "
        f"The milliseconds of `force_fast=True`: {'; '.join(said)}. "
        "PLAID looks most scores up by centroid."
    )


# ---- limits


def _limits(result: Json) -> Iterator[str]:
    """Yield what the measurement does not show."""
    loads = [row["load_average"] for row in result["rows"] if "overlap" in row]
    yield (
        f"Other work was done on the machine (load average {number(min(loads))} to {number(max(loads))} in the rows): "
        "CPU time is counted, not the time that passes, and caches were shared."
    )
    missing = [what for name, what in CORPORA.items() if name not in result["corpora"]]
    if missing:
        yield f"Not measured on this machine: {'; '.join(missing)}."
    measured = {row["system"] for row in result["rows"] if "absent" not in row}
    if absent := [name for system, name in SYSTEMS.items() if system not in measured]:
        yield f"Engines and storages that were not measured: {'; '.join(absent)}."
    if any(row["system"].startswith("WARP") for row in result["rows"]):
        yield (
            "WARP keeps its vectors twice, in chunks and sorted by centroid, and a search reads the latter: about half "
            "of its bytes would do. It builds in half precision, for which this CPU has no instructions: slowly."
        )
    yield (
        "WARP and fast-plaid were not built over 100,000 passages. WARP's k-means was stopped after ten CPU minutes, a "
        "sixth of it; over 10,000 passages, its build and fast-plaid's take 12 to 14 minutes."
    )
    yield "next-plaid was not measured."


def _older(result: Json) -> Iterator[str]:
    rows = rows_of(result)
    for corpus in ("synthetic-1000000", "synthetic-100000"):
        share = rows[corpus, "ours", "default", 1]["overlap"]
        yield (
            f"Of {CORPORA[corpus].split()[0]} synthetic passages, whose tokens have nothing to do with each other, the "
            f"default finds {number(share)} of the exact ten. Use `exact=True` for such a collection."
        )
    hundred, million = (rows[corpus, "ours", "default", 1] for corpus in ("real-100000", "mixed-1000000"))
    yield (
        f"From 100,000 passages to a million, a query takes {number(_ms(million) / _ms(hundred), 2)} times as long, "
        f"and the default's overlap goes from {number(hundred['overlap'])} to {number(million['overlap'])}."
    )
    yield (
        "fast-plaid's build over 100,000 passages was stopped at the limit of an hour. colbert-ai was not run over a "
        "million, and neither was run in 2 bits over 100,000."
    )
    yield (
        "Rows are not all of one run: fast-plaid, colbert-ai in 2 bits and at 100,000, and exact MaxSim in torch come "
        "from earlier runs, and other work was done beside some of them (`load_average` in each row)."
    )


def _filters(result: Json) -> Section:
    rows = {(r["corpus"], r["setting"]): r for r in result["rows"] if r["system"] == "ours, with filters"}
    corpora = [corpus for corpus in CORPORA if (corpus, "no filter") in rows]
    body = [
        [said, *(number(_ms(rows[corpus, setting])) for corpus in corpora)]
        for setting, said in FILTERED.items()
        if all((corpus, setting) in rows for corpus in corpora)
    ]
    return Section(
        "Filters",
        "What does a search cost under a filter, from one that admits everything to one that admits almost nothing?",
        ("search.py", "search-vnni.json"),
        machine_of(result),
        "CPU milliseconds for a query on one thread, in the default setting, once the filter was used before. Every "
        "answer was full.\n\n" + table(["the filter admits", *(CORPORA[corpus] for corpus in corpora)], body),
        missed=(
            "A broad filter's first query is not in the table: it asks the database about the candidates only, and the "
            "second looks up all that the filter admits, which is remembered.",
            "Measured with the storage engine before `index.db`. `benchmarks/index.py` compares it with today's.",
        ),
    )
