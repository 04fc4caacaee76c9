"""The trained changes to the demo checkpoint, as 8-bit differences.

A delta is a safetensors file. For each changed tensor it holds ``<name>``, int8 in the tensor's shape, and
``<name>.scale``, float32, one per row (a vector is one row): the trained value is the original plus their product,
exact to half a scale. Its metadata holds the format, the `RECIPE` of the original checkpoint, and a checksum.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError

FORMAT = "ragatouille-xm-delta-1"
DISTRIBUTION = "ragatouille_xm_demo"  # the module of the distribution that ships one
_SCALE = ".scale"
_LARGEST = 127
_ADAPTER = re.compile(r"\.adapter_modules\.(\w+)\.")


@dataclass(frozen=True, slots=True)
class Delta:
    """A delta, of which only the header has been read.

    Attributes
    ----------
    path : Path
    checksum : str
        SHA-256 of its tensors, in hexadecimal.
    adapters : tuple of str
        Names of the adapters it changes, in alphabetical order.
    """

    path: Path
    checksum: str
    adapters: tuple[str, ...]

    @classmethod
    def open(cls, path: Path, recipe: int) -> Delta:
        """Read the header of a delta for the demo checkpoint number `recipe`.

        Raises
        ------
        CheckpointError
            If it cannot be read, or belongs to another checkpoint.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                header = file.metadata() or {}
                adapters = {adapter for name in file.keys() for adapter in _ADAPTER.findall(name)}  # noqa: SIM118
            found = (header.get("format"), header.get("recipe"))
            if found != (FORMAT, str(recipe)):
                raise CheckpointError(
                    f"{str(path)!r} belongs to another demo checkpoint (format {found[0]}, recipe {found[1]}; here "
                    f"{FORMAT}, {recipe}). {_WAY_OUT}"
                )
            return cls(path, header["sha256"], tuple(sorted(adapters)))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise _damaged(path, error) from error

    def apply(self, tensors: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield `tensors` with the changes applied, each in its own dtype.

        Raises
        ------
        CheckpointError
            If the delta was modified, or one of its tensors is missing in `tensors` or has another shape there.
        """
        changes = self._read()
        for name, value in tensors.items():
            if (change := changes.pop(name, None)) is None:
                yield name, value
            elif change[0].shape != value.shape:
                raise _damaged(self.path, f"{name} has shape {change[0].shape}, not {value.shape}")
            else:
                yield name, (value.astype(np.float32) + decode(*change)).astype(value.dtype)
        if changes:
            raise _damaged(self.path, f"the demo checkpoint has no {next(iter(changes))}")

    def _read(self) -> dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            stored = load_file(self.path)
            if checksum_of(stored) != self.checksum:
                raise _damaged(self.path, "its checksum differs")
            return {name: (stored[name], stored[name + _SCALE]) for name in stored if not name.endswith(_SCALE)}
        except (SafetensorError, OSError, KeyError) as error:
            raise _damaged(self.path, error) from error


def find_delta(recipe: int) -> Delta | None:
    """Return the installed delta, or None.

    Raises
    ------
    CheckpointError
        If it is damaged, or belongs to another demo checkpoint.
    """
    found = importlib.util.find_spec(DISTRIBUTION)
    if found is None or found.origin is None:
        return None
    return Delta.open(Path(found.origin).with_name("delta.safetensors"), recipe)


def write_delta(
    path: Path, base: Mapping[str, NDArray[Any]], trained: Mapping[str, NDArray[Any]], recipe: int
) -> Delta:
    """Write the differences of the tensors `trained` from those of the same names in `base`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> base = {"w": np.zeros((1, 2), np.float32), "b": np.ones(2, np.float32)}
    >>> with TemporaryDirectory() as folder:
    ...     delta = write_delta(Path(folder) / "delta", base, {"w": np.array([[0.5, 1.27]])}, recipe=1)
    ...     {name: value.astype(float).round(2).tolist() for name, value in delta.apply(base)}
    {'w': [[0.5, 1.27]], 'b': [1.0, 1.0]}
    """
    return _save(path, _encoded(base, trained), recipe)


def add_to_delta(
    path: Path, base: Mapping[str, NDArray[Any]], trained: Mapping[str, NDArray[Any]], recipe: int
) -> Delta:
    """Put more tensors into a delta, or others in place of those it has; the rest stays as it is, to the bit."""
    from safetensors.numpy import load_file

    Delta.open(path, recipe)  # raises if it belongs to another checkpoint
    return _save(path, load_file(path) | _encoded(base, trained), recipe)


def _encoded(base: Mapping[str, NDArray[Any]], trained: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    stored: dict[str, NDArray[Any]] = {}
    for name, value in trained.items():
        codes, scales = encode(np.asarray(value, np.float32) - np.asarray(base[name], np.float32))
        stored |= {name: codes, name + _SCALE: scales}
    return stored


def _save(path: Path, stored: dict[str, NDArray[Any]], recipe: int) -> Delta:
    from safetensors.numpy import save_file

    save_file(stored, path, metadata={"format": FORMAT, "recipe": str(recipe), "sha256": checksum_of(stored)})
    path.chmod(0o644)  # otherwise readable only by its owner
    return Delta.open(path, recipe)


def encode(change: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a difference as int8 of its shape, and the scale ``(rows,)`` of each row; a vector is one row."""
    rows = change.reshape(-1, change.shape[-1])
    scales = (np.abs(rows).max(1) / _LARGEST).astype(np.float32)
    codes = np.rint(rows / np.where(scales > 0, scales, 1)[:, None]).clip(-_LARGEST, _LARGEST)
    return codes.astype(np.int8).reshape(change.shape), scales


def decode(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Invert `encode`, to within half a scale."""
    rows = codes.reshape(-1, codes.shape[-1]).astype(np.float32) * scales[:, None]
    return rows.reshape(codes.shape)


def checksum_of(stored: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of a delta's tensors, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(stored):
        digest.update(name.encode() + stored[name].tobytes())
    return digest.hexdigest()


_WAY_OUT = 'Install the one that belongs to this version again, or use the checkpoint "demo-untrained".'


def _damaged(path: Path, why: object) -> CheckpointError:
    return CheckpointError(f"The trained part of the demo checkpoint, {str(path)!r}, is damaged ({why}). {_WAY_OUT}")
