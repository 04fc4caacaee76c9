"""`docs/benchmarks.md` and its plots are what the results give."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report() -> Iterator[ModuleType]:
    if not (ROOT / "benchmarks" / "report.py").is_file():
        pytest.skip("the benchmarks are not here")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("report")
    sys.path[:] = [path for path in sys.path if path != str(ROOT / "benchmarks")]
    for name in [name for name in sys.modules if name.split(".")[0] in ("report", "reporting")]:
        del sys.modules[name]


@pytest.fixture
def results(report: ModuleType, tmp_path: Path) -> Path:
    """Return a copy of the results that the page is made from."""
    return Path(shutil.copytree(report.HERE / "results", tmp_path / "results"))


def test_page_and_plots_are_current(report: ModuleType) -> None:
    assert report.stale() == [], "run: python benchmarks/report.py"


def test_every_result_has_a_section(report: ModuleType) -> None:
    shown = {section.source[1] for section in report.sections(report.Results(report.HERE / "results"))}
    raw = {f"{name}_queries.json" for name in ("adapters", "demo_quality", "quality")}  # what tests are computed from
    beside = {"demo_adapters.json"}  # the training of adapters.json
    assert shown == {path.name for path in (report.HERE / "results").glob("*.json*")} - raw - beside


def test_scripts_and_pictures_that_the_page_names_are_there(report: ModuleType) -> None:
    for section in report.sections(report.Results(report.HERE / "results")):
        assert (report.HERE / section.source[0]).is_file()
        assert section.plot is None or (report.IMAGES / f"{section.plot.name}.svg").is_file()


def test_a_new_number_makes_page_and_plot_stale(report: ModuleType, results: Path) -> None:
    path = results / "encode.json"
    measured = json.loads(path.read_text(encoding="utf-8"))
    row = next(row for row in measured["rows"] if row["checkpoint"] == "base" and row["system"] == "ours float32")
    row["tokens_per_s"] += 1
    path.write_text(json.dumps(measured), encoding="utf-8")
    assert report.stale(results) == [report.PAGE, report.IMAGES / "encode.svg"]


def test_a_section_without_its_result_is_left_out(report: ModuleType, results: Path, tmp_path: Path) -> None:
    for path in results.iterdir():
        if path.name != "languages.json":
            path.unlink()
    report.write(results, tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## Language detection"]
    assert report.stale(results, tmp_path / "page.md", tmp_path) == []


def engines() -> dict[str, Any]:
    """Return what `benchmarks/index.py` writes, cut short."""

    def beside(before: float, after: float) -> dict[str, float | None]:
        return {"before": before, "after": after, "ratio": round(after / before, 3) if before else None}

    when = {"date": "2026-11-30", "load_average": 1.5}
    return {
        "question": "The index engine.",
        "machine": {"cpu": "a CPU", "cores": 2, "torch": "2.13.0"},
        "repetitions": {"rounds": 3, "changes": 200, "queries": 30},
        "before": {"commit": "aaaaaaa", "engine": "EdgeIndex", "storage": "float16"},
        "after": {"commit": "bbbbbbb", "engine": "LocalIndex", "storage": "int16"},
        "sizes": {
            "1000": {
                "passages": 1000,
                "build": {"cpu_s": beside(2, 1), "files": beside(51, 2), **when},
                "open": {"open_ms": beside(40, 2), "files_changed": beside(16, 0), **when},
                "search": {"default_ms": beside(2, 3), "default_same_hits": 0.9, **when},
            }
        },
    }


def test_engines_are_shown_beside_each_other(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps(engines()), encoding="utf-8")
    report.write(tmp_path, tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| open, ms | 40 → 2 |" in page
    assert "| files changed by opening and reading | 16 → 0 |" in page
    assert "| queries with the same hits, default | 90 % |" in page
    assert "At 1,000 passages, these take more than before: query, default, ms (1.5 times)." in page
    assert "a CPU, 2 cores, torch 2.13.0 · 2026-11-30" in page
    assert (tmp_path / "index.svg").is_file()


def test_attacks_are_counted(report: ModuleType, tmp_path: Path) -> None:
    attacks = {
        "question": "Does an index survive?",
        "machine": {"cpu": "a CPU", "cores": 2},
        "kills": {"kills": 1000, "during": {"add": 1000}, "the call was": {"not done": 600, "done": 400}, "faults": []},
        "flips": {
            "flips": 50,
            "outcomes_by_file": {"index.db": {"right answers": 20, "own error": 9}, ".codes": {"wrong answer": 21}},
            "wrong": [{}] * 21,
            "not_noticed_by_find_faults": {"a page that is free": 3},
        },
        "readers": {
            "seconds": 60, "threads": 16, "processes": 4, "commits_and_other_calls_of_the_writer": 500,
            "calls": {"check_exact": 2000, "check_scroll": 1000}, "faults": [],
        },
    }  # fmt: skip
    (tmp_path / "attack.json").write_text(json.dumps(attacks), encoding="utf-8")
    report.write(tmp_path, tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| flipped bits | 50 | 21 |" in page
    assert "| answers beside a writer | 3,000 | 0 |" in page
    assert "| `.codes` | 0 | 0 | 21 |" in page
    assert "`doctor --full` did not notice 3 of the 50 flipped bits: 3 in a page that is free." in page


def test_the_guide_has_the_table_of_formats_as_measured(report: ModuleType) -> None:
    measured = report.Results(report.HERE / "results").get("checkpoints")
    guide = (ROOT / "docs" / "guide" / "checkpoints.md").read_text(encoding="utf-8")
    assert report.checkpoints.parity_table(measured) in guide


def search() -> dict[str, Any]:
    """Return what `benchmarks/search.py` writes, cut short: this package, and two engines that it is held against."""

    def row(system: str, setting: str, **values: Any) -> dict[str, Any]:
        return {
            "corpus": "real-10000",
            "system": system,
            "setting": setting,
            "threads": 1,
            "load_average": 1.5,
        } | values

    def found(overlap: float, mrr: float, ms: float) -> dict[str, Any]:
        return {"overlap": overlap, "mrr@10": mrr, "cpu_ms": ms, "again_cpu_ms": ms, "wall_ms": ms,
                "resident_mb": 500, "anonymous_mb": 200}  # fmt: skip

    def build(size: float) -> dict[str, Any]:
        return {"cpu_s": 5.0, "peak_mb": 400, "bytes_per_token": size}

    return {
        "machine": {"cpu": "a CPU", "int8_gops_one_thread": 100.0},
        "corpora": {
            "real-10000": {"passages": 10_000, "tokens": 1_000_000, "queries": 200, "floor_ms_exact_by_torch": 40.0,
                           "floor_ms_exact": 20.0, "floor_ms_default": 2.0},
        },
        "rows": [
            row("ours", "build", **build(267)),
            row("ours", "fast", **found(0.9, 57, 6)),
            row("ours", "default", **found(0.99, 60, 10)),
            row("ours, int4", "build", **build(67)),
            row("ours, int4", "default", **found(0.96, 59, 4)),
            row("WARP, 4 bit", "build", **build(70)),
            row("WARP, 4 bit", "default", **found(0.8, 58, 5)),
            row("fast-plaid, 4 bit", "build", **build(78)),
            row("fast-plaid, 4 bit", "default", **found(0.97, 57, 400)),
            row("LanceDB IVF_PQ", "build", absent="not installed"),
        ],
    }  # fmt: skip


def test_each_engine_is_held_against_what_is_as_good_here(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "search-avx2.json").write_text(json.dumps(search()), encoding="utf-8")
    report.write(tmp_path, tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    small = 'this package, `storage="int4"`, default | 0.96 | 4'
    warp = f"WARP (xtr-warp-rs), 4 bit, default | 0.8 | 5 | {small} | 0.80 ✗ | 0.5"
    plaid = "fast-plaid, 4 bit, default | 0.97 | 400 | this package, default | 0.99 | 10 | 0.03 | 0.15"
    for held in (warp, plaid):
        assert f"| 10,000 real passages: {held} |" in page
    assert '| 10,000 real passages: this package, `storage="int4"` | 67 | 0.96 | 59.0 | 4 | 0.96 | 59.0 |' in page
    assert "| LanceDB IVF_PQ: not installed |" in page
    assert (tmp_path / "sizes.svg").is_file()
    assert (tmp_path / "search-avx2.svg").is_file()


def test_what_gpus_did_is_shown(report: ModuleType, tmp_path: Path) -> None:
    machine, speed = {"device": "a GPU", "torch": "2.13.0"}, {"tokens_per_s_1": 90_000, "tokens_per_s_14": 80_000}
    searched = {name: {"overlap": 1.0, "ms_of_1": ms} for name, ms in (("cpu", 9), ("cpu, exact", 8), ("device", 3.5))}
    results: dict[str, dict[str, Any]] = {
        "encode_device": {
            "parity": [
                {"checkpoint": "random", "dtype": "bfloat16", "largest_difference": 0.003, "least_cosine": 0.9999},
                {"checkpoint": "demo", "absent": "not installed"},
            ],
            "speed": [{"dtype": "bfloat16", "batch": 64, **speed, "query_ms": 2.5}],
        },
        "search_device": {
            "passages": 1000,
            "tokens_of_each": 80,
            "rows": [{"system": "ours, int8", "1 queries": {"ms": 1.5}}, {"system": "flash-maxsim", "absent": "no"}],
        },
        "index_device": {"passages": 1000, "rows": [{"storage": "int8", **searched}]},
    }
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result | {"machine": machine}), encoding="utf-8")
    report.write(tmp_path, tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| random, bfloat16 | 0.003 | 0.9999 |" in page
    assert "| bfloat16 | 90,000 | 80,000 | 2.5 |" in page
    assert "| ours, int8 | 1.5 |" in page
    assert "| int8, device | 1 | 3.5 |" in page
