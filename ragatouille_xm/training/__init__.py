"""Training: losses, data, hard negatives, the loop, and language adapters."""

from __future__ import annotations

from .catalogue import IrDatasetsTriples
from .config import TrainingConfig
from .data import ExampleStream, Shuffled, TrainingExample
from .files import read_examples
from .language import AdapterConfig, train_language_adapters
from .loop import train
from .pairs import Pair, read_pairs
from .translation import PAIRS, distil_language_adapter

__all__ = [
    "PAIRS",
    "AdapterConfig",
    "ExampleStream",
    "IrDatasetsTriples",
    "Pair",
    "Shuffled",
    "TrainingConfig",
    "TrainingExample",
    "distil_language_adapter",
    "read_examples",
    "read_pairs",
    "train",
    "train_language_adapters",
]
