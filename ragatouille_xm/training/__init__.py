"""Training: losses, data, hard negatives, the loop, and language adapters."""

from __future__ import annotations

from .catalogue import IrDatasetsTriples
from .config import TrainingConfig
from .data import ExampleStream, Shuffled, TrainingExample
from .files import read_examples
from .language import AdapterConfig, train_language_adapters
from .loop import train

__all__ = [
    "AdapterConfig",
    "ExampleStream",
    "IrDatasetsTriples",
    "Shuffled",
    "TrainingConfig",
    "TrainingExample",
    "read_examples",
    "train",
    "train_language_adapters",
]
