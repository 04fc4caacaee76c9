"""The evaluate command: measure how well systems retrieve."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as RichTable
from rich.text import Text

from ..errors import InputError
from .app import CHECKPOINTS, app, quiet_libraries
from .index import DeviceOption
from .lines import plain
from .output import results, say

if TYPE_CHECKING:
    from ..evaluation.runner import Measured
    from ..evaluation.systems.base import Settings, System
    from ..evaluation.table import Table

LETTERS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ"
RESULTS = "results.json"


DatasetOption = Annotated[
    list[str],
    typer.Option(
        help="mmarco/LANG, mr-tydi/LANG, miracl/LANG, an id of ir_datasets, or a folder of tsv; may be repeated."
    ),
]
SystemOption = Annotated[list[str], typer.Option(help="NAME or NAME=CHECKPOINT; may be repeated.")]
MeasureOption = Annotated[
    list[str] | None,
    typer.Option(help="MRR@10, R@100, nDCG@10, …; may be repeated. By default the dataset's own."),
]
DocLanguageOption = Annotated[
    str,
    typer.Option(help="Which adapters encode documents: 'dataset' (its own labels), 'detected', or one language."),
]
PoolingOption = Annotated[
    str | None, typer.Option(help="mean or cls, for single-vector systems; by default the system's own.")
]


@app.command(
    rich_help_panel=CHECKPOINTS,
    epilog="""
    Examples:

        ragatouille-xm evaluate --dataset mmarco/fr --dataset mmarco/nl --system bm25 --system colbert-xm
        ragatouille-xm evaluate --dataset data/en --dataset data/de --system bm25 --system colbert-xm=demo
        ragatouille-xm evaluate --dataset mr-tydi/sw --system colbert-xm --doc-language en --query-language en

    Systems: bm25, mono-mt5, mono-mminilm, mono-xm, dpr-x, me5-base, dpr-xm, mcolbert, colbert-xm. Those with a model
    take another checkpoint as NAME=CHECKPOINT, a hub id or a folder.
    """,
)
def evaluate(
    dataset: DatasetOption,
    system: SystemOption,
    out: Annotated[Path, typer.Option(help="Where runs, indexes and results.json go.")] = Path("runs"),
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many documents to find for each query.")] = 1000,
    limit_queries: Annotated[int | None, typer.Option(help="Use at most this many queries of each dataset.")] = None,
    measure: MeasureOption = None,
    doc_language: DocLanguageOption = "dataset",
    query_language: Annotated[str, typer.Option(help="Likewise for queries.")] = "dataset",
    k1: Annotated[float | None, typer.Option("--bm25-k1", min=0, help="By default that of the published row.")] = None,
    b: Annotated[
        float | None, typer.Option("--bm25-b", min=0, max=1, help="By default that of the published row.")
    ] = None,
    pooling: PoolingOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Search again even if a run exists.")] = False,
    device: DeviceOption = None,
) -> None:
    """Measure how well systems find the relevant documents of a dataset.

    Each system's ranking is written as a TREC run file. An interrupted call resumes where it stopped; finished runs are
    not repeated. Indexes are kept below --out. The table includes the published numbers of the same benchmark; letters
    show which systems one is significantly better than. results.json holds everything, and the values of each query
    are next to its run.
    """
    from ..evaluation.datasets import load_dataset
    from ..evaluation.runner import evaluate as run
    from ..evaluation.systems.base import Settings

    settings = Settings(
        document_language=_language(doc_language, "--doc-language"),
        query_language=_language(query_language, "--query-language"),
        device=device,
        k1=k1,
        b=b,
        pooling=pooling,
        progress=True,
    )
    systems = _systems(system, settings)
    datasets = [load_dataset(name).limited(limit_queries) for name in dict.fromkeys(dataset)]
    measured = run(datasets, systems, out, k=k, measures=measure, overwrite=overwrite, progress=True)
    _report(measured, out, k)


def _report(measured: Sequence[Measured], out: Path, k: int) -> None:
    """Print tables to stdout and the settings of the runs to stderr, and write both to a file."""
    from ..evaluation.published import source
    from ..evaluation.table import as_json, make_tables

    tables = make_tables(measured)
    content = {
        "k": k,
        "datasets": {each.dataset.name: {"queries": len(each.dataset.queries)} for each in measured},
        "runs": [
            {"dataset": m.dataset.name, "system": m.system, "run": str(m.run), "parameters": m.parameters}
            for m in measured
        ],
        "tables": as_json(tables),
        "published": source(),
    }
    _write(out / RESULTS, content)
    for table in tables:
        _show(table)
    for description in dict.fromkeys(_settings_of(each) for each in measured):
        say(description, style="dim")
    if any(row.published for table in tables for row in table.rows):
        say(f"Published numbers: {source()}", style="dim")
    say(f"Runs and {RESULTS} are in {out}.", style="dim")


def _systems(names: Sequence[str], settings: Settings) -> dict[str, System]:
    """Return systems by label."""
    from ..evaluation.systems.registry import SYSTEMS, make_system

    _quiet_libraries()
    systems = {}
    for written in dict.fromkeys(names):
        name, given, checkpoint = written.partition("=")
        if given and not checkpoint:
            raise InputError(f"--system {written!r} names no checkpoint. Write {name}=<hub id or folder>, or {name}.")
        system = make_system(name, replace(settings, checkpoint=checkpoint or None))
        label = _label(written, settings, SYSTEMS[name].routed)
        if label in systems:
            raise InputError(f"Two systems are both called {label!r}. Rename one of the folders.")
        systems[label] = system
    return systems


def _label(written: str, settings: Settings, routed: bool) -> str:
    """Return the label of a system: as the user wrote it, with the folder's name and any chosen routing."""
    name, _, checkpoint = written.partition("=")
    label = f"{name}={Path(os.path.abspath(checkpoint)).name}" if os.path.isdir(checkpoint) else written
    routing = {"doc": settings.document_language, "query": settings.query_language} if routed else {}
    return ",".join([label, *(f"{what}={choice}" for what, choice in routing.items() if choice != "dataset")])


