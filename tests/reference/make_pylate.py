"""Record checkpoints that PyLate writes, and the ids, masks, vectors and scores that it gives. See README.md.

python make_pylate.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from encoders import build_colbert, build_encoder
from pylate import models, scores
from recording import RECORDED_DOCUMENTS, RECORDED_QUERIES, Text, save

MADE_BY = ("pylate", "sentence-transformers", "transformers", "tokenizers", "torch", "numpy")


def texts(model: models.ColBERT, given: tuple[str, ...], *, is_query: bool) -> list[Text]:
    """Encode texts one by one, and assert that batches give the same."""
    options = {"is_query": is_query, "prompt_name": "query" if is_query else "document"}
    batched = model.encode(list(given), **options)
    result = []
    for text, together in zip(given, batched, strict=True):
        found = model.encode([text], output_value=None, **options)
        ids, attended, scored, vectors = (
            found[key][0] for key in ("input_ids", "attention_mask", "masks", "token_embeddings")
        )
        kept = vectors[scored.astype(bool)]
        assert abs(kept - together).max(initial=0) < 1e-5
        result.append(Text(ids, attended, scored, kept))
    return result


def record(name: str, root: Path, base: Path | None, **options: Any) -> None:
    """Make a model of an encoder, have PyLate write and read it again, and record that one."""
    torch.manual_seed(0)
    made = models.ColBERT(None if base is None else str(base), device="cpu", **options)
    for module in list(made)[1:]:
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    folder = root / f"{name}-saved"
    made.save(str(folder))
    model = models.ColBERT(str(folder), device="cpu")
    queries = texts(model, RECORDED_QUERIES, is_query=True)
    documents = texts(model, RECORDED_DOCUMENTS, is_query=False)
    matrix = [
        [float(scores.colbert_scores(torch.tensor(q.vectors)[None], torch.tensor(d.vectors)[None])) for d in documents]
        for q in queries
    ]
    save(name, folder, queries, documents, matrix, *MADE_BY)


def with_layers(base: Path, *layers: models.Dense) -> dict[str, Any]:
    """Return options of a model with these layers as its head."""
    from sentence_transformers.models import Transformer

    return {"modules": [Transformer(str(base)), *layers]}


def main() -> None:
    """Record all."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)

        def encoder(kind: str, **options: Any) -> Path:
            return build_encoder(root / kind, kind, **options)

        record("pylate-bert", root, encoder("bert"), embedding_size=8, query_length=40, document_length=64)
        base = encoder("modernbert")
        record(
            "pylate-modernbert", root, None,
            **with_layers(
                base,
                models.Dense(16, 24, bias=True, activation_function=torch.nn.GELU(), use_residual=True),
                models.Dense(24, 8, bias=False),
            ),
            query_prefix="[unused0]", document_prefix="", query_length=40, document_length=50,
            attend_to_expansion_tokens=True, skiplist_words=["the", ".", "?"],
            prompts={"query": "find: ", "document": "text: "}, default_prompt_name=None,
        )  # fmt: skip
        base = encoder("xlm-roberta", tokenizer="small-unigram")
        record("pylate-xlmr", root, base, embedding_size=8, do_query_expansion=False, document_length=64)
        record("pylate-xmod", root, encoder("xmod"), embedding_size=8, query_length=40, document_length=64)
        # colbert-xm itself, as PyLate reads it: it adds the markers that XLM-R lacks, with embeddings of their own.
        colbert_ai = build_colbert(root / "colbert-ai", "xmod", metadata={"attend_to_mask_tokens": True})
        record("pylate-colbert-xm", root, colbert_ai)


if __name__ == "__main__":
    main()
