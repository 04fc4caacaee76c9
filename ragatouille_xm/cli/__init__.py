"""The command line, `ragatouille-xm`.

Importing it imports neither torch nor transformers, so ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from . import demo, doctor, evaluate, index, search, train, transfer  # each registers its commands
from .app import app

__all__ = ["app", "demo", "doctor", "evaluate", "index", "main", "search", "train", "transfer"]


def main() -> None:
    """Run the command line: exit code 0, 1 from doctor if something is wrong, 2 for bad input, 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # The locale's encoding may lack characters of the results, and a query may hold bytes that are not text.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app(prog_name="ragatouille-xm")
