from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

COLLECTION = {
    "a": "The library opens in the morning and the book is in the garden.",
    "b": "The train is late in winter, and the river is old.",
    "c": "Bread is in the old market.",
    "d": "The garden of the library is small; the market is old.",
}
QUERIES = {"1": "library garden", "2": "old market", "3": "zebra", "unjudged": "bread"}
QRELS = {"1": {"a": 1, "d": 1}, "2": {"c": 1}, "3": {"b": 1}, "4": {"a": 1}}
FRENCH = {
    "a": "La bibliothèque est au bord de la rivière, et le livre est dans le jardin.",
    "b": "Le pain est dans le jardin.",
}

Write = Callable[..., Path]


def write_folder(
    folder: Path,
    collection: Mapping[str, str] = COLLECTION,
    queries: Mapping[str, str] = QUERIES,
    qrels: Mapping[str, Mapping[str, int]] = QRELS,
) -> Path:
    """Write a retrieval set in MS MARCO's tsv form; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("collection", collection), ("queries", queries)):
        (folder / f"{name}.tsv").write_text("".join(f"{i}\t{text}\n" for i, text in rows.items()), encoding="utf-8")
    judgements = [f"{q} 0 {d} {grade}\n" for q, grades in qrels.items() for d, grade in grades.items()]
    (folder / "qrels.tsv").write_text("".join(judgements), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # so little work is not worth sharing


@pytest.fixture
def english(tmp_path: Path) -> Path:
    """Return the folder of a small English set."""
    return write_folder(tmp_path / "data" / "en")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder with an English and a French set."""
    write_folder(tmp_path / "both" / "en")
    write_folder(tmp_path / "both" / "fr", FRENCH, {"1": "bibliothèque"}, {"1": {"a": 1}})
    return tmp_path / "both"
