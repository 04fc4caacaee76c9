"""The demo command: index and search a bundled collection."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from ..errors import IndexDamagedError, IndexFormatError, IndexNotFoundError
from .app import app, facade
from .output import plain, plural, results, say, say_waiting, show_results

if TYPE_CHECKING:
    from ..demo import SampleDocument, SampleQuery
    from ..pretrained import RAGPretrainedModel
    from ..retriever import Result

K = 3
SHOWN = (("fr", "fr-bees"), ("ja", "ja-tides"), ("ru", "ru-dish"), ("it", "pt-dish"))  # the last crosses languages
STAND_IN = (
    "The checkpoint is a stand-in, not ColBERT-XM: multilingual-e5-small's weights with identity adapters. This shows "
    "that everything works, not how good ColBERT-XM is."
)


@app.command(
    epilog="""
    Examples:

        ragatouille-xm demo
        ragatouille-xm demo "Why is the blood of an octopus blue?"
    """
)
def demo(
    query: Annotated[str | None, typer.Argument(help="A question of your own, in one of the 15 languages.")] = None,
) -> None:
    """Index a bundled collection in 15 languages and search it, without a network.

    The documents are short texts about bees, bicycles, lighthouses, octopuses, printing, tea, tides, volcanoes, and a
    river and a dish of each country. The checkpoint is a small stand-in for ColBERT-XM. Checkpoint and index are built
    once and kept in the user's cache, or in $RAGATOUILLE_XM_CACHE.
    """
    from ..cache import cache_dir
    from ..demo import demo_queries, demo_sample

    say_waiting("Loading the demo checkpoint (built the first time)")
    model = facade().from_pretrained("demo", index_root=str(cache_dir()))
    try:
        summary = _index_once(model, demo_sample())
        results().print(Text(STAND_IN, "yellow"))
        results().print(f"{summary}\n")
        if query is None:
            _show_bundled_queries(model, demo_queries())
            say('Ask a question of your own: ragatouille-xm demo "…"')
        else:
            [language] = model.catalog.get().query_languages([query], None)
            show_results(query, language, cast("list[Result]", model.search(query, k=K, language=language)))
    finally:
        model.close()


def _index_once(model: RAGPretrainedModel, sample: Sequence[SampleDocument]) -> str:
    """Index the sample, or open the index of an earlier run; return a summary."""
    contents = repr((model.encoder.checkpoint.fingerprint, sample))
    name = f"demo-{hashlib.sha256(contents.encode()).hexdigest()[:8]}"
    start = time.perf_counter()
    try:
        index = model.catalog.get(name).index
        how = "by an earlier run"
    except (IndexNotFoundError, IndexDamagedError, IndexFormatError):
        model.index(
            [document.text for document in sample],
            [document.id for document in sample],
            [{"title": document.title, "topic": document.topic} for document in sample],
            index_name=name,
        )
        index = model.catalog.get().index
        how = f"in {time.perf_counter() - start:.0f} s"
    detected = {passage.document_id: passage.language for passages, _ in index.scroll() for passage in passages}
    n_right = sum(detected.get(document.id) == document.language for document in sample)
    languages = plural(len({document.language for document in sample}), "language")
    return (
        f"{plural(len(sample), 'document')} in {languages}, indexed {how}. The language of each was detected from its "
        f"text, correctly for {n_right}."
    )


def _show_bundled_queries(model: RAGPretrainedModel, queries: Sequence[SampleQuery]) -> None:
    """Run all bundled queries; show a few of them, and how many find their document."""
    texts = [query.text for query in queries]
    languages = model.catalog.get().query_languages(texts, None)
    found = cast("list[list[Result]]", model.search(texts, k=K, language=languages))
    for query, language, best in zip(queries, languages, found, strict=True):
        if (query.language, query.document_id) in SHOWN:
            _show_compact(query, language, best)
    first = sum(best[0]["document_id"] == query.document_id for query, best in zip(queries, found, strict=True))
    among = sum(
        query.document_id in {result["document_id"] for result in best}
        for query, best in zip(queries, found, strict=True)
    )
    results().print(
        f"✓ marks the document that the query was written for. Of all {len(queries)} bundled queries, {first} rank it "
        f"first, and {among} among the best {K}."
    )


def _show_compact(query: SampleQuery, language: str, found: Sequence[Result]) -> None:
    """Print a query, and one line for each result."""
    table = Table.grid(padding=(0, 1))
    for _ in range(4):
        table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for result in found:
        table.add_row(
            Text(f"  {result['score']:5.2f}", "green"),
            Text("✓" if result["document_id"] == query.document_id else " ", "bold green"),
            Text(f"{result['language']:<2}", "cyan"),
            Text(f"{result['document_id']:<13}", "dim"),
            Text(plain(result["content"]), no_wrap=True, overflow="ellipsis"),
        )
    console = results()
    console.print(Text.assemble((query.text, "bold"), (f"  ({language})", "cyan")))
    console.print(table)
    console.print()
