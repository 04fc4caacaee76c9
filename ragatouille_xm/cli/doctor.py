"""The doctor command: check the installation, checkpoints and indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..config import INDEXES_FOLDER
from ..health import (
    FAULT,
    NOTE,
    OK,
    Check,
    collect_checks,
    examine_caches,
    examine_checkpoint,
    examine_devices,
    examine_index,
    examine_packages,
)
from .app import app
from .lines import plain
from .output import plural, results, say_waiting, show_json
from .paths import RootOption, find_index
from .search import JsonOption

FAULTS_FOUND = 1
SYMBOLS = {OK: ("✓", "green"), NOTE: ("!", "yellow"), FAULT: ("✗", "bold red")}
NAME_WIDTH = 17

Section = tuple[str, Iterator[Check]]


@app.command(
    epilog="""
    Examples:

        ragatouille-xm doctor
        ragatouille-xm doctor --checkpoint ./colbert-xm --full
        ragatouille-xm doctor --index mine --json

    Exit code 1 when something is wrong.
    """
)
def doctor(
    checkpoint: Annotated[str | None, typer.Option(help="Check this checkpoint: hub id or folder.")] = None,
    index: Annotated[str | None, typer.Option(help="Check only this index: its name or folder.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read all weights and vectors, and verify checksums. Slow.")
    ] = False,
    as_json: JsonOption = False,
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Find problems, and say how to fix them.

    Checks the installed versions, GPUs and caches; every index below --root, or the given one, with its checkpoint;
    and a given checkpoint. Nothing is downloaded or changed. For an index, file sizes are compared with the recorded
    ones, passages are counted and a sample of vectors is read; for a checkpoint, the names and shapes of the weights
    are checked. With --full, checksums are verified too.
    """
    say_waiting("Checking")
    sections: list[Section] = [
        ("Packages", examine_packages()),
        ("Devices", examine_devices()),
        ("Caches", examine_caches()),
    ]
    if checkpoint is not None:
        sections.append((f"Checkpoint {checkpoint}", examine_checkpoint(checkpoint, full=full)))
    sections += [(f"Index {folder.name}", examine_index(folder, full=full)) for folder in _folders(index, root)]
    faults = 0
    for title, checks in sections:
        found = collect_checks(checks)
        faults += sum(check.status == FAULT for check in found)
        if as_json:
            show_json({"section": title, **check._asdict()} for check in found)
        else:
            _show(title, found)
    if not as_json:
        what = f"{plural(faults, 'problem')} found; the fix is below each." if faults else "No problems found."
        results().print(Text(what, "bold red" if faults else "bold green"))
    if faults:
        raise typer.Exit(FAULTS_FOUND)


def _folders(index: str | None, root: Path) -> list[Path]:
    """Return the folders of the indexes to check, whole or not."""
    home = root / INDEXES_FOLDER
    if index is None:
        return sorted(path for path in home.glob("*") if path.is_dir())
    there = [folder for folder in (home / index, Path(index)) if folder.is_dir()]
    return there[:1] or [find_index(index, root)]


def _show(title: str, checks: Sequence[Check]) -> None:
    """Print a section: a symbol, a name and a finding, with the fix below it, on one line for copying."""
    console = results()
    console.print(Text(plain(title), "bold"), soft_wrap=True)
    for check in checks:
        sign, style = SYMBOLS[check.status]
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, width=NAME_WIDTH)
        table.add_column(overflow="fold")
        table.add_row(Text(f"  {sign}", style), Text(plain(check.name)), Text(plain(check.found)))
        console.print(table)
        if check.remedy is not None and check.status != OK:
            console.print(Text(f"    → {plain(check.remedy)}", "cyan"), soft_wrap=True)
    console.print()
