"""What users type, and what they read then: every command on a tiny checkpoint."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference.tiny import build_tiny_xmod
from rich.cells import cell_len
from rich.console import Console
from typer.testing import Result

from ragatouille_xm.cli.evidence import show_evidence
from ragatouille_xm.demo import demo_sample
from ragatouille_xm.evidence import Evidence, Span, WordMatch
from ragatouille_xm.languages import ADAPTERS

Run = Callable[..., Result]


def good(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def error(result: Result) -> str:
    """Return the message of a run that ended as bad input does: one line on stderr, nothing on stdout."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip()


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good(result).stdout.splitlines()]


# index


def test_index_a_folder_and_find_its_files(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "one.txt").write_text("La bibliothèque est au bord de la rivière.", encoding="utf-8")
    (docs / "sub" / "two.md").write_text("The library opens in the morning.", encoding="utf-8")
    (docs / ".hidden").write_text("x", encoding="utf-8")
    result = good(run("index", docs, "--name", "docs", "--checkpoint", checkpoint, "--root", tmp_path))
    folder = tmp_path / "colbert" / "indexes" / "docs"
    assert result.stdout == ""
    assert f"Indexed 2 documents as 2 passages in {folder}." in result.stderr
    assert f"Skipped: 1 hidden.\n  '{docs}/.hidden' is hidden.\n" in result.stderr
    assert f'Try: ragatouille-xm search docs "your question" --root {tmp_path}' in result.stderr
    found = records(run("search", folder, "Où est la bibliothèque ?", "--json"))
    below = f"{tmp_path.name}/docs"  # --root is in the folder above
    assert {r["document_id"]: r["language"] for r in found} == {f"{below}/one.txt": "fr", f"{below}/sub/two.md": "en"}
    assert found[0]["document_metadata"]["path"] == (tmp_path.parent / found[0]["document_id"]).as_posix()


