"""What `benchmarks/gpu.sh` runs on a GPU works, as far as that shows without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _there() -> None:
    if not (BENCHMARKS / "gpu.sh").is_file():
        pytest.skip("the benchmarks are not here")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence() -> None:
    done = run(BENCHMARKS / "gpu.sh")
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("gpu.sh: torch finds no GPU here.")


def test_options_that_it_does_not_know_get_its_usage() -> None:
    done = run(BENCHMARKS / "gpu.sh", "--device", "cpu")
    assert done.returncode == 2
    assert "--device cpu --small" in done.stderr


def test_the_encoder_is_compared_with_that_of_the_cpu(tmp_path: Path) -> None:
    done = run(
        sys.executable, BENCHMARKS / "encode_device.py", "--device", "cpu", "--small", "--out", tmp_path / "e.json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    parity = {(row["checkpoint"], row.get("dtype")): row for row in found["parity"]}
    assert parity["random", "float32"]["largest_difference"] == 0
    assert 0 < parity["random", "bfloat16"]["largest_difference"] < found["bounds"]["bfloat16"]
    assert all(row["query_ms"] > 0 for row in found["speed"])
