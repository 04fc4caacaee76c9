"""What doctor finds in sound and in damaged indexes; and what it says mends them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli.doctor import checks, faults
from invoking import invoke
from reference.tiny import build_tiny_xmod
from typer.testing import CliRunner, Result

from ragatouille_xm.index.local.folder import postings_suffix
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.postings import write_postings
from ragatouille_xm.index.local.state import FileMeta, State, read_state, write_state
from ragatouille_xm.index.quantization.codebook import Codebook
from ragatouille_xm.transfer.plaid import export_index

Run = Callable[..., Result]


@pytest.fixture
def index(root: Path) -> Path:
    """Return the folder of an index that may be damaged; its token vectors are in the database."""
    return root / "colbert" / "indexes" / "mine"


def examine(run: Run, index: Path, *options: str) -> dict[str, dict[str, Any]]:
    return checks(
        run("doctor", "--root", index.parents[2], "--index", index, "--json", *options), f"Index {index.name}"
    )


def damaged(run: Run, index: Path, *options: str) -> dict[str, dict[str, Any]]:
    found = {name: check for name, check in examine(run, index, *options).items() if check["status"] == "fault"}
    for check in found.values():
        assert check["remedy"]
    return found


def rebuild(index: Path, checkpoint: Path | None = None) -> str:
    """Return the command that builds the index anew."""
    with_checkpoint = f" --checkpoint {checkpoint.resolve()}" if checkpoint else ""
    return f"ragatouille-xm index PATH --name {index.name} --root {index.resolve().parents[2]}{with_checkpoint}"


def execute(index: Path, sql: str, *parameters: object) -> None:
    """Change the database of an index, as nobody should."""
    with closing(sqlite3.connect(index / "index.db", isolation_level=None)) as connection:
        assert connection.execute(sql, parameters).rowcount != 0


def alter_state(index: Path, change: Callable[[State], State]) -> None:
    """Commit another state, with the checksum that belongs to it."""
    with closing(sqlite3.connect(index / "index.db", isolation_level=None)) as connection:
        state = read_state(connection)
        write_state(connection, change(state), state)


def state_of(index: Path) -> State:
    with closing(sqlite3.connect(index / "index.db")) as connection:
        return read_state(connection)


@pytest.fixture
def segmented(run: Run, root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the same index with a segment, a codebook, and one passage in the buffer."""
    with monkeypatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
        patch.setattr("ragatouille_xm.index.quantization.codebook.EXACT_BELOW", 2)
        run("index", root / "records.jsonl", "--name", "parts", "--checkpoint", checkpoint, "--root", root)
    (root / "late.txt").write_text("A late document.", encoding="utf-8")
    run("add", "parts", root / "late.txt", "--root", root, "--language", "en")
    folder = root / "colbert" / "indexes" / "parts"
    state = state_of(folder)
    assert ([segment.passages for segment in state.segments], state.buffered) == ([4], 1)
    assert state.codebook
    return folder


@pytest.fixture
def large_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file for a large one: its checksum is compared only by ``--full``."""
    monkeypatch.setattr("ragatouille_xm.index.local.segment.VERIFIED_BYTES", -1)


def test_a_sound_index_with_segments(run: Run, segmented: Path) -> None:
    found = examine(run, segmented)
    assert {name: check["status"] for name, check in found.items()} == dict.fromkeys(
        ["index", "content", "checkpoint"], "ok"
    )
    assert "passages: 5, segments: 1, buffered: 1, dimensions: 32" in found["index"]["found"]
    assert found["content"]["found"] == "sound: sizes, counts and a sample (--full compares checksums)"
    assert examine(run, segmented, "--full")["content"]["found"] == "sound: all passages and checksums"


def _cp(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


@pytest.fixture(params=["disk", "memory"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a new folder, on the same file system and on one in memory."""
    if request.param == "disk":
        yield tmp_path / "elsewhere"
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no file system in memory")
    folder = Path("/dev/shm") / f"ragatouille-xm-{os.getpid()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "copy", [shutil.copytree, pytest.param(_cp, marks=pytest.mark.skipif(os.name == "nt", reason="no cp"))]
)
def test_a_copy_is_sound(run: Run, segmented: Path, elsewhere: Path, copy: Callable[[Path, Path], object]) -> None:
    copy(segmented, elsewhere)
    found = examine(run, elsewhere, "--full")
    assert {check["status"] for check in found.values()} == {"ok"}
    assert "passages: 5" in found["index"]["found"]
    assert set(damaged(run, elsewhere)) == set()