def test_index_streams_records_in_step(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    lines = [{"id": i, "text": f"the book {i}", "n": i, **({"lang": "fr"} if i % 2 else {})} for i in range(30)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    good(
        run(
            "index",
            tmp_path / "t.jsonl",
            "--name",
            "t",
            "--checkpoint",
            checkpoint,
            "--root",
            tmp_path,
            "--language",
            "de",
        )
    )
    for record in records(run("search", "t", "book", "-k", 30, "--json", "--root", tmp_path)):
        n = record["document_metadata"]["n"]
        assert record["content"] == f"the book {n}"
        assert (record["document_id"], record["language"]) == (str(n), "fr" if n % 2 else "de")


def test_index_splits_long_documents_unless_told_not_to(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("The book is in the garden. " * 40, encoding="utf-8")
    options = ("--checkpoint", checkpoint, "--root", tmp_path, "--max-length", 32)
    assert (
        "1 document as 1 passage in"
        in good(run("index", tmp_path / "long.txt", "--name", "t", *options, "--no-split")).stderr
    )
    split = good(run("index", tmp_path / "long.txt", "--name", "t", *options)).stderr
    assert "1 document as 1 passage" not in split


def test_no_overwrite_keeps_the_index_that_is_there(run: Run, checkpoint: Path, root: Path) -> None:
    options = ("--name", "mine", "--checkpoint", checkpoint, "--root", root)
    (root / "other.txt").write_text("Another text.", encoding="utf-8")
    message = error(run("index", root / "other.txt", *options, "--no-overwrite"))
    assert message.startswith("There is an index 'mine' already")
    assert "Leave out --no-overwrite to replace it." in message
    assert len(records(run("search", "mine", "book", "--json", "--root", root))) == 4
    good(run("index", root / "other.txt", *options))
    assert len(records(run("search", "mine", "book", "--json", "--root", root))) == 1


def test_optimize_converts_to_a_smaller_storage_and_to_no_larger_one(run: Run, checkpoint: Path, root: Path) -> None:
    assert run("optimize", "mine", "--storage", "int4", "--root", root).exit_code == 0
    assert len(records(run("search", "mine", "book", "--json", "--root", root))) == 4
    assert "Index the documents again." in error(run("optimize", "mine", "--storage", "int8", "--root", root))
    assert "storage='int2' is not known" in error(run("optimize", "mine", "--storage", "int2", "--root", root))


def test_a_bad_record_leaves_the_index_that_is_there(run: Run, checkpoint: Path, root: Path) -> None:
    (root / "bad.jsonl").write_text('{"text": "good"}\n{"text": \n', encoding="utf-8")
    message = error(run("index", root / "bad.jsonl", "--name", "mine", "--checkpoint", checkpoint, "--root", root))
    assert "bad.jsonl, line 2: this is not valid JSON" in message
    assert len(records(run("search", "mine", "book", "--json", "--root", root))) == 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing.txt", "--name", "x"], "There is no file or folder 'missing.txt'."),
        (["empty", "--name", "x"], "There is no text in 'empty'. Give text files, JSON lines or CSV."),
        (["ok.txt", "--name", "a/b"], "--name 'a/b' cannot be a folder's name."),
        (["ok.txt", "--name", ".."], "--name '..' cannot be a folder's name."),
        (["ok.txt", "--name", "a\nb"], "--name $'a\\nb' cannot be a folder's name."),
        (["ok.txt", "--name", "x", "--checkpoint", "./nowhere"], "There is no checkpoint folder './nowhere'."),
        (["ok.txt", "--name", "x", "--checkpoint", ""], "The checkpoint is ''. Give a hub id, a folder"),
        (["ok.txt", "--name", "x", "--storage", "int3"], "storage='int3' is not known"),
        (["ok.txt", "--name", "x", "--pooling", "0"], "pooling=0 is not usable"),
        (["ok.txt", "--name", "x", "--max-length", "2"], "A passage length of 2 tokens is not usable"),
        (["ok.txt", "--name", "x", "--language", "klingon"], "'klingon' is not a language."),
        (["ok.txt", "--name", "x", "--device", "tpu:7"], "device='tpu:7' cannot be used here."),
    ],
)
def test_bad_input_to_index(
    run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "ok.txt").write_text("Some text.", encoding="utf-8")
    if "--checkpoint" not in arguments:
        arguments = [*arguments, "--checkpoint", str(checkpoint)]
    assert expected in error(run("index", *arguments))
    assert not list(tmp_path.rglob("*.db"))


# add, delete


def test_add_and_update(run: Run, root: Path) -> None:
    new = root / "new.jsonl"
    new.write_text(
        '{"id": "fr", "text": "Le pain."}\n{"id": "ja", "text": "図書館は東京にあります。"}', encoding="utf-8"
    )
    message = error(run("add", "mine", new, "--root", root))
    assert message == "The index 'mine' already has 'fr'. Give --update to replace documents."
    assert len(records(run("search", "mine", "pain", "--json", "--root", root))) == 4, "nothing was added"
    result = good(run("add", "mine", new, "--update", "--root", root))
    assert [line.rstrip() for line in result.stderr.splitlines()] == [
        "INFO     languages of the documents: fr 1, ja 1",
        "Added 2 documents, 1 of them replaced; the index has 5 passages.",
    ]
    found = {r["document_id"]: r for r in records(run("search", "mine", "pain", "--json", "--root", root))}
    assert found["fr"]["content"] == "Le pain."
    assert found["ja"]["language"] == "ja"


def test_add_without_conflict_takes_no_update(run: Run, root: Path) -> None:
    (root / "new.csv").write_text("id,text,lang\nx,Hallo.,de\n", encoding="utf-8")
    result = good(run("add", "mine", root / "new.csv", "--root", root))
    assert [line.rstrip() for line in result.stderr.splitlines()] == [
        "INFO     languages of the documents: de 1",
        "Added 1 document; the index has 5 passages.",
    ]


def test_add_bad_input(run: Run, shared: Path) -> None:
    assert "There is no file or folder" in error(run("add", "mine", shared / "missing.txt", "--root", shared))
    assert "There is no index 'other'" in error(run("add", "other", shared / "records.jsonl", "--root", shared))
    message = error(run("add", "mine", shared / "records.jsonl", "--root", shared))
    assert message == "The index 'mine' already has 'de' and 3 more. Give --update to replace documents."


def test_delete(run: Run, root: Path) -> None:
    message = error(run("delete", "mine", "en", "nowhere", "--root", root))
    assert message == "The index 'mine' has no document 'nowhere'; nothing was deleted."
    assert len(records(run("search", "mine", "book", "--json", "--root", root))) == 4
    result = good(run("delete", "mine", "en", "de", "--root", root))
    assert result.stderr == "Deleted 2 documents; the index has 2 passages.\n"
    found = records(run("search", "mine", "book", "--json", "--root", root))
    assert {r["document_id"] for r in found} == {"fr", "zh"}


def test_deleting_needs_no_checkpoint(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    (tmp_path / "a.txt").write_text("Some text.", encoding="utf-8")
    good(run("index", tmp_path / "a.txt", "--name", "t", "--checkpoint", moved, "--root", tmp_path))
    shutil.rmtree(moved)
    good(run("delete", "t", (tmp_path / "a.txt").as_posix(), "--root", tmp_path))
    message = error(run("search", "t", "text", "--root", tmp_path))
    assert "There is no checkpoint folder" in message


# search


def test_search_shows_what_was_found(run: Run, shared: Path) -> None:
    result = good(run("search", "mine", "Où est la bibliothèque ?", "图书馆", "-k", 2, "--root", shared))
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "Où est la bibliothèque ?  (fr)"
    assert lines[1].split() == ["rank", "score", "relevance", "language", "document"]
    found = records(run("search", "mine", "Où est la bibliothèque ?", "-k", 2, "--json", "--root", shared))
    for record, head, passage in zip(found, lines[2::2], lines[3::2], strict=False):
        expected = (str(record["rank"]), f"{record['score']:.2f}", f"{record['relevance']:.0%}", record["language"])
        assert head.split() == [*expected, record["document_id"]]
        assert passage.strip() == record["content"]
    assert "图书馆  (zh)" in lines


def test_a_long_passage_is_cut_to_two_lines_and_cannot_steer_the_terminal(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("\x1b[31mred\x07 " + "图书馆在北京市，今天有水和火。" * 12, encoding="utf-8")
    good(run("index", tmp_path / "a.txt", "--name", "t", "--checkpoint", checkpoint, "--root", tmp_path))
    result = good(run("search", "t", "red", "-k", 1, "--root", tmp_path))
    passage = result.stdout.splitlines()[3:]
    assert passage[0].startswith("      [31mred 图书馆")
    assert passage[1].endswith(" …")
    assert passage[2:] == [""]
    assert "\x1b" not in result.stdout


def test_json_lines_hold_everything(run: Run, shared: Path) -> None:
    found = records(run("search", "mine", "Où est le livre ?", "图书馆", "--json", "--root", shared, "-k", 3))
    assert [r["query"] for r in found] == ["Où est le livre ?"] * 3 + ["图书馆"] * 3
    assert [r["query_language"] for r in found] == ["fr"] * 3 + ["zh"] * 3
    assert [r["rank"] for r in found] == [1, 2, 3] * 2
    assert set(found[0]) == {
        "query", "query_language", "content", "score", "rank", "document_id", "passage_id", "language", "relevance",
        "document_metadata",
    }  # fmt: skip


def test_exact_search_and_a_given_language(run: Run, shared: Path) -> None:
    usual = records(run("search", "mine", "livre", "--json", "--root", shared))
    exact = records(run("search", "mine", "livre", "--json", "--exact", "--root", shared))
    assert [r["document_id"] for r in exact] == [r["document_id"] for r in usual]
    german = records(run("search", "mine", "livre", "--language", "de-AT", "--json", "--root", shared))
    assert {r["query_language"] for r in german} == {"de"}
    assert [r["score"] for r in german] != [r["score"] for r in usual]


def test_filters(run: Run, shared: Path) -> None:
    def ids(condition: str) -> set[str]:
        found = records(run("search", "mine", "livre", "--filter", condition, "--json", "--root", shared))
        return {r["document_id"] for r in found}

    assert ids('{"year": {"$gte": 2020}}') == {"zh", "de"}
    assert ids('{"language": "fr"}') == {"fr"}
    assert ids('{"year": 1900}') == set()
    nothing = good(run("search", "mine", "livre", "--filter", '{"year": 1900}', "--root", shared))
    assert "no results" in nothing.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x", "--filter", "{"], "--filter is not valid JSON: Expecting property name"),
        (["x", "--filter", "[1]"], "--filter is not a JSON object: '[1]'."),
        (["x", "--filter", '{"year": {"$foo": 1}}'], "'$foo'"),
        ([" "], "A query is blank."),
        (["x\ud800"], "A query has a lone surrogate"),
        (["x", "--language", "klingon"], "'klingon' is not a language."),
        (["x", "--language", ""], "'' is not a language."),
    ],
)
def test_bad_input_to_search(run: Run, shared: Path, arguments: list[str], expected: str) -> None:
    assert expected in error(run("search", "mine", *arguments, "--root", shared))


def test_a_k_beyond_the_index_shows_all_of_it_and_one_that_is_no_number_nothing(run: Run, shared: Path) -> None:
    assert len(records(run("search", "mine", "livre", "-k", 10**9, "--json", "--root", shared))) == 4
    for k in (0, -1, "many", 1.5):
        result = run("search", "mine", "livre", "-k", k, "--root", shared)
        assert result.exit_code == 2
        assert "Invalid value for '-k'" in result.stderr


def test_an_emptied_index_has_nothing_to_find(run: Run, root: Path) -> None:
    good(run("delete", "mine", "en", "fr", "zh", "de", "--root", root))
    assert records(run("search", "mine", "livre", "--json", "--root", root)) == []


def test_an_unknown_index_is_told_with_those_that_are_there(run: Run, shared: Path) -> None:
    message = error(run("search", "yours", "x", "--root", shared))
    assert message.startswith("There is no index 'yours'")
    assert message.endswith("There are: mine.")
    message = error(run("search", "yours", "x", "--root", shared / "elsewhere"))
    assert message.endswith("Build one: ragatouille-xm index PATH --name NAME")
    assert "There is no index '図" in error(run("search", "図" * 200, "x", "--root", shared))


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "https://me:S3CRET@host/a?key=S3CRET", "x"),
        ("index", "https://me:S3CRET@host/a?key=S3CRET", "--name", "new"),
        ("index", __file__, "--name", "https://me:S3CRET@host/a?key=S3CRET"),
    ],
)
def test_an_address_in_the_place_of_a_name_is_shown_without_secrets(run: Run, arguments: tuple[str, ...]) -> None:
    told = error(run(*arguments))
    assert "'https://host/a'" in told
    assert "S3CRET" not in told


