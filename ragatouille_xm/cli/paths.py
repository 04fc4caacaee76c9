"""Locations of indexes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..config import INDEXES_FOLDER
from ..errors import IndexNotFoundError, InputError
from ..files import shown_place
from ..shell import quoted, typed

INDEX_FILES = ("index.db", "build.db", "plan.json")  # of our indexes, and of colbert-ai's

IndexArgument = Annotated[str, typer.Argument(help="Name or folder of an index.", metavar="INDEX")]
RootOption = Annotated[Path, typer.Option(help="Folder that named indexes are in.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an index of that name, once the new one is complete.")
]


def index_folder(root: Path, name: str) -> Path:
    """Return the folder of a named index.

    Raises
    ------
    InputError
        If `name` cannot be a folder's name.
    """
    if not name.strip() or not name.isprintable() or name in (".", "..") or any(c in name for c in "/\\"):
        shown = quoted(shown_place(name))
        raise InputError(f"--name {shown} cannot be a folder's name. Use letters, digits, '-' and '_'.")
    return _indexes_folder(root) / name


def find_index(index: str, root: Path) -> Path:
    """Return the folder of an index, given its name below `root` or its folder.

    Raises
    ------
    IndexNotFoundError
        If there is no such index.
    """
    for folder in (_indexes_folder(root) / index, Path(index)):
        if any(os.path.exists(folder / name) for name in INDEX_FILES):  # Path.exists raises for a name that is too long
            return folder
    names = sorted({path.parent.name for name in INDEX_FILES for path in _indexes_folder(root).glob(f"*/{name}")})
    there = f"There are: {', '.join(map(typed, names))}."
    hint = there if names else "Build one: ragatouille-xm index PATH --name NAME"
    shown = quoted(shown_place(index))
    raise IndexNotFoundError(f"There is no index {shown}, neither below {quoted(root)} nor as a folder. {hint}")


def _indexes_folder(root: Path) -> Path:
    return root / INDEXES_FOLDER
