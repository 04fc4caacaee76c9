from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..scratch import scratch
from .samples import LARGE, build


@pytest.fixture
def small_first_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let indexes have a codebook, and a first stage, above 500 passages."""
    for module in ("quantization.codebook", "local.search"):
        monkeypatch.setattr(f"ragatouille_xm.index.{module}.EXACT_BELOW", 500)


@pytest.fixture
def tiny_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every addition of more than two passages begin a segment."""
    monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 8)


@pytest.fixture(scope="session")
def large_index() -> Iterator[Path]:
    with scratch() as place:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ragatouille_xm.index.quantization.codebook.EXACT_BELOW", 500)
            patch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 100)
            build(place / "index", LARGE)
        yield place / "index"


@pytest.fixture
def large(large_index: Path, small_first_stage: None) -> Path:
    """A folder with an index that has a codebook. Copy it to change it."""
    return large_index


@pytest.fixture
def own(large: Path, folder: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(large, folder)
