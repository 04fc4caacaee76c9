"""A build that was broken off, and what goes on with it. `test_crash` kills builders at any moment."""

# ruff: noqa: PT012 - what is raised comes from within the build

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from ragatouille_xm.errors import IndexLockedError, IndexNotFoundError, InputError
from ragatouille_xm.index.local.build import LocalBuild
from ragatouille_xm.index.local.folder import BUILD_DATABASE
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.verify import find_faults
from ragatouille_xm.types import Passage, TokenVectors

KEPT: dict[str, Any] = {"dim": 8, "checkpoint": "tiny", "fingerprint": "f00d", "settings": {"max_document_length": 99}}


@pytest.fixture(autouse=True)
def save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.index.local.build.SAVE_SECONDS", -1.0)


@pytest.fixture(params=["in the buffer", "in a segment"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a build has its token vectors."""
    if request.param == "in a segment":
        monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    return request.param


def put(index: LocalBuild | LocalIndex, *names: str, text: str = "text of") -> None:
    first = index.reserve(len(names))
    passages = [Passage(first + i, name, f"{text} {name}", "fr") for i, name in enumerate(names)]
    index.add(passages, TokenVectors(torch.eye(8)[: len(names)], torch.ones(len(names), dtype=torch.int64)))


def break_off(folder: Path, *names: str, **changes: Any) -> list[str]:
    with pytest.raises(KeyboardInterrupt) as caught, LocalIndex.build(folder, **(KEPT | changes), resume=True) as build:
        put(build, *names)
        raise KeyboardInterrupt
    return caught.value.__notes__


def contents(folder: Path) -> dict[str, str]:
    assert list(find_faults(folder, full=True)) == []
    with closing(LocalIndex.open(folder)) as index:
        return {passage.document_id: passage.text for batch, _ in index.scroll() for passage in batch}


def kinds_of_files(folder: Path) -> set[str]:
    assert not list(folder.glob("build.db*"))
    return {path.name.partition("-")[0] for path in folder.iterdir()} - {"index.db", "write.lock"}


@pytest.mark.usefixtures("place")
def test_it_goes_on_where_it_was(folder: Path) -> None:
    notes = break_off(folder, "a", "b")
    assert len(notes) == 1
    assert "2 passages" in notes[0]
    assert 'overwrite_index="resume"' in notes[0]
    assert "3 passages" in break_off(folder, "c")[0]
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert [passage.text for passage in build.passages_of(["d", "c", "a"])] == ["text of a", "text of c"]
        assert sorted(build.document_ids()) == ["a", "b", "c"]
        put(build, "d")
    assert list(contents(folder)) == ["a", "b", "c", "d"]
    assert kinds_of_files(folder) <= {"segment"}


@pytest.mark.usefixtures("place")
def test_what_is_added_again_replaces_what_is_there(folder: Path) -> None:
    break_off(folder, "a", "b", "c")
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        put(build, "b", text="new")
        assert build.delete(["c", "x"]) == 1
        assert len(build) == 2
    assert contents(folder) == {"a": "text of a", "b": "new b"}


@pytest.mark.usefixtures("place")
def test_what_was_not_saved_is_kept_after_a_failure_and_lost_in_a_crash(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored() -> list[str]:
        with pytest.raises(RuntimeError), LocalIndex.build(folder, **KEPT, resume=True) as build:
            found = sorted(build.document_ids())
            raise RuntimeError
        return found

    monkeypatch.setattr("ragatouille_xm.index.local.build.SAVE_SECONDS", 1e9)
    break_off(folder, "a")
    assert stored() == ["a"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalBuild, "keep", lambda self: None)  # as if the process had died
        with LocalIndex.build(folder, **KEPT, resume=True) as build:
            put(build, "b")
            raise KeyboardInterrupt
    assert stored() == ["a"]


def test_an_open_index_says_of_a_build_how_to_go_on_with_it(folder: Path) -> None:
    with pytest.raises(IndexNotFoundError, match="There is no index"):
        LocalIndex.open(folder)
    with pytest.raises(KeyboardInterrupt), LocalIndex.build(folder, **KEPT) as build:
        put(build, "a")
        with pytest.raises(IndexNotFoundError, match="is being built, with 1 passages so far. Wait"):
            LocalIndex.open(folder)
        raise KeyboardInterrupt
    with pytest.raises(IndexNotFoundError, match="interrupted, with 1 passages") as caught:
        LocalIndex.open(folder)
    assert 'overwrite_index="resume"' in str(caught.value)
    assert "overwrite_index=True" not in str(caught.value)


def test_a_build_that_keeps_nothing_leaves_nothing(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, LocalIndex.build(folder, **KEPT, keep=False) as build:
        put(build, "a")
        raise KeyboardInterrupt
    assert not folder.exists()
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(KeyboardInterrupt), LocalIndex.build(folder, **KEPT):
        raise KeyboardInterrupt  # nothing was stored
    assert not folder.exists()


def test_without_resume_it_begins_again(folder: Path) -> None:
    break_off(folder, "a")
    with LocalIndex.build(folder, **KEPT) as build:
        assert len(build) == 0
        put(build, "b")
    assert list(contents(folder)) == ["b"]
    assert kinds_of_files(folder) <= {"segment"}


@pytest.mark.usefixtures("place")
def test_the_old_index_serves_and_may_be_written_to_meanwhile(folder: Path) -> None:
    old = LocalIndex.create(folder, **KEPT)
    put(old, "old")
    break_off(folder, "a")
    assert list(contents(folder)) == ["old"]
    assert old.delete(["old"]) == 1
    old.optimize(refit=True)
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert list(build.document_ids()) == ["a"], "a delete hands out no pids"
    assert list(contents(folder)) == ["a"]
    assert len(old) == 1


def test_it_begins_again_when_pids_were_handed_out_since(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a search under way in the old index could be shown a text of the new one."""
    old = LocalIndex.create(folder, **KEPT)
    break_off(folder, "a")
    put(old, "later")
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert len(build) == 0
        put(build, "b")
    assert "begins again" in caplog.text
    assert list(contents(folder)) == ["b"]


def test_after_its_end_a_build_begins_again(folder: Path) -> None:
    LocalIndex.create(folder, **KEPT).close()
    break_off(folder, "a")
    with LocalIndex.build(folder, **KEPT, resume=True):
        pass
    assert list(contents(folder)) == ["a"]
    database = folder / BUILD_DATABASE

    def leave_build() -> None:  # as after a crash between the two last steps
        with closing(sqlite3.connect(folder / "index.db")) as index, closing(sqlite3.connect(database)) as build:
            index.backup(build)

    leave_build()
    LocalIndex.open(folder).reserve(0)  # any writer tidies up
    assert not database.exists()
    leave_build()
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert len(build) == 0
    assert contents(folder) == {}


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "beef"}, {"dim": 9}, {"settings": {}}, {"storage": "int8"}],
    ids=lambda change: next(iter(change)),
)
def test_another_checkpoint_or_setting_is_refused(folder: Path, change: dict[str, Any]) -> None:
    break_off(folder, "a")
    [name] = change
    with (
        pytest.raises(InputError, match=rf"has {name} .*overwrite_index=True"),
        LocalIndex.build(folder, **(KEPT | change), resume=True, keep=False),
    ):
        pass
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert list(build.document_ids()) == ["a"], "nothing was lost"


