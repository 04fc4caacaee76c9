"""What importing promises, and the public names."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from reference.tiny import build_tiny_xmod

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
        "DatabaseError": ["PassageIndexError", "ConnectionError"],
        "StorageError": ["PassageIndexError", "OSError"],
        "ServiceError": ["RagatouilleXMError", "ConnectionError"],
        "WorkerError": ["RagatouilleXMError", "RuntimeError"],
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


# What starting costs: a command imports what it uses

THEN = " && "
ALL = {"numpy", "torch", "tokenizers", "transformers", "sqlite3", "py3langid"}
LOADED = {  # what a command may import of these
    "--help": set(),
    "--version": set(),
    "search --help": set(),
    "evaluate --help": set(),
    "languages --text Bahnhof": {"numpy", "py3langid"},
    "languages notes": {"numpy", "py3langid"},
    f"languages --index mine{THEN}doctor{THEN}doctor --index mine{THEN}search mine Bahnhof --language de{THEN}"
    f"export mine exported{THEN}delete mine a.txt{THEN}optimize mine": ALL - {"transformers", "py3langid"},
    f"search mine Bahnhof{THEN}add mine notes": ALL - {"transformers"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index ``mine`` of two passages, in two languages, and a folder of documents."""
    place = tmp_path_factory.mktemp("place")
    model = RAGPretrainedModel.from_pretrained(
        build_tiny_xmod(place / "model"), index_root=str(place / ".ragatouille"), verbose=0
    )
    texts, ids = ["Der Bahnhof liegt am Fluss.", "The library opens at nine."], ["a.txt", "b.txt"]
    model.index(texts, ids, index_name="mine", languages=["de", "en"])
    model.close()
    (place / "notes").mkdir()
    (place / "notes" / "c.txt").write_text("Où est la bibliothèque ?", encoding="utf-8")
    return place


def modules_after(code: str, folder: Path) -> set[str]:
    """Run a program in a process of its own; return the modules that it has loaded at its end."""
    ending = "import atexit, sys\natexit.register(lambda: print(*sys.modules, file=open('modules', 'w')))\n"
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(REFERENCE.parents[1]), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", ending + code], cwd=folder, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set((folder / "modules").read_text().split())


@pytest.mark.parametrize("commands", LOADED)
def test_a_command_imports_only_what_it_uses(place: Path, tmp_path: Path, commands: str) -> None:
    """Commands that may import the same run in one process."""
    folder = Path(shutil.copytree(place, tmp_path / "copy"))
    code = (
        "import sys\nfrom ragatouille_xm.cli import main\n"
        f"for command in {commands.split(THEN)!r}:\n"
        "    sys.argv[1:] = command.split()\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        assert not end.code, command\n"
    )
    assert modules_after(code, folder) & ALL <= LOADED[commands]


def test_searching_needs_no_transformers(place: Path) -> None:
    code = (
        "from ragatouille_xm import RAGPretrainedModel\n"
        "RAG = RAGPretrainedModel.from_index('.ragatouille/colbert/indexes/mine')\n"
        "assert len(RAG.search('Wo ist der Bahnhof?', k=2)) == 2"
    )
    assert "transformers" not in modules_after(code, place)


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
