"""Record the names that scripts import from colbert-ai and RAGatouille, with their parameters. See README.md.

python make_names.py
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

from golden import amend, versions
from make_signatures import parameter

DATA = ("Collection", "Queries", "Ranking")
NAMES: dict[str, tuple[str, ...]] = {
    "ragatouille": ("RAGPretrainedModel", "RAGTrainer"),
    "ragatouille.data": ("CorpusProcessor", "TrainingDataProcessor", "llama_index_sentence_splitter"),
    "ragatouille.utils": ("get_wikipedia_page", "seeded_shuffle"),
    "colbert": ("Checkpoint", "IndexUpdater", "Indexer", "Searcher", "Trainer"),
    "colbert.data": (*DATA, "Examples"),
    **{f"colbert.data.{name.lower()}": (name,) for name in DATA},
    "colbert.infra": ("ColBERTConfig", "Run", "RunConfig"),
    "colbert.infra.config": ("ColBERTConfig", "RunConfig"),
    "colbert.infra.run": ("Run",),
    "colbert.indexer": ("Indexer",),
    "colbert.searcher": ("Searcher",),
    "colbert.modeling.checkpoint": ("Checkpoint",),
}


def parameters(function: Any) -> list[list[str]]:
    return [parameter(p) for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]


def attributes(owner: type) -> list[str]:
    """Return the public attributes that the constructor sets."""
    if "__init__" not in vars(owner) or is_dataclass(owner):
        return []
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner.__init__)))
    targets = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return sorted({node.attr for node in targets if not node.attr.startswith("_") and is_self(node)})


def is_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def members(owner: type) -> dict[str, Any]:
    """Return the public methods and properties of a class, its bases' too; fields of configurations are options."""
    found: dict[str, Any] = {} if is_dataclass(owner) else {"__init__": parameters(owner)}
    ours = [base for base in owner.__mro__ if base.__module__.split(".")[0] in ("colbert", "ragatouille")]
    for base in reversed(ours):
        for name, member in vars(base).items():
            function = getattr(member, "__func__", member)
            if name.startswith("_"):
                continue
            if inspect.isfunction(function):
                found[name] = parameters(getattr(owner, name))
            elif isinstance(member, property):
                found[name] = None
        declared = [] if is_dataclass(base) else vars(base).get("__annotations__", {})
        found |= {name: None for name in (*attributes(base), *declared) if name not in found}
    return dict(sorted(found.items()))


def main() -> None:
    classes: dict[str, Any] = {}
    functions: dict[str, Any] = {}
    for module, names in NAMES.items():
        for name in names:
            value = getattr(import_module(module), name)
            if inspect.isclass(value):
                classes[name] = members(value)
            else:
                functions[name] = parameters(value)
    made_by = versions("ragatouille", "colbert-ai", "transformers")
    modules = {module: list(names) for module, names in NAMES.items()}
    amend("imported_names.json", made_by=made_by, modules=modules, functions=functions, classes=classes)


if __name__ == "__main__":
    main()
