"""The demo command: index and search a bundled collection."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from ..errors import IndexDamagedError, IndexFormatError, IndexNotFoundError
from ..shell import typed
from .app import app, facade
from .lines import plain
from .output import messages, plural, results, say, say_waiting, show_results

if TYPE_CHECKING:
    from ..demo import SampleDocument, SampleQuery
    from ..pretrained import RAGPretrainedModel
    from ..results import Result

K = 3
WIDTH = 80
SHOWN = (("fr", "fr-octopus"), ("ja", "ja-tides"), ("ru", "ru-dish"), ("it", "pt-dish"))  # the last crosses languages
NAMES = {"it": "Italian", "pt": "Portuguese"}


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
    from ..demo import demo_queries, demo_sample, trained_languages

    say_waiting("Loading the demo checkpoint (built the first time)")
    model = facade().from_pretrained("demo", index_root=str(cache_dir()))
    try:
        sample = demo_sample()
        indexed = _index_once(model, sample)
        _show_summary(model, sample, indexed, trained_languages())
        if query is None:
            _show_bundled_queries(model, demo_queries())
            _show_next_steps(model.catalog.path(str(model.current_index)))
        else:
            [language] = model.catalog.get().query_languages([query], None)
            show_results(query, language, cast("list[Result]", model.search(query, k=K, language=language)))
    finally:
        model.close()


def _index_once(model: RAGPretrainedModel, sample: Sequence[SampleDocument]) -> str:
    """Index the sample, or open the index of an earlier run; return when it was indexed."""
    contents = repr((model.encoder.checkpoint.fingerprint, sample))
    name = f"demo-{hashlib.sha256(contents.encode()).hexdigest()[:8]}"
    start = time.perf_counter()
    try:
        model.catalog.get(name)
    except (IndexNotFoundError, IndexDamagedError, IndexFormatError):
        say_waiting(f"Indexing {plural(len(sample), 'document')}")
        model.index(
            [document.text for document in sample],
            [document.id for document in sample],
            [{"title": document.title, "topic": document.topic} for document in sample],
            index_name=name,
        )
        return f"indexed in {time.perf_counter() - start:.0f} s"
    return "indexed by an earlier run"


def _show_summary(
    model: RAGPretrainedModel, sample: Sequence[SampleDocument], indexed: str, trained: Sequence[str]
) -> None:
    """Print what is in the index, how well the languages were detected, and what is trained in the checkpoint."""
    scroll = model.catalog.get().index.scroll()
    detected = {passage.document_id: passage.language for passages, _ in scroll for passage in passages}
    n_right = sum(detected.get(document.id) == document.language for document in sample)
    languages = sorted({document.language for document in sample})
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("Index", f"{plural(len(sample), 'document')} in {plural(len(languages), 'language')}, {indexed}")
    table.add_row("Languages", Text(" ".join(languages), "cyan"))
    table.add_row("", f"detected from the text, correctly for {n_right} of {len(sample)}")
    of = f": multilingual-e5-small, {'briefly trained' if trained else 'untrained'}"
    table.add_row("Checkpoint", Text.assemble(("a stand-in, not ColBERT-XM", "yellow"), of))
    adapters = Text.assemble("trained: ", (" ".join(trained), "cyan")) if trained else "untrained: they do nothing"
    table.add_row("Adapters", adapters)
    console = results()
    console.print(table, width=_width())
    console.print()


def _show_bundled_queries(model: RAGPretrainedModel, queries: Sequence[SampleQuery]) -> None:
    """Run all bundled queries; show a few of them, and how many find their document."""
    texts = [query.text for query in queries]
    languages = model.catalog.get().query_languages(texts, None)
    found = cast("list[list[Result]]", model.search(texts, k=K, language=languages))
    answers = list(zip(queries, languages, found, strict=True))
    shown = {(query.language, query.document_id): (query, language, best) for query, language, best in answers}
    for key in SHOWN:
        _show_compact(*shown[key])
    first = sum(best[0]["document_id"] == query.document_id for query, _, best in answers)
    among = sum(query.document_id in [result["document_id"] for result in best] for query, _, best in answers)
    console = results()
    console.print(Text.assemble(("✓", "bold green"), " marks the document that the question was written for."))
    console.print(f"Of {len(queries)} such questions, {first} find theirs first, {among} among the best {K}.")


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
    asked, answered = query.language, query.document_id[:2]
    crossing = f"  {NAMES[asked]} → {NAMES[answered]}" if asked != answered else ""
    console = results()
    console.print(Text.assemble((query.text, "bold"), (f"  ({language})", "cyan"), (crossing, "yellow")))
    console.print(table, width=_width())
    console.print()


def _show_next_steps(index: Path) -> None:
    """Name what to try next, on stderr."""
    called = Path(sys.argv[0])
    is_hidden = called.name == "ragatouille-xm" and not shutil.which("ragatouille-xm")  # in an inactive environment
    command = called if is_hidden else "ragatouille-xm"
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=len("Checkpoint"))
    table.add_row(Text("Ask", "dim"), Text(f'{command} demo "…"'))
    table.add_row(Text("Docs", "dim"), "README.md, docs/guide/ (a page for each task), notebooks/")
    console = messages()
    console.print()
    console.print(table)
    say(f"{command} serve {typed(str(index))}", label="Page        ", style="dim")  # on one line, to be copied


def _width() -> int:
    return min(WIDTH, results().width)