def test_a_copy_of_an_index_in_use_is_sound(run: Run, segmented: Path, tmp_path: Path) -> None:
    """What was committed last may be in the log alone."""
    index = LocalIndex.open(segmented)
    try:
        [document] = [passage.document_id for passages, _ in index.scroll() for passage in passages if passage.pid == 1]
        index.delete([document])
        assert (segmented / "index.db-wal").stat().st_size
        shutil.copytree(segmented, tmp_path / "copy")
        assert damaged(run, segmented, "--full") == {}, "nor is it taken for damaged itself"
    finally:
        index.close()
    found = examine(run, tmp_path / "copy", "--full")
    assert {check["status"] for check in found.values()} == {"ok"}
    assert "passages: 4," in found["index"]["found"]


def test_a_folder_without_write_permission_is_left_as_it_is(
    run: Run, segmented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents() -> dict[Path, tuple[int, bytes]]:
        return {
            path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in (segmented, *sorted(segmented.rglob("*")))
        }

    access = os.access

    def refused(path: Any, mode: int, **options: Any) -> bool:  # root may do everything
        return access(path, mode, **options) and not (mode & os.W_OK and Path(path).is_relative_to(segmented))

    monkeypatch.setattr(os, "access", refused)
    for path in segmented.iterdir():
        path.chmod(0o444)
    segmented.chmod(0o555)
    before = contents()
    try:
        found = examine(run, segmented, "--full")
    finally:
        after = contents()
        segmented.chmod(0o755)
    assert after == before
    assert {name: check["status"] for name, check in found.items()} == {
        "index": "ok", "content": "ok", "permissions": "note", "checkpoint": "ok",
    }  # fmt: skip
    assert "read-only" in found["permissions"]["found"]
    segmented.chmod(0o555)
    [file] = segmented.glob("*.codes")
    file.chmod(0o644)
    file.write_bytes(bytes(32) + file.read_bytes()[32:])
    found = damaged(run, segmented)
    segmented.chmod(0o755)
    assert len(found) == 1, "damage is found there as well"


# --- the database


@pytest.mark.parametrize("content", [b"{", b"", b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_database(run: Run, index: Path, content: bytes) -> None:
    (index / "index.db").write_bytes(content)
    found = damaged(run, index)
    assert set(found) == {"index"}
    assert "index.db' is damaged" in found["index"]["found"]
    assert found["index"]["remedy"] == rebuild(index)


def test_a_database_of_another_program(run: Run, index: Path) -> None:
    execute(index, "PRAGMA application_id = 1")
    assert "it is a database of another program" in damaged(run, index)["index"]["found"]


def test_a_newer_format_wants_a_newer_version(run: Run, index: Path) -> None:
    execute(index, "PRAGMA user_version = 99")
    fault = damaged(run, index)["index"]
    assert "has format version 99" in fault["found"]
    assert fault["remedy"] == "pip install -U ragatouille-xm"


@pytest.mark.parametrize("damage", ["shorten", "folder", "link"])
def test_a_database_that_is_not_the_file_it_was(run: Run, index: Path, damage: str, tmp_path: Path) -> None:
    database = index / "index.db"
    if damage == "shorten":
        _shorten(database)
    elif damage == "folder":
        _replace_by_a_folder(database)
    else:
        database.rename(tmp_path / "index.db")
        database.symlink_to(tmp_path / "index.db")
    found = damaged(run, index, "--full")
    assert found
    assert all(check["remedy"].startswith(rebuild(index)) for check in found.values())


def test_a_missing_database(run: Run, index: Path) -> None:
    (index / "index.db").unlink()
    fault = damaged(run, index)["index"]
    assert "There is no index at" in fault["found"]
    assert fault["remedy"] == rebuild(index)
    result = run("doctor", "--root", index.parents[2])
    assert result.exit_code == 1, "also without being named"
    assert "1 problem found; the fix is below each." in result.stdout
    assert "→ ragatouille-xm index PATH --name mine" in result.stdout


def test_a_damaged_page_of_the_database(run: Run, index: Path) -> None:
    """An index that does not hold what its table holds: `integrity_check` finds it."""
    with closing(sqlite3.connect(index / "index.db", isolation_level=None)) as connection:
        [(page, size)] = connection.execute(
            "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'attribute_value'"
        )
    with (index / "index.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(64))
    found = damaged(run, index, "--full")
    assert set(found) == {"index.db"}
    assert found["index.db"]["remedy"].startswith(rebuild(index))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE state SET content = replace(content, '\"next_pid\": 4', '\"next_pid\": 5')", "its checksum differs"),
        ("UPDATE state SET generation = generation + 1", "it is generation"),
        ("UPDATE state SET content = '['", "its checksum differs"),
        ("DELETE FROM state", "The state of the index is damaged"),
    ],
)
def test_a_state_that_is_not_what_was_written(run: Run, index: Path, sql: str, message: str) -> None:
    execute(index, sql)
    fault = damaged(run, index)["index"]
    assert message in fault["found"]
    assert fault["remedy"] == rebuild(index)


@pytest.mark.parametrize(
    ("column", "value"), [("text", "altered"), ("language", "it"), ("metadata", "{}"), ("document_id", "x")]
)
def test_a_passage_that_is_not_what_was_written(
    run: Run, index: Path, checkpoint: Path, column: str, value: str
) -> None:
    execute(index, f"UPDATE passage SET {column} = ? WHERE pid = 2", value)
    [(name, fault)] = damaged(run, index).items()
    assert name == "index.db"
    assert "The stored passage 2 is damaged: its checksum differs" in fault["found"]
    assert fault["remedy"] == rebuild(index, checkpoint)
    assert set(damaged(run, index, "--full")) == {"index.db"}


def test_token_vectors_in_the_database_that_are_not_what_was_written(run: Run, index: Path, checkpoint: Path) -> None:
    execute(index, "UPDATE buffer SET codes = zeroblob(length(codes)) WHERE pid = 1")
    fault = damaged(run, index)["index.db"]
    assert "The token vectors of passage 1 are damaged" in fault["found"]
    assert fault["remedy"] == rebuild(index, checkpoint)
    execute(index, "DELETE FROM buffer WHERE pid = 1")
    assert "the token vectors of 3 passages instead of 4" in damaged(run, index)["index.db"]["found"]


def test_a_passage_without_text(run: Run, segmented: Path) -> None:
    execute(segmented, "DELETE FROM passage WHERE pid = 1")
    assert "passage 1 has a text without token vectors, or" in damaged(run, segmented)["index.db"]["found"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM attribute WHERE pid = 2 AND kind = 2", "what filters look up of passage 2 is not its metadata"),
        ("UPDATE attribute SET value = 1 WHERE pid = 3 AND kind = 2", "what filters look up of passage 3 is not"),
        (
            "UPDATE field SET name = 'metadata.month' WHERE name = 'metadata.year'",
            "what filters look up of passage 0 is not",
        ),
        (
            "INSERT INTO attribute SELECT 99, field, kind, value FROM attribute WHERE pid = 3",
            "look up passage 99, which",
        ),
    ],
)
def test_full_compares_what_filters_look_up(run: Run, index: Path, sql: str, message: str) -> None:
    execute(index, sql)
    assert damaged(run, index) == {}
    assert message in damaged(run, index, "--full")["index.db"]["found"]


def test_full_reads_every_passage(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(i), "text": f"the book {i}", "lang": "en"}) for i in range(70)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines), encoding="utf-8")
    run("index", tmp_path / "many.jsonl", "--name", "many", "--checkpoint", checkpoint, "--root", tmp_path)
    run("delete", "many", "3", "--root", tmp_path)
    index = tmp_path / "colbert" / "indexes" / "many"
    assert damaged(run, index, "--full") == {}
    execute(index, "UPDATE passage SET text = 'altered' WHERE pid = 69")
    assert damaged(run, index) == {}, "64 are read"
    assert "The stored passage 69 is damaged" in damaged(run, index, "--full")["index.db"]["found"]


