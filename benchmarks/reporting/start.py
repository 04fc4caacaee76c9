"""From the start of a process to its first answer."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table

WAYS = {"command": "`ragatouille-xm search`", "script": "a script of five lines"}
AIM = 0.4


def sections(results: Results) -> Iterator[Section]:
    """Yield the section, if its result is there."""
    if found := results.get("start"):
        yield _start(found)


def _start(result: Json) -> Section:
    measures = {"": "to the first answer", "end_": "to the end of the process"}
    whole = [
        [f"{said}, {until}", *(_beside(result[way][f"{prefix}{kind}"]) for kind in ("cpu_s", "wall_s")),
         result[way][f"{prefix}cpu_s"]["ratio"]]
        for way, said in WAYS.items()
        for prefix, until in measures.items()
    ]  # fmt: skip
    stages = [
        [f"of the script: {stage}" if i == 0 else stage, *(_beside(spent[kind]) for kind in ("cpu_s", "wall_s")), None]
        for i, (stage, spent) in enumerate(result["stages"].items())
    ]
    torch, before = result["stages"]["torch"]["cpu_s"]["after"], result["script"]["cpu_s"]["before"]
    ratios = [result[way]["cpu_s"]["ratio"] for way in WAYS]
    missed = [f"The machine did other work (load {result['load_average']}): CPU seconds are what to compare."]
    if max(ratios) > AIM:
        missed.insert(0, (
            f"The aim was {AIM} of before; it is {min(ratios)} to {max(ratios)} of the CPU time. torch's import alone "
            f"is {number(torch / before, 2)} of it. The checkpoint is mostly its tokenizer.json, of 250,000 tokens, "
            "which `tokenizers` reads while no other thread can run; the search is mostly py3langid's model, which is "
            "unpacked in each process, and only if a language must be detected."
        ))  # fmt: skip
    return Section(
        "Start to first answer",
        "How long does it take from a command, or the start of a script, to its first answer?",
        ("start.py", "start.json"),
        machine_of(result),
        f"Before (commit {result['before']['commit']}) → after ({result['after']['commit']}), in turns, on one core, "
        f"files in the system's cache; medians of {result['rounds']} rounds. The index holds three documents of the "
        "demo checkpoint; the query's language is detected. The stages are measured by themselves, imports wherever "
        "they happen, by a clock that costs something too.\n\n"
        + table(["", "CPU s", "s that pass", "ratio of CPU s"], whole + stages),
        missed=tuple(missed),
    )


def _beside(value: Json) -> str:
    return f"{value['before']:.2f} → {value['after']:.2f}"
