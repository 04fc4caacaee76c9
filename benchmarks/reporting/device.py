"""Encoding and searching on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    if found := results.get("encode_device"):
        yield _encode_device(found)
    if found := results.get("search_device"):
        yield _search_device(found)
    if found := results.get("index_device"):
        yield _index_device(found)


def _encode_device(result: Json) -> Section:
    parity = [
        [f"{row['checkpoint']}, {row['dtype']}", row["largest_difference"], row["least_cosine"]]
        for row in result["parity"]
        if "absent" not in row
    ]
    counts = [key for key in result["speed"][0] if key.startswith("tokens_per_s")]
    speed = [[row["dtype"], *(f"{row[n]:,}" for n in counts), number(row["query_ms"])] for row in result["speed"]]
    columns = [f"tokens a second, {name.rsplit('_', 1)[1]} languages" for name in counts]
    return Section(
        "Encoding on a GPU",
        "Does a GPU encode as the CPU does, and how fast?",
        ("encode_device.py", "encode_device.json"),
        machine_of(result),
        "Vectors of the same tokens, beside those of the CPU in float32; then the speed of a random checkpoint of the "
        f"published size, in batches of {result['speed'][0]['batch']} texts.\n\n"
        + table(["", "largest difference", "least cosine"], parity)
        + "\n\n"
        + table(["", *columns, "ms a query"], speed),
    )


def _search_device(result: Json) -> Section:
    rows = result["rows"]
    counts = [key for key in next(row for row in rows if "absent" not in row) if key.endswith("queries")]
    body = [
        [row["system"], *(number(row[count]["ms"]) if count in row else row.get("absent", "") for count in counts)]
        for row in rows
    ]
    return Section(
        "Exact search on a GPU",
        "How fast is exact MaxSim over every passage on a GPU, beside torch and other fused kernels?",
        ("search_device.py", "search_device.json"),
        machine_of(result),
        f"Milliseconds; {result['passages']:,} passages of {result['tokens_of_each']} random token vectors.\n\n"
        + table(["", *counts], body),
    )


def _index_device(result: Json) -> Section:
    names = ("cpu", "cpu, exact", "device")
    counts = [key for key in result["rows"][0]["device"] if key.startswith("ms_of")]
    body = [
        [f"{row['storage']}, {name}", number(row[name]["overlap"]), *(number(row[name][count]) for count in counts)]
        for row in result["rows"]
        for name in names
    ]
    return Section(
        "An index on a GPU",
        "What does `search_device=` gain over searching the same index on the CPU?",
        ("index_device.py", "index_device.json"),
        machine_of(result),
        f"Milliseconds that pass for a query; {result['passages']:,} synthetic passages.\n\n"
        + table(["", "overlap@10", *(f"{count.rsplit('_', 1)[1]} in a call" for count in counts)], body),
    )