# --- segments and the codebook


def _remove(path: Path) -> None:
    path.unlink()


def _shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("end", ["codes", "residuals", "table", "postings-*"])
@pytest.mark.parametrize("damage", [_remove, _shorten, _replace_by_a_folder, _flip])
def test_a_damaged_file_of_a_segment(
    run: Run, segmented: Path, checkpoint: Path, damage: Callable[[Path], None], end: str
) -> None:
    [file] = segmented.glob(f"segment-*.{end}")
    damage(file)
    found = damaged(run, segmented)
    assert set(found) == {file.stem}
    assert file.name in found[file.stem]["found"]
    assert found[file.stem]["remedy"] == rebuild(segmented, checkpoint)


@pytest.mark.parametrize("damage", [_remove, _shorten, _replace_by_a_folder, _flip])
def test_a_damaged_file_of_a_codebook(
    run: Run, segmented: Path, checkpoint: Path, damage: Callable[[Path], None]
) -> None:
    [file] = segmented.glob("codebook-*")
    damage(file)
    found = damaged(run, segmented)
    assert set(found) == {file.name}
    assert found[file.name]["remedy"] == rebuild(segmented, checkpoint)


def test_every_damaged_part_is_named(run: Run, segmented: Path) -> None:
    files = [*segmented.glob("codebook-*"), *segmented.glob("*.codes")]
    for file in files:
        file.unlink()
    assert set(damaged(run, segmented)) == {files[0].name, files[1].stem}


