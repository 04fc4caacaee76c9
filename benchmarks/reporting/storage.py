"""What an index takes on disk, and what making it smaller loses."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table

BESIDE = "Other work ran beside it on the machine: of the times, only large ratios mean something."


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    if found := results.get("storage"):
        yield _storage(found)
    if found := results.get("pooling"):
        yield _pooling(found)


def _storage(result: Json) -> Section:
    header = ["", "bytes a token", "overlap@10", "MRR@10, %", "CPU ms a query", "of the bytes"]
    body = [
        [f"`pooling={row['pooling']}, storage=\"{row['storage']}\"`" + _how(row), number(row["bytes_a_token"]),
         f"{row['overlap']:.3f}", _mrr(row), number(row["ms"]),
         ", ".join(f"{kind} {number(size, 2)}" for kind, size in row["bytes_of"].items())]
        for row in result["rows"]
    ]  # fmt: skip
    return Section(
        "Storages of token vectors",
        "What does an index take on disk in each storage, and what does a search lose and gain by it?",
        ("storage.py", "storage.json"),
        machine_of(result),
        f"{result['passages']:,} real passages in 14 languages in one index ({result['tokens']:,} token vectors), "
        f"{result['queries']} queries; the default search. Bytes are those of all files beside the database, for each "
        "token vector before pooling. Overlap is with the ten best by exact MaxSim of the unpooled vectors in float32, "
        f"whose MRR@10 is {result['exact_mrr']:.1f}. † MRR@10 differs significantly from that (paired randomisation, "
        "Holm's correction, p < 0.05). Smaller storages were converted from 16 bits; the last of each pooling was "
        "built in 4 bits, 512 passages at a time.\n\n" + table(header, body),
        missed=(
            *_missed(result),
            "Other work ran beside it on the machine: of the times, only large ratios mean something.",
        ),
    )


def _how(row: Json) -> str:
    return ", built" if row["storage"] == "int4" and row["how"] == "built" else ""


def _missed(result: Json) -> Iterator[str]:
    """Yield the aims of 4 bits that were missed: bytes, overlap, and how far MRR@10 may be from exact MaxSim."""
    for row in result["rows"]:
        if row["storage"] == "int4":
            most, least, near = (68, 0.96, 0.5) if row["pooling"] == 1 else (34, 0.0, 1.0)
            name = f"pooling={row['pooling']}, int4{_how(row)}"
            if row["bytes_a_token"] > most:
                yield f"{name}: at most {most} bytes a token; it has {number(row['bytes_a_token'])}."
            if row["overlap"] < least:
                yield f"{name}: an overlap of {least}; it has {row['overlap']:.3f}."
            if abs(away := row["mrr"] - result["exact_mrr"]) > near:
                yield f"{name}: MRR@10 within {near} of that of exact MaxSim; it is {away:+.1f} away."


def _pooling(result: Json) -> Section:
    passages, titles = result["collections"]["passages"], result["collections"]["titles"]
    shown = ("bytes a token", "overlap@10", "MRR@10, %")
    header = ["", *shown, "CPU ms a query", *(f"titles: {what}" for what in shown)]
    body = [
        [f"`pooling={row['pooling']}, storage=\"{row['storage']}\"`",
         number(row["bytes_a_token"]), f"{row['overlap']:.3f}", _mrr(row), number(row["ms"]),
         number(short["bytes_a_token"]), f"{short['overlap']:.3f}", _mrr(short)]
        for row, short in zip(passages["rows"], titles["rows"], strict=True)
    ]  # fmt: skip
    slowest = max(row["pooling_ms_a_passage"] for row in passages["rows"])
    return Section(
        "Pooling of token vectors",
        "What does an index lose, and save, if similar token vectors of a passage are merged when it is built?",
        ("pooling.py", "pooling.json"),
        machine_of(result),
        f"{passages['passages']:,} sections of LibreOffice's help in {result['languages']} languages in one index, cut "
        f"at 256 tokens ({number(passages['tokens_a_passage'])} vectors each); {passages['queries']} queries, their "
        f"titles; the default search; the checkpoint {result['checkpoint']}. Bytes are those of all files beside the "
        "database, for each token vector before pooling. Overlap is with the ten best by exact MaxSim of the unpooled "
        "vectors in float32. † MRR@10 differs significantly from the same storage unpooled (paired randomisation, "
        "Holm's correction, p < 0.05). On the right, very short passages, which pooling leaves nearly as they are: "
        f"{titles['passages']:,} titles ({number(titles['tokens_a_passage'])} vectors each), found by beginnings of "
        "sections.\n\n" + table(header, body) + f"\n\nPooling takes up to {number(slowest, 2)} ms a passage, encoding "
        f"{number(passages['encoding_ms_a_passage'])} ms, both on one thread.",
        missed=(BESIDE,),
    )


def _mrr(row: Json) -> str:
    return f"{row['mrr']:.1f}" + ("†" if row.get("p_corrected", 1) < 0.05 else "")
