"""The measures of each query, and the tests between systems, of the demo checkpoint's table."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    pytest.importorskip("bm25s")
    pytest.importorskip("ir_measures")
    if not (BENCHMARKS / "demo_quality.py").is_file():
        pytest.skip("the benchmarks are not here")
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("demo_quality")
    sys.path.remove(str(BENCHMARKS))
    for name in [
        name for name in sys.modules if name.split(".")[0] in ("demo_quality", "retrieval", "demo_checkpoint")
    ]:
        del sys.modules[name]


def test_each_query_is_measured_in_its_place(script: ModuleType) -> None:
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.0]])
    qrels = [script.Qrel(query, answer, 1) for query, answer in (("z", "b"), ("a", "a"), ("m", "c"))]
    found = script.measure(scores, ["a", "b", "c"], qrels)
    assert found == {"mrr@10": [0.5, 1.0, 0.0], "r@100": [1.0, 1.0, 0.0]}  # a score of 0 is not found


def test_languages_count_the_same_in_the_mean(script: ModuleType) -> None:
    rows = script.averaged({"de": {"mrr@10": [1.0, 0.5], "r@100": [1, 1]}, "fr": {"mrr@10": [0.0], "r@100": [0]}})
    assert rows["mean"] == {"mrr@10": 37.5, "r@100": 50.0}
    assert rows["de"] == {"mrr@10": 75.0, "r@100": 100.0}


def test_a_difference_that_every_query_has_is_significant_and_a_single_one_is_not(script: ModuleType) -> None:
    def queries(de: float, fr: float) -> dict[str, dict[str, list[float]]]:
        return {"de": {"mrr@10": [de] * 20}, "fr": {"mrr@10": [fr, *[0.5] * 19]}}

    found = script.compared({"trained": queries(0.5, 1.0), "untrained": queries(0.25, 0.5)}, ["untrained"])
    rows = found["untrained"]
    assert list(rows) == ["all", "de", "fr"]
    assert (rows["all"]["difference"], rows["de"]["difference"], rows["fr"]["difference"]) == (13.75, 25.0, 2.5)
    assert rows["de"]["p"] < rows["de"]["corrected"] < 0.05
    assert rows["fr"]["corrected"] == 1.0
