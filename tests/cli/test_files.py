"""Commands over files: ids that do not depend on how a path was typed, what is skipped, standard input."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from invoking import invoke
from typer.testing import CliRunner, Result

from .test_commands import error, good, records

Run = Callable[..., Result]
INDEX = Path(".ragatouille", "colbert", "indexes", "n")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a folder of notes and one of letters."""
    home = tmp_path / "home"
    for name in ("notes/a.txt", "notes/b.txt", "letters/a.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"The {name} of old.", encoding="utf-8")
    monkeypatch.chdir(home)
    return home


def contents(run: Run, index: str | Path = "n", *options: object) -> dict[str, str]:
    found = records(run("search", index, "note", "-k", 99, "--json", *options))
    assert len({r["document_id"] for r in found}) == len(found)
    return {r["document_id"]: r["content"] for r in found}


def test_a_file_is_replaced_however_its_path_is_typed(
    run: Run, checkpoint: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(run("index", "notes/", "--name", "n", "--checkpoint", checkpoint))
    assert set(contents(run)) == {"notes/a.txt", "notes/b.txt"}
    (home.parent / "link").symlink_to(home)
    outside = [home.parent / "link" / "notes" / "a.txt", "home/notes/a.txt", "link/notes/../notes/a.txt"]
    spellings = [
        (home, ["notes/a.txt", "./notes//a.txt", "letters/../notes/a.txt", home / "notes" / "a.txt"], []),
        (home / "notes", ["a.txt", "../notes/a.txt"], ["--root", "../.ragatouille"]),
        (home.parent, outside, ["--root", "home/.ragatouille"]),
        (home.parent, outside, ["--root", "link/.ragatouille"]),
    ]
    n = 0
    for folder, paths, options in spellings:
        for path in paths:
            monkeypatch.chdir(folder)
            (home / "notes" / "a.txt").write_text(f"Number {(n := n + 1)}.", encoding="utf-8")
            assert "Give --update" in error(run("add", "n", path, *options))
            added = good(run("add", "n", path, "--update", *options)).stderr
            assert "1 of them replaced; the index has 2 passages" in added
            assert contents(run, "n", *options)["notes/a.txt"] == f"Number {n}."
    monkeypatch.chdir(home / "notes")
    good(run("add", Path("..") / INDEX, "a.txt", "--update"))
    good(run("add", home / INDEX, "a.txt", "--update"))
    assert set(contents(run, home / INDEX)) == {"notes/a.txt", "notes/b.txt"}


def test_an_index_outside_a_root_names_files_from_the_folder_it_is_in(
    run: Run, checkpoint: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(run("index", "notes", "--name", "n", "--checkpoint", checkpoint))
    shutil.copytree(INDEX, "copy")
    monkeypatch.chdir(home / "letters")
    assert "Added 1 document, 1 of them replaced" in good(run("add", "../copy", "../notes/a.txt", "--update")).stderr
    assert "Added 1 document; " in good(run("add", home / "copy", "a.txt")).stderr
    assert set(contents(run, home / "copy")) == {"notes/a.txt", "notes/b.txt", "letters/a.txt"}


def test_a_file_is_deleted_by_its_id_or_its_path(
    run: Run, checkpoint: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(run("index", "notes", "letters", "--name", "n", "--checkpoint", checkpoint))
    assert set(contents(run)) == {"notes/a.txt", "notes/b.txt", "letters/a.txt"}, "of one name, in two folders"
    monkeypatch.chdir(home / "notes")
    options = ["--root", "../.ragatouille"]
    message = error(run("delete", "n", "a.txt", "c.txt", *options))
    assert message == "The index 'n' has no document 'c.txt'; nothing was deleted."
    (home / "notes" / "a.txt").unlink()
    assert "Deleted 2 documents" in good(run("delete", "n", "a.txt", "letters/a.txt", "notes/a.txt", *options)).stderr
    assert set(contents(run, "n", *options)) == {"notes/b.txt"}


def test_records_are_replaced_by_their_text(run: Run, checkpoint: Path, home: Path) -> None:
    Path("faq.csv").write_text("text;year\nWhere?;2001\nWhen?;2002\n", encoding="utf-8")
    good(run("index", "faq.csv", "--name", "n", "--checkpoint", checkpoint))
    before = contents(run)
    Path("faq.csv").write_text("text;year\nWho?;2000\nWhere?;2011\nWhen?;2002\n", encoding="utf-8")
    assert "3 documents, 2 of them replaced" in good(run("add", "n", "faq.csv", "--update")).stderr
    after = contents(run)
    assert {key: after[key] for key in before} == before
    assert sorted(after.values()) == ["When?", "Where?", "Who?"]


def test_what_is_skipped_is_counted_and_named(run: Run, checkpoint: Path, home: Path) -> None:
    for i in range(7):
        Path("notes", f"{i}.png").write_bytes(b"\0")
    Path("notes", "latin.txt").write_bytes(b"caf\xe9")
    lines = good(run("index", "notes", "--name", "n", "--checkpoint", checkpoint)).stderr.splitlines()
    start = lines.index("Skipped: 7 binary, 1 not UTF-8.")
    assert lines[start + 1] == "  'notes/0.png' is a binary file. Convert it to text first."
    assert lines[start + 6] == "  … and 2 more (binary); ragatouille-xm --verbose names all."
    assert lines[start + 7].startswith("  'notes/latin.txt' is not UTF-8 text: the byte 0xe9 at offset 3")
    verbose = "".join(run("--verbose", "languages", "notes").stderr.split())
    assert all(f"notes/{i}.png" in verbose for i in range(7))
    assert set(contents(run)) == {"notes/a.txt", "notes/b.txt"}
    message = error(run("add", "n", "notes", "--update", "--strict"))
    assert message == "'notes/0.png' is a binary file. Convert it to text first."
    good(run("add", "n", "notes", "--update", "--strict", "--exclude", "*.png", "--encoding", "latin-1"))
    assert contents(run)["notes/latin.txt"] == "café"
    assert error(run("add", "n", "notes/0.png")) == message


def test_include_exclude_format_and_delimiter(run: Run, checkpoint: Path, home: Path) -> None:
    Path("notes", "t.data").write_text("id:text\nx:y\n", encoding="utf-8")
    options = ("--include", "a.*", "--exclude", "letters", "--name", "n", "--checkpoint", checkpoint)
    good(run("index", ".", "notes/t.data", "--format", "csv", "--delimiter", ":", *options))
    assert contents(run) == {"notes/a.txt": "The notes/a.txt of old.", "x": "y"}
    rows = records(run("languages", ".", "--include", "b.txt", "--json"))
    assert [row["text"] for row in rows] == ["notes/b.txt"]
    wrong = run("index", "notes", "--format", "xlsx", "--name", "n")
    assert wrong.exit_code == 2
    assert "Invalid value for '--format'" in wrong.stderr


def test_standard_input(checkpoint: Path, home: Path) -> None:
    def run(*arguments: object, given: str) -> Result:
        runner = CliRunner(env={"COLUMNS": "100", "RAGATOUILLE_XM_DEBUG": None})
        return invoke(runner, [str(a) for a in arguments], input=given.encode())

    lines = '{"_id": "k", "Text": "One."}\n{"Text": "Two."}\n'
    good(run("index", "-", "--format", "jsonl", "--name", "n", "--checkpoint", checkpoint, given=lines))
    good(run("add", "n", "-", given="A text."))
    found = contents(lambda *a: run(*a, given=""))
    assert found["k"] == "One."
    assert found["-"] == "A text."
    assert len(found) == 3
    assert "1 of them replaced" in good(run("add", "n", "-", "--update", given="Another.")).stderr
    message = error(run("add", "n", "-", "--format", "jsonl", given='{"text": "x", "lang": "klingon"}'))
    assert message.startswith("standard input, line 1: 'klingon' is not a language.")


def test_a_bad_language_leaves_the_index_that_is_there(run: Run, checkpoint: Path, home: Path) -> None:
    good(run("index", "notes", "--name", "n", "--checkpoint", checkpoint))
    Path("t.csv").write_text("text,lang\nx,fr\ny,french\n", encoding="utf-8")
    for command in (["index", "t.csv", "--name", "n", "--checkpoint", checkpoint], ["add", "n", "t.csv"]):
        assert error(run(*command)).startswith("t.csv, line 3: 'french' is not a language. Give a BCP-47 code")
    assert len(contents(run)) == 2


# narrow terminals and odd names


ODD = ["two\nlines.txt", "\x1b[31mred.txt", "my notes.txt", "it's.txt", "駅.txt", "\u202egnirts.txt", "-x.txt"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("columns", [1, 20, 40, 100])
def test_ids_can_be_typed_back_whatever_they_are_and_how_narrow_the_terminal(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    def run(*arguments: object) -> Result:
        runner = CliRunner(env={"COLUMNS": str(columns), "RAGATOUILLE_XM_DEBUG": None})
        return invoke(runner, [str(a) for a in arguments])

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a rather long name of a folder, longer than a narrow terminal is wide"
    folder.mkdir()
    for name in ODD:
        (folder / name).write_text(f"The text of {name}", encoding="utf-8")
    (folder / "bad\nname.png").write_bytes(b"\0")
    indexed = good(run("index", folder.name, "--name", "n", "--checkpoint", checkpoint))
    assert indexed.stderr.replace("\n", "").isprintable()
    assert "bad\\nname.png' is a binary file" in indexed.stderr
    shown = good(run("search", "n", "text", "-k", 99))
    assert shown.stdout.replace("\n", "").isprintable()
    heads = [line for line in shown.stdout.splitlines() if folder.name in line]
    assert len(heads) == len(ODD)
    for head in heads:
        [*_, word] = head.split("  ")
        [name] = _words(word)
        assert name.removeprefix(f"{folder.name}/") in ODD
        good(run("delete", "n", name))
    assert "no results" in good(run("search", "n", "text")).stdout
    message = error(run("delete", "n", "two\nlines"))
    assert message == "The index 'n' has no document $'two\\nlines'; nothing was deleted."


def _words(shown: str) -> list[str]:
    """Return what a shell makes of words."""
    script = ["bash", "-c", f"printf '%s\\0' {shown}"]
    done = subprocess.run(script, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    return done.stdout.decode("utf-8").split("\0")[:-1]
