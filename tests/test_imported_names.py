"""Names that scripts import from RAGatouille and colbert-ai: here, or in the table of docs/parity.md.

They are recorded in reference/imported_names.json (make_names.py there).
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ragatouille_xm import RAGPretrainedModel, RAGTrainer
from ragatouille_xm.colbert import Collection, Indexer, Queries, Ranking, Run, RunConfig, Searcher
from ragatouille_xm.data import CorpusProcessor

ROOT = Path(__file__).parents[1]
RECORDED = json.loads((ROOT / "tests" / "reference" / "imported_names.json").read_text(encoding="utf-8"))
OTHER_DEFAULTS = {  # of these, tests of their own say which
    "RAGPretrainedModel.index", "RAGPretrainedModel.add_to_index", "RAGTrainer.train", "Searcher.search",
}  # fmt: skip


def absent() -> list[str]:
    """Return the names in the first column of the table, as written: `Class.member`, `Class.member(parameter=)`."""
    section = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8").split("## Names that are not here")[1]
    rows = re.findall(r"^\| (.*?) \|", section.split("\n## ")[0], re.MULTILINE)
    return re.findall(r"`([^`]+)`", " ".join(rows))


ABSENT = absent()


def is_absent(name: str) -> bool:
    return name in ABSENT or f"{name.split('.')[0]}.*" in ABSENT


@pytest.fixture(scope="module")
def here(folder: Path, model: RAGPretrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return an object of each class that has one, by the name of its class."""
    with Run().context(RunConfig(root=str(tmp_path_factory.mktemp("root")))):
        indexer = Indexer(folder, verbose=0)
        indexer.index("mine", ["The book.", "Le livre."])
        searcher = Searcher("mine")
    objects = [
        indexer, searcher, searcher.checkpoint, searcher.config, Run(), RunConfig(), Collection(data=["a"]),
        Queries(data={1: "a"}), Ranking(data={}), RAGTrainer("mine", str(folder)), model, CorpusProcessor(),
    ]  # fmt: skip
    yield {type(each).__name__: each for each in objects}
    searcher.close()


@pytest.mark.parametrize("module", RECORDED["modules"])
def test_modules_have_the_names_that_are_imported_from_them(module: str) -> None:
    first, _, rest = module.partition(".")
    ours = import_module(".".join(filter(None, ["ragatouille_xm", "colbert" * (first == "colbert"), rest])))
    for name in RECORDED["modules"][module]:
        assert hasattr(ours, name) != (name in ABSENT), name
        if name in RECORDED["functions"]:
            check_parameters(name, getattr(ours, name), RECORDED["functions"][name])


@pytest.mark.parametrize("owner", [name for name in RECORDED["classes"] if name not in ABSENT])
def test_classes_have_their_methods_parameters_and_attributes(owner: str, here: dict[str, Any]) -> None:
    one = here[owner]
    for name, parameters in RECORDED["classes"][owner].items():
        if name == "__init__":
            if owner != "RAGPretrainedModel":  # made by from_pretrained and from_index
                check_parameters(owner, type(one), parameters)
        elif not hasattr(one, name):
            assert is_absent(f"{owner}.{name}"), f"{owner}.{name}"
        else:
            assert f"{owner}.{name}" not in ABSENT, f"{owner}.{name} is here, whatever docs/parity.md says"
            if parameters is not None:
                check_parameters(f"{owner}.{name}", getattr(one, name), parameters)


def check_parameters(full: str, ours: Any, theirs: list[list[str]]) -> None:
    """Check that `ours` takes `theirs`, by position as well, with the same defaults."""
    signature = inspect.signature(ours).parameters
    named = [each for each in theirs if not each[1].startswith("VAR")]
    for name, _, *default in named:
        if f"{full}({name}=)" in ABSENT:
            assert name not in signature
            continue
        assert name in signature, f"{full}({name}=)"
        mine = signature[name].default
        shown = [] if mine is inspect.Parameter.empty else [mine.__name__ if callable(mine) else repr(mine)]
        assert shown == default or full in OTHER_DEFAULTS, f"{full}({name}=)"
    positional = [name for name, each in signature.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert positional == [name for name, *_ in named][: len(positional)], full
