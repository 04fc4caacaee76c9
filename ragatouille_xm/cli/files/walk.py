"""Folders → the paths of their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase

from ...shell import quoted
from .skipped import BadFileError, Skipped


def walk(
    folder: str,
    include: Sequence[str],
    exclude: Sequence[str],
    skipped: Skipped,
    refuse: Callable[[BadFileError], None],
) -> Iterator[str]:
    """Yield the paths in a folder and those below it, sorted, whatever they lead to.

    Parameters
    ----------
    folder : str
    include, exclude : sequence of str
        Shell patterns. One without ``/`` is compared with names at any depth, one with ``/`` with the path below
        `folder`. Files are yielded that any of `include` matches, or all if there is none, but nothing that `exclude`
        matches, or that is in such a folder.
    skipped : Skipped
        Counts what is hidden.
    refuse : callable
        Called with what is wrong with a folder below that cannot be read.
    """

    def refuse_folder(error: OSError) -> None:
        refuse(BadFileError("unreadable", f"The folder {quoted(error.filename)} cannot be read: {error.strerror}."))

    for parent, folders, files in os.walk(folder, onerror=refuse_folder):
        below = os.path.relpath(parent, folder)

        def wanted(name: str, parent: str = parent, below: str = below) -> bool:
            if _matches(exclude, below, name):
                return False
            if name.startswith("."):
                skipped.add("hidden", f"{quoted(os.path.join(parent, name))} is hidden.")
                return False
            return True

        folders[:] = sorted(filter(wanted, folders))
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # os.walk does not follow them
        for name in sorted([*filter(wanted, files), *links]):
            if not include or _matches(include, below, name):
                yield os.path.join(parent, name)


def _matches(patterns: Sequence[str], below: str, name: str) -> bool:
    path = os.path.normpath(os.path.join(below, name)).replace(os.sep, "/")
    return any(
        fnmatchcase(path if "/" in pattern.rstrip("/") else name, pattern.rstrip("/").removeprefix("./"))
        for pattern in patterns
    )
