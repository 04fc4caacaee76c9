"""Which weights a checkpoint's name stands for."""

from __future__ import annotations

from pathlib import Path

from ...model.checkpoint import locate
from ...model.weights import Weights


def identity_of(name: str) -> dict[str, str]:
    """Return JSON values that are others for other weights: of a hub id its name, else a hash of the weights.

    Raises
    ------
    CheckpointError
        If a folder is not there, or has no weights.
    """
    if is_hub_id(name):
        return {"checkpoint": name}
    return {"checkpoint": name, "weights": Weights.open(locate(name)).digest().hex()[:16]}


def is_hub_id(name: str) -> bool:
    """Return whether a name is that of a repository on the hub, and of no folder here.

    Examples
    --------
    >>> is_hub_id("antoinelouis/dpr-xm"), is_hub_id("./dpr-xm"), is_hub_id("demo")
    (True, False, False)
    """
    return name.count("/") == 1 and not name.startswith((".", "~", "/")) and not Path(name).is_dir()
