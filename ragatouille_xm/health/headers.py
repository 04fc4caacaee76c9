"""Weights without content: names and shapes, from the headers of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open

from ..errors import CheckpointError
from ..model.checkpoint import Checkpoint
from ..model.colbert import ColBERT
from ..model.weights import Weights
from ..model.xmod import XmodEncoder

META, CPU = torch.device("meta"), torch.device("cpu")


class Headers(Weights):
    """Returns tensors without content, in the shapes of the files.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of each tensor.
    places : dict of str to (Path, str)
        File of each tensor, and its name there.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], places: dict[str, tuple[Path, str]]) -> None:
        super().__init__(places)
        self._shapes = shapes
        self._device = META
        self._requested: set[str] = set()

    @classmethod
    def of(cls, weights: Weights) -> Headers:
        """Read the headers of the files behind `weights`."""
        places = dict(weights._places)
        stored: dict[tuple[Path, str], tuple[int, ...]] = {}
        for path in sorted({path for path, _ in places.values()}):
            with safe_open(path, framework="pt", device="cpu") as file:
                stored |= {(path, name): tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return cls({name: stored[place] for name, place in places.items()}, places)

    @property
    def requested(self) -> int:
        """The number of tensors a model has requested."""
        return len(self._requested)

    def get(self, name: str, shape: Sequence[int] | None = None) -> torch.Tensor:
        """Return a tensor without content; raise `CheckpointError` as `Weights.get` does."""
        found = self._shapes.get(name)
        if found is None or (shape is not None and found != tuple(shape)):
            has = "no such tensor" if found is None else f"it with shape {found}"
            wanted = f" of shape {tuple(shape)}" if shape is not None else ""
            raise CheckpointError(
                f"config.json requires a tensor {name!r}{wanted}; the weights have {has}. They do not belong together."
            )
        self._requested.add(name)
        return torch.empty(found, device=self._device)

    def load_model(self, checkpoint: Checkpoint) -> None:
        """Let a checkpoint's model request all its tensors, including the adapters of every language.

        Raises
        ------
        CheckpointError
            If one is missing or of another shape.
        """
        self._device = META if checkpoint.model_type == "xmod" else CPU  # transformers' models copy their weights
        model = ColBERT.load(replace(checkpoint, weights=self), self._device, torch.float32)
        if isinstance(model.backbone, XmodEncoder):
            for name in checkpoint.adapters:
                _ = model.backbone.bank[name]

    def not_finite(self) -> list[str]:
        """Read all tensors; return the names of those that contain NaN or infinity."""
        return [name for name in self._places if not bool(torch.isfinite(Weights.get(self, name).float()).all())]
