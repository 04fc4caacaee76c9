"""The command `search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..config import LANGUAGE_WEIGHT, LEXICAL_WEIGHT
from ..corpus.filters import parse_filter
from ..errors import FilterError
from ..results import Result, json_values
from .app import app, facade
from .index import DevicesOption, parse_devices
from .output import say_waiting, show_json, show_results
from .paths import IndexArgument, RootOption, find_index

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


@app.command(
    epilog="""
    Examples:

        ragatouille-xm search mine "Où est la bibliothèque ?" -k 3
        ragatouille-xm search news "chemins de fer" --filter '{"year": {"$gte": 2020}, "language": "fr"}'
        ragatouille-xm search mine "opening hours" "Öffnungszeiten" --json | jq .document_id
        ragatouille-xm search mine "heures d'ouverture" --prefer-language query --min-relevance 0.3
    """
)
def search(
    index: IndexArgument,
    queries: Annotated[list[str], typer.Argument(help="One or more questions.", metavar="QUERY")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of passages to find for each.")] = 10,
    language: Annotated[str | None, typer.Option(help="Language of the questions; by default detected.")] = None,
    filter: Annotated[
        str | None, typer.Option(help="JSON: only passages whose metadata, language or document_id match.")
    ] = None,
    min_relevance: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out what is less likely an answer.")
    ] = None,
    prefer_language: Annotated[
        str | None, typer.Option(help="Show passages in this language first, or in that of the 'query'.")
    ] = None,
    language_weight: Annotated[
        float, typer.Option(min=0, max=1, help="How much --prefer-language counts; 1 is before all others.")
    ] = LANGUAGE_WEIGHT,
    as_json: JsonOption = False,
    exact: Annotated[bool, typer.Option("--exact", help="Score every passage; slower on a large index.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which words matched, and what the score is made of.")
    ] = False,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Rank by the words that they share as well.")] = False,
    lexical_weight: Annotated[
        float, typer.Option(min=0, max=1, help="Of shared words, with --hybrid: 0 for none, 1 for nothing else.")
    ] = LEXICAL_WEIGHT,
    group: Annotated[
        bool, typer.Option("--group", help="Find documents instead of passages: the best passage of each.")
    ] = False,
    context: Annotated[
        int, typer.Option(min=0, help="Show so many passages before and after each in its document.")
    ] = 0,
    root: RootOption = Path(".ragatouille"),
    device: DevicesOption = None,
) -> None:
    """Search an index.

    Shows rank, score, relevance (how likely the passage answers), language, document and two lines of each
    passage. --json shows everything. --explain marks the words that matched: in colour on a terminal, else in brackets.
    --group shows a document's other passages that were found as a line each, with their scores.
    """
    folder = find_index(index, root)
    condition = _parse_filter(filter)
    say_waiting("Loading the checkpoint")
    model = facade().from_index(folder, verbose=0, device=parse_devices(device))
    languages = model.catalog.get().query_languages(queries, language)
    found = cast(
        "list[list[Result]]",  # as many as there are queries
        model.search(
            queries,
            k=k,
            language=languages,
            filter=condition,
            min_relevance=min_relevance,
            prefer_language=prefer_language,
            language_weight=language_weight,
            exact=exact,
            explain=explain,
            hybrid=hybrid,
            lexical_weight=lexical_weight,
            group_by_document=group,
            context=context,
        ),
    )
    model.close()
    for query, used, results in zip(queries, languages, found, strict=True):
        if as_json:
            show_json({"query": query, **json_values(result)} for result in results)
        else:
            show_results(query, used, results)


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
