from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from invoking import invoke
from reference.tiny import build_tiny_xmod
from typer.testing import CliRunner, Result

RECORDS = """
{"id": "en", "text": "The library opens in the morning and the book is in the garden.", "year": 2018}
{"id": "fr", "text": "La bibliothèque est au bord de la rivière, et le livre est dans le jardin.", "year": 2019}
{"id": "zh", "text": "图书馆在北京市，今天有水和火，明年有雨雪。", "year": 2020}
{"id": "de", "text": "Das Buch ist in der Bibliothek und das Brot ist im Garten am Fluss.", "year": 2021}
"""

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run() -> Run:
    """Return a function that runs the command line with some arguments."""
    runner = CliRunner(env={"COLUMNS": "100", "RAGATOUILLE_XM_DEBUG": None})

    return lambda *arguments: invoke(runner, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)  # so little work is not worth sharing
    return build_tiny_xmod(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def shared(run: Run, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index ``mine`` of four documents in four languages, for tests that only read it."""
    root = tmp_path_factory.mktemp("built")
    (root / "records.jsonl").write_text(RECORDS, encoding="utf-8")
    result = run("index", root / "records.jsonl", "--name", "mine", "--checkpoint", checkpoint, "--root", root)
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def root(shared: Path, tmp_path: Path) -> Path:
    """Return a copy of `shared` that may be changed."""
    return Path(shutil.copytree(shared, tmp_path / "root"))
