"""Indexes of colbert-ai and RAGatouille through the facade: opened as they are, converted, exported.

What colbert-ai finds in the same folders is recorded: tests/reference/make_plaid.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.tiny import build_tiny_bert, build_tiny_xmod

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.colbert import Searcher
from ragatouille_xm.errors import (
    CheckpointError,
    IndexDamagedError,
    IndexFormatError,
    IndexNotFoundError,
    InputError,
    LanguageError,
    ReadOnlyIndexError,
    StorageError,
)
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.plaid.folder import PlaidFolder
from ragatouille_xm.transfer.plaid import convert_index, export_index

REFERENCE = Path(__file__).parents[1] / "reference"
RECORDED = REFERENCE / "plaid"
ANSWERS: dict[str, Any] = json.loads((REFERENCE / "plaid.json").read_text(encoding="utf-8"))
PASSAGES, QUERIES = ANSWERS["passages"], ANSWERS["queries"]
LANGUAGES = ("en_XX", "fr_XX")  # as in make_plaid.py


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The checkpoints of make_plaid.py by their width."""
    folder = tmp_path_factory.mktemp("tiny")
    return {
        dim: build_tiny_xmod(folder / str(dim), languages=LANGUAGES, dim=dim, metadata={"marker": "insert"})
        for dim in (32, 64)
    }


@pytest.fixture(scope="module")
def model(checkpoints: dict[int, Path]) -> RAGPretrainedModel:
    return RAGPretrainedModel.from_pretrained(checkpoints[32], verbose=0, device="cpu")


def opened(name: str, checkpoints: dict[int, Path], **options: Any) -> RAGPretrainedModel:
    dim = json.loads((RECORDED / name / "metadata.json").read_text(encoding="utf-8"))["config"]["dim"]
    return RAGPretrainedModel.from_index(
        RECORDED / name,
        verbose=0,
        device="cpu",
        checkpoint=checkpoints[dim],
        collection=PASSAGES if name == "nbits-1" else None,
        **options,
    )


def ids(results: Any) -> list[str]:
    return [result["document_id"] for result in results]


# --- Opened as it is


@pytest.mark.parametrize("name", list(ANSWERS["folders"]))
@pytest.mark.parametrize("exact", [True, False])
def test_a_search_finds_what_colbert_ai_finds(name: str, exact: bool, checkpoints: dict[int, Path]) -> None:
    answer = ANSWERS["folders"][name]
    found = opened(name, checkpoints).search(QUERIES, k=10, language="en", exact=exact)
    for results, pids, scores in zip(found, answer["pids"], answer["scores"], strict=True):
        assert [result["passage_id"] for result in results] == pids
        np.testing.assert_allclose([result["score"] for result in results], scores, atol=2e-4)


def test_queries_go_through_the_adapter_that_the_passages_went_through(checkpoints: dict[int, Path]) -> None:
    rag = opened("ragatouille", checkpoints)
    detected = rag.search(QUERIES, k=3)
    assert detected == rag.search(QUERIES, k=3, language="en")
    assert {result["language"] for results in detected for result in results} == {"en"}
    french = opened("ragatouille", checkpoints, language="fr-CA").search(QUERIES[2], k=3)
    assert {result["language"] for result in french} == {"fr"}
    assert [r["score"] for r in french] == [r["score"] for r in rag.search(QUERIES[2], k=3, language="fr")]
    assert [r["score"] for r in french] != [r["score"] for r in detected[2]]


def test_results_as_ragatouille_has_them(checkpoints: dict[int, Path]) -> None:
    rag = opened("ragatouille", checkpoints)
    [best] = rag.search(QUERIES[0], k=1)
    pid = ANSWERS["folders"]["ragatouille"]["pids"][0][0]
    assert best["content"] == PASSAGES[2 * pid]
    assert (best["document_id"], best["document_metadata"], best["rank"]) == (f"doc-{pid}", {"number": pid}, 1)
    assert ids(rag.search(QUERIES[0], doc_ids=["doc-2", "doc-4"])) == ["doc-4", "doc-2"]
    assert ids(rag.search(QUERIES[0], filter={"number": {"$lt": 2}})) == ["doc-0", "doc-1"]
    assert [p["content"] for p in rag.get_passages("doc-3")] == [PASSAGES[6]]


