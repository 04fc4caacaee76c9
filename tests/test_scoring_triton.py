"""The fused kernel against the plain way: on a GPU if there is one, otherwise in Triton's interpreter."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from ragatouille_xm import scoring

pytest.importorskip("triton", reason="Triton is for Linux only")
from ragatouille_xm.scoring_triton import maxsim

SHARED = 99 * 1024  # bytes that one program may have where there are least, on GPUs of capability 8.6
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def some(lengths, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(sum(lengths), dim, generator=generator), dim=1).half().to(DEVICE)


def asked(count, rows, dim):
    return normalize(torch.randn(count, rows, dim, generator=torch.Generator().manual_seed(9)), dim=2).to(DEVICE)


@pytest.mark.parametrize(
    ("count", "rows", "dim"),
    [(1, 32, 128), (5, 32, 128), (3, 1, 128), (2, 33, 96), (1, 200, 128), (3, 130, 20), (9, 5, 7)],
)
def test_it_scores_as_the_plain_way_does(count, rows, dim):
    lengths = [1, 31, 32, 33, 70]
    vectors, queries, sizes = some(lengths, dim), asked(count, rows, dim), torch.tensor(lengths, device=DEVICE)
    found = maxsim(queries, vectors, sizes.cumsum(0) - sizes, sizes)
    assert found.dtype == torch.float32
    expected = scoring.maxsim(queries.half(), vectors.float(), sizes)
    torch.testing.assert_close(found, expected, atol=1e-6 * rows, rtol=0)


def test_some_passages_of_many_in_8_bit_integers_with_a_scale_for_each_token():
    lengths = torch.tensor([5, 40, 3, 64, 1], device=DEVICE)
    vectors, queries = some(lengths.tolist(), 128), asked(3, 32, 128)
    codes, scales = (vectors * 300).round().clamp(-127, 127).to(torch.int8), torch.rand(len(vectors), device=DEVICE)
    starts, rows = lengths.cumsum(0) - lengths, torch.tensor([1, 4], device=DEVICE)
    expected = scoring.maxsim(queries, codes.float() * scales[:, None], lengths)[:, rows]
    found = maxsim(queries, codes, starts[rows], lengths[rows], scales)
    torch.testing.assert_close(found, expected, atol=0, rtol=1e-3)


def test_views_that_are_not_contiguous():
    vectors, queries = some([60, 60], 32)[:, ::2], asked(2, 8, 16)
    starts, lengths = torch.arange(0, 80, 4, device=DEVICE)[::2], torch.arange(1, 41, device=DEVICE)[::4]
    scales = torch.rand(120, 2, device=DEVICE)[:, 0]
    expected = maxsim(queries, vectors.contiguous(), starts.clone(), lengths.clone(), scales.clone())
    torch.testing.assert_close(maxsim(queries, vectors, starts, lengths, scales), expected, atol=0, rtol=0)


def test_zeros_add_nothing_and_nothing_is_no_passage():
    vectors, lengths = torch.tensor([[-1.0, 0.0], [-0.5, 0.0]], device=DEVICE).half(), torch.tensor([2], device=DEVICE)
    queries = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], device=DEVICE)
    assert maxsim(queries, vectors, lengths * 0, lengths).tolist() == [[-0.5]]
    assert maxsim(queries, vectors, lengths[:0], lengths[:0]).shape == (1, 0)


def test_where_it_does_not_work_the_plain_way_is_taken_with_one_warning(monkeypatch, caplog):
    scoring.fused_on.cache_clear()
    monkeypatch.setattr("ragatouille_xm.scoring_triton.maxsim", lambda *given: torch.zeros(()))
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cuda", 99)
    with caplog.at_level(logging.WARNING, "ragatouille_xm"):
        assert scoring.fused_on(device, torch.int8, 128) is None
        assert scoring.fused_on(device, torch.int8, 128) is None
    assert len(caplog.records) == 1
    scoring.fused_on.cache_clear()


def test_it_compiles_for_gpus_to_matrix_products_that_spill_nothing(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("compiled_kernel.py"), "80", "86", "90", "120"],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    programs = json.loads(done.stdout)
    assert len(programs) == 16
    for program in programs:
        assert program["matrix_products"] > 0, program
        assert program["spilled_bytes"] == 0, program
        assert program["shared_bytes"] <= SHARED, program
