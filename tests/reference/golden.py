"""How the golden files are written: compact, yet a line for each text so that a change can be read in a diff."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the interpreter and of `packages`."""
    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}


def amend(file: str, **sections: Any) -> None:
    """Set top-level keys of a JSON file of this folder, keeping its others."""
    path = HERE / file
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content |= sections
    path.write_text(_dump(content) + "\n", encoding="utf-8")


def _dump(value: Any, indent: str = "") -> str:
    flat = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(flat) < 100 or not isinstance(value, dict):
        return flat
    inner = indent + " "
    lines = [f"{inner}{json.dumps(k, ensure_ascii=False)}:{_dump(v, inner)}" for k, v in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + indent + "}"
