"""Parallel text that adapters of the demo checkpoint are trained on: what is read from programs, and what is kept."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ARTICLE = "Everyone has the right to freedom of thought, conscience and religion"


@pytest.fixture(scope="module")
def parallel(scripts: Callable[[str], ModuleType]) -> ModuleType:
    return scripts("parallel")


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("_Save &As…", "Save As…"),
        ("~Paste Special", "Paste Special"),
        ("The file <b>{name}</b> has %d pages", "The file has pages"),
        ("Edited by [[User:$1|$1]] in [[Help:Contents|the help]]", "Edited by in the help"),
        ("{{PLURAL:$1|one page|$1 pages}} left", "one page left"),
        ("Tom &amp; Jerry&#39;s house", "Tom & Jerry's house"),
        ("snow_flake stays", "snowflake stays"),
    ],
)
def test_markup_placeholders_and_accelerators_go(parallel: ModuleType, raw: str, seen: str) -> None:
    assert parallel.clean(raw) == seen


@pytest.mark.parametrize(
    ("english", "translated", "language", "usable"),
    [
        ("This page is empty", "Wannan shafin ba kowa a ciki", "ha", True),
        ("This page", "Wannan shafin", "ha", False),
        ("This page is empty", "This page is empty", "ha", False),
        ("This page is empty", "This page is kowa", "ha", False),
        ("This page is empty", "ይህ ገጽ ባዶ ነው በሙሉ", "am", True),
        ("This page is empty", "Wannan shafin ba kowa a ciki", "am", False),
        ("This page is empty", "ໜ້ານີ້ຫວ່າງເປົ່າ", "lo", True),
        ("See https://example.org for more", "Duba https://example.org domin ƙari", "ha", False),
        ("word " * 30, "kalma " * 30, "ha", False),
    ],
)
def test_what_is_usable(parallel: ModuleType, english: str, translated: str, language: str, usable: bool) -> None:
    assert parallel.is_usable(english, translated, language) is usable


def catalogue(entries: dict[str, str]) -> bytes:
    """Return a compiled message file."""
    every = {"": "Content-Type: text/plain; charset=UTF-8\n"} | entries
    rows = sorted((key.encode(), value.encode()) for key, value in every.items())
    keys = b"".join(key + b"\0" for key, _ in rows)
    values = b"".join(value + b"\0" for _, value in rows)
    start = 28 + 16 * len(rows)
    tables: list[list[int]] = [[], []]
    offsets = [start, start + len(keys)]
    for row in rows:
        for side in (0, 1):
            tables[side] += [len(row[side]), offsets[side]]
            offsets[side] += len(row[side]) + 1
    head = struct.pack("<7I", 0x950412DE, 0, len(rows), 28, 28 + 8 * len(rows), 0, 0)
    return head + b"".join(struct.pack(f"<{len(each)}I", *each) for each in tables) + keys + values


def test_messages_of_both_kinds_of_files(parallel: ModuleType, tmp_path: Path) -> None:
    office = parallel.Package("Debian", "office", "MPL-2.0", "{code}/*.mo", {"so": "so"})
    wiki = parallel.Package("npm", "wiki", "MIT", "i18n/{code}.json", {"so": "so"}, "en_EN")
    for package in (office, wiki):
        (tmp_path / "packages" / package.name).mkdir(parents=True)
    (tmp_path / "packages" / "office" / "so").mkdir()
    (tmp_path / "packages" / "office" / "so" / "a.mo").write_bytes(catalogue({"menu\x04Open a file": "Fur fayl"}))
    (folder := tmp_path / "packages" / "wiki" / "i18n").mkdir()
    (folder / "en_EN.json").write_text(json.dumps({"@metadata": {"a": "b"}, "x": {"y": "A page"}, "z": "Only here"}))
    (folder / "so.json").write_text(json.dumps({"@metadata": {"a": "c"}, "x": {"y": "Bog"}}))
    assert [pair for pair in parallel.messages(office, "so", tmp_path) if pair[0]] == [("Open a file", "Fur fayl")]
    assert list(parallel.messages(wiki, "so", tmp_path)) == [("A page", "Bog")]


def test_each_text_once_and_nothing_of_the_declaration(
    parallel: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        ("The page is empty now", "Shafin babu kowa yanzu"),
        ("The page is EMPTY now", "Wani shafin daban ne"),
        (ARTICLE, "Kowa yana da hakkin tunani da addini"),
        ("The right to thought", "Hakkin yin tunani mai kyau"),
    ]
    package = parallel.Package("npm", "one", "MIT", "", {"ha": "ha"})
    monkeypatch.setattr(parallel, "PACKAGES", (package,))
    monkeypatch.setattr(parallel, "messages", lambda package, language, cache: iter(found))
    monkeypatch.setattr(parallel, "articles", lambda code, cache: [f"{ARTICLE}; this right includes freedom."])
    assert parallel.pairs("ha", tmp_path) == {"one": [found[0], found[3]]}


def test_every_package_has_a_licence_and_what_is_held_out_is_a_package(parallel: ModuleType) -> None:
    packages = parallel.PACKAGES
    assert all(package.licence for package in packages)
    for language, name in parallel.HELD_OUT.items():
        assert name in {package.name for package in packages if language in package.codes}
        assert any(language in package.codes and package.name != name for package in packages)


def test_messages_are_joined_in_both_languages_alike(parallel: ModuleType) -> None:
    found = [(f"message {i}", f"sako {i}") for i in range(100)]
    texts = parallel.joined(found)
    assert [known.replace("message", "sako") for known, _ in texts] == [new for _, new in texts]
    said = [each.strip() for known, _ in texts for each in known.split(".") if each.strip()]
    assert sorted(said) == sorted(known for known, _ in found)
    assert {known.count(".") for known, _ in texts} == {1, 2, 3, 4}
