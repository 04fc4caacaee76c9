"""The language adapters of an X-MOD checkpoint, loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import torch
from torch.nn import functional as F

from ..errors import LanguageError


class Adapter(NamedTuple):
    """One language's bottleneck in one layer: ``dense2(act(dense1(x)))``.

    Shapes: down weight (bottleneck, hidden) and bias (bottleneck,), up weight (hidden, bottleneck) and bias (hidden,).
    """

    down_weight: torch.Tensor
    down_bias: torch.Tensor
    up_weight: torch.Tensor
    up_bias: torch.Tensor

    def down(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., hidden)`` to ``(..., bottleneck)``."""
        return F.linear(x, self.down_weight, self.down_bias)

    def up(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., bottleneck)`` to ``(..., hidden)``."""
        return F.linear(x, self.up_weight, self.up_bias)


class AdapterBank:
    """Adapters by name, read on first use and then cached. Thread-safe.

    X-MOD keeps one bottleneck per language in every layer (Pfeiffer et al. 2022, "Lifting the Curse of Multilinguality
    by Pre-training Modular Transformers", section 3): 7 M parameters per language at base size, so 81 of them make
    up three quarters of the checkpoint, while a text needs one.

    Parameters
    ----------
    names : sequence of str
        The checkpoint's adapters.
    read : callable
        From a name to its adapters, one per layer.
    """

    def __init__(self, names: tuple[str, ...], read: Callable[[str], tuple[Adapter, ...]]) -> None:
        self.names = names
        self.read = read
        self._resident: dict[str, tuple[Adapter, ...]] = {}
        self._lock = Lock()

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of the adapters in memory, in the order of their first use."""
        return tuple(self._resident)

    def __getitem__(self, name: str) -> tuple[Adapter, ...]:
        """Return the adapters of all layers.

        Raises
        ------
        LanguageError
            If the checkpoint has no adapter of that name.
        """
        found = self._resident.get(name)
        if found is not None:
            return found
        if name not in self.names:
            raise LanguageError(f"The checkpoint has no adapter {name!r}. It has: {', '.join(self.names)}.")
        with self._lock:
            if name not in self._resident:
                self._resident[name] = self.read(name)
            return self._resident[name]
