"""Output: results on stdout, messages on stderr."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

LINES = 2  # shown of a passage
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")  # a passage must not control the terminal


def messages() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False)


def results() -> Console:
    """Return the console of stdout."""
    return Console(highlight=False)


def say(message: str, *, label: str = "", style: str = "") -> None:
    """Write a message to stderr, on one line whatever the terminal's width."""
    messages().print(Text.assemble((label, f"bold {style}"), (message, "" if label else style)), soft_wrap=True)


def say_skipped(skipped: Counter[str]) -> None:
    """Report what was skipped, if anything."""
    if skipped:
        say(f"Skipped: {format_counts(skipped)}.", style="yellow")


def plural(n: int, thing: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> plural(1, "passage"), plural(2, "passage")
    ('1 passage', '2 passages')
    """
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def format_counts(counts: Counter[str]) -> str:
    """Return counts as text, largest first.

    Examples
    --------
    >>> format_counts(Counter({"hidden": 3, "binary": 1}))
    '3 hidden, 1 binary'
    """
    return ", ".join(f"{n} {what}" for what, n in counts.most_common())


def say_waiting(what: str) -> None:
    """Say on a terminal what is being waited for, in a plain line: downloads draw their own progress bars."""
    if messages().is_terminal:
        say(f"{what} …", style="dim")


def show_json(lines: Iterable[Mapping[str, Any]]) -> None:
    """Write each mapping as one line of JSON to stdout."""
    for line in lines:
        typer.echo(json.dumps(line, ensure_ascii=False))


def show_table(names: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[str] = ()) -> None:
    """Print a table; `numeric` columns are right-aligned, the last column is truncated to the terminal's width."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:  # only the last may shrink
        table.add_column(name, justify="right" if name in numeric else "left", no_wrap=name != names[-1], min_width=8)
    for row in rows:
        table.add_row(*(Text(plain(cell), no_wrap=True, overflow="ellipsis") for cell in row))
    results().print(table)


def show_results(query: str, language: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Print a query and its results, as `RAGPretrainedModel.search` returns them."""
    console = results()
    console.print(Text.assemble((plain(query), "bold"), (f"  ({language})", "cyan")))
    if found:
        console.print(Text("rank  score  relevance  language  document", "dim"))
    for result in found:
        head = Text.assemble(
            (f"{result['rank']:>4}  ", "bold"),
            (f"{result['score']:5.2f}  {result['relevance']:>9.0%}  ", "green"),
            (f"{result['language']:<8}  ", "cyan"),
            plain(result["document_id"]),
        )
        console.print(head, no_wrap=True, overflow="ellipsis", crop=True)
        for line in _lines(result["content"], console.width - 6, LINES):
            console.print(Text(f"      {line}"), no_wrap=True, overflow="ellipsis", crop=True)
    if not found:
        console.print(Text("no results", "dim"))
    console.print()


def plain(text: str) -> str:
    r"""Return a text on one line, without control characters.

    Examples
    --------
    >>> plain("one\n\x1b[31m two")
    'one [31m two'
    """
    return " ".join(_CONTROLS.sub(" ", text).split())


def _lines(text: str, width: int, n: int) -> list[str]:
    """Return the first `n` lines of a text, with an ellipsis if there is more."""
    rest = plain(text[: 4 * width * n])  # enough even if accents are separate characters
    lines: list[str] = []
    while rest and len(lines) < n:
        end = _line_end(rest, width if len(lines) < n - 1 else width - 2)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest:
        lines[-1] += " …"
    return lines


def _line_end(text: str, width: int) -> int:
    """Return where a line of `width` cells ends: after a word, or, in scripts without spaces, after a character."""
    cells = 0
    for position, character in enumerate(text):
        cells += cell_len(character)
        if cells > width:
            space = text.rfind(" ", 0, position + 1)
            return space if space > position // 2 and cell_len(character) < 2 else position
    return len(text)
