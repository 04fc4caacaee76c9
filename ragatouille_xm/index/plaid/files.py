"""Files of a colbert-ai folder, read without trusting them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...errors import IndexDamagedError
from ...files import lacks_memory, open_regular, parse_json

METADATA, PLAN, CENTROIDS, BUCKETS, IVF = "metadata.json", "plan.json", "centroids.pt", "buckets.pt", "ivf.pid.pt"
AVERAGE = "avg_residual.pt"
COLLECTION, DOCUMENT_IDS, DOCUMENT_METADATA = "collection.json", "pid_docid_map.json", "docid_metadata_map.json"
LANGUAGES = "languages.json"  # ours: the language of each passage; the other programs pass over it
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WAY_OUT = "Restore the folder from a copy, or index the documents again."


def damaged(path: Path, why: str) -> IndexDamagedError:
    """Return the error that says what is wrong with a file."""
    return IndexDamagedError(f"{str(path)!r} {why}. {WAY_OUT}")


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Raise what goes wrong with the content of a file as an `IndexDamagedError` that names the file."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if lacks_memory(error):
            raise
        raise damaged(path, f"does not hold what it should: {error}") from error


def load_tensors(path: Path) -> Any:
    """Read what `torch.save` wrote, tensors only: no code in the file is ever run. Large ones are mapped, not read.

    Raises
    ------
    IndexDamagedError
        If the file is missing, damaged, or holds anything but tensors.
    """
    try:
        with open_regular(path, links=True) as file:  # an index from the hub's cache consists of links
            mmap = zipfile.is_zipfile(file)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise damaged(path, "is missing") from error
    except Exception as error:  # unpickling fails in as many ways as there are files
        if lacks_memory(error):
            raise
        raise damaged(
            path,
            f"cannot be read as plain tensors ({type(error).__name__}): it is damaged, or holds code",
        ) from error


def load_tensor(path: Path, ndim: int, *, integer: bool) -> torch.Tensor:
    """Read one tensor of `ndim` dimensions, of whole numbers or of others."""
    value = load_tensors(path)
    with blaming(path):
        return checked(value, ndim, integer=integer)


def checked(value: object, ndim: int, *, integer: bool) -> torch.Tensor:
    """Return `value`, or raise a `ValueError` unless it is a tensor of that kind."""
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{type(value).__name__} in the place of a tensor")
    if value.ndim != ndim or value.dtype not in (_INTEGERS if integer else _FLOATS):
        raise ValueError(f"a tensor of shape {tuple(value.shape)} and type {value.dtype}")
    whole = value.layout == torch.strided and value.device.type == "cpu"
    if (
        not whole or value.untyped_storage().nbytes() < value.numel() * value.itemsize
    ):  # a small file can claim any size
        raise ValueError(f"a tensor of shape {tuple(value.shape)} without the numbers for it")
    if not integer and not value.float().isfinite().all():
        raise ValueError("numbers that are not finite")
    return value.detach()


def is_there(path: Path) -> bool:
    """Return whether a folder has a file of that name, if only a link that leads nowhere."""
    return os.path.lexists(path)


def whole_number(values: Mapping[str, Any], field: str) -> int:
    """Return a number from 1 to 10¹²; raise a `ValueError` for anything else."""
    value = values.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**12:
        raise ValueError(f"{field} is {str(value)[:80]!r}, not a whole number from 1")
    return value


def read_json(path: Path) -> Any:
    """Read a JSON file. Raise `IndexDamagedError` if it is missing or is none."""
    try:
        with open_regular(path, links=True) as file:
            return parse_json(file.read())
    except FileNotFoundError as error:
        raise damaged(path, "is missing") from error
    except (OSError, ValueError) as error:
        if lacks_memory(error):
            raise
        raise damaged(path, f"cannot be read: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise damaged(path, "does not hold a JSON object")
    return value
