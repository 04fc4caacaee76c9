"""The command that looks for what is wrong: doctor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.padding import Padding
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
from .output import plain, plural, results, say_waiting, show_json
from .paths import RootOption, find_index
from .search import JsonOption

FAULTS_FOUND = 1
SYMBOLS = {OK: ("✓", "green"), NOTE: ("!", "yellow"), FAULT: ("✗", "bold red")}
NAME_WIDTH = 17  # of a part's

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
    checkpoint: Annotated[str | None, typer.Option(help="Look at this checkpoint: hub id or folder.")] = None,
    index: Annotated[str | None, typer.Option(help="Look at this index only: its name, or its folder.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read all weights and all vectors, and compare checksums; takes its time.")
    ] = False,
    as_json: JsonOption = False,
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Look for what is wrong, and tell what mends it.

    The installed versions, GPUs and caches; every index below --root, or the one that is named, with the checkpoint
    that filled it; and a checkpoint. Nothing is fetched or changed. Of an index, the files of each part are compared
    with the sizes that were recorded, passages are counted, and the vectors of some are read; of a checkpoint, names
    and shapes of the weights are. With --full, checksums are compared too.
    """
    say_waiting("Looking")
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
        what = f"{plural(faults, 'thing')} wrong; what mends it is below each." if faults else "Nothing is wrong."
        results().print(Text(what, "bold red" if faults else "bold green"))
    if faults:
        raise typer.Exit(FAULTS_FOUND)


def _folders(index: str | None, root: Path) -> list[Path]:
    """Return the folders of the indexes to look at, whether or not they are whole."""
    home = root / INDEXES_FOLDER
    if index is None:
        return sorted(path for path in home.glob("*") if path.is_dir())
    there = [folder for folder in (home / index, Path(index)) if folder.is_dir()]
    return there[:1] or [find_index(index, root)]


def _show(title: str, checks: Sequence[Check]) -> None:
    """Write a section to stdout: a sign, a name, what was found, and below it what mends it."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, width=NAME_WIDTH)
    table.add_column(overflow="fold")
    for check in checks:
        sign, style = SYMBOLS[check.status]
        table.add_row(Text(sign, style), Text(plain(check.name)), Text(plain(check.found)))
        if check.remedy is not None and check.status != OK:
            table.add_row("", "", Text(f"→ {plain(check.remedy)}", "cyan"))
    results().print(Group(Text(plain(title), "bold"), Padding(table, (0, 0, 1, 2))))
