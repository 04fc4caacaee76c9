"""Checkpoints that the owner of each format wrote, against the ids, masks, vectors and scores that it gave for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.text.tokenizer import Tokens

FOLDERS = Path(__file__).parents[1] / "reference" / "checkpoints"
GOLDEN = json.loads((FOLDERS.parent / "checkpoints.json").read_text(encoding="utf-8"))
QUERIES, DOCUMENTS = GOLDEN["queries"], GOLDEN["documents"]
NAMES = sorted(set(GOLDEN) - {"queries", "documents"})


def load(name: str) -> tuple[Encoder, dict[str, Any], str]:
    """Return an encoder, what was recorded, and the language of the adapter that the owner uses for all texts."""
    encoder = Encoder.from_pretrained(FOLDERS / name, device="cpu")
    return encoder, dict(np.load(FOLDERS / f"{name}.npz")), next(iter(encoder.adapters.languages), "en")


def assert_tokens(found: list[Tokens], golden: dict[str, Any], kind: str) -> None:
    lengths = golden[f"{kind}_lengths"].tolist()
    for part in ("ids", "attended", "scored"):
        flat = golden[f"{kind}_{part}"].tolist()
        for i, (tokens, length) in enumerate(zip(found, lengths, strict=True)):
            expected, flat = flat[:length], flat[length:]
            assert getattr(tokens, part) == expected, (part, i)


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_masks_are_the_owners(name: str) -> None:
    encoder, golden, _ = load(name)
    assert_tokens(encoder.tokenizer.queries(QUERIES), golden, "query")
    assert_tokens(encoder.tokenise(DOCUMENTS), golden, "doc")


@pytest.mark.parametrize("name", NAMES)
def test_vectors_and_scores_are_the_owners(name: str) -> None:
    encoder, golden, language = load(name)
    queries = encoder.encode_queries(QUERIES, [language] * len(QUERIES))
    passages = encoder.encode_documents(DOCUMENTS, [language] * len(DOCUMENTS))
    torch.testing.assert_close(passages.vectors, torch.from_numpy(golden["doc_vectors"]), atol=1e-5, rtol=0)
    rows = [row for query in queries for row in query if row.any()]
    torch.testing.assert_close(torch.stack(rows), torch.from_numpy(golden["query_vectors"]), atol=1e-5, rtol=0)
    scores = maxsim(queries, passages.vectors, passages.lengths)
    if encoder.checkpoint.format == "BGE-M3":  # FlagEmbedding gives the mean of what is summed here
        scores /= torch.tensor([[row.any(1).sum()] for row in queries])
    torch.testing.assert_close(scores, torch.from_numpy(golden["scores"]), atol=1e-4, rtol=0)
