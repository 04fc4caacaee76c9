"""The command line, called in the process of the tests."""

from __future__ import annotations

import logging
from typing import Any

from typer.testing import CliRunner, Result

from ragatouille_xm.cli import app


def invoke(runner: CliRunner, arguments: list[str], **options: Any) -> Result:
    """Run a command, and leave logging as it was: a command sets up that of its process, here that of other tests."""
    try:
        return runner.invoke(app, arguments, catch_exceptions=False, **options)
    finally:
        for name in ("ragatouille_xm", "ragatouille_xm.indexing"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.setLevel(logging.NOTSET)