def _settings_of(measured: Measured) -> str:
    """Describe the settings of a run."""
    parameters = measured.parameters
    parts = [f"{key} {parameters[key]}" for key in ("k1", "b", "checkpoint") if key in parameters]
    for key, texts in (("document_language", "documents"), ("query_language", "queries")):
        if key in parameters:
            whose = {"dataset": "their own language", "detected": "the detected language"}
            parts.append(f"{texts} through the adapters of {whose.get(parameters[key], parameters[key])}")
    return f"{measured.system} on {measured.dataset.family}: {', '.join(parts)}"


def _language(choice: str, option: str) -> str:
    from ..languages import to_adapter

    if choice not in ("dataset", "detected") and to_adapter(choice) is None:
        raise InputError(f"{option} {choice!r} is not a language. Give 'dataset', 'detected', or a code such as 'fr'.")
    return choice


def _quiet_libraries() -> None:
    quiet_libraries()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' too
    for name in ("bm25s", "ir_datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _show(table: Table) -> None:
    """Print a table in full width."""
    measured = [row for row in table.rows if not row.published]
    letter = {row.system: LETTERS[i % len(LETTERS)] for i, row in enumerate(measured)}
    rich = RichTable(title=f"{table.family}: {table.measure}, percent", title_justify="left", title_style="bold",
                     box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))  # fmt: skip
    rich.add_column("")
    rich.add_column("system", no_wrap=True)
    averaged = len(table.columns) > 1
    for name in (*table.columns, *(["avg"] if averaged else [])):
        rich.add_column(name, justify="right", no_wrap=True)
    for row in table.rows:
        marks = ["".join(letter[name] for name in better) for better in row.better_than]
        cells = [_cell(value, mark) for value, mark in zip(row.values, marks, strict=True)]
        average = [_cell(row.average)] if averaged else []
        title = Text(f"{plain(row.system)} (published)" if row.published else plain(row.system))
        style = "dim" if row.published else ""
        rich.add_row("" if row.published else letter[row.system], title, *cells, *average, style=style)
    console = results()
    console.width = max(console.width, console.measure(rich, options=console.options.update(max_width=10_000)).maximum)
    console.print(rich)
    console.print()


def _cell(value: float | None, marks: str = "") -> Text:
    """Return a number after its letters, so that numbers align."""
    return Text.assemble((marks, "green"), "–" if value is None else f"{value:.1f}")


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
