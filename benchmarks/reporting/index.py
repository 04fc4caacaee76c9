"""The index in a folder: the engine before and after its redesign, and what an adversary does to it."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table
from .plots import Panel, Plot, Series

MEASURES = {  # by group: what is shown of it, and how
    "build": {
        "cpu_s": "build, CPU s",
        "peak_anonymous_mib": "build, peak of its own memory, MiB",
        "peak_anonymous_above_start_mib": "the same, above the start of the build, MiB",
        "allocated_bytes": "folder, bytes allocated",
        "apparent_bytes": "folder, bytes as it looks",
        "files": "folder, files",
    },
    "open": {
        "open_ms": "open, ms",
        "first_answer_ms": "open and the first answer, ms",
        "written_bytes": "bytes written by opening and reading",
        "files_changed": "files changed by opening and reading",
    },
    "write": {
        "add_ms": "add a document, ms",
        "add_worst_ms": "add a document, the worst, ms",
        "update_ms": "replace a document, ms",
        "update_worst_ms": "replace a document, the worst, ms",
        "delete_ms": "delete a document, ms",
        "delete_worst_ms": "delete a document, the worst, ms",
        "copy_after_20_adds_apparent_bytes": "a plain copy after 20 additions, bytes as it looks",
        "copy_after_20_adds_files": "a plain copy after 20 additions, files",
    },
    "search": {
        "default_ms": "query, default, ms",
        "default_p95_ms": "query, default, 95th percentile, ms",
        "exact_ms": "query, exact, ms",
        "overlap": "overlap@10 of the default",
    },
    "filters": {
        f"{kind}_{use}_ms": f"{said}, {use} use, ms"
        for kind, said in (("narrow", "a narrow filter"), ("broad", "a broad filter"), ("broad_range", "a broad range"))
        for use in ("first", "second")
    },
}
PLOTTED = {
    "build": "cpu_s", "open": "open_ms", "write": "add_ms", "search": "default_ms", "filters": "broad_range_first_ms",
}  # fmt: skip


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    if found := results.get("index"):
        yield _engine(found)
    if found := results.get("attack"):
        yield _attack(found)


def _engine(result: Json) -> Section:
    sizes = result["sizes"]
    header = ["", *(f"{given['passages']:,} passages" for given in sizes.values())]
    body = [
        [said, *(_beside(given.get(group, {}).get(key)) for given in sizes.values())]
        for group, shown in MEASURES.items()
        for key, said in shown.items()
        if any(key in given.get(group, {}) for given in sizes.values())
    ]
    body.append(["queries with the same hits, default", *(_share(given) for given in sizes.values())])
    dates = sorted({given[group]["date"] for given in sizes.values() for group in MEASURES if group in given})
    loads = [given[group]["load_average"] for given in sizes.values() for group in MEASURES if group in given]
    before, after = result["before"], result["after"]
    repeated = result["repetitions"]
    how = (
        f"Before ({before['engine']}, commit {before['commit']}, {before['storage']}) → after ({after['engine']}, "
        f"commit {after['commit']}, {after['storage']}), on the same machine, in turns. A value is the median of "
        f"{repeated['rounds']} rounds of {repeated['queries']} queries, or of {repeated['changes']} changes; building "
        "and writing have one round. Real token vectors up to the size of the collection, mixtures of them beyond; "
        "nothing is encoded."
    )
    labels = [f"{given['passages']:,}" for given in sizes.values()]
    plotted = [
        Series(MEASURES[group][key], labels, [given[group][key]["ratio"] or 0 for given in sizes.values()])
        for group, key in PLOTTED.items()
        if all(given.get(group, {}).get(key) for given in sizes.values())
    ]
    return Section(
        "The index engine, before and after",
        "What did the redesign of the index in a folder change: building, opening, writing, searching, filtering?",
        ("index.py", "index.json"),
        machine_of(result | {"date": " to ".join(dict.fromkeys([dates[0], dates[-1]]))}),
        f"{how}\n\n{table(header, body)}",
        Plot(
            "index", "The index engine after its redesign, as a share of before: below 1 is better", "passages",
            "after / before", [Panel("", plotted)], bars=True, log_y=True,
        ) if plotted else None,
        (
            f"The machine's load average was between {min(loads)} and {max(loads)}: only large ratios mean something.",
            *_worse(sizes),
        ),
    )  # fmt: skip


def _beside(value: Json | None) -> str:
    return "" if value is None else f"{number(value['before'])} → {number(value['after'])}"


def _share(given: Json) -> str:
    same = given.get("search", {}).get("default_same_hits")
    return "" if same is None else f"{100 * same:.0f} %"


def _worse(sizes: Json) -> Iterator[str]:
    """Yield what takes more than before, by more than a quarter."""
    for given in sizes.values():
        worse = [
            f"{said} ({number(value['ratio'], 2)} times)"
            for group, shown in MEASURES.items()
            for key, said in shown.items()
            if (value := given.get(group, {}).get(key)) and key != "overlap" and (value["ratio"] or 0) > 1.25
        ]
        if worse:
            yield f"At {given['passages']:,} passages, these take more than before: {'; '.join(worse)}."


def _attack(result: Json) -> Section:
    kills, flips, readers = result["kills"], result["flips"], result["readers"]
    fates = [f"{count:,} {fate}" for fate, count in kills["the call was"].items()]
    outcomes = list(dict.fromkeys(outcome for counts in flips["outcomes_by_file"].values() for outcome in counts))
    by_file = [
        [f"`{name}`", *(f"{counts.get(outcome, 0):,}" for outcome in outcomes)]
        for name, counts in flips["outcomes_by_file"].items()
    ]
    counts = [
        ["kills of a writer", f"{kills['kills']:,}", f"{len(kills['faults']):,}"],
        ["flipped bits", f"{flips['flips']:,}", f"{len(flips['wrong']):,}"],
        ["answers beside a writer", f"{sum(readers['calls'].values()):,}", f"{len(readers['faults']):,}"],
    ]
    how = (
        "A fault of a kill is an index that holds neither what it held before the interrupted call nor what it was to "
        "hold after it; of a flipped bit, a wrong answer, an error that is not this package's, a crash or a hang; of "
        "an answer, one that fits no state of the index during the call.\n\n"
        + table(["", "tried", "faults"], counts)
        + f"\n\nThe killed call was: {', '.join(fates)}. {readers['threads']} threads and {readers['processes']} "
        f"processes read for {number(readers['seconds'])} s while the writer finished "
        f"{readers['commits_and_other_calls_of_the_writer']:,} calls. What a flipped bit did, by file:\n\n"
        + table(["", *outcomes], by_file)
    )
    unnoticed = sum(flips["not_noticed_by_find_faults"].values())
    return Section(
        "Attacks on the index",
        "Does an index survive killed writers, damaged files, and readers beside a writer?",
        ("attack.py", "attack.json"),
        machine_of(result),
        how,
        missed=(
            f"`doctor --full` did not notice {unnoticed:,} of the {flips['flips']:,} flipped bits"
            + (f": {_places(flips['not_noticed_by_find_faults'])}." if unnoticed else "."),
            "The limits of sizes are so low that merges and codebooks come all the time. A power cut was not tried.",
        ),
    )


def _places(found: dict[str, int], n: int = 5) -> str:
    shown = [f"{count:,} in {place}" for place, count in list(found.items())[:n]]
    return ", ".join(shown) + (", …" if len(found) > n else "")
