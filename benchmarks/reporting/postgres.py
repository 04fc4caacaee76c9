"""An index in PostgreSQL: what it survives, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table

SOURCE = ("postgres.py", "postgres.json")
AIM_RATIO, AIM_VISIBLE_MS = 1.2, 100
GONE = "searches with a hit that was deleted before it was fetched"


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    found = results.get("postgres")
    if found and "speed" in found:
        yield _speed(found)
    if found and {"kills", "failovers", "hosts"} & found.keys():
        yield _survival(found)
    if others := results.get("databases"):
        yield _databases(others)


def _speed(result: Json) -> Section:
    found = result["speed"]
    lines = [
        ["a search", *_pair(found["search"]), number(found["search"]["ratio"])],
        ["a search, and its ten texts", *_pair(found["search_and_fetch"]), number(found["search_and_fetch"]["ratio"])],
        ["adding a passage", *_pair(found["add_ms"]), number(found["add_ms"]["server"] / found["add_ms"]["folder"])],
    ]
    cold, seen = found["cold"], found["visible_ms"]
    missed = ["Server, client and other work share the machine: ratios of neighbouring calls count."]
    if max(found["search"]["ratio"], found["search_and_fetch"]["ratio"]) > AIM_RATIO:
        missed.insert(0, f"The aim was {AIM_RATIO} times a folder's search.")
    if seen["p95"] > AIM_VISIBLE_MS:
        missed.insert(0, f"The aim was to see a commit within {AIM_VISIBLE_MS} ms.")
    return Section(
        "PostgreSQL and a folder",
        "What does an index in PostgreSQL cost over one in a folder, with a replica at hand and without one?",
        SOURCE,
        machine_of(result),
        f"{result['server']}, over the loopback address; {found['passages']:,} random passages of 32 token vectors of "
        "128 numbers, the same queries by turns, medians.\n\n"
        + table(["", "PostgreSQL, ms", "folder, ms", "ratio"], lines)
        + f"\n\nA machine without a replica has its first answer after {number(cold['seconds'])} s, in which it "
        f"fetches {cold['bytes'] / 1e6:,.0f} MB. Another process, which asks every millisecond, "
        f"has an added passage {number(seen['median'])} ms after the call that added it (95 %: {number(seen['p95'])}; "
        f"largest: {number(seen['largest'])}). A build takes {number(found['build_s'])} s, in a folder "
        f"{number(found['folder_build_s'])}.",
        missed=tuple(missed),
    )


def _pair(row: Json) -> tuple[str, str]:
    return number(row["server"]), number(row["folder"])


def _survival(result: Json) -> Section:
    lines, note = [], ""
    for name, title in (
        ("kills", "writer and reader killed, then two or three machines compared"),
        ("failovers", "primary killed while a writer writes, synchronous standby promoted"),
    ):
        if found := result.get(name):
            outcomes = found["outcomes"]
            wrong = sum(n for outcome, n in outcomes.items() if "WRONG" in outcome)
            lines.append([title, f"{found['rounds']}", f"{outcomes['acknowledged calls']:,} calls", f"{wrong}"])
    if found := result.get("hosts"):
        hits = found["hits"]
        gone = hits.get(GONE, 0)
        title = f"two network namespaces, searches during {found['writes']:,} writes, each hit checked"
        checked = f"{hits['right']:,} hits, of {found['commits_seen']:,} commits"
        lines.append([title, f"{hits['searches'] + gone:,}", checked, f"{hits.get('WRONG', 0)}"])
        note = f"\n\nA hit of {gone:,} searches was deleted before its text was fetched." if gone else ""
    return Section(
        "PostgreSQL under attack",
        "Is everything that was acknowledged there, and nothing half-written, whichever process is killed?",
        SOURCE,
        machine_of(result),
        f"{result['server']}.\n\n" + table(["", "rounds", "checked", "wrong"], lines) + note,
        missed=("Processes are killed, not machines: servers run with fsync off.",),
    )


def _databases(result: Json) -> Section:
    lines = [
        [row["system"], number(row["ms"]), f"{row['overlap']:.3f}", number(row["build_s"])] for row in result["rows"]
    ]
    return Section(
        "Late interaction in databases",
        "How long does one search take, where token vectors are in a database?",
        ("databases.py", "databases.json"),
        machine_of(result),
        f"{result['server']} with pgvector {result['pgvector']}, over the loopback address; {result['passages']:,} "
        "random passages of 32 token vectors of 128 numbers, queries of 32 rows, the ten best. This package searches "
        "in its own process, over a replica; pgvector's search is one query of SQL in the server: the nearest tokens "
        "of each row by an HNSW index with its default settings, then MaxSim of the passages that have them.\n\n"
        + table(["", "ms", "overlap", "build, s"], lines),
        missed=(
            "Few passages, and random ones, of which a first stage misses more than of text. Qdrant's local mode is "
            "not its server.",
        ),
    )