@pytest.mark.usefixtures("large_files")
def test_changed_bytes_that_sizes_do_not_show(run: Run, segmented: Path) -> None:
    """One token vector, with zeros where its numbers were."""
    [file] = segmented.glob("*.codes")
    file.write_bytes(bytes(32) + file.read_bytes()[32:])
    [(name, fault)] = damaged(run, segmented).items()
    assert name == file.stem
    assert fault["found"] == "token vectors from passage 0 on are not of unit length"


@pytest.mark.usefixtures("large_files")
def test_changed_bytes_that_only_checksums_show(run: Run, segmented: Path) -> None:
    """The first token vector, negated: of unit length still."""
    for end in ("codes", "residuals"):
        [file] = segmented.glob(f"*.{end}")
        row = np.frombuffer(file.read_bytes()[:32], np.int8)
        file.write_bytes((-row).tobytes() + file.read_bytes()[32:])
    assert damaged(run, segmented) == {}
    [fault] = damaged(run, segmented, "--full").values()
    assert fault["found"].endswith(".codes has another checksum than when it was written")


def test_a_state_that_does_not_say_what_the_files_hold(run: Run, segmented: Path, checkpoint: Path) -> None:
    good = state_of(segmented)
    [segment] = good.segments
    late = good.meta.next_pid - 1

    def after(change: Callable[[State], State]) -> str:
        alter_state(segmented, change)
        [(name, fault)] = damaged(run, segmented).items()
        assert name in (segment.name, "index.db", "segments")
        assert fault["remedy"] == rebuild(segmented, checkpoint)
        alter_state(segmented, lambda _: good)
        assert damaged(run, segmented) == {}
        return str(fault["found"])

    def with_segment(**changes: Any) -> Callable[[State], State]:
        return lambda state: replace(state, segments=(replace(segment, **changes),))

    def with_meta(**changes: Any) -> Callable[[State], State]:
        return lambda state: replace(state, meta=replace(state.meta, **changes))

    assert "it has 4 passages instead of 5" in after(with_segment(passages=5))
    assert "passage 1 has a text without token vectors" in after(with_segment(deleted=bytes([0b01000000])))
    assert f"pid {late} was never handed out: the next is 2" in after(with_meta(next_pid=2))
    assert "passages instead of 3" in after(lambda state: replace(state, buffered=3))


