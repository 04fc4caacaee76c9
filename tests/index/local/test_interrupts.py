"""Ctrl-C at any moment of any operation.

Python raises it between two calls, and so does a profiler here: at the n-th call that the engine makes.
"""

# ruff: noqa: PT012, PT017 - what is raised comes from within a build, or does not come at all

from __future__ import annotations

import gc
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import ragatouille_xm
from ragatouille_xm.errors import IndexNotFoundError
from ragatouille_xm.index.local.folder import BUILD_DATABASE
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.index.local.install import read_saved

from . import crash_writer as writer

ENGINE = str(Path(ragatouille_xm.__file__).parent / "index" / "local")
MOMENTS = 8  # of each operation
FEW, OTHER = [dict(list(writer.planned(version).items())[:20]) for version in (0, 1)]


@pytest.fixture(autouse=True)
def young_garbage() -> Iterator[None]:
    """Leave what was there before out of the collections of `interrupt`: they take most of the time otherwise."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in writer.LIMITS:
        monkeypatch.setattr(module, name, value)


def interrupt(operation: Callable[[], object], moment: int) -> tuple[int, list[str] | None]:
    """Run an operation; return how many moments it has, and the notes of the interrupt that comes at one of them.

    They are None if it came to its end.
    """
    count = 0

    def count_calls(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(ENGINE):
            count += 1
            if count == moment:
                sys.setprofile(None)
                raise KeyboardInterrupt

    notes = None
    sys.setprofile(count_calls)
    try:
        operation()
    except KeyboardInterrupt as error:
        notes = list(getattr(error, "__notes__", []))
    finally:
        sys.setprofile(None)
    gc.collect()  # what an interrupt has kept from being closed
    return count, notes


def moments(operation: Callable[[], object], prepare: Callable[[], object]) -> Iterator[int]:
    """Yield some moments of an operation, each once it is prepared."""
    prepare()
    total, _ = interrupt(operation, 0)
    for moment in random.Random(0).sample(range(1, total + 1), min(MOMENTS, total)):
        prepare()
        yield moment


def store(folder: Path, texts: dict[str, list[str]], size: int = 5) -> writer.Documents:
    index, held = LocalIndex.open(folder), {}
    for start in range(0, len(texts), size):
        batch = dict(list(texts.items())[start : start + size])
        documents = writer.numbered(batch, index.reserve(sum(map(len, batch.values()))))
        index.add(*writer.arguments(documents), replace=True)
        held |= documents
    index.delete(list(texts)[:2])
    index.close()
    return {name: pairs for name, pairs in held.items() if name not in list(texts)[:2]}


def texts_of(held: writer.Documents) -> dict[str, list[str]]:
    return {name: [text for _, text in pairs] for name, pairs in held.items()}


@pytest.mark.parametrize("action", ["add", "replace", "delete", "optimize", "refit"])
def test_an_interrupted_call_has_happened_or_has_not_and_the_index_goes_on(folder: Path, action: str) -> None:
    LocalIndex.create(folder, **writer.KEPT).close()
    held = store(folder, FEW)
    saved, index = folder.with_name("saved"), LocalIndex.open(folder)
    index.close()
    shutil.copytree(folder, saved)
    new = writer.numbered(
        {f"d{i}": [f"d{i} new {j}" for j in range(3)] for i in range(*{"add": (20, 40)}.get(action, (4, 8)))}, 1000
    )
    gone = list(held)[:7]
    after = {
        "add": held | new,
        "replace": held | new,
        "delete": {name: pairs for name, pairs in held.items() if name not in gone},
    }.get(action, held)

    def prepare() -> None:
        nonlocal index
        index.close()
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
        index = LocalIndex.open(folder)
        assert writer.contents(index) == held

    def operation() -> None:
        if action == "delete":
            index.delete(gone)
        elif action in after_write:
            index.add(*writer.arguments(new), replace=True)
        else:
            index.optimize(refit=action == "refit")

    after_write = ("add", "replace")
    for moment in moments(operation, prepare):
        _, notes = interrupt(operation, moment)
        found = writer.contents(index)
        assert found in (held, after)
        assert notes is not None or found == after
        writer.check_search(index, found)
        writer.check_files(index)
        last = list(found)[-1]
        assert index.delete([last]) == len(found[last])
    index.close()


@pytest.mark.parametrize("begun", [False, True], ids=["a build", "a resumed build"])
@pytest.mark.parametrize("old", [False, True], ids=["first", "replacing"])
def test_an_interrupted_build_keeps_what_it_has_and_says_how_to_go_on(folder: Path, begun: bool, old: bool) -> None:
    served: writer.Documents = {}

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if old:
            LocalIndex.create(folder, **writer.KEPT).close()
            served.update(store(folder, dict(list(OTHER.items())[:6])))
        if begun:
            with pytest.raises(RuntimeError), LocalIndex.build(folder, **writer.KEPT) as build:
                writer.fill(build, dict(list(FEW.items())[:12]) | {"d3": ["changed"], "d39": ["gone"]})
                raise RuntimeError

    def build(resume: bool = begun) -> None:
        with LocalIndex.build(folder, **writer.KEPT, resume=resume) as build:
            writer.fill(build, FEW)

    outcomes = set()
    for moment in moments(build, prepare):
        before = read_saved(folder, BUILD_DATABASE)
        _, notes = interrupt(build, moment)
        saved = read_saved(folder, BUILD_DATABASE)
        try:
            found = writer.check(folder)
        except IndexNotFoundError as error:
            assert not old
            assert ("resume" in str(error)) == (saved is not None)
            assert "overwrite_index=True" not in str(error)
            done = False
        else:
            done = texts_of(found) == FEW
            assert done or found == served
        assert done or notes is not None
        if saved is not None and notes:
            assert f"{saved.passages:,} passages" in notes[0]
            assert 'overwrite_index="resume"' in notes[0]
        if not done:
            assert (saved is not None) >= bool(notes)
            assert bool(notes) or saved == before or saved is None  # before the build has begun
            if before is not None:
                assert saved is not None
                assert saved.passages > 0
            build(resume=True)
            assert texts_of(writer.check(folder)) == FEW
        outcomes.add((done, saved is not None))
    assert (False, True) in outcomes
