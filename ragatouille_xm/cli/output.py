"""Output: results on stdout, messages on stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..shell import typed
from .evidence import show_evidence
from .files.skipped import Skipped
from .lines import NARROWEST, first_lines, plain

LINES = 2  # shown of a passage
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but for tabs and line breaks


def messages() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False)


def results() -> Console:
    """Return the console of stdout."""
    return Console(highlight=False)


def say(message: str, *, label: str = "", style: str = "") -> None:
    """Write a message to stderr, on one line whatever the terminal's width."""
    message = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), message)
    messages().print(Text.assemble((label, f"bold {style}"), (message, "" if label else style)), soft_wrap=True)


def say_skipped(skipped: Skipped) -> None:
    """Report what was skipped, if anything: how much of each kind, and the first by name."""
    if not skipped:
        return
    say(f"Skipped: {skipped}.", style="yellow")
    for kind, n in skipped.counts.most_common():
        named = skipped.named[kind]
        for message in named:
            say(f"  {message}")
        if n > len(named):
            say(f"  … and {n - len(named):,} more ({kind}); ragatouille-xm --verbose names all.")


def plural(n: int, thing: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> plural(1, "passage"), plural(2, "passage")
    ('1 passage', '2 passages')
    """
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def say_waiting(what: str) -> None:
    """Say on a terminal what is being waited for, in a plain line: downloads draw their own progress bars."""
    if messages().is_terminal:
        say(f"{what} …", style="dim")


def show_json(lines: Iterable[Mapping[str, Any]]) -> None:
    """Write each mapping as one line of JSON to stdout."""
    for line in lines:
        typer.echo(json.dumps(line, ensure_ascii=False))


def show_table(names: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[str] = ()) -> None:
    """Print a table; `numeric` columns are right-aligned, and the last column is never cut."""
    cells = [names, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(names) - 1)]
    for row in cells:
        line = ""
        for name, cell, width in zip(names, row, [*widths, 0], strict=True):
            room = " " * max(width - cell_len(cell), 0)
            line += f"{room}{cell}  " if name in numeric else f"{cell}{room}  "
        results().print(Text(line.rstrip(), "dim" if row is names else ""), soft_wrap=True)


def _show_text(console: Console, text: str, style: str = "") -> None:
    for line in first_lines(text, max(console.width - 6, NARROWEST), LINES):
        console.print(Text(f"      {line}", style), no_wrap=True, overflow="ellipsis", crop=True)


def show_results(query: str, language: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Print a query and its results, as `RAGPretrainedModel.search` returns them."""
    console = results()
    console.print(Text.assemble((plain(query), "bold"), (f"  ({language})", "cyan")), soft_wrap=True)
    if found:
        console.print(Text("rank  score  relevance  language  document", "dim"), soft_wrap=True)
    for result in found:
        head = Text.assemble(
            (f"{result['rank']:>4}  ", "bold"),
            (f"{result['score']:5.2f}  {result['relevance']:>9.0%}  ", "green"),
            (f"{result['language']:<8}  ", "cyan"),
            typed(result["document_id"]),
        )
        console.print(head, soft_wrap=True)  # an id is never cut: it may be typed back
        for text in result.get("context_before", ()):
            _show_text(console, text, "dim")
        if "evidence" in result:
            show_evidence(console, result["evidence"])
        else:
            _show_text(console, result["content"])
        for text in result.get("context_after", ()):
            _show_text(console, text, "dim")
        for other in result.get("other_passages", ()):
            [line] = first_lines(other["content"], max(console.width - 13, NARROWEST), 1)
            console.print(Text.assemble((f"      {other['score']:5.2f}  ", "green"), line), no_wrap=True, crop=True)
    if not found:
        console.print(Text("no results", "dim"), soft_wrap=True)
    console.print()
