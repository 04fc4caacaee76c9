"""What every format is turned into, and how their JSON files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ...errors import CheckpointError
from ...files import lacks_memory, open_regular, parse_json
from ...text.token_settings import TokenSettings
from ..settings import read_fields
from ..weights import Weights


def identity(x: Tensor) -> Tensor:
    """Return `x`."""
    return x


# By the last part of the class that a checkpoint names.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": identity,
    "Tanh": F.tanh,
    "ReLU": F.relu,
    "GELU": F.gelu,
    "SiLU": F.silu,
    "Sigmoid": F.sigmoid,
}


@dataclass(frozen=True, slots=True)
class Dense:
    """A layer of the head: ``activation(x @ weight.T + bias) + residual(x)``.

    Attributes
    ----------
    name : str
        What the names of its tensors begin with: ``linear.weight``, and ``linear.bias`` if it has one.
    bias : bool
    activation : str
        A key of `ACTIVATIONS`.
    residual : bool
        Whether the input is added to the output: as it is, or through ``residual.weight`` if they differ in width.
    """

    name: str = ""
    bias: bool = False
    activation: str = "Identity"
    residual: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What a checkpoint folder says, in the same form for every format.

    Attributes
    ----------
    format : str
        Name of the format.
    backbone : Path
        Folder of the backbone's ``config.json`` and weights, and of the tokeniser.
    settings : TokenSettings
    settings_file : Path
        Where they stand.
    raw : bytes
        Content of the files that were read, for the fingerprint.
    head : tuple of Dense
    head_weights : dict of str to Weights
        Tensors of the head that are not among the backbone's, by the prefix of their names.
    """

    format: str
    backbone: Path
    settings: TokenSettings
    settings_file: Path
    raw: bytes
    head: tuple[Dense, ...]
    head_weights: Mapping[str, Weights]


def read_json(path: Path) -> tuple[Any, bytes]:
    """Return the content of a JSON file, and its bytes.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is not JSON.
    """
    try:
        with open_regular(path, links=True) as file:  # the hub's cache consists of links
            raw = file.read()
    except OSError as error:
        if lacks_memory(error):
            raise
        raise CheckpointError(
            f"The checkpoint folder {str(path.parent)!r} has no readable {path.name}. Download the checkpoint again."
        ) from error
    try:
        return parse_json(raw), raw
    except ValueError as error:
        raise CheckpointError(f"{str(path)!r} is not valid JSON: {error}. Download the checkpoint again.") from error


def read_object(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the content of a JSON file that is an object, and its bytes; errors as of `read_json`."""
    value, raw = read_json(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{str(path)!r} is not a JSON object. Download the checkpoint again.")
    return value, raw


def parse_fields(kind: type, stored: Mapping[str, Any], path: Path) -> Any:
    """Make a dataclass of a file's object whose keys are its fields; a missing key, or null, is the default.

    Raises
    ------
    CheckpointError
        If it has a key that is not a field, or a value of another type; the message names file and key.
    """
    if unknown := sorted(stored.keys() - {field.name for field in fields(kind)}):
        raise CheckpointError(
            f"{path}: {unknown[0]}={str(stored[unknown[0]])[:80]!r} is a setting that is not known here, so vectors "
            "could come out wrong. Use a newer version, or remove it if it changes nothing."
        )
    try:
        return kind(**read_fields(kind, stored))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