def test_a_pid_in_two_segments(run: Run, segmented: Path) -> None:
    [segment] = state_of(segmented).segments
    other = replace(segment, name="segment-000000000000")
    for file in list(segmented.glob(f"{segment.name}.*")):
        shutil.copy(file, segmented / file.name.replace(segment.name, other.name))
    alter_state(segmented, lambda state: replace(state, segments=(segment, other)))
    assert "a pid is live in two of them" in damaged(run, segmented)["segments"]["found"]


def test_a_codebook_that_does_not_belong_to_the_index(run: Run, segmented: Path) -> None:
    good = state_of(segmented)
    [segment] = good.segments
    assert good.codebook
    name, end = good.codebook.name, postings_suffix(good.codebook.name)

    def found(codebook: Codebook, passages: int = 4, centroids: int | None = None) -> dict[str, str]:
        codebook.save(segmented / name)
        lists = segmented / f"{segment.name}{end}"
        tokens = (np.zeros(passages, np.int32), np.ones(passages, np.int64))
        written = write_postings(lists, centroids or len(codebook), [tokens])
        files = {**segment.files, end: written}
        kept = replace(good.codebook, file=FileMeta.of(segmented / name))
        alter_state(segmented, lambda state: replace(state, codebook=kept, segments=(replace(segment, files=files),)))
        return {name: check["found"] for name, check in damaged(run, segmented).items()}

    assert found(Codebook(torch.eye(32))) == {}
    assert found(Codebook(torch.ones(4, 32))) == {name: "it does not hold unit vectors"}
    assert "centroids have another width" in found(Codebook(torch.eye(16)))[name]
    assert "it has 3 passages instead of 4" in found(Codebook(torch.eye(32)), passages=3)[segment.name]
    assert found(Codebook(torch.eye(32)), centroids=31) == {
        f"{segment.name}{end}": "it has 31 centroids, the codebook 32"
    }


@pytest.mark.usefixtures("large_files")
def test_postings_of_passages_that_are_not_there(run: Run, segmented: Path) -> None:
    [file] = segmented.glob("*.postings-*")
    content = bytearray(file.read_bytes())
    content[-4:] = (77).to_bytes(4, "little")
    file.write_bytes(content)
    assert damaged(run, segmented)[file.name]["found"] == "it names passages that the segment does not have"


# --- what is left of writers


def test_what_a_writer_left_behind_is_a_note(run: Run, segmented: Path) -> None:
    (segmented / "segment-000000000000.codes").write_bytes(b"1")
    (segmented / "mine.txt").write_text("not of an index", encoding="utf-8")
    found = examine(run, segmented)["orphans"]
    assert found["status"] == "note"
    assert found["found"].startswith("1 files of a writer that failed, or is at work: segment-000000000000.codes")
    run("delete", "parts", "fr", "--root", segmented.parents[2])
    assert "orphans" not in examine(run, segmented), "as the remedy says"


def break_off(run: Run, index: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    """Begin to build an index anew, and fail after two of its documents; there is a segment by then."""
    with monkeypatch.context() as patch:
        patch.setattr("ragatouille_xm.index.local.writer.BUFFER_TOKENS", 0)
        patch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)
        patch.setattr("ragatouille_xm.index.local.build.LocalBuild.finish", _fail)
        arguments = ("--name", index.name, "--checkpoint", checkpoint, "--root", index.parents[2])
        with pytest.raises(RuntimeError, match="the power went"):
            run("index", index.parents[2] / "records.jsonl", *arguments, *options)


def _fail(_: Any) -> None:
    raise RuntimeError("the power went")


