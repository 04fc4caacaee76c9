"""convert and export, as users type them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from reference.tiny import build_tiny_xmod
from typer.testing import Result

from .test_commands import error, good, records

Run = Callable[..., Result]
REFERENCE = Path(__file__).parent.parent / "reference"
PLAID = REFERENCE / "plaid"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the recorded folders."""
    return build_tiny_xmod(tmp_path_factory.mktemp("narrow"), languages=("en_XX", "fr_XX"))


def test_convert_and_search(run: Run, narrow: Path, tmp_path: Path) -> None:
    options = ("--name", "new", "--root", tmp_path)
    result = good(run("convert", PLAID / "ragatouille", *options, "--checkpoint", narrow))
    folder = tmp_path / "colbert" / "indexes" / "new"
    assert f"Converted 9 passages to {folder}." in result.stderr
    assert result.stdout == ""
    found = records(run("search", "new", "book", "--json", "--root", tmp_path))
    assert {r["document_id"] for r in found} == {f"doc-{i}" for i in range(9)}
    assert {r["language"] for r in found} == {r["query_language"] for r in found} == {"en"}

    again = ("convert", PLAID / "ragatouille-deleted", *options, "--checkpoint", narrow, "--language", "fr")
    assert "There is an index at" in error(run(*again))
    good(run(*again, "--overwrite"))
    found = records(run("search", "new", "book", "--json", "--root", tmp_path))
    assert len(found) == 7
    assert {r["language"] for r in found} == {r["query_language"] for r in found} == {"fr"}


def test_convert_with_texts_from_a_file(run: Run, narrow: Path, tmp_path: Path) -> None:
    texts = json.loads((REFERENCE / "plaid.json").read_text(encoding="utf-8"))["passages"]
    (tmp_path / "t.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in enumerate(texts)), encoding="utf-8")
    arguments = ("convert", PLAID / "nbits-1", "--name", "new", "--root", tmp_path, "--checkpoint", narrow)
    assert "--collection" in error(run(*arguments))
    assert "cannot be read" in error(run(*arguments, "--collection", tmp_path / "none.tsv"))
    good(run(*arguments, "--collection", tmp_path / "t.tsv"))
    found = records(run("search", "new", "book", "-k", 18, "--json", "--root", tmp_path))
    assert sorted(r["content"] for r in found) == sorted(texts)


def test_export_and_search_what_was_exported(run: Run, root: Path) -> None:
    result = good(run("export", "mine", root / "out", "--root", root))
    assert f"Exported 4 passages to {root / 'out'}." in result.stderr
    assert json.loads((root / "out" / "metadata.json").read_text())["config"]["nbits"] == 4
    found, before = (
        records(run("search", index, "bread", "--json", "--root", root)) for index in (root / "out", "mine")
    )
    assert {(r["document_id"], r["language"]) for r in found} == {(r["document_id"], r["language"]) for r in before}
    assert {r["query_language"] for r in found} == {r["query_language"] for r in before}


def test_export_with_options(run: Run, root: Path) -> None:
    good(run("export", "mine", root / "out", "--root", root, "--nbits", 2, "--checkpoint", "me/mine"))
    config = json.loads((root / "out" / "metadata.json").read_text())["config"]
    assert (config["nbits"], config["checkpoint"]) == (2, "me/mine")


def test_bad_input(run: Run, narrow: Path, root: Path, tmp_path: Path) -> None:
    arguments = ("--name", "new", "--root", tmp_path)
    assert "There is no index" in error(run("convert", tmp_path / "none", *arguments))
    assert "There is no index" in error(run("convert", narrow, *arguments))
    assert "'/nowhere/tiny-32'" in error(run("convert", PLAID / "ragatouille", *arguments))
    assert "--name '..' cannot be a folder's name" in error(run("convert", PLAID / "nbits-2", "--name", ".."))
    damaged = Path(shutil.copytree(PLAID / "ragatouille", tmp_path / "damaged"))
    (damaged / "0.codes.pt").write_bytes(b"cut")
    assert "0.codes.pt' cannot be read" in error(run("convert", damaged, *arguments, "--checkpoint", narrow))
    assert "nbits=3" in error(run("export", "mine", tmp_path / "out", "--root", root, "--nbits", 3))
    assert "There is something at" in error(run("export", "mine", root, "--root", root))
    assert "There is no index 'none'" in error(run("export", "none", tmp_path / "out", "--root", root))
    assert not (tmp_path / "out").exists()


def test_what_changes_an_index_does_not_change_colbert_ais(run: Run, narrow: Path, root: Path) -> None:
    good(run("export", "mine", root / "out", "--root", root))
    (root / "more.txt").write_text("More.", encoding="utf-8")
    assert "ragatouille-xm convert" in error(run("add", root / "out", root / "more.txt"))
    assert "ragatouille-xm convert" in error(run("delete", root / "out", "en"))
    counts = records(run("languages", "--index", root / "out", "--json"))
    assert {each["language"]: each["passages"] for each in counts} == {"en": 1, "fr": 1, "zh": 1, "de": 1}
