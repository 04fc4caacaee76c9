"""Damages files, for tests of what reads them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

DEEP = "[" * 100_000 + "]" * 100_000
JUNK = (None, True, -1, 0, 3, 2.5, 10**30, float("inf"), float("nan"), "", "x", "../x", "a\0b", "\ud800", "n" * 5000)
JUNK_OF_OTHERS: tuple[Any, ...] = (*JUNK, [], {}, ["x"], [[]], {"x": 1}, "deep")
HOW = ("value", "value", "value", "value", "delete", "flip", "cut", "empty", "zeros")


@contextmanager
def damaged(path: Path, how: str, seed: int) -> Iterator[None]:
    """Damage a file in one place, `how`, and restore it afterwards."""
    content = path.read_bytes()
    try:
        path.write_bytes(_damage(content, how if path.suffix in (".json", ".metadata") else how[:0], seed))
        yield
    finally:
        path.write_bytes(content)


def _damage(content: bytes, how: str, seed: int) -> bytes:
    random = Random(seed)
    if how in ("value", "delete"):
        changed = json.dumps(_change(json.loads(content), how, random))
        return changed.replace('"deep"', DEEP).encode()
    how = how or random.choice(HOW[-4:])
    at = random.randrange(len(content))
    if how == "flip":
        return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
    return {"cut": content[:at], "empty": b"", "zeros": bytes(len(content))}[how]


def _change(value: Any, how: str, random: Random) -> Any:
    """Return JSON with one value, at a random place, changed or deleted."""
    value = copy.deepcopy(value)
    inner = value
    if not inner or not isinstance(inner, (dict, list)) or random.random() < 0.05:
        return random.choice(JUNK_OF_OTHERS)
    while True:
        key = random.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if not isinstance(inner[key], (dict, list)) or not inner[key] or random.random() < 0.3:
            break
        inner = inner[key]
    if how == "delete":
        del inner[key]
    else:
        inner[key] = random.choice(JUNK_OF_OTHERS)
    return value
