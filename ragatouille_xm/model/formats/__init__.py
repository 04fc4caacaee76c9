"""Checkpoint formats: one file each turns a folder into a `Layout`. Nothing else knows which formats there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ...errors import CheckpointError
from . import bge_m3, colbert_ai, modules, pylate, sentence_transformers
from .layout import Layout


class Format(NamedTuple):
    """A format of checkpoint folders.

    Attributes
    ----------
    name : str
    mark : str
        The file that shows it.
    read : callable
        From the folder to its layout.
    owns : callable
        Whether a folder with that file is of this format.
    """

    name: str
    mark: str
    read: Callable[[Path], Layout]
    owns: Callable[[Path], bool] = lambda folder: True


# The first that owns a folder counts: BGE-M3's is also a folder of sentence-transformers, for other vectors than these.
FORMATS = (
    Format("BGE-M3", bge_m3.MARK, bge_m3.read),
    Format("colbert-ai", colbert_ai.MARK, colbert_ai.read),
    Format('PyLate, where model_type is "ColBERT"', modules.MARK, pylate.read, pylate.owns),
    Format(
        'sentence-transformers, where it is "MultiVectorEncoder"',
        modules.MARK,
        sentence_transformers.read,
        sentence_transformers.owns,
    ),
    Format("colbert-ai, with a tensor linear.weight", "config.json", colbert_ai.read),
)
# What is fetched of a hub repository, by pattern. Patterns match folders too: "*.json" is also "1_Dense/config.json".
SMALL_FILES = ["*.json", colbert_ai.MARK, "*.model", "vocab.txt", "merges.txt", "bpe.codes", bge_m3.MARK]
SAFETENSORS = ["model*.safetensors", "*_Transformer/model*.safetensors", "*_Dense/model.safetensors"]
PICKLES = ["pytorch_model*.bin", "*_Transformer/pytorch_model*.bin", "*_Dense/pytorch_model.bin"]


def read_layout(folder: Path) -> Layout:
    """Find out which format a checkpoint folder has, and read what it says.

    Raises
    ------
    CheckpointError
        If it has none of them, or one of its files is damaged or asks for something that is not supported.
    """
    for each in FORMATS:
        if os.path.lexists(folder / each.mark) and each.owns(folder):
            try:
                return each.read(folder)
            except CheckpointError as error:
                if str(folder) in str(error):
                    raise
                raise CheckpointError(f"{folder}: {error}") from error
    raise CheckpointError(
        f"The checkpoint folder {str(folder)!r} has no readable config.json, nor any other file that shows a format. "
        f"Looked for: {looked_for()}."
    )


def looked_for() -> str:
    """Return the files that show a format, with the names of the formats."""
    return ", ".join(f"{each.mark} ({each.name})" for each in FORMATS)
