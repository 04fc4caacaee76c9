"""The commands that train."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ragatouille_xm import RAGPretrainedModel

Run = Callable[..., Result]
WORDS = ["river", "train", "bread", "garden"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "triples.tsv"
    path.write_text("".join(f"the {word}\ta {word} is old\tthe book\n" for word in WORDS), encoding="utf-8")
    return path


def test_train_and_resume(run: Run, checkpoint: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data", data, "--output", tmp_path / "run", "--checkpoint", checkpoint, "--steps", 2]
    arguments += ["--batch-size", 2, "--device", "cpu", "--validation", data, "--every", 1]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    trained = tmp_path / "run" / "step-000002"
    assert "Trained: " in result.stderr.replace("\n", "")
    RAGPretrainedModel.from_pretrained(trained, verbose=0, device="cpu")
    again = run(*arguments)
    assert again.exit_code == 2
    assert "already" in again.stderr
    assert run(*arguments, "--resume").exit_code == 0


def test_train_chooses_by_the_mrr_of_a_folder(run: Run, checkpoint: Path, data: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "en").mkdir()
    (folder / "collection.tsv").write_text("".join(f"{w}\ta {w} is old\n" for w in WORDS), encoding="utf-8")
    (folder / "queries.tsv").write_text("".join(f"{w}\tthe {w}\n" for w in WORDS), encoding="utf-8")
    (folder / "qrels.tsv").write_text("".join(f"{w} 0 {w} 1\n" for w in WORDS), encoding="utf-8")
    arguments = ["train", "--data", data, "--output", tmp_path / "run", "--checkpoint", checkpoint, "--steps", 2]
    result = run(*arguments, "--batch-size", 2, "--device", "cpu", "--validation", folder, "--every", 1)
    assert result.exit_code == 0, result.output
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [0 < e["validation"] <= 1 for e in log if e.get("measure") == "MRR@10"] == [True, True]


def test_train_by_ids(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\tthe book\n", encoding="utf-8")
    (tmp_path / "c.tsv").write_text("a\tone\nb\ttwo\n", encoding="utf-8")
    (tmp_path / "t.jsonl").write_text('[1, ["a", 2.0], ["b", 1.0]]\n', encoding="utf-8")
    texts = ["--queries", tmp_path / "q.tsv", "--collection", tmp_path / "c.tsv"]
    arguments = ["train", "--data", tmp_path / "t.jsonl", "--output", tmp_path / "run", "--checkpoint", checkpoint]
    arguments += ["--steps", 1, "--batch-size", 1, "--distillation", "--no-in-batch", "--device", "cpu"]
    wrong = run(*arguments)
    assert wrong.exit_code == 2
    assert "Give queries and collection" in wrong.stderr
    result = run(*arguments, *texts, "--language", "detect")
    assert result.exit_code == 0, result.output


def test_add_language(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "yo.txt").write_text("the book of the river\n\nthe old garden\n", encoding="utf-8")
    arguments = ["add-language", "yo", "--texts", tmp_path / "yo.txt", "--checkpoint", checkpoint, "--steps", 1]
    result = run(*arguments, "--output", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    model = RAGPretrainedModel.from_pretrained(tmp_path / "out", verbose=0, device="cpu")
    assert "yo" in model.encoder.adapters.languages
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for texts, expected in {"none": "cannot be read", "latin": "the byte 0xe9 at offset 3", ".": "is a folder"}.items():
        wrong = run("add-language", "yo", "--texts", tmp_path / texts, "--output", tmp_path / "x")
        assert wrong.exit_code == 2
        assert expected in wrong.stderr
    arguments = [*arguments[:2], "--texts", tmp_path / "latin", "--encoding", "latin-2x", "--output", tmp_path / "x"]
    assert "--encoding 'latin-2x' is not known" in run(*arguments).stderr


def test_add_language_from_pairs(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    places = ["in the old market", "behind the station", "near the winter garden", "under the bridges", "at the river"]
    lieux = [
        "dans le vieux marché",
        "derrière la gare",
        "près du jardin d'hiver",
        "sous les ponts",
        "au bord du fleuve",
    ]
    english = [f"{i} books are {place} this morning" for i in range(2, 6) for place in places]
    french = [f"ce matin, {i} livres sont {lieu}" for i in range(2, 6) for lieu in lieux]
    (tmp_path / "en.txt").write_text("\n".join(english) + "\n", encoding="utf-8")
    (tmp_path / "fr.txt").write_text("\n".join(french), encoding="utf-8")
    (tmp_path / "short.txt").write_text("\n".join(french[1:]), encoding="utf-8")
    (tmp_path / "hole.txt").write_text("\n".join([*french[:6], "", *french[7:]]), encoding="utf-8")
    common = ["--checkpoint", checkpoint, "--device", "cpu", "--steps", 2, "--batch-size", 2, "--every", 1]
    en, fr = tmp_path / "en.txt", tmp_path / "fr.txt"
    arguments = ["add-language", "fr", "--pairs", f"{en},{fr}", "--output", tmp_path / "run", *common]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "run/step-00000" in "".join(result.stderr.split())
    assert "Give resume=True" in run(*arguments).stderr
    assert run(*arguments, "--resume").exit_code == 0
    wrong = {
        f"{en},{tmp_path / 'short.txt'}": "short.txt has 19",
        f"{en},{tmp_path / 'hole.txt'}": "Text 7 of",
        f"{en},{en}": "one file twice",
        f"{en}": "is not two files",
        f"{en},{tmp_path / 'none.txt'}": "cannot be read",
        f"{fr},{en}": "should be in 'en' are in 'fr'",
    }
    for pairs, expected in wrong.items():
        result = run("add-language", "fr", "--pairs", pairs, "--output", tmp_path / "x", *common)
        assert result.exit_code == 2
        assert expected in " ".join(result.stderr.split())
    neither = run("add-language", "fr", "--output", tmp_path / "x", *common)
    both = run("add-language", "fr", "--texts", fr, "--pairs", f"{en},{fr}", "--output", tmp_path / "x", *common)
    assert all("either --texts or --pairs" in each.stderr for each in (neither, both))
    assert (
        "--resume belongs to --pairs"
        in run("add-language", "fr", "--texts", fr, "--output", tmp_path / "x", "--resume", *common).stderr
    )
    assert not (tmp_path / "x").exists()
