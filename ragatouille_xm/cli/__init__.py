"""The command line, `ragatouille-xm`.

Importing it imports neither numpy nor torch, so ``--help`` answers at once; a command imports what it uses.
"""

from __future__ import annotations

import gc
import sys

from . import (
    checkpoints,
    demo,
    doctor,
    evaluate,
    index,
    languages,
    search,
    serve,
    train,
    transfer,
)  # each registers its commands
from .app import INTERRUPTED, app
from .output import say
from .streams import guarded_streams

__all__ = [
    "app",
    "checkpoints",
    "demo",
    "doctor",
    "evaluate",
    "index",
    "languages",
    "main",
    "search",
    "serve",
    "train",
    "transfer",
]


def main() -> None:
    """Run the command line: exit code 0, 1 from doctor if something is wrong, 2 for bad input, 130 when interrupted.

    And 141 if the reader of its output goes away, as ``head`` does.
    """
    try:
        with guarded_streams():
            try:
                app(prog_name="ragatouille-xm")
            except KeyboardInterrupt:  # before a command began: typer takes a while to put them together
                say("Interrupted.")
                sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # Python would look for garbage once more, in all that torch has imported: most of a second