def test_a_build_that_was_broken_off(run: Run, root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "colbert" / "indexes" / "begun"
    break_off(run, folder, checkpoint, monkeypatch)
    found = examine(run, folder)
    assert set(found) == {"index"}
    assert found["index"]["status"] == "fault"
    assert "its build was interrupted, with 4 passages so far" in found["index"]["found"]
    assert found["index"]["remedy"] == f"{rebuild(folder, checkpoint)} --resume"
    command = found["index"]["remedy"].replace("PATH", str(root / "records.jsonl")).split()
    assert run(*command[1:]).exit_code == 0
    assert damaged(run, folder, "--full") == {}, "as the remedy says"


def test_the_remedy_repeats_the_settings_of_the_build(
    run: Run, root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "colbert" / "indexes" / "begun"
    break_off(run, folder, checkpoint, monkeypatch, "--storage", "int8", "--max-length", 64, "--pooling", 2)
    remedy = examine(run, folder)["index"]["remedy"]
    assert remedy == f"{rebuild(folder, checkpoint)} --max-length 64 --storage int8 --pooling 2 --resume"
    shown = invoke(CliRunner(env={"COLUMNS": "40"}), ["doctor", "--index", "begun", "--root", str(root)]).stdout
    assert f"    → {remedy}" in shown.splitlines(), "on one line, however narrow the terminal"
    command = remedy.replace("PATH", str(root / "records.jsonl")).split()
    assert run(*command[1:]).exit_code == 0
    assert damaged(run, folder, "--full") == {}, "as the remedy says"


def test_a_build_that_was_broken_off_beside_a_sound_index(
    run: Run, index: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(run, index, checkpoint, monkeypatch)
    found = examine(run, index)
    assert {name: check["status"] for name, check in found.items()} == {
        "index": "ok", "content": "ok", "build": "note", "checkpoint": "ok",
    }  # fmt: skip
    assert "was interrupted with 4 passages" in found["build"]["found"]
    assert found["build"]["remedy"] == f"{rebuild(index, checkpoint)} --resume"


def test_no_remedy_discards_a_build_that_was_broken_off(
    run: Run, index: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(run, index, checkpoint, monkeypatch)
    (index / "index.db").write_bytes(b"{")
    assert damaged(run, index)["index"]["remedy"].endswith(" --resume")


@pytest.mark.parametrize("is_first", [True, False])
def test_a_build_under_way(run: Run, root: Path, is_first: bool) -> None:
    folder = root / "colbert" / "indexes" / ("new" if is_first else "mine")
    meta = state_of(root / "colbert" / "indexes" / "mine").meta
    with LocalIndex.build(folder, **meta.description):
        found = examine(run, folder)
    notes = {name for name, check in found.items() if check["status"] != "ok"}
    assert notes == {"index" if is_first else "build"}
    [check] = [found[name] for name in notes]
    assert (check["status"], check["remedy"]) == ("note", None)
    assert "being built" in check["found"]


def test_the_checkpoint_behind_an_index(run: Run, index: Path, checkpoint: Path, tmp_path: Path) -> None:
    meta = state_of(index).meta
    other = build_tiny_xmod(tmp_path / "other", seed=1)
    alter_state(index, lambda state: replace(state, meta=replace(meta, checkpoint=str(other))))
    [(name, fault)] = damaged(run, index).items()
    assert name == "checkpoint"
    assert f"{meta.fingerprint} filled the index: other weights" in fault["found"]
    assert fault["remedy"] == f"put the earlier weights back, or: {rebuild(index, other)}"
    alter_state(index, lambda state: replace(state, meta=replace(meta, checkpoint="/gone/away")))
    fault = damaged(run, index)["checkpoint"]
    assert "There is no checkpoint folder '/gone/away'" in fault["found"]
    assert fault["remedy"] == "put a complete copy of the checkpoint at /gone/away"


def test_an_index_of_colbert_ai(run: Run, index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    export_index(index, folder)
    arguments = ("doctor", "--root", tmp_path, "--index", folder, "--json")
    found = checks(run(*arguments), "Index old")
    assert {name: check["status"] for name, check in found.items()} == {"files": "note", "checkpoint": "ok"}
    assert "4 passages in the format of colbert-ai" in found["files"]["found"]
    assert found["files"]["remedy"] == f"ragatouille-xm convert {folder} --name old"
    _shorten(next(folder.glob("*.residuals.pt")))
    [(name, fault)] = faults(run(*arguments), "Index old").items()
    assert name == "files"
    assert "residuals.pt" in fault["found"]
    assert "ragatouille-xm index PATH --name old" in fault["remedy"]
