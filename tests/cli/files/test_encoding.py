"""Encodings, byte order marks, and standard input."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ragatouille_xm.cli.files.options import Format

from .reading import read, reader, refusal, write

TEXT = "Bonjour, 図書館.\nДа."
CONTENTS = {
    "txt": TEXT,
    "jsonl": '{"id": "1", "text": "Bonjour, 図書館.\\nДа."}\n',
    "json": '[{"id": "1", "text": "Bonjour, 図書館.\\nДа."}]',
    "csv": f'id;text\r\n1;"{TEXT}"\r\n',
    "ipynb": '{"nbformat": 4, "cells": [{"cell_type": "markdown", "source": ["Bonjour, 図書館.\\n", "Да."]}]}',
}


@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-16-le", "utf-32-be"])
def test_unicode_with_a_byte_order_mark_and_utf8_without(tmp_path: Path, suffix: str, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("e") and encoding != "utf-8" else ""
    file = write(tmp_path / f"t.{suffix}", (mark + CONTENTS[suffix]).encode(encoding))
    assert [d.text for d in read(file)] == [TEXT]
    assert [d.text for d in read(file, encoding="utf-8" if mark else encoding)] == [TEXT], "a mark is stronger"


@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("encoding", ["shift_jis", "gb18030", "iso2022_jp", "utf-16-le", "euc-jp"])
def test_other_encodings_are_named(tmp_path: Path, suffix: str, encoding: str) -> None:
    file = write(tmp_path / f"t.{suffix}", CONTENTS[suffix].encode(encoding))
    assert [d.text for d in read(file, encoding=encoding)] == [TEXT]


@pytest.mark.parametrize("before", [0, 1, 8191, 8192, 100_003])
@pytest.mark.parametrize(
    ("name", "start", "end"),
    [("t.txt", "", ""), ("t.jsonl", '{"text": "', '"}'), ("t.csv", "text\n", "\n"), ("t.json", '[{"text": "', '"}]')],
)
def test_bytes_that_are_no_text_are_told_by_their_position(
    tmp_path: Path, before: int, name: str, start: str, end: str
) -> None:
    content = start.encode() + b"x" * before + b"caf\xe9" + end.encode()
    message = refusal(write(tmp_path / name, content))
    offset = len(start) + before + 3
    assert f"{name}' is not UTF-8 text: the byte 0xe9 at offset {offset:,} (" in message
    assert message.endswith("Name its encoding, for instance --encoding cp1252, or convert it.")
    assert read(tmp_path / name, encoding="cp1252")[0].text == "x" * before + "café"


def test_a_character_over_two_blocks_and_one_that_is_cut_off(tmp_path: Path) -> None:
    long = "図" * 50_001
    assert read(write(tmp_path / "t.txt", long))[0].text == long
    message = refusal(write(tmp_path / "t.txt", long.encode()[:-1]))
    assert "the byte 0xe5 at offset 150,000 (unexpected end of data)" in message
    message = refusal(write(tmp_path / "t.txt", ("図" * 9).encode("utf-16")[:-1]))
    assert "is not utf-16 text: the byte 0xf3 at offset 18 (truncated data)" in message
    message = refusal(write(tmp_path / "t.txt", "図".encode("shift_jis") + b"\xff"), encoding="shift_jis")
    assert "is not shift_jis text: the byte 0xff at offset 2" in message


def test_an_encoding_that_is_not_one(tmp_path: Path) -> None:
    file = write(tmp_path / "t.txt", "x")
    for bad in ("klingon", "base64", "rot13", ""):
        assert f"--encoding '{bad}' is not known" in refusal(file, encoding=bad)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt", "\ufeffBonjour.")
    lines = write(tmp_path / "b.jsonl", '\ufeff{"id": 1, "text": "Hallo."}\n')
    table = write(tmp_path / "c.csv", "\ufeffid,text\r\n2,Ciao.\r\n")
    assert [d.text for d in read(text, lines, table)] == ["Bonjour.", "Hallo.", "Ciao."]


# standard input


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch):
    def set_to(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return set_to


def test_standard_input_is_text_or_what_format_says(stdin, tmp_path: Path) -> None:
    stdin(TEXT.encode())
    [document] = read("-")
    assert (document.document_id, document.text, document.metadata) == ("-", TEXT, None)
    for name, content in CONTENTS.items():
        stdin(content.encode("utf-16"))
        [document] = read("-", format=Format.TEXT if name == "txt" else Format(name))
        assert document.text == TEXT
    stdin(b'{"text": "x"}')
    other = write(tmp_path / "t.unknown", '{"text": "x"}\n{"id": "7", "text": "y"}')
    assert [d.document_id.split(":")[0] for d in read("-", other, base=tmp_path, format=Format.JSONL)] == [
        "-", "t.unknown", "7",
    ]  # fmt: skip


def test_bad_standard_input_is_called_so(stdin) -> None:
    stdin(b"caf\xe9")
    assert refusal("-").startswith("Standard input is not UTF-8 text: the byte 0xe9 at offset 3")
    stdin(b'{"text": \n')
    assert refusal("-", format=Format.JSONL).startswith("standard input, line 1: this is not valid JSON")
    stdin(b"\0\0")
    assert refusal("-").startswith("Standard input is a binary file.")
    stdin(b"")
    assert refusal("-").startswith("There is no text in standard input")


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert refusal("-") == "Standard input is closed."


def test_standard_input_is_read_once_and_left_open(stdin) -> None:
    stdin(b"x")
    files = reader("-", "-")
    assert len(list(files)) == 1
    assert files.skipped.counts == {"given twice": 1}
    assert not sys.stdin.closed
    assert sys.stdin.read() == ""


def test_format_is_for_what_is_given_by_name(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "a.txt", "one")
    file = write(tmp_path / "b.html", "<html>kept</html>")
    found = read(tmp_path / "docs", file, format=Format.TEXT)
    assert [d.text for d in found] == ["one", "<html>kept</html>"]
