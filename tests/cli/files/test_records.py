"""The records of JSON lines, JSON and CSV, good and bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragatouille_xm.corpus.passages import Document

from .reading import read, reader, refusal, write


def test_json_lines_fields(tmp_path: Path) -> None:
    records = [
        {"id": "a", "text": "Un.", "language": "fr", "year": 2020, "tags": ["x", None]},
        {"document_id": 7, "content": "Two.", "lang": "en", "id": None},
        {"body": "Drei.", "language": None},
    ]
    file = write(
        tmp_path / "docs.jsonl", "\n".join(json.dumps(r) for r in records[:2]) + "\n\n" + json.dumps(records[2])
    )
    assert read(file, base=tmp_path) == [
        Document("a", "Un.", {"year": 2020, "tags": ["x", None]}, "fr"),
        Document("7", "Two.", {"id": None}, "en"),
        Document("docs.jsonl:7604a77a2304", "Drei.", None, None),
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
    lines = write(tmp_path / "t.jsonl", '{"text": "\\u200b"}\n{"text": null}\n{"text": "x"}')
    table = write(tmp_path / "t.csv", "id,text\n1,\n2,y\n")
    files = reader(lines, table)
    assert [d.text for d in files] == ["x", "y"]
    assert files.skipped.counts == {"without text": 3}
    assert files.skipped.named["without text"][2] == f"{table}, line 2 has no text."


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
            "there is no field 'text', 'content', 'contents' or 'body' (found: 'title'). Choose one with --t",
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
        ("t.jsonl", b'{"text": "x"}\n{"text": "caf\xe9"}', "t.jsonl' is not UTF-8 text: the byte 0xe9 at offset 27"),
        ("t.csv", "id,text\n1,a,b\n", "t.csv, line 2: the row has 3 cells, but the header has 2, by the delimiter "),
        ("t.csv", "id,text\n1\n", "t.csv, line 2: the row has 1 cells, but the header has 2, by the delimiter "),
        ("t.csv", 'id,text\n1,"a\n', "t.csv, line 2: this is not valid CSV (unexpected end of data)."),
        ("t.csv", "text,text\na,b\n", "t.csv, line 1: the header has the column 'text' twice."),
        ("t.csv", "title;words\na;b\n", "t.csv, line 2: there is no field 'text', "),
    ],
)
def test_a_bad_record_is_told_by_file_and_line(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    file = write(tmp_path / "docs" / name, content)
    assert expected in refusal(file)
    assert expected in refusal(file.parent, strict=True)
    assert expected in refusal(file.parent), "nothing else is there"


def test_an_id_that_is_no_unicode_is_made_one(tmp_path: Path) -> None:
    assert read(write(tmp_path / "t.jsonl", '{"id": "\\ud800", "text": "x"}'))[0].document_id == "\\ud800"


def test_one_id_twice_in_a_file_is_told_by_line(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"id": 1, "text": "x"}\n{"id": "1", "text": "y"}')
    assert "t.jsonl, line 2: the id '1' was used before" in refusal(file)


# names of fields and ids


@pytest.mark.parametrize("name", ["text", "Text", "TEXT", "content", "Contents", "body", "Body"])
def test_the_text_is_known_by_its_usual_names(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "t.jsonl", json.dumps({"_id": "a", name: "Un.", "title": "T"}))
    assert read(file) == [Document("a", "Un.", {"title": "T"}, None)]


@pytest.mark.parametrize("name", ["id", "ID", "Id", "_id", "docid", "DocID", "doc_id", "document_id", "Document_ID"])
def test_the_id_is_known_by_its_usual_names(tmp_path: Path, name: str) -> None:
    lines = write(tmp_path / "t.jsonl", json.dumps({name: 7, "text": "Un."}))
    table = write(tmp_path / "t.csv", f"{name},Text,Language\n8,Deux.,FR\n")
    assert read(lines, table) == [Document("7", "Un.", None, None), Document("8", "Deux.", None, "FR")]


def test_a_field_in_the_usual_spelling_goes_first(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"Text": "other", "text": "Un.", "ID": 1, "id": 2}')
    assert read(file) == [Document("2", "Un.", {"Text": "other", "ID": 1}, None)]
    assert read(file, text_field="Text", id_field="ID")[0] == Document("1", "other", {"text": "Un.", "id": 2}, None)
    assert read(file, text_field="TEXT")[0].text in ("other", "Un.")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_a_record_without_an_id_keeps_its_own_when_others_come_and_go(tmp_path: Path, suffix: str) -> None:
    def ids(texts: list[str]) -> dict[str, str]:
        records = [{"text": text, "n": i} for i, text in enumerate(texts)]
        content = {
            "jsonl": "\n".join(map(json.dumps, records)),
            "json": json.dumps(records, indent=1),
            "csv": "n,text\n" + "".join(f"{r['n']},{r['text']}\n" for r in records),
        }[suffix]
        file = write(tmp_path / f"faq.{suffix}", content)
        return {d.text: d.document_id for d in read(file, base=tmp_path)}

    before = ids(["Where?", "When?", "Why?"])
    after = ids(["Who?", "Where?", "Why?", "When?"])
    assert {text: after[text] for text in before} == before
    assert len(set(after.values())) == 4
    assert all(value.startswith(f"faq.{suffix}:") for value in after.values())


def test_equal_records_without_an_id_are_numbered(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"text": "x", "n": 1}\n{"text": "y"}\n{"text": "x", "n": 2}\n{"text": "x"}')
    first, other, second, third = (d.document_id for d in read(file))
    assert [second, third] == [f"{first}-2", f"{first}-3"]
    assert not other.startswith(first)


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv"])
def test_a_bad_value_in_a_language_column_is_told_by_file_and_line(tmp_path: Path, name: str) -> None:
    content = {
        "t.jsonl": '{"text": "x", "lang": "de"}\n{"text": "y", "lang": "klingon"}',
        "t.json": '[{"text": "x", "lang": "de"},\n{"text": "y", "lang": "klingon"}]',
        "t.csv": "text,lang\nx,de\ny,klingon\n",
    }[name]
    if name == "t.csv":
        expected = "t.csv, line 3: 'klingon' is not a language."
    else:
        expected = f"{name}, line 2: 'klingon' is not a language."
    assert expected in refusal(write(tmp_path / name, content))
    assert "or leave the field 'lang' empty" in refusal(tmp_path / name)


# JSON


RECORDS = [Document("a", "Un.", {"n": 1}, None), Document("b", "Deux.", None, "fr")]


@pytest.mark.parametrize(
    "content",
    [
        '[{"id": "a", "text": "Un.", "n": 1}, {"id": "b", "text": "Deux.", "lang": "fr"}]',
        '\ufeff [\n {"id": "a", "text": "Un.", "n": 1}\n,\n{"id": "b", "text": "Deux.", "lang": "fr"}\n]\n',
        '{"id": "a", "text": "Un.", "n": 1}\n{"id": "b", "text": "Deux.", "lang": "fr"}\n',
        '{\n"id": "a",\n"text": "Un.", "n": 1}\n\n{"id": "b", "text": "Deux.", "lang": "fr"}',
    ],
)
def test_json_is_an_array_or_one_object_behind_another(tmp_path: Path, content: str) -> None:
    assert read(write(tmp_path / "t.json", content)) == RECORDS


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "There is no text in"),
        ("", "There is no text in"),
        ('"text"', "t.json, line 1: this is not a JSON object"),
        ("[1]", "t.json, line 1: this is not a JSON object"),
        ('[{"text": "x"}\n,\n["y"]]', "t.json, line 3: this is not a JSON object"),
        ('[{"text": "x"}\n{"text": "y"}]', "t.json, line 2: this is not valid JSON (Expecting ',' delimiter, column 1"),
        ('[{"text": "x"}', "this is not valid JSON (Expecting ',' delimiter, column 15)."),
        ('[{"text": "x"},]', "this is not valid JSON (Expecting value, column 16)."),
        ('[{"text": "x"}]\n{"text": "y"}', "t.json, line 2: this is not valid JSON (Extra data, column 1)."),
        ('[\n{"text": "x"},\n{"title": "y"}]', "t.json, line 3: there is no field 'text'"),
        ('{"data": [{"text": "x"}]}', "t.json, line 1: there is no field 'text', "),
    ],
)
def test_bad_json_is_told_by_line(tmp_path: Path, content: str, expected: str) -> None:
    assert expected in refusal(write(tmp_path / "t.json", content))


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "CSV"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str, suffix: str) -> None:
    others = "".join(set(",;\t|") - {delimiter})
    quote = f'"Zitat{delimiter} ""so""\nweiter"'
    rows = [["id", "Text", "price"], ["1", f"Hallo{others} Welt", "1.5"], ["2", quote, ""]]
    content = "\r\n".join(delimiter.join(row) for row in rows)
    assert read(write(tmp_path / f"t.{suffix}", content)) == [
        Document("1", f"Hallo{others} Welt", {"price": 1.5}, None),
        Document("2", f'Zitat{delimiter} "so"\nweiter', None, None),
    ]


def test_a_header_alone_or_a_single_column_has_a_delimiter_too(tmp_path: Path) -> None:
    assert "There is no text in" in refusal(write(tmp_path / "t.csv", "id;text\n"))
    assert [d.text for d in read(write(tmp_path / "t.csv", "text\nEins; zwei | drei\n"))] == ["Eins; zwei | drei"]
    assert "There is no text in" in refusal(write(tmp_path / "t.csv", ""))


def test_the_sample_does_not_end_within_a_cell(tmp_path: Path) -> None:
    long = "a; b, c\n" * 500
    file = write(tmp_path / "t.csv", f'id;text\n1;"{long}"\n2;x, y\n')
    assert [d.text for d in read(file)] == [long, "x, y"]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_first_line_of_excel_names_the_delimiter(tmp_path: Path, first: str) -> None:
    file = write(tmp_path / "t.csv", f"{first}\r\nid;text\r\n1;Hallo, Welt\r\n")
    assert read(file) == [Document("1", "Hallo, Welt", None, None)]
    write(file, f"{first}\r\nid;text\r\n1;x\r\n2\r\n")
    assert "t.csv, line 4: the row has 1 cells" in refusal(file)


def test_a_given_delimiter(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "id:text,more\n1:a,b\n")
    assert read(file, delimiter=":", text_field="text,more") == [Document("1", "a,b", None, None)]
    table = write(tmp_path / "t.tsv", "id;text\n1;a\tb\n")
    assert read(table, delimiter=";") == [Document("1", "a\tb", None, None)]
    assert read(write(tmp_path / "u.csv", "id\ttext\n1\ta,b\n"), delimiter="tab")[0].text == "a,b"
    for bad in ("", ";;", "\n", '"'):
        assert "is not one character" in refusal(file, delimiter=bad)


def test_a_column_without_a_name_is_named_by_its_position(tmp_path: Path) -> None:
    """As pandas writes row numbers, and spreadsheets empty columns."""
    file = write(tmp_path / "t.csv", ",text,,\n0,Un.,,\n1,Deux.,,x\n,,,\n")
    assert [(d.text, d.metadata) for d in read(file)] == [
        ("Un.", {"column_1": 0}),
        ("Deux.", {"column_1": 1, "column_4": "x"}),
    ]


def test_a_row_of_several_lines_is_told_by_its_first(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", 'text,lang\n"a\nb",fr\n\n"c\nd",klingon\n')
    assert "t.csv, line 5: 'klingon'" in refusal(file)
