"""Record checkpoints that sentence-transformers' `MultiVectorEncoder` writes, and what it gives. See README.md.

python make_sentence_transformers.py
"""

from __future__ import annotations

import string
import tempfile
from pathlib import Path
from typing import Any

import torch
from encoders import build_colbert, build_encoder
from recording import FOLDERS, RECORDED_DOCUMENTS, RECORDED_QUERIES, Text, save
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

MADE_BY = ("sentence-transformers", "transformers", "tokenizers", "torch", "numpy")


def texts(model: MultiVectorEncoder, given: tuple[str, ...], task: str) -> list[Text]:
    """Encode texts one by one, and assert that batches give the same."""
    encode = model.encode_query if task == "query" else model.encode_document
    together = encode(list(given), convert_to_numpy=True)
    result = []
    for text, batched in zip(given, together, strict=True):
        features = model.preprocess([text], prompt=model.prompts.get(task), task=task)
        raw = encode([text], output_value=None)[0]
        scored = raw["attention_mask"].bool()
        kept = raw["token_embeddings"][scored].float().cpu().numpy()
        assert abs(kept - batched).max(initial=0) < 1e-5
        result.append(Text(features["input_ids"][0], features["attention_mask"][0], scored.cpu(), kept))
    return result


def record(name: str, root: Path, made: MultiVectorEncoder) -> None:
    """Have a model written and read again, and record that one."""
    folder = root / f"{name}-saved"
    made.save_pretrained(str(folder))
    model = MultiVectorEncoder(str(folder), device="cpu")
    queries, documents = texts(model, RECORDED_QUERIES, "query"), texts(model, RECORDED_DOCUMENTS, "document")
    vectors = [[torch.from_numpy(each.vectors) for each in side] for side in (queries, documents)]
    save(name, folder, queries, documents, model.similarity(*vectors), *MADE_BY)


def made_of(
    base: Path, *head: Dense, mask: dict[str, Any], prompts: dict[str, str], **options: Any
) -> MultiVectorEncoder:
    """Return a model of an encoder and a head with random weights."""
    for layer in head:
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    modules = [
        Transformer(str(base), **options),
        *head,
        MultiVectorMask(**mask),
        Normalize(module_input_name="token_embeddings"),
    ]
    return MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu")


def dense(n_in: int, n_out: int, **options: Any) -> Dense:
    """Return a layer over vectors of tokens."""
    options = {"bias": False, "activation_function": torch.nn.Identity()} | options
    return Dense(n_in, n_out, module_input_name="token_embeddings", **options)


def main() -> None:
    """Record all."""
    torch.manual_seed(0)
    symbols = list(string.punctuation)
    markers = {"query": "[Q] ", "document": "[D] "}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        model = made_of(
            build_encoder(root / "modernbert", "modernbert"), dense(16, 8),
            mask={"skiplist_words": symbols}, prompts=markers,
            document_length=64, query_expansion={"strategy": "fixed", "attend": True, "length": 48},
        )  # fmt: skip
        record("st-modernbert", root, model)
        wide = dense(16, 24, bias=True, activation_function=torch.nn.SiLU(), use_residual=True)
        model = made_of(
            build_encoder(root / "bert", "bert"), wide, dense(24, 8, bias=True),
            mask={"skiplist_words": ["the", "?"], "skiplist_tasks": ["query", "document"]},
            prompts={"query": "query: ", "document": "passage: "}, do_lower_case=True,
        )  # fmt: skip
        record("st-bert", root, model)
        colbert_ai = build_colbert(root / "colbert-ai", "xmod", metadata={"attend_to_mask_tokens": True})
        record("st-colbert-xm", root, MultiVectorEncoder(str(colbert_ai), device="cpu"))
        record("st-pylate-xmod", root, MultiVectorEncoder(str(FOLDERS / "pylate-xmod"), device="cpu"))


if __name__ == "__main__":
    main()
