"""What importing promises, and the public names."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ragatouille_xm
from ragatouille_xm import RAGPretrainedModel, errors

REFERENCE = Path(__file__).parent / "reference"


def test_public_names() -> None:
    assert ragatouille_xm.__all__ == ["RAGPretrainedModel", "RAGTrainer", "__version__", "detect_languages"]
    for name in ragatouille_xm.__all__:
        assert getattr(ragatouille_xm, name)
        assert name in dir(ragatouille_xm)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ragatouille_xm.Nothing


def test_error_names() -> None:
    tree = {
        name: [base.__name__ for base in value.__bases__]
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert tree == {
        "RagatouilleXMError": ["Exception"],
        "InputError": ["RagatouilleXMError", "ValueError"],
        "FilterError": ["InputError"],
        "LanguageError": ["InputError"],
        "DuplicateDocumentError": ["InputError"],
        "CheckpointError": ["RagatouilleXMError"],
        "PassageIndexError": ["RagatouilleXMError"],
        "IndexNotFoundError": ["PassageIndexError", "InputError", "FileNotFoundError"],
        "IndexDamagedError": ["PassageIndexError"],
        "IndexFormatError": ["PassageIndexError"],
        "IndexLockedError": ["PassageIndexError"],
        "ReadOnlyIndexError": ["PassageIndexError"],
        "ClusterError": ["PassageIndexError", "ConnectionError"],
        "StorageError": ["PassageIndexError", "OSError"],
        "MissingExtraError": ["RagatouilleXMError", "ImportError"],
    }


@pytest.mark.parametrize(
    "statement",
    ["import ragatouille_xm", "from ragatouille_xm import detect_languages", "import ragatouille_xm.cli"],
)
def test_importing_brings_neither_torch_nor_a_framework(statement: str) -> None:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "torch", "transformers", "qdrant_client", "langchain_core", "llama_index", "faiss", "colbert", "ragatouille",
    }  # fmt: skip
    assert heavy.isdisjoint(done.stdout.split())


def test_detect_languages_needs_no_checkpoint() -> None:
    found = ragatouille_xm.detect_languages(["Wo ist der Bahnhof?", "تفتح المكتبة أبوابها صباحاً"])
    assert [(each.language, each.adapter) for each in found] == [("de", "de_DE"), ("ar", "ar_AR")]
    assert all(0 < each.confidence <= 1 for each in found)


# RAGatouille's interface, recorded from RAGatouille 0.0.9 (tests/reference/make_signatures.py)

SIGNATURES = json.loads((REFERENCE / "ragatouille_signatures.json").read_text(encoding="utf-8"))
METHODS = {
    name: entry["parameters"]
    for name, entry in SIGNATURES["RAGPretrainedModel"].items()
    if entry["kind"] != "attribute" and not name.startswith("_")
}


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_has_ragatouilles_parameters_names_and_defaults(name: str) -> None:
    ours = inspect.signature(getattr(RAGPretrainedModel, name)).parameters
    positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    theirs = [p for p in METHODS[name] if p[1] == "POSITIONAL_OR_KEYWORD" and p[0] not in ("self", "cls")]
    assert positional == [p[0] for p in theirs]  # usable by position too
    for parameter, _, *default in theirs:
        mine = ours[parameter].default
        if default == ["llama_index_sentence_splitter"]:  # see docs/parity.md
            assert mine == "sentences"
        else:
            assert ([] if mine is inspect.Parameter.empty else [repr(mine)]) == default