@pytest.mark.parametrize(
    "damage", ["no database", "no file", "short codes", "short records", "damaged row", "damaged finished segment"]
)
def test_a_damaged_build_begins_again(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damage != "damaged row":
        monkeypatch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
    if damage == "damaged finished segment":
        with pytest.raises(KeyboardInterrupt), LocalIndex.build(folder, **KEPT) as build:
            put(build, "a", "b")
            build.reader().close()
            raise KeyboardInterrupt
    else:
        break_off(folder, "a", "b")
    if damage == "no database":
        (folder / BUILD_DATABASE).write_text("{")
    elif damage == "damaged row":
        with closing(sqlite3.connect(folder / BUILD_DATABASE)) as database, database:
            database.execute("UPDATE buffer SET scale = 2 * scale")
    else:
        end = "records" if damage == "short records" else "codes"
        [file] = folder.glob(f"segment-*.{end}")
        content = file.read_bytes()
        file.write_bytes(content[:-1] if damage.startswith("short") else bytes(len(content)))
        if damage == "no file":
            file.unlink()
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert len(build) == 0
        put(build, "c")
    assert "begins again" in caplog.text
    assert list(contents(folder)) == ["c"]
    assert len([path for path in folder.glob("segment-*") if path.suffix == ".codes"]) <= 1


def test_changes_to_the_old_index_leave_a_build_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = LocalIndex.create(folder, **KEPT)
    put(old, "old")
    with monkeypatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
        break_off(folder, "a")
    old.delete(["old"])
    old.optimize(refit=True)
    assert (folder / BUILD_DATABASE).exists()
    assert {path.suffix for path in folder.glob("segment-*")} == {".codes", ".residuals", ".records"}


def test_the_files_of_a_build_that_cannot_be_read_now_are_not_deleted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragatouille_xm.index.local.database.BUSY_MS", 10)
    old = LocalIndex.create(folder, **KEPT)
    with monkeypatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
        break_off(folder, "a")
    with closing(sqlite3.connect(folder / BUILD_DATABASE, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(IndexLockedError):
            old.delete(["x"])
        assert list(folder.glob("segment-*"))
    assert old.delete(["x"]) == 0
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert list(build.document_ids()) == ["a"]


def test_what_a_build_leaves_that_died_as_it_began_goes_with_the_next_write(folder: Path) -> None:
    old = LocalIndex.create(folder, **KEPT)
    with closing(sqlite3.connect(folder / BUILD_DATABASE)) as database:
        database.execute("PRAGMA journal_mode = WAL")  # and nothing is committed
    stray = folder / "segment-0123456789ab.codes"
    stray.touch()
    assert old.delete(["x"]) == 0
    assert not stray.exists()


def test_a_build_that_somebody_reads_is_not_moved_away_from_its_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragatouille_xm.index.local.install.BUSY_MS", 10)
    with closing(sqlite3.connect(":memory:")) as reader:
        with pytest.raises(IndexLockedError) as caught, LocalIndex.build(folder, **KEPT) as build:
            put(build, "a")
            reader = sqlite3.connect(folder / BUILD_DATABASE, isolation_level=None)
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM passage").fetchall()
        assert "1 passages" in caught.value.__notes__[0]
        reader.close()
    with LocalIndex.build(folder, **KEPT, resume=True):
        pass
    assert list(contents(folder)) == ["a"]


def test_nothing_is_built_upon_a_change_that_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="failed"), LocalIndex.build(folder, **KEPT) as build:
        put(build, "a")
        with pytest.raises(InputError):
            put(build, "b", text="\ud800")
        put(build, "c")
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        assert list(build.document_ids()) == ["a"]
    assert list(contents(folder)) == ["a"]


def test_the_first_stage_is_that_of_a_build_in_one_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragatouille_xm.index.quantization.codebook.EXACT_BELOW", 20)
    names = [f"n{i}" for i in range(40)]

    def centroids() -> torch.Tensor:
        with closing(LocalIndex.open(folder)) as index:
            codebook = index.codebook()
        assert codebook is not None
        return codebook[0].centroids

    with LocalIndex.build(folder, **KEPT) as build:
        for name in names:
            put(build, name)
        build.delete(["n3"])
    at_once = centroids()
    with pytest.raises(KeyboardInterrupt), LocalIndex.build(folder, **KEPT, resume=True) as build:
        for name in names[:24]:
            put(build, name)
        build.delete(["n3"])
        put(build, names[24])
        raise KeyboardInterrupt
    with LocalIndex.build(folder, **KEPT, resume=True) as build:
        for name in names[25:]:
            put(build, name)
    assert torch.equal(centroids(), at_once)