def test_a_damaged_index_is_told(run: Run, root: Path) -> None:
    (root / "colbert" / "indexes" / "mine" / "index.db").write_text("{", encoding="utf-8")
    assert "index.db' is damaged" in error(run("search", "mine", "x", "--root", root))


# languages


def test_languages_of_texts_and_files(run: Run, root: Path) -> None:
    (root / "given.jsonl").write_text('{"id": "g", "text": "Bonjour à tous.", "lang": "oc"}', encoding="utf-8")
    arguments = ("languages", root / "given.jsonl", "--text", "Où est la gare ?", "--text", "12:30")
    found = records(run(*arguments, "--json"))
    assert [(r["text"], r["language"], r["adapter"]) for r in found] == [
        ("Où est la gare ?", "fr", "fr_XX"),
        ("12:30", "en", "en_XX"),
        ("g", "ca", "ca_ES"),
    ]
    assert found[0]["confidence"] > 0.5
    assert found[1]["confidence"] == 0
    assert found[2]["confidence"] is None
    rows = [line.split() for line in good(run(*arguments)).stdout.splitlines()]
    assert rows[0] == ["language", "adapter", "confidence", "text"]
    assert rows[1][:2] == ["fr", "fr_XX"]
    assert rows[1][3:] == ["Où", "est", "la", "gare", "?"]
    assert rows[2] == ["en", "en_XX", "0.00", "12:30"]
    assert rows[3][2:] == ["given", "g"]


