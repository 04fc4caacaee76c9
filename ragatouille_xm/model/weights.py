"""Tensors of a checkpoint by name, read from disk on demand."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..cache import cache_dir
from ..errors import CheckpointError
from ..files import is_file_name, lacks_memory, open_regular, parse_json

logger = logging.getLogger(__name__)

_NORMS = {"gamma": "weight", "beta": "bias"}
_SAMPLE = 1 << 16  # bytes hashed of a weights file's start, middle and end


class Weights:
    """Named tensors in one or more safetensors files. Thread-safe.

    Parameters
    ----------
    places : mapping of str to (Path, str)
        File of each tensor, and its name there.
    """

    def __init__(self, places: Mapping[str, tuple[Path, str]]) -> None:
        self._places = dict(places)
        self._open: dict[Path, Any] = {}
        self._lock = Lock()

    @classmethod
    def open(cls, folder: Path) -> Weights:
        """Open ``model.safetensors`` (single or sharded), or ``pytorch_model.bin``, converted once into the cache.

        Raises
        ------
        CheckpointError
            If there are no weights, a shard is missing, or a file is damaged.
        """
        shards = _shards(folder, "model.safetensors")
        if not shards and (pickles := _shards(folder, "pytorch_model.bin")):
            shards = [_convert(pickles)]
        if not shards:
            raise CheckpointError(
                f"The checkpoint folder {str(folder)!r} has no weights: no model.safetensors and no pytorch_model.bin."
            )
        return cls({_today(name): (shard, name) for shard in shards for name in _names(shard)})

    @classmethod
    def open_pickle(cls, path: Path) -> Weights:
        """Open a file of pickled tensors, converted once into the cache; raise `CheckpointError` if it is damaged."""
        converted = _convert([path])
        return cls({name: (converted, name) for name in _names(converted)})

    def joined(self, other: Weights, prefix: str) -> Weights:
        """Return these tensors and the `other` ones, whose names get a prefix."""
        return Weights(self._places | {prefix + name: place for name, place in other._places.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._places)

    def get(self, name: str, shape: Sequence[int] | None = None) -> torch.Tensor:
        """Read a tensor onto the CPU in its stored dtype; it is memory-mapped.

        Raises
        ------
        CheckpointError
            If there is no such tensor, or it has not the `shape`, and floating-point numbers, that a model needs.
        """
        if name not in self._places:
            raise CheckpointError(
                f"The checkpoint has no tensor {name!r}"
                + (f" of shape {tuple(shape)}" if shape else "")
                + ". Its config.json and its weights do not belong together, or the file is incomplete."
            )
        path, stored = self._places[name]
        with self._lock, _reading(path):
            if path not in self._open:
                self._open[path] = safe_open(path, framework="pt", device="cpu")
            tensor: torch.Tensor = self._open[path].get_tensor(stored)
        if tensor.ndim == 1:  # a small view would keep the pages of its large neighbours
            tensor = tensor.clone()
        if shape is not None and tuple(tensor.shape) != tuple(shape):
            raise CheckpointError(
                f"Tensor {name!r} has shape {tuple(tensor.shape)}, but config.json requires {tuple(shape)}. "
                "The two do not belong together."
            )
        if shape is not None and not tensor.is_floating_point():
            raise CheckpointError(
                f"Tensor {name!r} in {str(path)!r} has type {tensor.dtype}, which is not floating-point. Download it "
                "again."
            )
        return tensor

    def release(self) -> None:
        """Close the files, which reopen when needed.

        Tensors are views of a file's mapping, whose pages stay in memory until the last view is gone: calling this
        after each group of tensors frees the pages of a group along with it.
        """
        with self._lock:
            self._open.clear()

    def prefix_of(self, suffix: str) -> str:
        """Return the part before `suffix` of the only tensor name that ends with it."""
        found = [name[: -len(suffix)] for name in self._places if name == suffix or name.endswith("." + suffix)]
        if len(found) != 1:
            raise CheckpointError(
                f"The checkpoint has {len(found)} tensors named '…{suffix}'; exactly one is needed to locate the "
                "backbone's tensors."
            )
        return found[0]

    def digest(self) -> bytes:
        """Return a cheap hash of the files' sizes and sampled bytes."""
        digest = hashlib.sha256()
        for path in sorted({path for path, _ in self._places.values()}):
            size = path.stat().st_size
            digest.update(size.to_bytes(8, "little"))
            with path.open("rb") as file:
                for start in (0, size // 2, max(0, size - _SAMPLE)):
                    file.seek(start)
                    digest.update(file.read(_SAMPLE))
        return digest.digest()


def _shards(folder: Path, single: str) -> list[Path]:
    index = folder / f"{single}.index.json"
    if (folder / single).is_file():
        return [folder / single]
    if not index.is_file():
        return []
    try:
        with open_regular(index, links=True) as file:
            found = list(parse_json(file.read())["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if lacks_memory(error):
            raise
        raise CheckpointError(
            f"{str(index)!r} is damaged: it has no usable weight_map. Download the checkpoint again."
        ) from error
    for name in found:
        if not is_file_name(name):
            raise CheckpointError(
                f"{str(index)!r} names the shard {str(name)[:80]!r} in weight_map, which is not a file name. Shards "
                "lie in the checkpoint's folder: download it again."
            )
    names = sorted(set(found))
    if not names:
        raise CheckpointError(f"{str(index)!r} names no shards in weight_map. Download the checkpoint again.")
    for name in names:
        if not os.path.isfile(folder / name):
            raise CheckpointError(f"The checkpoint folder {str(folder)!r} lacks the shard {name!r}. Download it again.")
    return [folder / name for name in names]


def _today(name: str) -> str:
    """Return the name of a tensor today: old files have TensorFlow's names of norms, and so have transformers 5.3's."""
    stem, _, last = name.rpartition(".")
    return f"{stem}.{_NORMS[last]}" if last in _NORMS and stem.endswith("LayerNorm") else name


def _names(path: Path) -> list[str]:
    with _reading(path), safe_open(path, framework="pt", device="cpu") as file:
        return list(file.keys())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # safetensors', or torch's where it does not know a type
        if lacks_memory(error):
            raise
        raise CheckpointError(
            f"{str(path)!r} is not a readable safetensors file: {error}. Download it again."
        ) from error


def _convert(pickles: Sequence[Path]) -> Path:
    """Convert pickled tensors once into a safetensors file in the cache, so that adapters can be read lazily."""
    states = [path.stat() for path in pickles]
    key = repr([(str(p.resolve()), s.st_size, s.st_mtime_ns) for p, s in zip(pickles, states, strict=True)])
    target = cache_dir() / "converted" / hashlib.sha256(key.encode()).hexdigest()[:16] / "model.safetensors"
    if target.is_file():
        return target
    logger.info("converting %s to safetensors, once, in %s", pickles[0], target.parent)
    tensors: dict[str, torch.Tensor] = {}
    for path in pickles:
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            tensors |= {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
            wrong = [name for name, value in tensors.items() if not isinstance(name, str) or not _is_whole(value)]
            if wrong:
                raise ValueError(f"{wrong[0]!r} is not a tensor of numbers with a name")
        except Exception as error:  # unpickling can fail in any way
            if lacks_memory(error):
                raise
            raise CheckpointError(
                f"{str(path)!r} cannot be loaded as plain tensors ({type(error).__name__}). It is damaged, or contains "
                "code, which is never run. Use a checkpoint in safetensors format."
            ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    os.close(handle)
    try:
        save_file(_unshared(tensors), temporary, metadata={"format": "pt"})
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _is_whole(tensor: torch.Tensor) -> bool:
    """Return whether a tensor has all its numbers: a small file can claim any size."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.itemsize


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return contiguous tensors that share no memory, as safetensors requires."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        result[name] = tensor.clone() if shared else tensor.contiguous()
    return result
