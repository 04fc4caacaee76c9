"""Encoding, loading a checkpoint, and training: how fast, in how much memory."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table
from .plots import Panel, Plot, Series

OURS = {
    "ours float32": "this package, float32",
    "ours int8": 'this package, `quantize="int8"`',
    "ours bfloat16": 'this package, `dtype="bfloat16"`',
    "transformers": "transformers, `XmodModel` with `lang_ids`",
}
ONE_ADAPTER = {
    "pylate": "PyLate, one adapter",
    "sentence-transformers": "sentence-transformers, one adapter",
    "colbert-ai": "colbert-ai, one adapter",
}
RUNTIMES = {name: said for name, said in OURS.items() if name != "transformers"} | {
    "torch eager": "this package, its layers not packed",
    "torch.compile": "`torch.compile`",
    "torch.compile frozen": "`torch.compile`, weights frozen",
    "onnxruntime float32": "ONNX Runtime, float32",
    "onnxruntime int8": "ONNX Runtime, int8",
    "openvino f32": "OpenVINO, float32",
    "openvino bf16": "OpenVINO, bfloat16",
}
LOADED = ("backbone and embeddings, float32", "one language's adapters")
UNMEASURED_GPU = "Nothing here is measured on a GPU."


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    if found := results.get("encode"):
        yield _encode(found)
    if found := results.get("backends"):
        yield _backends(found)
    if found := results.get("load"):
        yield _load(found)
    if found := results.get("training"):
        yield _training(found)


def _encode(result: Json) -> Section:
    rows = [row for row in result["rows"] if row["checkpoint"] == "base"]
    of = {(row["system"], row["languages"]): row for row in rows}
    languages = sorted({row["languages"] for row in rows if row["system"] in OURS})
    body: list[list[object]] = [
        [said, *(f"{row['tokens_per_s']:,} / {row['query_ms']:.0f} / {row['peak_rss_mb']:,}"
                 for n in languages for row in [of[system, n]])]
        for system, said in OURS.items()
    ]  # fmt: skip
    for system, said in ONE_ADAPTER.items():
        speeds = " or ".join(f"{row['tokens_per_s']:,}" for row in rows if row["system"] == system)
        body.append([said, f"{speeds} / – / {of[system, 1]['peak_rss_mb']:,}", *[""] * (len(languages) - 1)])
    float32, theirs = of["ours float32", languages[0]], of["transformers", languages[0]]
    means = ", ".join(
        f"{row['mean']:.1f} for {name.replace('ours', 'this package in')}" for name, row in result["mrr@10"].items()
    )
    plot = Plot(
        "encode", "Tokens a second: this package and transformers, by the number of languages in a batch",
        "languages mixed", "tokens a second",
        [Panel("", [Series(said.replace("`", ""), [str(n) for n in languages],
                           [of[system, n]["tokens_per_s"] for n in languages]) for system, said in OURS.items()])],
        bars=True,
    )  # fmt: skip
    return Section(
        "Encoding",
        "How fast are texts encoded on a CPU, how near is that to the machine's limit, and what does int8 cost?",
        ("encode.py", "encode.json"),
        machine_of(result),
        "Tokens a second, padding not counted / milliseconds for a query / MB resident at the peak, on one thread. A "
        "random checkpoint of the published size and real passages of up to 256 tokens, all languages of a column "
        "mixed in each batch. The engines with one adapter tokenise within the time.\n\n"
        + table(["", *(f"{n} language{'s' if n > 1 else ''}" for n in languages)], body)
        + f"\n\nThe floor, the rate of the machine's matrix product, is {float32['floor_tokens_per_s']:,} tokens a "
        f"second in float32. MRR@10 of the demo checkpoint, in percent: {means}.",
        plot,
        (
            f"In float32, peak memory is {number(float32['peak_rss_mb'] / theirs['peak_rss_mb'], 2)} of transformers' "
            "with one language; 0.4 was the aim. The layers alone and the imports take more than that.",
            "Passages of other lengths, CPUs by Intel and more than one thread were not measured.",
            "The machine's second core did other work. Two numbers for one engine are two environments.",
            UNMEASURED_GPU,
        ),
    )


def _backends(result: Json) -> Section:
    rows = {row["system"]: row for row in result["rows"]}
    body = [
        [said, f"{row['tokens_per_cpu_s']:,}", number(row["query_cpu_ms"]),
         f"{row['by_batch_tokens'][str(row['batch_tokens'])]['peak_rss_mb']:,}", number(row["load_s"]),
         number(row["first_query_and_batch_s"]), number(row["max_abs_difference"], 2)]
        for system, said in RUNTIMES.items()
        for row in [rows[system]]
    ]  # fmt: skip
    header = ["", "tokens a CPU second", "CPU ms a query", "peak MB", "load, s", "first query and batch, s",
              "largest difference"]  # fmt: skip
    graphs = result["graphs"]
    return Section(
        "Other runtimes",
        "Would another runtime encode faster on a CPU: torch.compile, ONNX Runtime, OpenVINO?",
        ("backends.py", "backends.json"),
        machine_of(result),
        "One language, one thread, batches of the size that suits each. The difference is that of the vectors from "
        "this package's in float32.\n\n" + table(header, body),
        missed=(
            f"A graph holds the adapters of one language: {graphs['float32']['file_mb']:,} MB each in float32, "
            f"{graphs['int8']['file_mb']:,} MB in int8, 81 of them for all. A graph that gathers adapters was not "
            "measured.",
            "ONNX Runtime's int8 scales a whole batch at once, so that a vector depends on its neighbours; this "
            "package scales each token by itself.",
            "OpenVINO's bfloat16 is faster than this package's. Its int8 (nncf) and CPUs by Intel were not measured.",
            "The machine did other work (`load_average` in each row): CPU seconds are counted, not those that pass.",
        ),
    )


def _load(result: Json) -> Section:
    of = {(row["system"], row["languages"]): row for row in result["rows"]}
    body = [
        [n, *(cell for system in ("ragatouille_xm", "transformers") for row in [of[system, n]]
              for cell in (f"{row['peak_rss_above_imports_mb']:,}", number(row["load_s"]),
                           number(row["load_and_first_batch_s"])))]
        for n in sorted({languages for _, languages in of})
    ]  # fmt: skip
    header = ["languages", "this package: MB", "load, s", "load + first batch, s", "transformers: MB", "load, s",
              "load + first batch, s"]  # fmt: skip
    backbone, adapters = (number(result["floor_mb"][name], 4) for name in LOADED)
    return Section(
        "Loading a checkpoint",
        "How much memory and time does a checkpoint of the published size take, if only the adapters in use are read?",
        ("load.py", "load.json"),
        machine_of(result),
        "Random weights, 853 M parameters, 81 languages. Peak memory is that above the imports. In float32 the "
        f"backbone and all embeddings are {backbone} MB, and a language's adapters "
        f"{adapters} MB.\n\n" + table(header, body),
        missed=(
            "transformers 5 maps the file lazily too, so memory is about the same; it goes through all 81 adapters in "
            "every layer, so the time for the first batch is not.",
            "The machine was busy, and seconds differ from run to run.",
        ),
    )


def _training(result: Json) -> Section:
    said = {
        "ours": "this package",
        "ours, gradient cache of 8": "this package, `chunk_size=8`",
        "colbert-ai": "colbert-ai",
    }
    body = [
        [said[system], f"{row['tokens_per_cpu_s']:,}", number(row["cpu_ms_per_step"]), number(row["first_loss"], 5),
         number(row["last_loss"], 5)]
        for system, row in result["systems"].items()
    ]  # fmt: skip
    model = result["model"]
    return Section(
        "Speed of training",
        "How fast is training, beside colbert-ai's model, losses and optimiser on the same batches?",
        ("training.py", "training.json"),
        f"{result['cpu'] or 'CPU'}, one thread",
        f"A random X-MOD of {model['num_hidden_layers']} layers of {model['hidden_size']}; {result['steps']} steps of "
        f"{result['batch']} queries, each with a positive and a negative. The first loss shows that both do the same "
        "work.\n\n"
        + table(["", "tokens a CPU second", "CPU ms a step", "first loss", "last loss"], body),
        missed=("colbert-ai's own loop needs a GPU and was not run. bf16 was run on a CPU only; fp16 was not tried.",
                UNMEASURED_GPU),
    )  # fmt: skip
