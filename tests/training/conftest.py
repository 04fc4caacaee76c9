from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference.tiny import build_tiny_xmod

from ragatouille_xm.training import TrainingExample

WORDS = ["river", "train", "bread", "garden", "morning", "winter", "old", "small", "market", "library", "book", "opens"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)  # so little work is not worth sharing
    return build_tiny_xmod(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def examples() -> list[TrainingExample]:
    n = len(WORDS)
    return [
        TrainingExample(
            f"the {word} is",
            f"a {word} is in the {word}, and the {word} of {WORDS[i - 1]}",
            (f"the {WORDS[(i + 5) % n]} is old", f"{WORDS[(i + 7) % n]} in the bread"),
            (3.0, 1.0, 0.0),
        )
        for i, word in enumerate(WORDS)
    ]
