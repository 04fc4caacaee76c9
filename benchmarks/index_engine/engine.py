"""The index engine of a checkout: the only place that knows how the two differ."""

from __future__ import annotations

from typing import Any, NamedTuple

DIM = 128


class Engine(NamedTuple):
    """An index in a folder, and the storage of 16 bits as it calls it."""

    index: Any
    storage: str

    def build(self, folder: str) -> Any:
        """Return the context that yields what is to be filled."""
        description: dict[str, Any] = {"dim": DIM, "checkpoint": "none", "fingerprint": "0", "settings": {}}
        return self.index.build(folder, storage=self.storage, **description)


def engine() -> Engine:
    """Return the engine of the checkout that is first on the path."""
    try:
        from ragatouille_xm.index.local.index import LocalIndex
    except ImportError:
        from ragatouille_xm.index.qdrant import EdgeIndex

        return Engine(EdgeIndex, "float16")
    return Engine(LocalIndex, "int16")
