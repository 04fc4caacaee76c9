"""The README: a newcomer runs its blocks and commands as they stand, and its numbers are those that were measured."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from examples import examples, run_python
from typer.main import get_command

from ragatouille_xm.cli import app
from ragatouille_xm.demo.delta import find_delta

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = [example for example in examples(ROOT / "README.md") if example.kind == "python"]
SHELL = "".join(re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
RESULTS = ROOT / "benchmarks" / "results"


def test_it_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120
    assert "**Status" in "".join(lines[:60])


def test_its_blocks_print_what_it_shows(demo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, in an empty folder, on the trained demo checkpoint: steps, filter, chain."""
    monkeypatch.syspath_prepend(str(ROOT / "integrations" / "demo"))
    monkeypatch.setattr("ragatouille_xm.demo.checkpoint.find_delta", find_delta)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        assert run_python(example, ROOT / "README.md", names) == example.printed
    assert len(EXAMPLES) == 3


def test_its_first_block_has_twelve_lines() -> None:
    assert len([line for line in EXAMPLES[0].code.splitlines() if line]) <= 12


def test_its_commands_exist() -> None:
    targets = re.findall(r"^make (\w+)", SHELL, re.MULTILINE)
    assert targets == ["demo", "test"]
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(re.findall(r"^ragatouille-xm (\w+)", SHELL, re.MULTILINE)) <= set(commands)
    for path in re.findall(r"\./(\S+)", SHELL):
        assert (ROOT / path / "pyproject.toml").exists()


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_installs_what_the_target_runs(target: str) -> None:
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    install, run = plan.index("--editable integrations/demo"), plan.rindex(".venv/bin/")
    assert install < run
    quiet = [line for line in plan.splitlines() if "pip install" in line]
    assert all("--quiet --quiet --disable-pip-version-check" in line for line in quiet)
    assert plan.count('echo "Installing') == plan.count("pip install --quiet --quiet --disable-pip-version-check --con")


def test_its_numbers_were_measured() -> None:
    def read(name: str) -> dict[str, Any]:
        return dict(json.loads((RESULTS / name).read_text(encoding="utf-8")))

    quality = read("demo_quality.json")["systems"]
    gain = (
        quality["trained"]["alone"]["mean"]["mrr@10"]
        - quality["trained, English adapter for all"]["alone"]["mean"]["mrr@10"]
    )
    search = {
        row["corpus"]: row["again_cpu_ms"]
        for row in read("search-avx2.json")["rows"]
        if (row["system"], row["setting"], row["threads"]) == ("ours", "default", 1)
    }
    speed = {
        row["system"]: row["tokens_per_s"]
        for row in read("encode.json")["rows"]
        if (row["checkpoint"], row["languages"], row["threads"]) == ("base", 14, 1)
    }
    translations = read("adapters.json")["comparisons"]
    gains = [
        each["English adapter"]["difference"]
        for test in translations.values()
        for each in test.values()
        if all(found["difference"] > 0 and found["corrected"] < 0.05 for found in each.values())
    ]
    assert len(gains) == 4
    words = " ".join(README.split())
    for number in (
        f"[{quality['trained']['alone']['mean']['mrr@10']}](docs/benchmarks.md#the-trained-demo-checkpoint) MRR@10",
        f"{quality['bm25']['alone']['mean']['mrr@10']} for BM25",
        f"{gain:.1f} points above the English one",
        f"in four weak languages, [by translations](docs/benchmarks.md#adapters-by-translations), "
        f"{min(gains):.1f} to {max(gains):.1f}.",
        f"[{search['real-10000']} ms](docs/benchmarks.md#search-beside-other-engines) to search 10,000",
        f"{search['real-100000']} ms for 100,000",
        f"[{speed['ours float32']:,}](docs/benchmarks.md#encoding) tokens",
        f"{speed['transformers']} by transformers",
    ):
        assert number in words


def test_its_figure_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from readme_figure import FIGURE, digest

    assert digest() in FIGURE.read_text(encoding="utf-8"), "python benchmarks/readme_figure.py"
