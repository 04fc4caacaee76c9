"""Record vectors and scores of the tiny checkpoints as colbert-ai computes them. Run by both versions, see README.md.

python make_scores.py new|old
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint
from colbert.modeling.colbert import colbert_score
from golden import HERE, amend, versions
from texts import DOCUMENTS, QUERIES
from tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod

Arrays = dict[str, Any]


def record(folder: Path, documents: list[str]) -> Arrays:
    checkpoint = Checkpoint(str(folder), colbert_config=ColBERTConfig(), verbose=0)
    queries = checkpoint.queryFromText(list(QUERIES))
    ids, attention = checkpoint.doc_tokenizer.tensorize(documents)
    padded, mask = checkpoint.doc(ids, attention, keep_dims="return_mask")
    kept = checkpoint.docFromText(documents, keep_dims=False)
    sorted_first = checkpoint.docFromText(documents, bsize=4, keep_dims=False)[0]
    for alone, batched, row, keep in zip(kept, sorted_first, padded, mask, strict=True):
        assert torch.equal(alone, row[keep[:, 0]])
        assert torch.allclose(alone, batched, atol=1e-6)
    config = checkpoint.colbert_config
    scores = [colbert_score(query[None], padded, mask.clone(), config=config) for query in queries]
    query_ids, _ = checkpoint.query_tokenizer.tensorize(list(QUERIES))
    return {
        "doc_ids": ids.int().numpy(),
        "doc_attention": attention.bool().numpy(),
        "doc_keep": mask[:, :, 0].numpy(),
        "doc_lengths": np.array([len(vectors) for vectors in kept]),
        "doc_vectors": torch.cat(kept).numpy(),
        "query_ids": query_ids.int().numpy(),
        "query_vectors": queries.numpy(),
        "scores": torch.stack(scores).numpy(),
    }


def main() -> None:
    label = sys.argv[1]
    few = list(DOCUMENTS[:6])
    plan: dict[str, tuple[Callable[..., Path], list[str]]] = {
        "xmod": (build_tiny_xmod, list(DOCUMENTS)),
        "bert": (build_tiny_bert, few),
        "xlmr": (build_tiny_xlmr, few),
    }
    with tempfile.TemporaryDirectory() as temporary:
        for name, (build, documents) in plan.items():
            if label == "new" or name == "xmod":
                arrays = record(build(Path(temporary) / name), documents)
                np.savez_compressed(HERE / f"{name}_scores_{label}.npz", **arrays)
    made_by = versions("colbert-ai", "transformers", "tokenizers", "torch", "numpy")
    amend("scores.json", documents=list(DOCUMENTS), queries=list(QUERIES), **{label: {"made_by": made_by}})


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
