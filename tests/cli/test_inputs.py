"""Files, folders, JSON lines and CSV, good and bad, without a model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from ragatouille_xm.cli.inputs import Inputs
from ragatouille_xm.corpus.passages import Document
from ragatouille_xm.errors import DuplicateDocumentError, InputError


def read(*paths: Path, **options: str) -> list[Document]:
    return list(Inputs(paths, **options))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(*paths: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        read(*paths, **options)
    return str(caught.value)


# text files and folders


def test_a_file_is_a_document_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "docs" / "café.txt", "Une bibliothèque.\nDeux lignes.")
    monkeypatch.chdir(tmp_path)
    assert read(Path("docs/café.txt")) == [
        Document("docs/café.txt", "Une bibliothèque.\nDeux lignes.", {"path": "docs/café.txt"}, None)
    ]


def test_a_folder_is_read_to_its_depths_and_sorted_and_named_from_there(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/deep/c.rst", "sub/a", "z.unknown"):
        write(tmp_path / "docs" / name, f"text of {name}")
    documents = read(tmp_path / "docs")
    assert [d.document_id for d in documents] == ["a.md", "b.txt", "z.unknown", "sub/a", "sub/deep/c.rst"]
    assert [d.text for d in documents] == [f"text of {d.document_id}" for d in documents]
    assert documents[3].metadata == {"path": (tmp_path / "docs" / "sub" / "a").as_posix()}


def test_what_is_no_text_in_a_folder_is_passed_over_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "good.txt", "good")
    write(tmp_path / ".hidden", "hidden")
    write(tmp_path / ".git" / "config", "not even looked at")
    write(tmp_path / "image.png", b"\x89PNG\0\0")
    write(tmp_path / "latin.txt", "café".encode("latin-1"))
    write(tmp_path / "blank.txt", " \n\t")
    inputs = Inputs([tmp_path])
    assert [d.document_id for d in inputs] == ["good.txt"]
    assert inputs.skipped == {"hidden": 2, "binary": 1, "not UTF-8": 1, "without text": 1}


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt", "\ufeffBonjour.")
    lines = write(tmp_path / "b.jsonl", '\ufeff{"id": 1, "text": "Hallo."}\n')
    table = write(tmp_path / "c.csv", "\ufeffid,text\r\n2,Ciao.\r\n")
    assert [d.text for d in read(text, lines, table)] == ["Bonjour.", "Hallo.", "Ciao."]


def test_files_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.txt", "one"), write(tmp_path / "2.txt", "two")
    stream = iter(Inputs([first, second]))
    assert next(stream).text == "one"
    second.write_text("changed meanwhile")
    assert next(stream).text == "changed meanwhile"


def test_a_path_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file or folder '.*missing'\."):
        Inputs([tmp_path, tmp_path / "missing"])
    assert "There is no file or folder" in refusal(tmp_path / ("図" * 200))


def test_a_named_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "latin.txt' is not UTF-8 text" in refusal(write(tmp_path / "latin.txt", "café".encode("latin-1")))
    assert "x.pdf' is a binary file" in refusal(write(tmp_path / "x.pdf", b"%PDF\0\0"))


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty).startswith(f"There is no text in {str(empty)!r}.")
    write(empty / ".secret", "x")
    write(empty / "blank.jsonl", "\n\n")
    assert "(skipped: 1 hidden)" in refusal(empty)
    assert "There is no text in" in refusal(write(tmp_path / "blank.txt", ""))


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="needs a user whom permissions stop")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.txt", "x")
    secret.chmod(0)
    assert "secret.txt' cannot be read: Permission denied" in refusal(secret)


def test_one_id_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "readme.md", "one")
    write(tmp_path / "b" / "readme.md", "two")
    with pytest.raises(DuplicateDocumentError, match=r"b/readme\.md: the id 'readme\.md' was used before"):
        read(tmp_path / "a", tmp_path / "b")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_becomes_an_id_that_can_be_stored(tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(b"caf\xe9.txt"), "x")
    [document] = read(tmp_path)
    assert document.document_id == "caf\\udce9.txt"
    assert document.metadata == {"path": (tmp_path / "caf\\udce9.txt").as_posix()}


# records


def test_json_lines_fields(tmp_path: Path) -> None:
    records = [
        {"id": "a", "text": "Un.", "language": "fr", "year": 2020, "tags": ["x", None]},
        {"document_id": 7, "content": "Two.", "lang": "en", "id": None},
        {"body": "Drei.", "language": None},
    ]
    file = write(
        tmp_path / "docs.jsonl", "\n".join(json.dumps(r) for r in records[:2]) + "\n\n" + json.dumps(records[2])
    )
    assert read(file) == [
        Document("a", "Un.", {"year": 2020, "tags": ["x", None]}, "fr"),
        Document("7", "Two.", {"id": None}, "en"),
        Document(f"{file.as_posix()}:4", "Drei.", None, None),
    ]


def test_named_fields_take_the_place_of_the_usual_ones(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"key": "K-1", "description": "Broken.", "text": "other", "id": 5}')
    assert read(file, text_field="description", id_field="key") == [
        Document("K-1", "Broken.", {"text": "other", "id": 5}, None)
    ]
    assert "there is no id in the field 'number'" in refusal(file, id_field="number")


def test_a_language_of_its_own_goes_before_the_one_for_all(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"text": "x", "language": "de"}\n{"text": "y"}')
    assert [d.language for d in read(file, language="fr")] == ["de", "fr"]


def test_csv_fields_and_numbers(tmp_path: Path) -> None:
    header, second = "id,text,lang,year,price,zip,note", "12,Trois.,,x,-3,1e5,n"
    content = f'{header}\r\na,"One, ""two""\nlines.",en,2020,1.50,00184,\r\n\r\n{second}\r\n'
    assert read(write(tmp_path / "docs.csv", content)) == [
        Document("a", 'One, "two"\nlines.', {"year": 2020, "price": 1.5, "zip": "00184"}, "en"),
        Document("12", "Trois.", {"year": "x", "price": -3, "zip": "1e5", "note": "n"}, None),
    ]
    file = write(tmp_path / "docs.tsv", "text\tid\nHallo, Welt.\tb\n2021\tc\n")
    assert [(d.document_id, d.text) for d in read(file)] == [("b", "Hallo, Welt."), ("c", "2021")]


def test_a_cell_may_be_longer_than_the_csv_module_likes(tmp_path: Path) -> None:
    long = "word " * 40_000
    assert read(write(tmp_path / "long.csv", f"text\n{long}\n"))[0].text == long


def test_records_without_text_are_passed_over_and_counted(tmp_path: Path) -> None:
    lines = write(tmp_path / "t.jsonl", '{"text": ""}\n{"text": null}\n{"text": "x"}')
    table = write(tmp_path / "t.csv", "id,text\n1,\n2,y\n")
    inputs = Inputs([lines, table])
    assert [d.text for d in inputs] == ["x", "y"]
    assert inputs.skipped == {"without text": 3}


def test_records_in_a_folder_are_read_and_named_by_file_and_line(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "sub" / "t.ndjson", '{"text": "x"}')
    assert read(tmp_path / "docs")[0].document_id == "sub/t.ndjson:1"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "t.jsonl",
            '{"text": "x"}\n{"text": ',
            "t.jsonl, line 2: this is not valid JSON (Expecting value, column 10).",
        ),
        ("t.jsonl", "[1]", "t.jsonl, line 1: this is not a JSON object such as"),
        ("t.jsonl", "[" * 100_000, "t.jsonl, line 1: this JSON cannot be read"),
        (
            "t.jsonl",
            '{"title": "x"}',
            "there is no field 'text' or 'content' or 'body' (found: 'title'). Choose one with --t",
        ),
        ("t.jsonl", "{}", "(found: none)"),
        ("t.jsonl", '{"text": 3}', "t.jsonl, line 1: the field 'text' is of type int, not a string."),
        ("t.jsonl", '{"text": "x", "id": 1.5}', "t.jsonl, line 1: the field 'id' is of type float, not a string."),
        ("t.jsonl", '{"text": "x", "id": " "}', "t.jsonl, line 1: the id in the field 'id' is blank."),
        (
            "t.jsonl",
            '{"text": "x", "language": 3}',
            "t.jsonl, line 1: the field 'language' is of type int, not a string.",
        ),
        ("t.jsonl", '{"text": "x", "n": Infinity}', "t.jsonl, line 1: Metadata 'n'"),
        ("t.jsonl", '{"text": "\\ud800"}', "t.jsonl, line 1: the text has a lone surrogate"),
        ("t.jsonl", b'{"text": "x"}\n{"text": "caf\xe9"}', "t.jsonl' is not UTF-8 text."),
        ("t.csv", "id,text\n1,a,b\n", "t.csv, line 2: the row has 3 cells, but the header has 2."),
        ("t.csv", "id,text\n1\n", "t.csv, line 2: the row has 1 cells, but the header has 2."),
        ("t.csv", 'id,text\n1,"a\n', "t.csv, line 2: this is not valid CSV (unexpected end of data)."),
        ("t.csv", "text,text\na,b\n", "t.csv, line 1: the header has the column 'text' twice."),
        ("t.csv", "title;words\na;b\n", "t.csv, line 2: there is no field 'text' or"),
    ],
)
def test_a_bad_record_is_told_by_file_and_line(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    file = write(tmp_path / "docs" / name, content)
    assert expected in refusal(file)
    assert expected in refusal(file.parent), "records of a folder's file are never passed over in part"


def test_an_id_that_is_no_unicode_is_made_one(tmp_path: Path) -> None:
    assert read(write(tmp_path / "t.jsonl", '{"id": "\\ud800", "text": "x"}'))[0].document_id == "\\ud800"


def test_one_id_twice_in_a_file_is_told_by_line(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"id": 1, "text": "x"}\n{"id": "1", "text": "y"}')
    assert "t.jsonl, line 2: the id '1' was used before" in refusal(file)
