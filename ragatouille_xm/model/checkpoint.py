"""Checkpoint folders: locating them, and reading their settings and weights."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..demo import demo_checkpoint
from ..errors import CheckpointError, InputError
from ..files import absolute, lacks_memory, open_regular, parse_json, without_secrets
from ..text.tokenizer import TokenSettings
from .settings import check_sizes, read_fields
from .weights import Weights
from .xmod import XmodConfig

logger = logging.getLogger(__name__)

DEMO = "demo"
UNTRAINED = "demo-untrained"
DEMOS = (DEMO, UNTRAINED)
_SMALL_FILES = ["*.json", "artifact.metadata", "sentencepiece.bpe.model", "vocab.txt", "merges.txt"]
_SAFETENSORS = ["model*.safetensors"]
_PICKLES = ["pytorch_model*.bin"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint folder.

    Attributes
    ----------
    name : str
        As given by the user: a hub id, a folder, or ``"demo"``.
    folder : Path
    config : dict
        ``config.json``.
    settings : TokenSettings
    weights : Weights
        Tensors by name, read on demand.
    fingerprint : str
        Equal for equal checkpoints; stored in indexes.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    settings: TokenSettings
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
    def linear(self) -> torch.Tensor:
        """The head, shape ``(dim, hidden)``, in its stored dtype.

        Raises
        ------
        CheckpointError
            If it is missing, or of another shape.
        """
        linear, hidden = self.weights.get("linear.weight"), self.config["hidden_size"]
        if linear.ndim != 2 or linear.shape[1] != hidden or not len(linear) or not linear.is_floating_point():
            raise CheckpointError(
                f"Tensor 'linear.weight' has shape {tuple(linear.shape)} and type {linear.dtype}, but config.json "
                f"requires (dim, {hidden}) and floating-point numbers."
            )
        return linear

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
    config, config_bytes = read_config(folder)
    settings, settings_bytes = _read_settings(folder)
    weights = Weights.open(folder)
    digest = hashlib.sha256(config_bytes + settings_bytes + weights.digest())
    full_name = str(folder.resolve()) if name not in DEMOS and os.path.isdir(absolute(name)) else str(name)
    return Checkpoint(full_name, folder, config, settings, weights, digest.hexdigest()[:16])


def read_config(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the checked content of a checkpoint's ``config.json``, and its bytes.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or a value that is used has the wrong type; the message names file and field.
    """
    path = folder / "config.json"
    raw = _read(path)
    config = _parse(raw, path)
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
        folder = Path(snapshot_download(repo_id, allow_patterns=_SMALL_FILES + _SAFETENSORS))
        if not any(folder.glob(_SAFETENSORS[0])):
            folder = Path(snapshot_download(repo_id, allow_patterns=_SMALL_FILES + _PICKLES))
    except Exception as error:  # from the hub client, its HTTP library, or the socket
        raise CheckpointError(
            f"The checkpoint {repo_id!r} is neither a local folder nor in the hub's cache, and could not be "
            f'downloaded ({type(error).__name__}). Check the id and the connection, give a local folder, or use "demo".'
        ) from error
    return absolute(folder)


def _read_settings(folder: Path) -> tuple[TokenSettings, bytes]:
    path = folder / "artifact.metadata"
    if not os.path.lexists(path):
        logger.warning("%s has no artifact.metadata: using ColBERT's default settings", folder)
        return TokenSettings(), b""
    raw = _read(path)
    stored = _parse(raw, path)
    try:
        return TokenSettings(**read_fields(TokenSettings, stored)), raw
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        with open_regular(path, links=True) as file:  # the hub's cache consists of links
            return file.read()
    except OSError as error:
        if lacks_memory(error):
            raise
        raise CheckpointError(
            f"The checkpoint folder {str(path.parent)!r} has no readable {path.name}. It needs config.json, "
            "artifact.metadata, a tokenizer and model.safetensors or pytorch_model.bin."
        ) from error


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        value = parse_json(raw)
    except ValueError as error:
        raise CheckpointError(f"{str(path)!r} is not valid JSON: {error}. Download the checkpoint again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{str(path)!r} is not a JSON object. Download the checkpoint again.")
    return value
