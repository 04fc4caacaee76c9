"""The command `languages`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from ..corpus.passages import Document
from ..errors import InputError
from ..languages import ADAPTERS, LANGUAGES, AdapterTable, to_adapter
from ..shell import typed
from .app import app
from .files.names import locate
from .files.options import ReadingOptions
from .files.reader import FileReader
from .inputs import (
    DelimiterOption,
    EncodingOption,
    ExcludeOption,
    FormatOption,
    IdFieldOption,
    IncludeOption,
    StrictOption,
    TextFieldOption,
)
from .output import plural, say, say_skipped, show_json, show_table
from .paths import RootOption, find_index
from .search import JsonOption

MAX_ROWS = 40  # beyond this many documents, languages are counted instead


@app.command(
    epilog="""
    Examples:

        ragatouille-xm languages docs/ news.jsonl
        ragatouille-xm languages --text "Où est la gare ?" --text "駅はどこですか"
        ragatouille-xm languages --index mine
        ragatouille-xm languages --index mine --text "gare"
    """
)
def languages(
    paths: Annotated[list[str] | None, typer.Argument(help="Files and folders, as for index.", metavar="PATH")] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="A text; may be repeated.")] = None,
    index: Annotated[
        str | None, typer.Option(help="Count its passages; or, with --text, take the texts for queries to it.")
    ] = None,
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

    A text is taken by itself, or as a query to an index; documents are taken together, as index does: where one says
    little, what the others are written in decides. The confidence ranges from 0 to 1; at 0, the text said nothing. More
    than 40 documents are counted by language; --json lists them all.
    """
    counts: dict[str, int] = {}
    fixed: str | None = None
    if index is not None:
        if paths:
            raise InputError("Give either --index or files, not both.")
        counts, fixed = _languages_of_index(find_index(index, root))
        if not text:
            _show_counts(counts, "passages", as_json)
            return
    if not paths and not text:
        raise InputError("Give files or folders, --text or --index.")
    options = ReadingOptions(
        text_field=text_field,
        id_field=id_field,
        format=format,
        encoding=encoding,
        delimiter=delimiter,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        strict=strict,
    )
    reader = FileReader(paths or [], options, locate(root).parent)
    rows = chain(_detect(text or [], counts, fixed), _detect_documents(reader if paths else []))
    if as_json:
        show_json(rows)
    else:
        _show_rows(list(rows), len(text or []))
    say_skipped(reader.skipped)


def _show_rows(every: list[dict[str, Any]], n_texts: int) -> None:
    """Print the languages of texts, and of documents after these by their ids, or counts of many."""
    from ..text.collection import UNCERTAIN

    if len(every) > MAX_ROWS:
        _show_counts(Counter(row["language"] for row in every), "documents", False)
        uncertain = sum(row["confidence"] is not None and row["confidence"] < UNCERTAIN for row in every)
        say(f"Uncertain: {plural(uncertain, 'document')}.")
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


def _detect(texts: list[str], counts: Mapping[str, int], fixed: str | None) -> Iterator[dict[str, Any]]:
    """Yield the language of each text, as of a query to an index that has so many passages of each language.

    Or `fixed`, for an index all of whose texts went through one adapter.
    """
    from ..text.detect import make_detector

    for text, found in zip(texts, make_detector().detect(texts, LANGUAGES, counts), strict=True):
        yield _row(text, fixed or found.language, 1.0 if fixed else found.confidence)


def _detect_documents(documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    """Yield the language of each document, as indexing them would decide it."""
    from ..text.collection import BATCH, CollectionLanguages
    from ..text.detect import make_detector

    languages = CollectionLanguages(make_detector(), LANGUAGES)
    table = AdapterTable(ADAPTERS, "en_XX")
    stream = iter(documents)
    while batch := list(islice(stream, BATCH)):
        given = [None if each.language is None else table.resolve(each.language) for each in batch]
        found = languages.detect([each.text for each in batch], given)
        for document, stated, its in zip(batch, given, found, strict=True):
            yield _row(document.document_id, its.language, its.confidence if stated is None else None)


def _row(text: str, language: str, confidence: float | None) -> dict[str, Any]:
    return {"text": text, "language": language, "adapter": to_adapter(language), "confidence": confidence}


def _languages_of_index(folder: Path) -> tuple[dict[str, int], str | None]:
    """Return how many passages each language has, and the language of all queries if the index has one."""
    from ..opening import open_passages

    index = open_passages(folder)  # no checkpoint is needed
    try:
        return index.languages(), index.settings.get("query_language")
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
