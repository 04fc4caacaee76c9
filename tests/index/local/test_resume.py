"""A build that was broken off, and what goes on with it. `test_crash` kills builders at any moment."""

# ruff: noqa: PT012 - what is raised comes from within the build

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ragatouille_xm.errors import InputError
from ragatouille_xm.index.local.build import DraftIndex
from ragatouille_xm.index.local.index import EdgeIndex
from ragatouille_xm.types import Passage, TokenVectors

KEPT: dict[str, Any] = {"dim": 8, "checkpoint": "tiny", "fingerprint": "f00d", "settings": {"max_document_length": 99}}


@pytest.fixture(autouse=True)
def save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.index.local.build.SAVE_EVERY", -1.0)


def put(index: DraftIndex | EdgeIndex, *names: str) -> None:
    first = index.reserve(len(names))
    passages = [Passage(first + i, name, f"text of {name}", "fr") for i, name in enumerate(names)]
    index.add(passages, TokenVectors(torch.eye(8)[: len(names)], torch.ones(len(names), dtype=torch.int64)))


def broken_off(folder: Path, *names: str, **changes: Any) -> None:
    with pytest.raises(KeyboardInterrupt), EdgeIndex.build(folder, **(KEPT | changes), resume=True) as draft:
        put(draft, *names)
        raise KeyboardInterrupt


def names_in(folder: Path) -> list[str]:
    index = EdgeIndex.open(folder)
    found = [passage.document_id for batch, _ in index.scroll() for passage in batch]
    index.close()
    return found


def files_in(folder: Path) -> Iterator[str]:
    return (path.name.split("-")[0] for path in sorted(folder.iterdir()) if path.name != "write.lock")


def test_it_goes_on_where_it_was(folder: Path) -> None:
    broken_off(folder, "a", "b")
    broken_off(folder, "c")
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        assert draft.contains(["a", "b", "c", "d"]) == {"a", "b", "c"}
        put(draft, "d")
    assert names_in(folder) == ["a", "b", "c", "d"]
    assert list(files_in(folder)) == ["manifest.json", "part"]


def test_what_was_not_saved_is_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        put(draft, "a")
        monkeypatch.setattr("ragatouille_xm.index.local.build.SAVE_EVERY", 1e9)
        put(draft, "b")
        raise KeyboardInterrupt
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        assert draft.contains(["a", "b"]) == {"a"}


def test_without_resume_nothing_is_left(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), EdgeIndex.build(folder, **KEPT) as draft:
        put(draft, "a")
        raise KeyboardInterrupt
    assert not folder.exists()
    broken_off(folder, "a")
    with EdgeIndex.build(folder, **KEPT) as draft:
        assert len(draft) == 0
        put(draft, "b")
    assert names_in(folder) == ["b"]
    assert list(files_in(folder)) == ["manifest.json", "part"]


def test_the_old_index_serves_and_may_be_written_to_meanwhile(folder: Path) -> None:
    old = EdgeIndex.create(folder, **KEPT)
    put(old, "old")
    broken_off(folder, "a")
    assert names_in(folder) == ["old"]
    assert old.delete(["old"]) == 1
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        assert draft.contains(["a"]) == {"a"}, "a delete hands out no pids"
    assert names_in(folder) == ["a"]


def test_it_begins_again_when_pids_were_handed_out_since(folder: Path) -> None:
    """Else a search under way in the old index could be shown a text of the new one."""
    old = EdgeIndex.create(folder, **KEPT)
    broken_off(folder, "a")
    put(old, "later")
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        assert len(draft) == 0
        put(draft, "b")
    assert names_in(folder) == ["b"]


def test_after_its_end_a_build_begins_again(folder: Path) -> None:
    broken_off(folder, "a")
    draft_file = (folder / "draft.json").read_bytes()
    with EdgeIndex.build(folder, **KEPT, resume=True):
        pass
    assert names_in(folder) == ["a"]
    (folder / "draft.json").write_bytes(draft_file)  # as after a crash between the two last steps
    EdgeIndex.open(folder).reserve(0)  # any writer tidies up
    assert not (folder / "draft.json").exists()
    (folder / "draft.json").write_bytes(draft_file)
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        assert len(draft) == 0
    assert names_in(folder) == []


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "beef"}, {"dim": 9}, {"settings": {}}, {"storage": "int8"}],
    ids=lambda change: next(iter(change)),
)
def test_another_checkpoint_or_setting_is_refused(folder: Path, change: dict[str, Any]) -> None:
    broken_off(folder, "a")
    [name] = change
    with (
        pytest.raises(InputError, match=rf"has {name} .*overwrite_index=True"),
        EdgeIndex.build(folder, **(KEPT | change), resume=True),
    ):
        pass
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        assert draft.contains(["a"]) == {"a"}, "nothing was lost"


@pytest.mark.parametrize("damage", ["no json", "no part", "short part", "fewer passages"])
def test_a_damaged_draft_begins_again(folder: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    broken_off(folder, "a", "b")
    [part] = folder.glob("part-*")
    if damage == "no json":
        (folder / "draft.json").write_text("{")
    elif damage == "no part":
        part.rename(part.with_name("elsewhere"))
    elif damage == "short part":
        for file in part.rglob("segment.json"):
            file.write_text("?")
    else:
        draft = json.loads((folder / "draft.json").read_bytes())
        draft["parts"][0]["passages"] = 3
        (folder / "draft.json").write_text(json.dumps(draft))
    with EdgeIndex.build(folder, **KEPT, resume=True) as building:
        assert len(building) == 0
        put(building, "c")
    assert "begins again" in caplog.text
    assert names_in(folder) == ["c"]
    assert not (folder / "draft.json").exists()


def test_changes_to_the_old_index_leave_a_draft_alone(folder: Path) -> None:
    old = EdgeIndex.create(folder, **KEPT)
    put(old, "old")
    broken_off(folder, "a")
    old.delete(["old"])
    old.optimize(refit=True)
    assert (folder / "draft.json").exists()
    assert len(list(folder.glob("part-*"))) == 1


def test_the_first_stage_is_that_of_a_build_in_one_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.index.local.merge.EXACT_BELOW", 20)
    names = [f"n{i}" for i in range(40)]

    def centroids() -> torch.Tensor:
        index = EdgeIndex.open(folder)
        codebook = index.codebook()
        assert codebook is not None
        index.close()
        return codebook.centroids

    with EdgeIndex.build(folder, **KEPT) as draft:
        for name in names:
            put(draft, name)
        draft.delete(["n3"])
    at_once = centroids()
    with pytest.raises(KeyboardInterrupt), EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        for name in names[:24]:
            put(draft, name)
        draft.delete(["n3"])
        put(draft, names[24])
        raise KeyboardInterrupt
    with EdgeIndex.build(folder, **KEPT, resume=True) as draft:
        for name in names[25:]:
            put(draft, name)
    assert torch.equal(centroids(), at_once)
