"""Writing checkpoint folders atomically, in colbert-ai's format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import InputError
from ..model.checkpoint import Checkpoint
from ..model.formats import FORMATS
from ..model.formats.modules import SETTINGS
from ..text.token_settings import TokenSettings

_COPIED = (".json", ".model", ".txt")
_NOT_COPIED = ("checksums.json", "config.json", *(each.mark for each in FORMATS), SETTINGS, "sentence_bert_config.json")


def save_checkpoint(
    base: Checkpoint,
    changed: Mapping[str, torch.Tensor],
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    also: Callable[[Path], object] | None = None,
) -> None:
    """Write a checkpoint that is `base` except for some tensors.

    Parameters
    ----------
    base : Checkpoint
        With a head as in colbert-ai's format.
    changed : mapping of str to torch.Tensor
        By stored name, including new ones.
    folder : Path
        Created atomically; an existing one is replaced.
    config, metadata : mapping, optional
        Changes to ``config.json`` and ``artifact.metadata``.
    also : callable, optional
        Adds more files to the folder before it is published.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    with new_folder(folder) as temporary:
        for path in base.folder.iterdir():
            if path.is_file() and _is_copied(path.name):
                shutil.copyfile(path, temporary / path.name)
        write_json(temporary / "config.json", base.config | dict(config or {}))
        write_json(temporary / "artifact.metadata", _metadata(base) | dict(metadata or {}))
        tensors = {name: base.weights.get(name) for name in base.weights.names if name not in changed}
        save_file(tensors | dict(changed), temporary / "model.safetensors", metadata={"format": "pt"})
        if also is not None:
            also(temporary)


def check_new(folder: Path) -> None:
    """Raise `InputError` unless a checkpoint can be written to a folder that is not there yet."""
    if folder.exists():
        raise InputError(f"{str(folder)!r} exists already. Give a new folder for the checkpoint.")
    with new_folder(folder):
        pass
    folder.rmdir()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write a checkpoint into; it becomes `folder`, and replaces one, if nothing fails.

    Raises
    ------
    InputError
        If something cannot be written.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise InputError(
            f"The checkpoint cannot be written to {str(folder)!r}: {error}. Free some space, or give another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_copied(name: str) -> bool:
    return name.endswith(_COPIED) and name not in _NOT_COPIED and ".index." not in name


def _metadata(base: Checkpoint) -> dict[str, Any]:
    path = base.folder / "artifact.metadata"
    stored: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    usual = asdict(TokenSettings())
    return stored | {k: v for k, v in asdict(base.settings).items() if k in stored or v != usual[k]}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, to be read by people too."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")
