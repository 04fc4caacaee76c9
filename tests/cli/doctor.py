"""What a run of doctor said."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import Result


def checks(result: Result, section: str) -> dict[str, dict[str, Any]]:
    """Return what a run with --json said of a section, by name."""
    assert result.exit_code in (0, 1), result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == any(line["status"] == "fault" for line in lines)
    return {line["name"]: line for line in lines if line["section"] == section}


def faults(result: Result, section: str) -> dict[str, dict[str, Any]]:
    return {name: check for name, check in checks(result, section).items() if check["status"] == "fault"}
