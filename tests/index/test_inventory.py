"""Checksums of files with holes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.index.local.inventory import BLOCK, altered_files, check_sizes, checksum, write_inventory

BLOCKS = st.lists(st.sampled_from([b"\0" * BLOCK, b"a" + b"\0" * (BLOCK - 1), b"b" * BLOCK]), max_size=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(blocks=BLOCKS, rest=st.binary(max_size=3))
def test_holes_are_zeros(place: Path, blocks: list[bytes], rest: bytes) -> None:
    with open(place / "holes", "wb") as file:
        for block in blocks:
            if any(block):
                file.write(block)
            else:
                file.seek(BLOCK, 1)
        file.write(rest)
        file.truncate(BLOCK * len(blocks) + len(rest))
    (place / "dense").write_bytes(b"".join(blocks) + rest)
    assert (place / "holes").read_bytes() == (place / "dense").read_bytes()
    assert checksum(place / "holes") == checksum(place / "dense")


@given(blocks=BLOCKS.filter(bool), data=st.data())
def test_any_changed_byte_shows(place: Path, blocks: list[bytes], data: st.DataObject) -> None:
    content = bytearray(b"".join(blocks))
    (place / "file").write_bytes(content)
    before = checksum(place / "file")
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    (place / "file").write_bytes(content)
    assert checksum(place / "file") != before


def test_blocks_that_change_places_show(place: Path) -> None:
    (place / "file").write_bytes(b"a" * BLOCK + b"\0" * BLOCK)
    before = checksum(place / "file")
    (place / "file").write_bytes(b"\0" * BLOCK + b"a" * BLOCK)
    assert checksum(place / "file") != before


def test_without_a_system_that_tells_holes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").write_bytes(b"\0" * 3 * BLOCK + b"end")
    known = checksum(place / "file")
    monkeypatch.delattr("os.SEEK_DATA", raising=False)
    assert checksum(place / "file") == known


def test_an_inventory_of_sizes_alone_is_read(tmp_path: Path) -> None:
    """As the first indexes of format 2 have it."""
    (tmp_path / "a.dat").write_bytes(b"abc")
    (tmp_path / "files.json").write_text(json.dumps({"a.dat": 3, "b.json": None}))
    (tmp_path / "b.json").write_text("{}")
    check_sizes(tmp_path)
    assert altered_files(tmp_path) == []


def test_what_is_recorded_and_compared(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"abc")
    (tmp_path / "b.json").write_text("{}")
    write_inventory(tmp_path)
    assert altered_files(tmp_path) == []
    (tmp_path / "b.json").write_text("[]")
    assert altered_files(tmp_path) == [], "the engine writes these anew"
    (tmp_path / "a.dat").write_bytes(b"abd")
    check_sizes(tmp_path)
    assert altered_files(tmp_path) == ["a.dat"]
    (tmp_path / "a.dat").write_bytes(b"ab")
    with pytest.raises(OSError, match=r"a\.dat has 2 bytes instead of 3"):
        check_sizes(tmp_path)


@pytest.mark.parametrize("content", ["[", "[]", '{"a": {"bytes": 1}}', "3"])
def test_what_is_no_inventory(tmp_path: Path, content: str) -> None:
    (tmp_path / "files.json").write_text(content)
    with pytest.raises(OSError, match=r"files\.json"):
        check_sizes(tmp_path)
