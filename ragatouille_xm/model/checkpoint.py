"""Checkpoint folders: locating them, and reading their settings and weights."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..demo import demo_checkpoint
from ..errors import CheckpointError, InputError
from ..text.tokenizer import TokenSettings
from .weights import Weights

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
        return tuple(self.config.get("languages", ())) if self.model_type == "xmod" else ()

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
    config_bytes = _read(folder / "config.json")
    config = _parse(config_bytes, folder / "config.json")
    settings, settings_bytes = _read_settings(folder)
    weights = Weights.open(folder)
    digest = hashlib.sha256(config_bytes + settings_bytes + weights.digest())
    full_name = str(folder.resolve()) if name not in DEMOS and Path(name).is_dir() else str(name)
    return Checkpoint(full_name, folder, config, settings, weights, digest.hexdigest()[:16])


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
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if isinstance(name, Path) or path.is_absolute() or str(name).startswith((".", "~")) or str(name).count("/") > 1:
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
    return folder


def _read_settings(folder: Path) -> tuple[TokenSettings, bytes]:
    path = folder / "artifact.metadata"
    if not path.exists():
        logger.warning("%s has no artifact.metadata: using ColBERT's default settings", folder)
        return TokenSettings(), b""
    raw = _read(path)
    stored = _parse(raw, path)
    known = {field: stored[field] for field in TokenSettings.__dataclass_fields__ if stored.get(field) is not None}
    try:
        return TokenSettings(**known), raw
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint folder {str(path.parent)!r} has no readable {path.name}. It needs config.json, "
            "artifact.metadata, a tokenizer and model.safetensors or pytorch_model.bin."
        ) from error


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise CheckpointError(f"{str(path)!r} is not valid JSON: {error}. Download the checkpoint again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{str(path)!r} is not a JSON object. Download the checkpoint again.")
    return value
