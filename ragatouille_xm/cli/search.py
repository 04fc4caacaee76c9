"""Commands that read: search, languages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..corpus.filters import parse_filter
from ..corpus.passages import Document
from ..errors import FilterError, InputError
from ..languages import to_adapter
from ..shell import typed
from ..text.detect import detect_languages
from .app import app, facade
from .files.names import locate
from .index import DevicesOption, parse_devices
from .inputs import (
    DelimiterOption,
    EncodingOption,
    ExcludeOption,
    FormatOption,
    IdFieldOption,
    IncludeOption,
    StrictOption,
    TextFieldOption,
    make_reader,
)
from .output import say_skipped, say_waiting, show_json, show_results, show_table
from .paths import IndexArgument, RootOption, find_index

if TYPE_CHECKING:
    from ..retriever import Result

DETECTION_BATCH = 256
MAX_ROWS = 40  # beyond this many documents, languages are counted instead

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


@app.command(
    epilog="""
    Examples:

        ragatouille-xm search mine "Où est la bibliothèque ?" -k 3
        ragatouille-xm search news "chemins de fer" --filter '{"year": {"$gte": 2020}, "language": "fr"}'
        ragatouille-xm search mine "opening hours" "Öffnungszeiten" --json | jq .document_id
    """
)
def search(
    index: IndexArgument,
    queries: Annotated[list[str], typer.Argument(help="One or more questions.", metavar="QUERY...")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of passages to find for each.")] = 10,
    language: Annotated[
        str | None, typer.Option(help="Language of the questions; by default detected among those in the index.")
    ] = None,
    filter: Annotated[
        str | None, typer.Option(help="JSON: only passages whose metadata, language or document_id match.")
    ] = None,
    as_json: JsonOption = False,
    exact: Annotated[bool, typer.Option("--exact", help="Score every passage; slower on a large index.")] = False,
    root: RootOption = Path(".ragatouille"),
    device: DevicesOption = None,
) -> None:
    """Search an index.

    Shows rank, score, relevance (the score as a share of the maximum), language, document and two lines of each
    passage. --json shows everything.
    """
    folder = find_index(index, root)
    condition = _parse_filter(filter)
    say_waiting("Loading the checkpoint")
    model = facade().from_index(folder, verbose=0, device=parse_devices(device))
    languages = model.catalog.get().query_languages(queries, language)
    found = cast(
        "list[list[Result]]",  # as many as there are queries
        model.search(queries, k=k, language=languages, filter=condition, exact=exact),
    )
    model.close()
    for query, used, results in zip(queries, languages, found, strict=True):
        if as_json:
            show_json({"query": query, "query_language": used, **result} for result in results)
        else:
            show_results(query, used, results)


@app.command(
    epilog="""
    Examples:

        ragatouille-xm languages docs/ news.jsonl
        ragatouille-xm languages --text "Où est la gare ?" --text "駅はどこですか"
        ragatouille-xm languages --index mine
    """
)
def languages(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files and folders, as for index.", metavar="[PATH]...")
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="A text; may be repeated.")] = None,
    index: Annotated[str | None, typer.Option(help="Count the passages of this index instead.")] = None,
    text_field: TextFieldOption = None,
    id_field: IdFieldOption = None,
    format: FormatOption = None,
    encoding: EncodingOption = None,
    delimiter: DelimiterOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Show the language of texts, files or an index, and the adapter that encodes it.

    The confidence ranges from 0 to 1. At 0, the text was inconclusive and a fallback was used. More than 40 documents
    are counted by language; --json lists them all.
    """
    if index is not None:
        if paths or text:
            raise InputError("Give either --index or texts and files, not both.")
        _show_counts(_languages_of_index(find_index(index, root)), "passages", as_json)
        return
    if not paths and not text:
        raise InputError("Give files or folders, --text or --index.")
    reader = make_reader(
        paths or [],
        locate(root).parent,
        text_field=text_field,
        id_field=id_field,
        format=format,
        encoding=encoding,
        delimiter=delimiter,
        include=include,
        exclude=exclude,
        strict=strict,
    )
    rows = _detect(text or [], reader if paths else [])
    if as_json:
        show_json(rows)
    else:
        _show_rows(list(rows), len(text or []))
    say_skipped(reader.skipped)


def _show_rows(every: list[dict[str, Any]], n_texts: int) -> None:
    """Print the languages of texts, and of documents after these by their ids, or counts of many."""
    if len(every) > MAX_ROWS:
        _show_counts(Counter(row["language"] for row in every), "documents", False)
        return
    names = [row["text"] if i < n_texts else typed(row["text"]) for i, row in enumerate(every)]
    show_table(
        ["language", "adapter", "confidence", "text"],
        [
            [row["language"], row["adapter"] or "–", _confidence(row["confidence"]), shown]
            for row, shown in zip(every, names, strict=True)
        ],
        numeric=["confidence"],
    )


def _parse_filter(filter: str | None) -> dict[str, Any] | None:
    """Parse a filter given as JSON, before a checkpoint is loaded."""
    if filter is None:
        return None
    try:
        value = json.loads(filter)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"--filter is not valid JSON: {error}. Write it like '{{\"year\": 2020}}'.") from error
    if not isinstance(value, dict):
        raise FilterError(f"--filter is not a JSON object: {filter!r}. Write it like '{{\"year\": 2020}}'.")
    parse_filter(value)
    return value


def _detect(texts: list[str], documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    """Yield the language of each text, and of each document."""
    stream = chain((Document(text, text) for text in texts), documents)
    while batch := list(islice(stream, DETECTION_BATCH)):
        detected = detect_languages([document.text for document in batch])
        for document, (language, adapter, confidence) in zip(batch, detected, strict=True):
            row = {"text": document.document_id, "language": language, "adapter": adapter, "confidence": confidence}
            if (given := document.language) is not None:
                row |= {"language": given, "adapter": to_adapter(given), "confidence": None}
            yield row


def _languages_of_index(folder: Path) -> dict[str, int]:
    from ..catalog import open_passages

    index = open_passages(folder)  # no checkpoint is needed
    try:
        return index.languages()
    finally:
        index.close()


def _show_counts(counts: Mapping[str, int], what: str, as_json: bool) -> None:
    rows = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    if as_json:
        show_json({"language": language, "adapter": to_adapter(language), what: n} for language, n in rows)
    else:
        cells = [[language, to_adapter(language) or "–", str(n)] for language, n in rows]
        show_table(["language", "adapter", what], cells, numeric=[what])


def _confidence(value: float | None) -> str:
    return "given" if value is None else f"{value:.2f}"
