"""The index in memory, which scores every passage: on the CPU, or on a GPU while the corpus fits."""

from .index import ExactIndex

__all__ = ["ExactIndex"]
