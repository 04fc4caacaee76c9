"""Checkpoints: locating their folders, and opening what these hold, whatever the format."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..demo import demo_checkpoint
from ..errors import CheckpointError, InputError
from ..files import absolute, without_secrets
from ..text.token_settings import TokenSettings
from .formats import PICKLES, SAFETENSORS, SMALL_FILES, read_layout
from .formats.layout import Dense, read_object
from .settings import check_sizes
from .weights import Weights
from .xmod import XmodConfig

DEMO = "demo"
UNTRAINED = "demo-untrained"
DEMOS = (DEMO, UNTRAINED)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint folder.

    Attributes
    ----------
    name : str
        As given by the user: a hub id, a folder, or ``"demo"``.
    format : str
        Name of its format.
    folder : Path
        Where its ``config.json`` and its tokeniser are.
    config : dict
        ``config.json``.
    settings : TokenSettings
    settings_file : Path
        Where they stand.
    head : tuple of Dense
        The layers after the backbone, the first one first.
    weights : Weights
        Tensors by name, of backbone and head, read on demand.
    fingerprint : str
        Equal for equal checkpoints; stored in indexes.
    """

    name: str
    format: str
    folder: Path
    config: dict[str, Any]
    settings: TokenSettings
    settings_file: Path
    head: tuple[Dense, ...]
    weights: Weights
    fingerprint: str

    @property
    def model_type(self) -> str:
        """The type of the backbone, from ``config.json``."""
        return str(self.config.get("model_type"))

    @property
    def adapters(self) -> tuple[str, ...]:
        """Language adapters in their stored order; empty for a backbone without any."""
        return XmodConfig.from_dict(self.config).languages if self.model_type == "xmod" else ()

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        if not self.head:
            return int(self.config["hidden_size"])
        return len(self.weights.get(f"{self.head[-1].name}linear.weight"))

    @property
    def default_adapter(self) -> str | None:
        """The adapter for text of unknown language."""
        if not self.adapters:
            return None
        default = self.config.get("default_language")
        if default in self.adapters:
            return str(default)
        return "en_XX" if "en_XX" in self.adapters else self.adapters[0]


def load_checkpoint(name: str | Path) -> Checkpoint:
    """Open the checkpoint of a hub id, a local folder, ``"demo"``, or ``"demo-untrained"``.

    Raises
    ------
    CheckpointError
        If it cannot be found, or one of its files is missing or unreadable.
    """
    folder = locate(name)
    layout = read_layout(folder)
    config, config_bytes = read_config(layout.backbone)
    weights = Weights.open(layout.backbone)
    for prefix, tensors in layout.head_weights.items():
        weights = weights.joined(tensors, prefix)
    digest = hashlib.sha256(config_bytes + layout.raw + weights.digest())
    return Checkpoint(
        name=str(folder.resolve()) if name not in DEMOS and os.path.isdir(absolute(name)) else str(name),
        format=layout.format,
        folder=layout.backbone,
        config=config,
        settings=layout.settings,
        settings_file=layout.settings_file,
        head=layout.head,
        weights=weights,
        fingerprint=digest.hexdigest()[:16],
    )


def read_config(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the checked content of a checkpoint's ``config.json``, and its bytes.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or a value that is used has the wrong type; the message names file and field.
    """
    path = folder / "config.json"
    config, raw = read_object(path)
    try:
        check_sizes(config)
        if config.get("model_type") == "xmod":
            XmodConfig.from_dict(config)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return config, raw


def locate(name: str | Path) -> Path:
    """Return the folder of a hub id (downloaded into the hub's cache if needed), a folder, or a demo.

    Raises
    ------
    CheckpointError
        If it cannot be found.
    InputError
        If `name` is neither a string nor a path, or is blank.
    """
    if not isinstance(name, (str, Path)) or not str(name).strip():
        raise InputError(f'The checkpoint is {name!r}. Give a hub id, a folder, or "demo".')
    if name == DEMO:  # a folder of that name is "./demo"
        return demo_checkpoint()
    if name == UNTRAINED:
        return demo_checkpoint(trained=False)
    if isinstance(name, str) and "://" in name:
        raise CheckpointError(f"The checkpoint is the address {without_secrets(name)!r}. Give a hub id, or a folder.")
    path = absolute(name)  # weights and adapters are read later
    if os.path.isdir(path):  # an index may hold any name: these raise nothing, whatever it is
        return path
    if isinstance(name, Path) or Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CheckpointError(f"There is no checkpoint folder {str(name)!r}. Give an existing folder or a hub id.")
    return _from_hub(str(name))


def _from_hub(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repo_id, allow_patterns=SMALL_FILES + SAFETENSORS))
        if not all(any(where.glob("model*.safetensors")) for where in weight_folders(folder)):
            folder = Path(snapshot_download(repo_id, allow_patterns=SMALL_FILES + PICKLES + SAFETENSORS))
    except Exception as error:  # from the hub client, its HTTP library, or the socket
        raise CheckpointError(
            f"The checkpoint {repo_id!r} is neither a local folder nor in the hub's cache, and could not be "
            f'downloaded ({type(error).__name__}). Check the id and the connection, give a local folder, or use "demo".'
        ) from error
    return absolute(folder)


def weight_folders(folder: Path) -> list[Path]:
    """Return the folders of a checkpoint that hold weights: those of the backbone and of dense layers."""
    backbones = [*folder.glob("*_Transformer")] or [folder]
    return [*backbones, *folder.glob("*_Dense")]
