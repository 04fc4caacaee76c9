"""The command evaluate: on folders of tsv, with bm25 and tiny checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]

pytest.importorskip("bm25s")
pytest.importorskip("ir_measures")

TEXTS = {
    "en": ("The library opens in the morning.", "Bread is in the old market.", "library"),
    "fr": ("La bibliothèque est au bord de la rivière.", "Le pain est dans le jardin.", "bibliothèque"),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for language, (first, second, query) in TEXTS.items():
        folder = tmp_path / "data" / language
        folder.mkdir(parents=True)
        (folder / "collection.tsv").write_text(f"a\t{first}\nb\t{second}\n", encoding="utf-8")
        (folder / "queries.tsv").write_text(f"1\t{query}\n2\tpain bread\n", encoding="utf-8")
        (folder / "qrels.tsv").write_text("1 0 a 1\n2 0 b 1\n", encoding="utf-8")
    return tmp_path / "data"


def good(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def error(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip()


def test_tables_runs_and_results(run: Run, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    result = good(
        run(
            "evaluate", "--dataset", data / "en", "--dataset", data / "fr", "--system", "bm25",
            "--system", f"colbert-xm={checkpoint}", "--out", out, "--measure", "MRR@10", "--measure", "R@1",
        )
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[0].strip() == "data: MRR@10, percent"
    assert lines[1].split() == ["system", "en", "fr", "avg"]
    assert lines[2].split() == ["ᵃ", "bm25", "100.0", "100.0", "100.0"]
    assert lines[3].split()[:2] == ["ᵇ", f"colbert-xm={checkpoint.name}"]
    assert lines[5].strip() == "data: R@1, percent"
    assert "bm25 on data: k1 0.9, b 0.4" in result.stderr
    written = json.loads((out / "results.json").read_bytes())
    assert written["tables"][0]["rows"][0]["values"] == [100.0, 100.0]
    assert written["tables"][0]["comparisons"]["en"][0]["p"] > 0.05
    assert written["runs"][0]["parameters"]["k1"] == 0.9
    assert [Path(each["run"]).is_file() for each in written["runs"]] == [True] * 4
    assert (out / "data-fr" / f"colbert-xm={checkpoint.name}.values.json").is_file()


def test_the_second_call_runs_nothing(run: Run, data: Path, tmp_path: Path) -> None:
    call = ("evaluate", "--dataset", data / "en", "--system", "bm25", "--out", tmp_path)
    first = good(run(*call))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("bm25.trec")}
    assert len(before) == 1
    assert good(run(*call)).stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("bm25.trec")} == before
    message = error(run(*call, "--bm25-b", "0.7"))
    assert "was made with other parameters: b was 0.4 and is 0.7. Give --overwrite" in message
    assert good(run(*call, "--bm25-b", "0.7", "--overwrite")).exit_code == 0


def test_one_collection_in_two_languages(run: Run, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    result = good(
        run(
            "evaluate", "--dataset", data, "--system", f"colbert-xm={checkpoint}", "--doc-language", "en",
            "--query-language", "detected", "--out", tmp_path / "runs", "--k", 2,
        )
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[0].strip() == "data, one collection: MRR@10, percent"
    assert lines[1].split() == ["system", "en", "fr", "avg"]
    assert f"colbert-xm={checkpoint.name},doc=en,query=detected" in lines[2]
    assert (
        "documents through the adapters of en, queries through the adapters of the detected language" in result.stderr
    )


def test_wide_tables_are_not_cut(run: Run, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    name = "a-checkpoint-with-a-name-that-is-longer-than-a-terminal-is-wide" * 2
    (tmp_path / name).symlink_to(checkpoint)
    result = good(
        run("evaluate", "--dataset", data / "en", "--system", f"colbert-xm={tmp_path / name}", "--out", tmp_path)
    )
    assert f"colbert-xm={name}  " in result.stdout


def test_letters_and_published_rows(capsys: pytest.CaptureFixture[str]) -> None:
    from ragatouille_xm.cli.evaluate import _show
    from ragatouille_xm.evaluation.table import Row, Table

    rows = (
        Row("bm25", False, (18.44, None), None, ((), ())),
        Row("mine", False, (37.0, 26.0), 31.5, (("bm25",), ())),
        Row("ColBERT-XM", True, (37.2, 26.9), 26.2, ((), ())),
    )
    _show(Table("mmarco", "MRR@10", ("en", "fr"), rows, {}))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2:5] == [
        ["ᵃ", "bm25", "18.4", "–", "–"],
        ["ᵇ", "mine", "ᵃ37.0", "26.0", "31.5"],
        ["ColBERT-XM", "(published)", "37.2", "26.9", "26.2"],
    ]


def test_two_checkpoints_of_one_name(run: Run, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").symlink_to(checkpoint)
    both = [f"colbert-xm={tmp_path / name / 'model'}" for name in ("one", "two")]
    message = error(run("evaluate", "--dataset", data / "en", "--system", both[0], "--system", both[1]))
    assert message == "Two systems are both called 'colbert-xm=model'. Rename one of the folders."


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dataset", "mmarco/xx", "--system", "bm25"], "mmarco has no language 'xx'"),
        (["--dataset", "./nowhere", "--system", "bm25"], "There is no folder './nowhere'."),
        (["--dataset", "nothing-like-it", "--system", "bm25"], "There is no dataset 'nothing-like-it'"),
        (["--dataset", "DATA", "--system", "bm26"], "There is no system 'bm26'. There are: bm25"),
        (["--dataset", "DATA", "--system", "bm25=x"], "bm25 has no checkpoint: leave out 'x'"),
        (["--dataset", "DATA", "--system", "colbert-xm="], "'colbert-xm=' names no checkpoint."),
        (["--dataset", "DATA", "--system", "mcolbert"], "mcolbert needs a checkpoint"),
        (["--dataset", "DATA", "--system", "colbert-xm=./no"], "There is no checkpoint folder './no'."),
        (["--dataset", "DATA", "--system", "bm25", "--measure", "MRP@10"], "'MRP@10' is not a measure."),
        (["--dataset", "DATA", "--system", "bm25", "--limit-queries", "0"], "A limit of 0 queries leaves none"),
        (["--dataset", "DATA", "--system", "bm25", "--doc-language", "klingon"], "--doc-language 'klingon' is not a"),
    ],
)
def test_bad_input(run: Run, data: Path, tmp_path: Path, arguments: list[str], expected: str) -> None:
    given = [str(data / "en") if each == "DATA" else each for each in arguments]
    message = error(run("evaluate", *given, "--out", tmp_path / "runs"))
    assert message.startswith(expected) or expected in message


def test_a_malformed_line(run: Run, data: Path, tmp_path: Path) -> None:
    (data / "en" / "collection.tsv").write_text("a\tone\nb two\n")
    message = error(run("evaluate", "--dataset", data / "en", "--system", "bm25", "--out", tmp_path))
    assert "collection.tsv, line 2: expected an id, a tab and a text: 'b two'." in message


def test_a_missing_extra(run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    message = error(run("evaluate", "--dataset", data / "en", "--system", "bm25", "--out", tmp_path))
    assert message == 'BM25 needs an optional package. Install it with: pip install "ragatouille-xm[evaluate]"'
