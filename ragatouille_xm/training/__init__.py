"""Training: losses, data, hard negatives, the loop, and adapters of languages."""

from __future__ import annotations

from .config import TrainingConfig
from .data import ExampleStream, Shuffled, TrainingExample
from .language import AdapterConfig, train_language_adapters
from .loop import train

__all__ = [
    "AdapterConfig",
    "ExampleStream",
    "Shuffled",
    "TrainingConfig",
    "TrainingExample",
    "train",
    "train_language_adapters",
]
