"""Identity of a checkpoint's weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...errors import CheckpointError
from ...model.checkpoint import locate

_FILES = ("*.safetensors", "*.bin", "*.json")
_SAMPLE = 1 << 16  # bytes of a file's start, middle and end


def identity_of(name: str) -> dict[str, str]:
    """Return JSON values that identify the weights: a hub id's name, else a hash of the weights.

    Raises
    ------
    CheckpointError
        If a folder does not exist, or has no weights.
    """
    if is_hub_id(name):
        return {"checkpoint": name}
    folder = locate(name)  # not its path, which may change
    return {"checkpoint": Path(name).resolve().name if Path(name).is_dir() else name, "weights": _digest(folder)}


def is_hub_id(name: str) -> bool:
    """Return whether a name means a repository on the hub and not a local folder.

    Examples
    --------
    >>> is_hub_id("antoinelouis/dpr-xm"), is_hub_id("./dpr-xm"), is_hub_id("demo")
    (True, False, False)
    """
    return name.count("/") == 1 and not name.startswith((".", "~", "/")) and not Path(name).is_dir()


def _digest(folder: Path) -> str:
    """Return a hash of the files' names, sizes and sampled bytes, without loading them."""
    digest = hashlib.sha256()
    files = sorted({file for pattern in _FILES for file in folder.glob(pattern)})
    if all(file.suffix == ".json" for file in files):
        raise CheckpointError(
            f"The checkpoint folder {str(folder)!r} has no weights: no .safetensors and no .bin file."
        )
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in (0, size // 2, max(0, size - _SAMPLE)):
                file.seek(start)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:16]
