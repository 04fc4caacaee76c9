"""Checkpoint formats: how near to their owners, and how fast on a backbone without adapters."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table

SYSTEMS = {
    "ours float32": "this package, float32",
    "ours int8": 'this package, `quantize="int8"`',
    "PyLate": "PyLate",
    "sentence-transformers": "sentence-transformers, `MultiVectorEncoder`",
}


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    if found := results.get("checkpoints"):
        yield _parity(found)
        if "speed" in found:
            yield _speed(found)


def parity_table(result: Json) -> str:
    """Return formats and the largest differences from their owners, which the guide shows too."""
    rows: dict[tuple[str, str], list[Json]] = {}
    for row in result["parity"]:
        rows.setdefault((row["format"], row["owner"].rpartition(" ")[0]), []).append(row)
    body = [
        [name, ", ".join(dict.fromkeys(row["owner"] for row in found)),
         ", ".join(dict.fromkeys(row["backbone"] for row in found)), len(found),
         "equal" if all(row["ids_and_masks_equal"] for row in found) else "differ",
         *(f"{max(row[f'largest_{what}_difference'] for row in found):.1e}" for what in ("vector", "score"))]
        for (name, _), found in rows.items()
    ]  # fmt: skip
    header = ["format", "recorded from", "backbones", "checkpoints", "ids and masks", "vectors", "scores"]
    return table(header, body)


def _parity(result: Json) -> Section:
    return Section(
        "Checkpoint formats",
        "Does a checkpoint of each format give the tokens, vectors and scores that its owner gives?",
        ("checkpoints.py", "checkpoints.json"),
        machine_of(result),
        "The largest difference of a number in a vector, and of a score, over all texts of a format: small "
        "random checkpoints, written by the library that owns the format (`tests/reference`). X-MOD goes through one "
        "adapter, as it does there.\n\n" + parity_table(result),
        missed=("Published checkpoints were not downloaded.",),
    )


def _speed(result: Json) -> Section:
    of = {row["system"]: row for row in result["speed"]}
    ours = of["ours float32"]
    body = [
        [said, f"{row['tokens_per_cpu_s']:,}", number(ours["tokens_per_cpu_s"] / row["tokens_per_cpu_s"], 2),
         number(row["query_cpu_ms"]), f"{row['largest_difference']:.1e}",
         ", ".join(f"{name} {version}" for name, version in row["versions"].items() if name != "torch")]
        for system, said in SYSTEMS.items() if (row := of.get(system))
    ]  # fmt: skip
    header = ["", "tokens a CPU second", "float32 is faster by", "CPU ms a query", "largest difference", "versions"]
    return Section(
        "ModernBERT beside PyLate and sentence-transformers",
        "How fast are texts encoded by a backbone without adapters?",
        ("checkpoints.py", "checkpoints.json"),
        machine_of(result),
        f"One PyLate folder with random weights of ModernBERT's base size, read by each: {ours['tokens']:,} tokens in "
        "passages of many lengths, up to 256, tokenised within the time, batches of each library's default size. The "
        "difference is that of a number in a vector from this package's in float32.\n\n" + table(header, body),
        missed=(
            "The tokeniser is a small one of bytes, which takes less time than ModernBERT's.",
            "One thread. CPUs by Intel, more threads and GPUs were not measured.",
        ),
    )
