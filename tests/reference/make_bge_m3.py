"""Record a checkpoint in BGE-M3's form, and what FlagEmbedding makes of texts. See README.md.

python make_bge_m3.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoders import build_encoder
from FlagEmbedding.inference.embedder.encoder_only.m3 import M3Embedder
from recording import RECORDED_DOCUMENTS, RECORDED_QUERIES, Text, save

MADE_BY = ("FlagEmbedding", "transformers", "tokenizers", "torch", "numpy")
LENGTH = 512  # FlagEmbedding's default


def texts(model: M3Embedder, given: tuple[str, ...], method: str) -> list[Text]:
    """Encode texts; every token has a vector but the first one."""
    encode = getattr(model, method)
    vectors: Any = encode(list(given), return_colbert_vecs=True, max_length=LENGTH)["colbert_vecs"]
    result = []
    for text, rows in zip(given, vectors, strict=True):
        ids = model.tokenizer(text, truncation=True, max_length=LENGTH)["input_ids"]
        assert len(rows) == len(ids) - 1
        result.append(Text(ids, [True] * len(ids), [False] + [True] * len(rows), rows))
    return result


def main() -> None:
    """Record it."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = build_encoder(
            Path(temporary) / "model", "xlm-roberta", tokenizer="small-unigram", max_position_embeddings=514
        )
        for name, width in (("colbert", 16), ("sparse", 1)):  # as wide as the encoder, unless told otherwise
            torch.save(torch.nn.Linear(16, width).state_dict(), folder / f"{name}_linear.pt")
        model = M3Embedder(str(folder), use_fp16=False, devices="cpu", return_dense=False)
        queries = texts(model, RECORDED_QUERIES, "encode_queries")
        documents = texts(model, RECORDED_DOCUMENTS, "encode_corpus")
        scores = [[float(model.colbert_score(q.vectors, d.vectors)) for d in documents] for q in queries]
        save("bge-m3", folder, queries, documents, np.array(scores), *MADE_BY)


if __name__ == "__main__":
    main()
