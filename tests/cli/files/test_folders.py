"""Files and folders: what is read, what is left out, and by which ids."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from ragatouille_xm.corpus.passages import Document
from ragatouille_xm.errors import DuplicateDocumentError, InputError

from .reading import read, reader, refusal, write

# ids


def test_a_file_is_a_document_named_by_its_path(tmp_path: Path) -> None:
    file = write(tmp_path / "docs" / "café.txt", "Une bibliothèque.\nDeux lignes.")
    expected = Document("docs/café.txt", "Une bibliothèque.\nDeux lignes.", {"path": file.as_posix()}, None)
    assert read(file, base=tmp_path) == [expected]


def test_an_id_is_the_same_however_the_path_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    file = write(home / "notes" / "a.txt", "A note.")
    (tmp_path / "link").symlink_to(home)
    expected = read(home / "notes", base=home)
    assert expected == [Document("notes/a.txt", "A note.", {"path": file.as_posix()}, None)]
    for folder, spellings in {
        home: ["notes/a.txt", "./notes/a.txt", "notes", "notes/", "notes/../notes/./a.txt", str(file), "."],
        home / "notes": ["a.txt", "./a.txt", "../notes/a.txt", "."],
        tmp_path: ["home/notes/a.txt", "link/notes/a.txt", "link/notes", str(tmp_path / "link" / "notes" / "a.txt")],
    }.items():
        monkeypatch.chdir(folder)
        for path in spellings:
            for base in (home, tmp_path / "link", os.path.relpath(home)):
                assert read(path, base=base) == expected, (folder, path, base)


def test_a_file_elsewhere_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "letters" / "a.txt", "A letter.")
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (file, "letters", "home/../letters/a.txt"):
        assert [d.document_id for d in read(path, base="home")] == [file.as_posix()]


def test_two_folders_may_have_a_file_of_the_same_name(tmp_path: Path) -> None:
    write(tmp_path / "notes" / "readme.md", "one")
    write(tmp_path / "letters" / "readme.md", "two")
    found = read(tmp_path / "notes", tmp_path / "letters", base=tmp_path)
    assert [(d.document_id, d.text) for d in found] == [("notes/readme.md", "one"), ("letters/readme.md", "two")]


def test_a_link_to_a_file_is_a_file_of_its_own_name(tmp_path: Path) -> None:
    write(tmp_path / "blobs" / "0a1b", '{"id": 1, "text": "One."}')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").symlink_to(tmp_path / "blobs" / "0a1b")
    write(tmp_path / "blobs" / "2c3d", "Text.")
    (tmp_path / "data" / "about.txt").symlink_to("../blobs/2c3d")
    found = read(tmp_path / "data", base=tmp_path)
    assert [(d.document_id, d.text) for d in found] == [("data/about.txt", "Text."), ("1", "One.")]


def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "notes" / "a.txt", "A note.")
    files = reader(tmp_path / "notes", file, base=tmp_path)
    assert [d.document_id for d in files] == ["notes/a.txt"]
    assert files.skipped.counts == {"given twice": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_becomes_an_id_that_can_be_stored(tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(b"caf\xe9.txt"), "x")
    [document] = read(tmp_path, base=tmp_path)
    assert document.document_id == "caf\\udce9.txt"
    assert document.metadata == {"path": (tmp_path / "caf\\udce9.txt").as_posix()}


# folders


def test_a_folder_is_read_to_its_depths_and_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/deep/c.rst", "sub/a", "z.unknown"):
        write(tmp_path / "docs" / name, f"text of {name}")
    documents = read(tmp_path / "docs", base=tmp_path / "docs")
    assert [d.document_id for d in documents] == ["a.md", "b.txt", "z.unknown", "sub/a", "sub/deep/c.rst"]
    assert [d.text for d in documents] == [f"text of {d.document_id}" for d in documents]
    assert documents[3].metadata == {"path": (tmp_path / "docs" / "sub" / "a").as_posix()}


def test_files_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.txt", "one"), write(tmp_path / "2.txt", "two")
    stream = iter(reader(first, second))
    assert next(stream).text == "one"
    second.write_text("changed meanwhile")
    assert next(stream).text == "changed meanwhile"


BAD = {
    ".hidden": ("hidden", "hidden", "is hidden."),
    ".git/config": ("not even looked at", "hidden", "is hidden."),
    "image.png": (b"\x89PNG\0\0", "binary", "is a binary file. Convert it to text first."),
    "latin.txt": ("café".encode("latin-1"), "not UTF-8", "is not UTF-8 text: the byte 0xe9 at offset 3"),
    "blank.txt": (" \n\t", "without text", "has no text."),
    "blank.jsonl": ("\n", "without text", "has no records."),
    "blank.csv": ("id;text\n", "without text", "has no records."),
    "none.json": ("[]", "without text", "has no records."),
    "drawing.svg": ("<svg></svg>", "markup", "is SVG, not text."),
    "half.jsonl": ('{"text": "good"}\n{"text": ', "invalid", "half.jsonl, line 2: this is not valid JSON"),
    "package.json": ('{"name": "x"}', "invalid", "package.json, line 1: there is no field 'text'"),
    "table.csv": ("id,text\n1,a\n2\n", "invalid", "table.csv, line 3: the row has 1 cells"),
    "languages.csv": ("text,lang\na,fr\nb,french\n", "invalid", "languages.csv, line 3: 'french' is not a language"),
}


def test_what_cannot_be_read_in_a_folder_is_skipped_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path / "good.txt", "good")
    write(tmp_path / "sub" / "good.jsonl", '{"id": "a", "text": "good"}')
    for name, (content, _, _) in BAD.items():
        write(tmp_path / name, content)
    files = reader(tmp_path, base=tmp_path)
    assert [d.document_id for d in files] == ["good.txt", "a"], "nothing of a file that is bad in part"
    kinds = [kind for _, kind, _ in BAD.values()]
    assert files.skipped.counts == {kind: kinds.count(kind) for kind in kinds}
    for name, (_, kind, why) in BAD.items():
        named = [message for message in files.skipped.named[kind] if name.split("/")[0] in message]
        assert len(named) == 1
        assert why in named[0]
        assert str(tmp_path) in named[0]


@pytest.mark.parametrize("name", [n for n, (_, kind, _) in BAD.items() if kind not in ("hidden", "without text")])
def test_a_bad_file_is_refused_by_name_and_when_strict(tmp_path: Path, name: str) -> None:
    content, _, why = BAD[name]
    file = write(tmp_path / "docs" / name, content)
    write(tmp_path / "docs" / "good.txt", "good")
    assert why in refusal(file)
    assert why in refusal(file.parent, strict=True)
    assert [d.text for d in read(file.parent)] == ["good"]


def test_hidden_and_blank_files_are_no_mistake(tmp_path: Path) -> None:
    for name in (".hidden", ".git/config", "blank.txt", "good.txt"):
        write(tmp_path / name, "good" if name != "blank.txt" else "")
    assert [d.text for d in read(tmp_path, strict=True)] == ["good"]
    assert [d.text for d in read(tmp_path / ".hidden", tmp_path / ".git")] == ["good", "good"], "given by name"


def test_of_many_the_first_are_named_and_all_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "good.txt", "good")
    for i in range(9):
        write(tmp_path / f"{i}.png", b"\0")
    files = reader(tmp_path)
    with caplog.at_level("INFO", logger="ragatouille_xm"):
        assert len(list(files)) == 1
    assert files.skipped.counts == {"binary": 9}
    assert len(files.skipped.named["binary"]) == 5
    assert [f"{i}.png' is a binary file" in caplog.text for i in range(9)] == [True] * 9


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_nothing_but_regular_files_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    write(docs / "good.txt", "good")
    write(tmp_path / "elsewhere" / "x.txt", "not in this folder")
    os.mkfifo(docs / "pipe.txt")
    (docs / "device").symlink_to("/dev/zero")
    (docs / "folder").symlink_to(tmp_path / "elsewhere")
    (docs / "broken").symlink_to("nowhere")
    (docs / "loop").symlink_to("loop")
    monkeypatch.chdir(docs)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        files = reader(docs)
        assert [d.text for d in files] == ["good"]
    assert files.skipped.counts == {"not a file": 4, "unreadable": 2}
    named = " ".join(files.skipped.named["not a file"])
    for what in ("pipe.txt' is a named pipe", "device' is a link to a device", "socket' is a socket"):
        assert what in named
    assert "folder' is a link to a folder" in named
    assert "docs/pipe.txt' is a named pipe, and only regular files are opened." in refusal(docs / "pipe.txt")
    assert "'/dev/zero' is a device" in refusal("/dev/zero")


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="needs a user whom permissions stop")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.txt", "x")
    secret.chmod(0)
    assert "secret.txt' cannot be read: Permission denied" in refusal(secret)


def test_a_folder_below_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "good.txt", "good")
    write(tmp_path / "sub" / "x.txt", "x")
    real = os.scandir

    def scandir(path: str) -> object:
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files = reader(tmp_path)
    assert [d.text for d in files] == ["good"]
    assert files.skipped.named == {"unreadable": [f"The folder '{tmp_path}/sub' cannot be read: Permission denied."]}
    assert "sub' cannot be read" in refusal(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "a.md b.txt drafts/a.md drafts/x/c.md sub/d.md"),
        ({"include": ("*.md",)}, "a.md drafts/a.md drafts/x/c.md sub/d.md"),
        ({"include": ("*.md",), "exclude": ("drafts",)}, "a.md sub/d.md"),
        ({"exclude": ("drafts/",)}, "a.md b.txt sub/d.md"),
        ({"exclude": ("drafts/*.md",)}, "a.md b.txt sub/d.md"),
        ({"include": ("sub/*", "b.*")}, "b.txt sub/d.md"),
        ({"exclude": ("./a.md",)}, "b.txt drafts/a.md drafts/x/c.md sub/d.md"),
        ({"exclude": ("a.md",)}, "b.txt drafts/x/c.md sub/d.md"),
        ({"include": ("[ab].*",), "exclude": ("*.txt",)}, "a.md drafts/a.md"),
    ],
)
def test_include_and_exclude(tmp_path: Path, options: dict[str, tuple[str, ...]], expected: str) -> None:
    for name in ("a.md", "b.txt", "drafts/a.md", "drafts/x/c.md", "sub/d.md"):
        write(tmp_path / name, name)
    files = reader(tmp_path, base=tmp_path, **options)
    assert " ".join(d.document_id for d in files) == expected
    assert not files.skipped, "what the user does not want is no news"


def test_exclude_hides_bad_files_and_does_not_concern_named_ones(tmp_path: Path) -> None:
    write(tmp_path / "bad.png", b"\0")
    good = write(tmp_path / "good.txt", "good")
    assert len(read(tmp_path, strict=True, exclude=("*.png", ".git"))) == 1
    assert len(read(good, exclude=("*",), include=("*.md",))) == 1


def test_a_path_that_is_not_there_is_reported_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file or folder '.*missing'\."):
        reader(tmp_path, tmp_path / "missing")
    assert "There is no file or folder" in refusal(tmp_path / ("図" * 200))
    assert refusal("two\nlines") == "There is no file or folder $'two\\nlines'."


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty).startswith(f"There is no text in {str(empty)!r}.")
    write(empty / ".secret", "x")
    write(empty / "blank.jsonl", "\n\n")
    assert "(skipped: 1 hidden, 1 without text)" in refusal(empty)
    assert ".secret' is hidden" in refusal(empty)
    assert "There is no text in" in refusal(write(tmp_path / "blank.txt", ""))


def test_one_id_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"id": "x", "text": "one"}')
    write(tmp_path / "b.jsonl", '{"id": "x", "text": "two"}')
    with pytest.raises(DuplicateDocumentError, match=r"b\.jsonl, line 1: the id 'x' was used before"):
        read(tmp_path)
