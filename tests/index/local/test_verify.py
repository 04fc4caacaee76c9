"""A check names whatever is wrong with an index."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from ragatouille_xm.errors import IndexNotFoundError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.state import FileMeta, State
from ragatouille_xm.index.local.verify import find_faults, find_orphans

from .samples import batch, execute, forge


@pytest.fixture
def place(own) -> Path:
    """An index of a segment of 900 passages with postings, deletes, and 3 passages in the buffer."""
    index = LocalIndex.open(own)
    index.add(*batch(900, 3))
    index.delete(["d5", "d6"])
    index.close()
    return own


def file_of(folder: Path, part: str) -> Path:
    [path] = [path for path in folder.iterdir() if part in path.name]
    return path


def forge_file(folder: Path, part: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file of the segment, and what the state says of it."""
    path = file_of(folder, part)
    path.write_bytes(change(path.read_bytes()))

    def described(state: State) -> State:
        [segment] = state.segments
        [end] = [end for end in segment.files if path.name.endswith(end)]
        return replace(state, segments=(replace(segment, files={**segment.files, end: FileMeta.of(path)}),))

    forge(folder, described)


def faults(folder: Path, *, full: bool = True) -> str:
    return "\n".join(f"{where}: {what}" for where, what in find_faults(folder, full=full))


@pytest.mark.parametrize("full", [False, True])
def test_a_sound_index_has_no_faults(place, full):
    assert faults(place, full=full) == ""
    LocalIndex.open(place).optimize(refit=True)
    assert faults(place, full=full) == ""


def test_there_is_no_index(folder):
    with pytest.raises(IndexNotFoundError):
        list(find_faults(folder))


@pytest.mark.parametrize("part", [".codes", ".residuals", ".table", ".postings-", "codebook-"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_file_is_named(place, part, damage):
    path = file_of(place, part)
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] + {"cut": b"", "changed": bytes([content[-1] ^ 1])}[damage])
    assert path.name.partition(".")[0] in faults(place)


def test_a_changed_byte_of_a_large_file_is_found_by_checksums_alone(place, monkeypatch):
    monkeypatch.setattr("ragatouille_xm.index.local.segment.VERIFIED_BYTES", 1000)
    path = file_of(place, ".codes")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert faults(place, full=False) == ""
    assert "another checksum" in faults(place)


DATABASE_FAULTS = {
    "state": (("UPDATE state SET content = content || ' '",), "state of the index is damaged"),
    "text": (("UPDATE passage SET text = 'another' WHERE pid = 700",), "passage 700 is damaged"),
    "a text that is none": (("UPDATE passage SET text = CAST(x'ff' AS TEXT) WHERE pid = 7",), "damaged|other kinds"),
    "lost text": (("DELETE FROM passage WHERE pid = 700",), "passage 700 has a text without token vectors"),
    "a text too many": (
        ("INSERT INTO passage SELECT 5, document_id, language, text, metadata, checksum FROM passage WHERE pid = 4",),
        "passage 5 has a text without token vectors",
    ),
    "buffer": (("UPDATE buffer SET scale = scale * 2",), "token vectors of passage 900 are damaged"),
    "lost buffer": (("DELETE FROM buffer WHERE pid = 901",), "2 passages instead of 3"),
    "lost attribute": (("DELETE FROM attribute WHERE pid = 700 AND kind = 2",), "look up of passage 700"),
    "changed attribute": (("UPDATE attribute SET value = 7 WHERE pid = 700 AND kind = 2",), "look up of passage 700"),
    "attribute too many": (("INSERT INTO attribute VALUES (700, 1, 2, 12345)",), "look up of passage 700"),
    "attribute of nobody": (("INSERT INTO attribute VALUES (5000, 1, 0, 0)",), "passage 5000, which is not there"),
    "attribute of a deleted one": (("INSERT INTO attribute VALUES (5, 1, 0, 0)",), "passage"),
    "field": (("UPDATE field SET name = name || 'x'",), "look up of passage 0"),
    "language": (("UPDATE passage SET language = x'00' WHERE pid = 3",), "stored passage 3 is damaged"),
    "index": (
        ("PRAGMA writable_schema = 1", "DELETE FROM sqlite_master WHERE name = 'passage_document'"),
        "SQLite finds",
    ),
}


@pytest.mark.parametrize(("statements", "what"), DATABASE_FAULTS.values(), ids=DATABASE_FAULTS)
def test_what_is_wrong_in_the_database_is_named(place, statements, what):
    execute(place, *statements)
    found = faults(place)
    assert re.search(what, found), found
    assert "index.db" in found


def test_pids_that_were_never_handed_out(place):
    forge(place, lambda state: replace(state, meta=replace(state.meta, next_pid=902)))
    assert "pid 902 was never handed out: the next is 902" in faults(place, full=False)


def test_a_pid_in_two_segments(place):
    for path in list(place.glob("segment-*")):
        (place / f"segment-0123456789ab{path.name[20:]}").write_bytes(path.read_bytes())
    forge(
        place,
        lambda state: replace(
            state, segments=(*state.segments, replace(state.segments[0], name="segment-0123456789ab"))
        ),
    )
    assert "a pid is live in two" in faults(place, full=False)


def test_a_deleted_passage_that_lives_again(place):
    forge(place, lambda state: replace(state, segments=(replace(state.segments[0], deleted=None),)))
    assert "passage 5 has a text without token vectors, or the other way round" in faults(place, full=False)


def test_vectors_that_are_not_of_unit_length(place):
    forge_file(place, ".codes", lambda content: content[:-64] + bytes(64))
    assert faults(place, full=False) == ""
    assert "not of unit length" in faults(place)
    forge_file(place, ".codes", lambda content: bytes(64) + content[64:])
    assert "not of unit length" in faults(place, full=False)


def test_postings_of_passages_that_are_not_there(place):
    forge_file(place, ".postings-", lambda content: content[:-2] + np.uint16(900).tobytes())
    assert "passages that the segment does not have" in faults(place, full=False)


def test_a_codebook_of_other_vectors(place):
    path = file_of(place, "codebook-")
    tensors = load_file(path)
    save_file(
        {name: tensor * 2 if tensor.dtype.is_floating_point else tensor for name, tensor in tensors.items()}, path
    )
    forge(place, lambda state: replace(state, codebook=replace(state.codebook, file=FileMeta.of(path))))
    assert "unit vectors" in faults(place, full=False)


def test_files_that_no_commit_names_are_listed_and_no_fault(place):
    for name in ("segment-0123456789ab.codes", "codebook-0123456789ab.safetensors", "notes.txt", "segment-1.codes"):
        (place / name).write_bytes(b"?")
    assert faults(place) == ""
    assert find_orphans(place, LocalIndex.open(place).state) == [
        "codebook-0123456789ab.safetensors",
        "segment-0123456789ab.codes",
    ]