def test_many_documents_are_counted_by_language(run: Run, tmp_path: Path) -> None:
    lines = [{"text": "Wo ist der Bahnhof?"}] * 30 + [{"text": "駅はどこですか"}] * 20
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    rows = [line.split() for line in good(run("languages", tmp_path / "t.jsonl")).stdout.splitlines()]
    assert rows == [["language", "adapter", "documents"], ["de", "de_DE", "30"], ["ja", "ja_XX", "20"]]
    assert len(records(run("languages", tmp_path / "t.jsonl", "--json"))) == 50


def test_languages_of_an_index(run: Run, root: Path) -> None:
    good(run("delete", "mine", "zh", "--root", root))
    rows = [line.split() for line in good(run("languages", "--index", "mine", "--root", root)).stdout.splitlines()]
    expected = [["de", "de_DE", "1"], ["en", "en_XX", "1"], ["fr", "fr_XX", "1"]]
    assert rows == [["language", "adapter", "passages"], *expected]
    found = records(run("languages", "--index", "mine", "--json", "--root", root))
    assert found[0] == {"language": "de", "adapter": "de_DE", "passages": 1}


def test_languages_of_queries_to_an_index(run: Run, root: Path) -> None:
    good(run("delete", "mine", "en", "fr", "zh", "--root", root))
    texts = ("--text", "RTX 4090", "--text", "駅はどこですか")
    alone = records(run("languages", *texts, "--json"))
    asked = records(run("languages", "--index", "mine", *texts, "--json", "--root", root))
    assert [row["language"] for row in alone] == ["en", "ja"]
    assert [row["language"] for row in asked] == ["de", "ja"]