def test_ragatouilles_deletions_no_longer_shift_texts(checkpoints: dict[int, Path]) -> None:
    for result in opened("ragatouille-deleted", checkpoints).search("book", k=9):
        assert result["content"] == PASSAGES[2 * result["passage_id"]]
        assert result["document_id"] == f"doc-{result['passage_id']}"


def test_by_name_below_the_root(model: RAGPretrainedModel, tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "ragatouille", tmp_path / "colbert" / "indexes" / "old")
    rag = RAGPretrainedModel(model.encoder, tmp_path, verbose=0)
    assert len(rag.search("book", index_name="old", k=20)) == 9
    assert len(rag.search("book", k=20)) == 9
    with pytest.raises(InputError, match="There is an index 'old' already"):
        rag.index(["One text."], index_name="old", overwrite_index=False)
    rag.index(["One text."], index_name="old")  # beside colbert-ai's files, and what counts from now on
    assert len(rag.search("book", k=20)) == 1
    assert len(RAGPretrainedModel(model.encoder, tmp_path, verbose=0).search("book", index_name="old", k=20)) == 1


def test_it_is_not_changed(checkpoints: dict[int, Path]) -> None:
    rag = opened("ragatouille", checkpoints)
    before = {path.name: path.read_bytes() for path in (RECORDED / "ragatouille").iterdir()}
    for change in (
        lambda: rag.add_to_index(["A new text."], ["new"]),
        lambda: rag.update_in_index(["A new text."], ["doc-1"]),
        lambda: rag.delete_from_index("doc-1"),
    ):
        with pytest.raises(ReadOnlyIndexError, match="ragatouille-xm convert"):
            change()
    assert {path.name: path.read_bytes() for path in (RECORDED / "ragatouille").iterdir()} == before


def test_a_checkpoint_that_is_gone() -> None:
    with pytest.raises(CheckpointError, match=r"'/nowhere/tiny-32'.*It filled the index.*checkpoint=.*--checkpoint"):
        RAGPretrainedModel.from_index(RECORDED / "ragatouille", verbose=0)


def test_a_folder_that_names_no_checkpoint(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(RECORDED / "ragatouille", tmp_path / "copy"))
    metadata = json.loads((copy / "metadata.json").read_text(encoding="utf-8"))
    metadata["config"]["checkpoint"] = None
    (copy / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"does not name its checkpoint.*checkpoint="):
        RAGPretrainedModel.from_index(copy, verbose=0)


def test_a_checkpoint_of_another_width(checkpoints: dict[int, Path]) -> None:
    with pytest.raises(IndexFormatError, match=r"vectors of 32 dimensions, the checkpoint .* 64.*'/nowhere/tiny-32'"):
        RAGPretrainedModel.from_index(RECORDED / "ragatouille", verbose=0, device="cpu", checkpoint=checkpoints[64])


def test_a_checkpoint_without_adapters(tmp_path: Path) -> None:
    checkpoint = build_tiny_bert(tmp_path / "bert")
    rag = RAGPretrainedModel.from_index(RECORDED / "ragatouille", verbose=0, device="cpu", checkpoint=checkpoint)
    assert {result["language"] for result in rag.search("bread")} == {"en"}


def test_no_texts(checkpoints: dict[int, Path]) -> None:
    with pytest.raises(IndexDamagedError, match=r"no texts.*collection="):
        RAGPretrainedModel.from_index(RECORDED / "nbits-1", verbose=0, checkpoint=checkpoints[32])


def test_a_collection_at_an_address(checkpoints: dict[int, Path]) -> None:
    with pytest.raises(InputError, match="at an address, 'https://host/texts.tsv': give a local file") as caught:
        RAGPretrainedModel.from_index(
            RECORDED / "nbits-1",
            checkpoint=checkpoints[32],
            collection="https://me:S3CRET@host/texts.tsv?key=S3CRET",
        )
    assert "S3CRET" not in str(caught.value)


