"""End to end against colbert-ai on the same small checkpoints (tests/reference/make_scores.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.scoring import maxsim

REFERENCE = Path(__file__).parent / "reference"
BUILDERS = {"xmod": build_tiny_xmod, "bert": build_tiny_bert, "xlmr": build_tiny_xlmr}


@pytest.mark.parametrize(
    ("name", "version", "marker"),
    [("xmod", "old", "prefix"), ("xmod", "new", "insert"), ("bert", "new", "insert"), ("xlmr", "new", "insert")],
)
def test_vectors_and_scores_equal_colbert_ais(tmp_path: Path, name: str, version: str, marker: str) -> None:
    golden = np.load(REFERENCE / f"{name}_scores_{version}.npz")
    texts = json.loads((REFERENCE / "scores.json").read_text(encoding="utf-8"))
    documents = texts["documents"][: len(golden["doc_lengths"])]
    build: Callable[..., Path] = BUILDERS[name]
    encoder = Encoder.from_pretrained(build(tmp_path, metadata={"marker": marker}), device="cpu")

    *short, long = texts["queries"]  # colbert-ai cuts the last one off at 32 tokens; ours goes on
    assert encoder.encode_queries([long], ["en"]).shape[1] > 32
    queries = encoder.encode_queries(short, ["en"] * len(short))  # colbert-ai knows only en_XX
    passages = encoder.encode_documents(documents, ["en"] * len(documents))
    assert passages.lengths.tolist() == golden["doc_lengths"].tolist()
    torch.testing.assert_close(queries, torch.from_numpy(golden["query_vectors"][:-1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(passages.vectors, torch.from_numpy(golden["doc_vectors"]), atol=1e-5, rtol=0)
    scores = maxsim(queries, passages.vectors, passages.lengths)
    torch.testing.assert_close(scores, torch.from_numpy(golden["scores"][:-1]), atol=1e-4, rtol=0)
