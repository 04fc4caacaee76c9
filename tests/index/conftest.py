from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .scratch import scratch


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is not there yet, for an index."""
    with scratch() as place:
        yield place / "index"
