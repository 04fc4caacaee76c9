"""Values of a checkpoint's JSON files, checked before anything is built of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import CheckpointError

# The largest models in use have a hundredth of it. More is damage, and would take all memory.
_LARGEST = {"num_hidden_layers": 1000, "n_layers": 1000}
_LARGEST_OTHER = 10_000_000
_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "dim", "n_layers", "n_heads", "hidden_dim", "embedding_size",  # as DistilBERT and ELECTRA have them
)  # fmt: skip
_REQUIRED = ("vocab_size",)
_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "dict[str, Any] | None": (dict,),
    "Sequence[str]": (list, tuple),
    "tuple[str, ...] | None": (list, tuple),
}


def read_fields(settings: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that `stored` has for the fields of a dataclass; null counts as missing.

    Raises
    ------
    CheckpointError
        If one has another type than the field; the message names it.
    """
    found = {field.name: stored[field.name] for field in fields(settings) if stored.get(field.name) is not None}
    for field in fields(settings):
        if field.name in found and (kinds := _KINDS.get(str(field.type))):
            value: Any = found[field.name]
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise _wrong(field.name, value, f"is not of type {field.type}")
            if isinstance(value, (list, tuple)) and not all(isinstance(each, str) for each in value):
                raise _wrong(field.name, value, "is not a list of strings")
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                _check_range(field.name, value)
    return found


def check_sizes(config: Mapping[str, Any]) -> None:
    """Check what ``config.json`` says of every kind of backbone.

    Raises
    ------
    CheckpointError
        If a size is missing, or is not usable as one; the message names it.
    """
    if not isinstance(config.get("model_type", ""), str):
        raise _wrong("model_type", config["model_type"], "is not a string")
    for name in _SIZES:
        value = config.get(name)
        if value is None and name not in _REQUIRED:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise _wrong(name, value, "is not a positive whole number")
        _check_range(name, value)


def _check_range(name: str, value: Any) -> None:
    if not 0 <= value <= _LARGEST.get(name, _LARGEST_OTHER):
        raise _wrong(name, value, "is out of range")


def _wrong(name: str, value: object, why: str) -> CheckpointError:
    return CheckpointError(f"{name}={str(value)[:80]!r} {why}. Download the checkpoint again.")
