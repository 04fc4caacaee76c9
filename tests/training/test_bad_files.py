"""Training files that are damaged: one error that names the file and the line."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import torch

from ragatouille_xm.errors import CheckpointError, InputError
from ragatouille_xm.training import TrainingConfig, read_examples
from ragatouille_xm.training.runs import STATE, Run

TEXTS = {"1": "one", "2": "two", "3": "three"}


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '["1", ["2", NaN], ["3", 1]]',
        '["1", ["2", Infinity], ["3", 1]]',
        f'["1", ["2", {10**400}], ["3", 1]]',
        '["1", ["2", null], ["3", 1]]',
        '{"qid": "1", "pos": "2", "neg": {"a": ["3"]}}',
        '{"qid": "1", "pos": ["2"], "neg": {"a": "3"}}',
        '{"qid": "1", "pos": ["2"], "neg": ["3"]}',
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    good = '{"qid": "1", "pos": ["2"], "neg": {"a": ["3"]}}' if line.startswith("{") else '["1", ["2", 1], ["3", 0]]'
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2"):
        read_examples(file, queries=TEXTS, collection=TEXTS)


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_gzipped_file_with_a_wrong_byte(tmp_path: Path, at: int) -> None:
    content = bytearray(gzip.compress(b"one\ttwo\tthree\n" * 50, mtime=0))
    content[at % len(content)] ^= 0x55
    (tmp_path / "rows.tsv.gz").write_bytes(content)
    try:
        read_examples(tmp_path / "rows.tsv.gz")
    except InputError as error:
        assert "rows.tsv.gz" in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", ["rows.tsv", "rows.tsv.gz"])
@pytest.mark.timeout(60)
def test_a_pipe_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="not a regular file"):
        read_examples(tmp_path / name)


@pytest.mark.parametrize("content", [[], torch.ones(2), {"config": [], "step": 1}, {"config": {}, "step": "1"}])
def test_another_pickle_in_the_place_of_a_state(tmp_path: Path, content: object) -> None:
    (tmp_path / "step-000001").mkdir()
    torch.save(content, tmp_path / "step-000001" / STATE)
    with pytest.raises(CheckpointError, match=STATE):
        Run(tmp_path, TrainingConfig(), resume=True)
