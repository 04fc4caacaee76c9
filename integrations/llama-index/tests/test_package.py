"""The package as a guest in LlamaIndex's namespace, its doctests and its README."""

from __future__ import annotations

import ast
import doctest
import re
import sys
from importlib import import_module
from pathlib import Path

import llama_index.core
import llama_index.retrievers.ragatouille_xm as package
import pytest

from ragatouille_xm import RAGPretrainedModel

PACKAGE = Path(package.__file__).parent
MODULES = sorted(PACKAGE.glob("*.py"))
README = Path(__file__).parents[1] / "README.md"


def test_public_names() -> None:
    assert package.__all__ == [
        "RagatouilleXMIndex",
        "RagatouilleXMRerank",
        "RagatouilleXMRetriever",
        "RagatouilleXMVectorStore",
    ]
    assert {getattr(package, name).__name__ for name in package.__all__} == set(package.__all__)


def test_it_shares_the_namespace() -> None:
    assert not (PACKAGE.parent / "__init__.py").exists()
    assert not (PACKAGE.parents[1] / "__init__.py").exists()
    assert (PACKAGE / "py.typed").exists()
    assert Path(llama_index.core.__file__).parents[1] != PACKAGE.parents[1]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_it_imports_nothing_but_the_two_cores(module: Path) -> None:
    allowed = {"llama_index.core", "ragatouille_xm", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            parts = name.split(".")
            assert allowed & {".".join(parts[:1]), ".".join(parts[:2])}, name


@pytest.mark.parametrize("module", [path.stem for path in MODULES if path.stem != "__init__"])
def test_doctests(module: str) -> None:
    assert doctest.testmod(import_module(f"{package.__name__}.{module}")).failed == 0


def test_the_readmes_examples_run(loaded: RAGPretrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        RAGPretrainedModel, "from_pretrained", lambda name: RAGPretrainedModel(loaded.encoder, verbose=0)
    )
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, README.name, "exec"), names)
