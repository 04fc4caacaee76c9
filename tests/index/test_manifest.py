from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import IndexDamagedError, IndexFormatError, IndexNotFoundError, StorageError
from ragatouille_xm.index.local.manifest import CodebookEntry, Manifest, PartEntry, stamp, sweep

SETTINGS = {"max_document_length": 256, "nested": {"é": [1, 2.5, None]}}
PARTS = (PartEntry("part-a", 10, 100, (3, 5)), PartEntry("part-b", 2, 7))


def manifest(**changes):
    return Manifest(dim=128, checkpoint="colbert-xm", fingerprint="f00d", settings=SETTINGS, **changes)


@pytest.fixture
def place(folder):
    folder.mkdir()
    return folder


def test_what_is_written_is_read(place):
    written = manifest(next_pid=12, codebook=CodebookEntry(3, 90), parts=PARTS).changed(next_pid=13)
    written.write(place)
    assert Manifest.read(place) == written
    assert sorted(os.listdir(place)) == ["manifest.json"]


def test_passages_and_tokens_are_those_that_count():
    counted = manifest(parts=PARTS)
    assert counted.passages == 10
    assert counted.tokens == 87


def test_generations_and_builds_tell_states_apart():
    first = manifest()
    assert first.changed().state != first.state
    assert manifest().state != first.state


def test_the_stamp_differs_after_every_write(place):
    manifest().write(place)
    before = stamp(place)
    assert stamp(place) == before
    manifest(next_pid=10).write(place)
    assert stamp(place) != before


def test_there_is_no_index(place):
    for folder in (place, place / "missing"):
        with pytest.raises(IndexNotFoundError, match=str(folder)):
            Manifest.read(folder)
    with pytest.raises(IndexNotFoundError):
        stamp(place)


def test_a_newer_format_is_refused_whatever_is_in_it(place):
    (place / "manifest.json").write_text('{"format_version": 4, "everything": "else"}')
    with pytest.raises(IndexFormatError, match="3.*pip install -U"):
        Manifest.read(place)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_manifest_is_named(place, data):
    manifest(next_pid=12, codebook=CodebookEntry(3, 90), parts=PARTS).write(place)
    path = place / "manifest.json"
    whole = path.read_bytes()
    content = json.loads(whole)
    key = data.draw(st.sampled_from(["codebook", "parts", "dim", "settings", "next_pid", "generation"]))
    damaged = data.draw(
        st.one_of(
            st.integers(0, len(whole) - 1).map(lambda n: whole[:n]),
            st.binary(max_size=20),
            st.sampled_from([b"null", b"[]", b"3", b"{}", json.dumps(content | {key: ["?"]}).encode()]),
            st.just(json.dumps({k: v for k, v in content.items() if k != key}).encode()),
        )
    )
    path.write_bytes(damaged)
    with pytest.raises(IndexDamagedError, match="manifest.json"):
        Manifest.read(place)


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_one(place, monkeypatch, function):
    old = manifest(next_pid=1)
    old.write(place)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, full)
        with pytest.raises(StorageError, match="No space left"):
            manifest(next_pid=2).write(place)
    assert Manifest.read(place) == old
    manifest(next_pid=3).write(place)
    assert Manifest.read(place).next_pid == 3


def test_sweeping_removes_what_no_manifest_names(place):
    manifest(codebook=CodebookEntry(3, 90), parts=PARTS).write(place)
    for name in ("part-a", "part-b", "part-c", "trash-part-d", "other"):
        (place / name / "segments").mkdir(parents=True)
    lists = ("postings-3-a.bin", "postings-3-b.bin", "postings-3-c.bin", "postings-4-a.bin", "postings-4-b.bin.tmp")
    for name in ("codebook-3.safetensors", "codebook-4.safetensors", "codebook-4.safetensors.tmp", "n.txt", *lists):
        (place / name).touch()
    (place / "manifest.json.tmp").touch()
    sweep(place)
    kept = ["codebook-3.safetensors", "manifest.json", "n.txt", "other", "part-a", "part-b", *lists[:2]]
    assert sorted(os.listdir(place)) == kept


def test_sweeping_leaves_everything_beside_a_damaged_manifest(place):
    (place / "manifest.json").write_text("?")
    (place / "part-c").mkdir()
    sweep(place)
    assert (place / "part-c").is_dir()