def test_documents_are_taken_together(run: Run, tmp_path: Path) -> None:
    titles = ["Bolsa de Couro Feminina", "Tênis de Corrida Masculino", "Cinto", "Relógio Digital", "Mochila", "Meias"]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": each}) for each in titles * 7), encoding="utf-8")
    done = good(run("languages", tmp_path / "t.jsonl"))
    assert [line.split() for line in done.stdout.splitlines()][1:] == [["pt", "pt_XX", "42"]]
    assert "Uncertain: " in done.stderr
    told = [run("languages", "--text", each, "--json") for each in titles]
    assert {records(each)[0]["language"] for each in told} != {"pt"}


def test_languages_of_files_are_those_that_an_index_of_them_stores(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = build_tiny_xmod(tmp_path / "tiny", languages=ADAPTERS)
    given = [("a", "Estação", "pt-BR"), ("b", "Gara", "oc"), ("c", "駅", "zh_HK.UTF-8"), ("d", "Sakk", None)]
    lines = [json.dumps({"id": name, "text": text, "lang": language}) for name, text, language in given]
    Path("t.jsonl").write_text("\n".join([*lines, '{"id": "blank", "text": "\\u200b"}']), encoding="utf-8")
    Path("notes").mkdir()
    for name, text in (("1.txt", "Tere!"), ("2.txt", "Raamatukogu avatakse kell üheksa."), ("3.txt", "\u200b\u2060\n")):
        Path("notes", name).write_text(text, encoding="utf-8")
    told = run("languages", "t.jsonl", "notes", "--json")
    shown = {row["text"]: row["language"] for row in records(told)}
    done = good(run("index", "t.jsonl", "notes", "--name", "mine", "--checkpoint", checkpoint))
    assert "Indexed 6 documents as 6 passages" in done.stderr
    assert "Skipped: 2 without text" in done.stderr
    found = records(run("search", "mine", "", "--filter", '{"document_id": {"$ne": ""}}', "--json"))
    assert shown == {row["document_id"]: row["language"] for row in found}
    assert {name: shown[name] for name in "abc"} == {"a": "pt", "b": "ca", "c": "zh-TW"}


def test_bad_input_to_languages(run: Run, shared: Path) -> None:
    assert error(run("languages")) == "Give files or folders, --text or --index."
    assert "not both" in error(run("languages", shared, "--index", "mine", "--root", shared))
    assert "There is no index 'yours'" in error(run("languages", "--index", "yours", "--root", shared))
    assert "There is no file or folder" in error(run("languages", shared / "missing.txt"))


# demo


LITTLE = [document for document in demo_sample() if document.language in ("fr", "ja", "pt", "ru")]


@pytest.fixture
def tiny_demo(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the demo run on the tiny checkpoint and some documents, with a cache of its own, which is returned."""
    monkeypatch.setattr("ragatouille_xm.model.checkpoint.demo_checkpoint", lambda: checkpoint)
    monkeypatch.setattr("ragatouille_xm.demo.demo_sample", lambda: LITTLE)
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_demo_says_what_it_is_and_shows_what_it_finds(run: Run, tiny_demo: Path) -> None:
    first = good(run("demo"))
    told = " ".join(first.stdout.split())
    assert "a stand-in, not ColBERT-XM: multilingual-e5-small, untrained" in told
    assert "40 documents in 4 languages, indexed in" in told
    lines = first.stdout.splitlines()
    starts = [i for i, line in enumerate(lines) if re.search(r"  \(\w\w\)", line)]
    assert len(starts) == 4
    assert lines[starts[3]].endswith("  Italian → Portuguese")
    for start in starts:
        scores = [float(line.split()[0]) for line in lines[start + 1 : start + 4]]
        assert scores == sorted(scores, reverse=True)
        assert lines[start + 4] == ""
    assert "Of 60 such questions," in told
    assert len(lines) + len(first.stderr.splitlines()) <= 32, "one screen"
    assert max(cell_len(line) for line in lines) <= 80
    assert [line.split()[0] for line in first.stderr.splitlines()[-3:]] == ["Ask", "Docs", "Page"]
    again = good(run("demo"))
    assert "indexed by an earlier run" in " ".join(again.stdout.split())
    assert again.stdout.splitlines()[starts[0] :] == lines[starts[0] :]


def test_demo_says_whether_its_checkpoint_is_trained(
    run: Run, tiny_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragatouille_xm.demo.trained_languages", lambda: ("am", "de", "ha"))
    told = " ".join(good(run("demo")).stdout.split())
    assert "not ColBERT-XM: multilingual-e5-small, briefly trained Adapters trained: am de ha" in told


def test_demo_with_a_question_of_ones_own(run: Run, tiny_demo: Path) -> None:
    result = good(run("demo", "Pourquoi la mer monte ?"))
    assert "Pourquoi la mer monte ?  (fr)" in result.stdout.splitlines()
    assert "such questions" not in result.stdout
    [database] = tiny_demo.glob("colbert/indexes/*/index.db")
    database.write_text("{", encoding="utf-8")
    assert "indexed in" in " ".join(good(run("demo", "again")).stdout.split()), "a damaged index is made again"


def test_search_explains_what_was_found(run: Run, shared: Path) -> None:
    query = "Où est la bibliothèque ?"
    plain = good(run("search", "mine", query, "-k", 2, "--root", shared)).stdout.splitlines()
    lines = good(run("search", "mine", query, "-k", 2, "--explain", "--root", shared)).stdout.splitlines()
    assert lines[:3] == plain[:3]
    found = records(run("search", "mine", query, "-k", 2, "--json", "--explain", "--root", shared))
    evidence = found[0]["evidence"]
    assert [word["text"] for word in evidence["words"]] == ["Où", "est", "la", "bibliothèque"]
    marked = "".join(line.strip() for line in lines[3:] if line.strip())
    for span in evidence["highlights"]:
        assert found[0]["content"][span["start"] : span["end"]] == span["text"]
        assert f"[{span['text']}]" in marked
    assert f"bibliothèque → {evidence['words'][3]['matches'][0]['text']}" in marked
    assert f"<mask> {evidence['mask_score']:.2f} ({evidence['mask_share']:.0%})" in marked


def test_search_shows_documents_and_what_stands_around_a_passage(
    run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sentences = [f"The library number {i} opens in the morning, and the train is in the garden." for i in range(6)]
    Path("long.txt").write_text(" ".join(sentences), encoding="utf-8")
    Path("short.txt").write_text("The river.", encoding="utf-8")
    good(run("index", "long.txt", "short.txt", "--name", "long", "--checkpoint", checkpoint, "--max-length", 32))
    query = "library number 3"
    found = records(run("search", "long", query, "-k", 2, "--group", "--context", 1, "--explain", "--json"))
    assert [each["document_id"] for each in found] == ["long.txt", "short.txt"]
    best = found[0]
    around = [*best["context_before"], best["content"], *best["context_after"]]
    assert len(around) >= 2
    assert " ".join(around) in " ".join(sentences)
    assert len(best["other_passages"]) == 5
    assert all(other["evidence"]["highlights"] is not None for other in best["other_passages"])
    shown = good(run("search", "long", query, "-k", 2, "--group", "--context", 1)).stdout.splitlines()
    assert [line.split()[-1] for line in shown[2:] if line.startswith("   ") and line[3].isdigit()] == [
        "long.txt",
        "short.txt",
    ]
    for other in best["other_passages"]:
        assert any(line.strip().startswith(f"{other['score']:.2f}  {other['content'][:20]}") for line in shown)
    for text in around:
        assert any(line.strip().startswith(text[:30]) for line in shown)
    assert run("search", "long", query, "--context", -1).exit_code == 2


def test_search_by_shared_words_too(run: Run, shared: Path, checkpoint: Path, tmp_path: Path) -> None:
    by_words = ["--hybrid", "--lexical-weight", 1, "--json", "--root", shared]
    found = records(run("search", "mine", "北京市", "-k", 1, *by_words))
    assert (found[0]["document_id"], found[0]["score"]) == ("zh", 1.0)
    assert found[0]["lexical_score"] > 0
    assert records(run("search", "mine", "Fluss", "--hybrid", "--json", "--root", shared))[0]["score"] <= 1
    assert run("search", "mine", "Fluss", "--hybrid", "--lexical-weight", 2, "--root", shared).exit_code == 2
    options = ["--name", "plain", "--checkpoint", checkpoint, "--root", tmp_path]
    good(run("index", shared / "records.jsonl", *options, "--no-lexical"))
    message = error(run("search", "plain", "Fluss", "--hybrid", "--root", tmp_path))
    assert "does not keep the pieces of its texts" in message


def test_highlights_are_in_colour_on_a_terminal_and_cannot_steer_it() -> None:
    text = "One sentence. The\x1b[31m  train\nleaves at " + "eight " * 100
    start = text.index("train")
    matched = Span(start, start + 5, "train", 0.9)
    sentence = Span(14, len(text), text[14:], 0.5)
    word = WordMatch(0, 3, "Zug", 0.9, (matched,))
    evidence = Evidence("Zug", text, 1.3, (word,), (matched,), (sentence,), 0.4, (), 0.0)
    shown = {}
    for terminal in (True, False):
        output = io.StringIO()
        colours = "standard" if terminal else None
        show_evidence(Console(file=output, force_terminal=terminal, width=60, color_system=colours), evidence)
        shown[terminal] = output.getvalue().splitlines()
    assert shown[False][0] == "      … The [31m [train] leaves at eight eight eight eight"
    assert shown[False][3].endswith(" …")
    assert shown[False][4] == "      Zug → train 0.90"
    assert shown[False][5].startswith("      score 1.30: words 0.90, <mask> 0.40 (31%)")
    assert "\x1b[1;35mtrain\x1b[0m" in shown[True][0]
    assert "\x1b[31m" not in "".join(shown[True])
