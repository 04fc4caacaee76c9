"""The split of the sections that the demo checkpoint trains on, is chosen by, and is tested on."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "demo_checkpoint" / "split.py"
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("the benchmarks are not here")
    spec = importlib.util.spec_from_file_location("demo_split", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, sections: list[str], asked: list[int]) -> None:
    folder.mkdir(parents=True)
    (folder / "keys.tsv").write_text("".join(f"{pid}\t{s}\n" for pid, s in enumerate(sections)), encoding="utf-8")
    (folder / "qrels.tsv").write_text("".join(f"{pid} 0 {pid} 1\n" for pid in asked), encoding="utf-8")


def test_no_page_is_on_two_sides_in_any_language(script: ModuleType, tmp_path: Path) -> None:
    sections = [f"page{i // 3}#h{i}" for i in range(300)]
    write(tmp_path / "de", sections, list(range(0, 300, 2)))
    write(tmp_path / "ja", sections[::-1], list(range(0, 300, 3)))
    parts = script.split(tmp_path)
    pages = {part: {script.page_of(section) for section in parts[part]} for part in PARTS}
    assert all(pages.values())
    assert sum(map(len, pages.values())) == len(set().union(*pages.values()))
    assert set().union(*parts.values()) == set(sections[::2]) | set(sections[::-1][::3])


@given(st.text(), st.integers())
def test_a_page_is_always_on_the_same_side(script: ModuleType, page: str, seed: int) -> None:
    assert script.part_of(page, seed) == script.part_of(page, seed) in PARTS


def test_shares_are_as_asked_for(script: ModuleType) -> None:
    drawn = [script.part_of(f"page {i}") for i in range(4000)]
    for part, share in script.SHARES.items():
        assert abs(drawn.count(part) / len(drawn) - share) < 0.03


def test_the_recorded_split_leaks_nothing_and_is_what_the_script_draws(script: ModuleType) -> None:
    record = json.loads(script.RECORD.read_text(encoding="utf-8"))
    pages = [{script.page_of(section) for section in record[part]} for part in PARTS]
    assert sum(map(len, pages)) == len(set().union(*pages))
    for part in PARTS:
        assert {script.part_of(script.page_of(section)) for section in record[part]} == {part}