def test_a_language_that_is_none(checkpoints: dict[int, Path]) -> None:
    with pytest.raises(LanguageError):
        opened("ragatouille", checkpoints, language="klingon")


@pytest.mark.parametrize(
    ("option", "message"), [({"language": "fr"}, "language='fr'"), ({"collection": ["x"]}, "leave out")]
)
def test_our_own_indexes_know_their_languages_and_texts(
    option: dict[str, Any], message: str, model: RAGPretrainedModel, tmp_path: Path
) -> None:
    path = RAGPretrainedModel(model.encoder, tmp_path, verbose=0).index(["One text."], index_name="mine")
    with pytest.raises(InputError, match=message):
        RAGPretrainedModel.from_index(path, verbose=0, device="cpu", **option)


def test_our_own_index_with_its_checkpoint_elsewhere(
    model: RAGPretrainedModel, checkpoints: dict[int, Path], tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(checkpoints[32], tmp_path / "first"))
    rag = RAGPretrainedModel.from_pretrained(moved, verbose=0, device="cpu", index_root=str(tmp_path))
    path = rag.index(["One text."], ["a"], index_name="mine")
    rag.close()
    moved.rename(tmp_path / "second")
    with pytest.raises(CheckpointError, match=r"It filled the index at .*mine.*checkpoint="):
        RAGPretrainedModel.from_index(path, verbose=0)
    again = RAGPretrainedModel.from_index(path, verbose=0, device="cpu", checkpoint=tmp_path / "second")
    assert ids(again.search("text")) == ["a"]


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_no_index_of_either_kind(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "index"
    {"missing": lambda: None, "file": path.touch, "empty": path.mkdir}[kind]()
    with pytest.raises(IndexNotFoundError, match="There is no index at"):
        RAGPretrainedModel.from_index(path)


# --- Converted


def converted(name: str, checkpoint: Path, target: Path, **options: Any) -> RAGPretrainedModel:
    convert_index(RECORDED / name, target, checkpoint=checkpoint, **options)
    return RAGPretrainedModel.from_index(target, verbose=0, device="cpu")


@pytest.mark.parametrize("name", ["nbits-2", "nbits-8", "ragatouille", "ragatouille-deleted", "export"])
def test_a_converted_index_finds_the_same(name: str, checkpoints: dict[int, Path], tmp_path: Path) -> None:
    checkpoint = checkpoints[64 if name == "nbits-8" else 32]
    rag = converted(name, checkpoint, tmp_path / "colbert" / "indexes" / "mine")
    before = opened(name, checkpoints)
    for query in QUERIES:
        wanted = before.search(query, k=10, language="en")
        found = rag.search(query, k=10, language="en")
        scores = {r["passage_id"]: r.pop("score") for r in found}
        np.testing.assert_allclose([scores[r["passage_id"]] for r in wanted], [r["score"] for r in wanted], atol=0.02)
        plain = [{key: r[key] for key in ("content", "document_id", "language")} for r in wanted]
        key = str
        assert sorted(plain, key=key) == sorted(({k: r[k] for k in plain[0]} for r in found), key=key)


def test_every_query_goes_through_the_adapter_that_encoded_all_texts(
    checkpoints: dict[int, Path], tmp_path: Path
) -> None:
    query = "Où est la bibliothèque de la ville ?"
    for rag in (opened("ragatouille", checkpoints), converted("ragatouille", checkpoints[32], tmp_path / "mine")):
        assert {result["query_language"] for result in rag.search(query, k=3)} == {"en"}
        [told] = rag.detect_languages(query, index_name=rag.catalog.current)
        assert (told.language, told.confidence) == ("en", 1.0)
        assert {result["query_language"] for result in rag.search(query, k=3, language="fr")} == {"fr"}


def test_a_converted_index_grows(checkpoints: dict[int, Path], tmp_path: Path) -> None:
    rag = converted("ragatouille-deleted", checkpoints[32], tmp_path / "mine")
    rag.add_to_index(["La bibliothèque est fermée."], ["new"], languages="fr")
    assert [p["passage_id"] for p in rag.get_passages("new")] == [9]  # behind all that ever were
    found = rag.search("La bibliothèque est fermée.", k=20)
    assert len(found) == 8
    assert [r["content"] for r in found if r["language"] == "fr"] == ["La bibliothèque est fermée."]
    assert rag.delete_from_index("doc-1") == 1
    assert len(rag.search("book", k=20)) == 7


def test_converted_in_its_place(checkpoints: dict[int, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(RECORDED / "ragatouille", tmp_path / "old"))
    names = {path.name for path in folder.iterdir()}
    assert convert_index(folder, folder, checkpoint=checkpoints[32], language="fr") == 9
    assert names < {path.name for path in folder.iterdir()}
    rag = RAGPretrainedModel.from_index(folder, verbose=0, device="cpu")
    rag.add_to_index(["One more."])
    assert {r["language"] for r in rag.search("book", k=20, filter={"number": {"$gte": 0}})} == {"fr"}
    assert len(PlaidFolder.open(folder).records) == 9  # colbert-ai's own files are as they were


def test_an_index_of_ours_is_not_replaced_unasked(checkpoints: dict[int, Path], tmp_path: Path) -> None:
    target = tmp_path / "mine"
    convert_index(RECORDED / "nbits-4", target, checkpoint=checkpoints[32])
    with pytest.raises(InputError, match="There is an index at"):
        convert_index(RECORDED / "ragatouille", target, checkpoint=checkpoints[32])
    assert len(LocalIndex.open(target)) == 18
    assert convert_index(RECORDED / "ragatouille", target, checkpoint=checkpoints[32], overwrite=True) == 9
    index = LocalIndex.open(target)
    assert [p.pid for passages, _ in index.scroll() for p in passages] == list(range(18, 27))  # no pid twice
    assert index.first_pid == 18
    pids, _, _ = Searcher(target).search("book", k=9)
    assert sorted(pids) == list(range(9))  # positions in the collection, all the same


def test_a_conversion_that_fails_leaves_nothing(
    checkpoints: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("ragatouille_xm.index.local.build.LocalBuild.add", fail)
    with pytest.raises((StorageError, OSError), match="disk full"):
        convert_index(RECORDED / "nbits-4", tmp_path / "mine", checkpoint=checkpoints[32])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("missing", {}, IndexNotFoundError, "There is no index"),
        ("ragatouille", {}, CheckpointError, "/nowhere/tiny-32"),
        ("ragatouille", {"checkpoint": 64}, IndexFormatError, "32 dimensions"),
        ("nbits-1", {"checkpoint": 32}, IndexDamagedError, "no texts"),
        ("ragatouille", {"checkpoint": 32, "language": "klingon"}, LanguageError, "klingon"),
        ("ragatouille", {"checkpoint": 32, "collection": ["one"]}, InputError, "has 1 texts"),
    ],
)
def test_conversions_that_cannot_be(
    name: str,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    checkpoints: dict[int, Path],
    tmp_path: Path,
) -> None:
    if "checkpoint" in options:
        options = options | {"checkpoint": checkpoints[options["checkpoint"]]}
    with pytest.raises(error, match=message):
        convert_index(RECORDED / name, tmp_path / "mine", **options)
    assert list(tmp_path.iterdir()) == []


# --- Exported


def test_an_exported_index_is_what_it_was_and_finds_what_it_found(model: RAGPretrainedModel, tmp_path: Path) -> None:
    rag = RAGPretrainedModel(model.encoder, tmp_path, verbose=0)
    names = [f"doc-{i}" for i in range(len(PASSAGES))]
    path = rag.index(PASSAGES, names, [{"number": i} for i in range(len(PASSAGES))], index_name="mine")
    rag.delete_from_index(["doc-3", "doc-12"])
    assert export_index(path, tmp_path / "exported") == 16
    again = RAGPretrainedModel.from_index(tmp_path / "exported", verbose=0, device="cpu")
    assert again.catalog.get().index.languages() == rag.catalog.get().index.languages()
    assert len(again.catalog.get().index.languages()) == 2  # each passage keeps its own: the export says which
    for query in QUERIES:
        wanted, found = rag.search(query, k=16), again.search(query, k=16)
        scores = {r["document_id"]: r["score"] for r in found}
        assert [scores[r["document_id"]] for r in wanted] == pytest.approx([r["score"] for r in wanted], abs=0.5)
        assert {r["document_id"]: (r["content"], r["language"], r["document_metadata"]) for r in wanted} == {
            r["document_id"]: (r["content"], r["language"], r["document_metadata"]) for r in found
        }
        assert sorted(r["passage_id"] for r in found) == list(range(16))  # without the gaps


def test_the_recorded_export_is_what_is_exported_today(model: RAGPretrainedModel, tmp_path: Path) -> None:
    """What colbert-ai has answered holds for what is written now."""
    rag = RAGPretrainedModel(model.encoder, tmp_path, verbose=0)
    names = [f"doc-{i}" for i in range(len(PASSAGES))]
    metadatas = [{"number": i} for i in range(len(PASSAGES))]
    path = rag.index(PASSAGES, names, metadatas, index_name="mine", languages="en")
    rag.delete_from_index(["doc-3", "doc-12"])
    export_index(path, tmp_path / "export", checkpoint="/nowhere/tiny")
    today, then = (PlaidFolder.open(folder) for folder in (tmp_path / "export", RECORDED / "export"))
    assert today.records == then.records
    pids = torch.arange(16)
    similarity = (today.vectors(pids).vectors * then.vectors(pids).vectors).sum(1)
    assert float(similarity.mean()) > 0.99  # rounding may differ from machine to machine
    written = {
        folder: {p.name: p.read_bytes() for p in folder.glob("*map.json")}
        for folder in (tmp_path / "export", RECORDED / "export")
    }
    assert len({json.dumps({k: v.decode() for k, v in each.items()}, sort_keys=True) for each in written.values()}) == 1


def test_ragatouille_opened_the_export() -> None:
    texts = {f"doc-{i}": text for i, text in enumerate(PASSAGES)}
    answer = ANSWERS["folders"]["export"]
    left = [f"doc-{i}" for i in range(len(PASSAGES)) if i not in (3, 12)]
    assert [row[0] for row in answer["ragatouille"]] == [left[pid] for pid in answer["pids"][0]]
    assert all(texts[i] == text and metadata == {"number": int(i[4:])} for i, text, metadata in answer["ragatouille"])


def test_exports_that_cannot_be(model: RAGPretrainedModel, tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError, match="There is no index"):
        export_index(tmp_path / "missing", tmp_path / "out")
    rag = RAGPretrainedModel(model.encoder, tmp_path, verbose=0)
    path = rag.index(["One text."], ["a"], index_name="mine")
    with pytest.raises(InputError, match="colbert-ai takes: 1, 2, 4"):
        export_index(path, tmp_path / "out", nbits=8)
    with pytest.raises(InputError, match="There is something at"):
        export_index(path, path)
    with pytest.raises(InputError, match="of colbert-ai's format already"):
        export_index(RECORDED / "export", tmp_path / "out")
    rag.delete_from_index("a")
    with pytest.raises(InputError, match="has no passages"):
        export_index(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_names_the_demo_checkpoint_by_its_folder(demo_path: Path, tmp_path: Path) -> None:
    rag = RAGPretrainedModel.from_pretrained("demo", verbose=0, device="cpu", index_root=str(tmp_path))
    path = rag.index(["Ceci est un document.", "这是第二个文档。"], ["a", "b"], index_name="mine")
    export_index(path, tmp_path / "out")
    assert PlaidFolder.open(tmp_path / "out").checkpoint == str(demo_path)
    again = RAGPretrainedModel.from_index(tmp_path / "out", verbose=0, device="cpu")
    assert ids(again.search(["Où est le document ?", "第二个"], k=1)[0]) == ["a"]
