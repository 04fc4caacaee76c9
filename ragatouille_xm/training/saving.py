"""Checkpoint folders: written whole or not at all, in the format they were read in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import InputError
from ..model.checkpoint import Checkpoint

_COPIED = (".json", ".model", ".txt")
_NOT_COPIED = ("checksums.json", "config.json")


def save_checkpoint(
    base: Checkpoint,
    changed: Mapping[str, torch.Tensor],
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    also: Callable[[Path], object] | None = None,
) -> None:
    """Write a checkpoint that is `base` but for some tensors.

    Parameters
    ----------
    base : Checkpoint
    changed : mapping of str to torch.Tensor
        By stored name, with those that `base` does not have.
    folder : Path
        Made in one step; one of that name is replaced.
    config, metadata : mapping, optional
        What becomes different in ``config.json`` and ``artifact.metadata``.
    also : callable, optional
        Puts more files into the folder before it appears.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    aside = folder.with_name(folder.name + ".tmp")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for path in base.folder.iterdir():
            if path.is_file() and _is_copied(path.name):
                shutil.copyfile(path, aside / path.name)
        _write_json(aside / "config.json", base.config | dict(config or {}))
        _write_json(aside / "artifact.metadata", _metadata(base) | dict(metadata or {}))
        tensors = {name: base.weights.get(name) for name in base.weights.names if name not in changed}
        save_file(tensors | dict(changed), aside / "model.safetensors", metadata={"format": "pt"})
        if also is not None:
            also(aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save tells of a full disk by the last
        raise InputError(
            f"The checkpoint cannot be written to {str(folder)!r}: {error}. Free some space, or give another folder."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_copied(name: str) -> bool:
    return name.endswith(_COPIED) and name not in _NOT_COPIED and ".index." not in name


def _metadata(base: Checkpoint) -> dict[str, Any]:
    path = base.folder / "artifact.metadata"
    stored: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return stored | asdict(base.settings)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")
