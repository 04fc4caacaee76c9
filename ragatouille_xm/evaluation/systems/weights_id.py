"""Which weights a checkpoint's name stands for."""

from __future__ import annotations

from pathlib import Path

from ...model.checkpoint import locate
from ...model.weights import Weights


def identity_of(name: str) -> dict[str, str]:
    """Return JSON values that are others for other weights: of a hub id its name, of a folder a hash of its weights.

    Raises
    ------
    CheckpointError
        If a folder is not there, or has no weights.
    """
    if name != "demo" and not Path(name).expanduser().is_dir() and _may_be_hub_id(name):
        return {"checkpoint": name}
    folder = locate(name)
    return {"checkpoint": name, "weights": Weights.open(folder).digest().hex()[:16]}


def _may_be_hub_id(name: str) -> bool:
    return name.count("/") <= 1 and not name.startswith((".", "~", "/"))
