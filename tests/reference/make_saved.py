"""Record what other libraries read out of the folders that `save_pretrained` writes. See README.md.

python make_saved.py write FOLDER       where ragatouille_xm is installed
python make_saved.py LIBRARY FOLDER     where that library is: colbert-ai, sentence-transformers, pylate
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from golden import HERE, amend, versions
from numpy.typing import NDArray
from saved import CHECKPOINTS, FORMATS, written
from texts import DOCUMENTS, QUERIES
from tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod

BUILDERS = {"xmod": build_tiny_xmod, "xlmr": build_tiny_xlmr, "bert": build_tiny_bert}
PASSAGES = DOCUMENTS[:6]
ASKED = QUERIES[:4]
Arrays = dict[str, NDArray[Any]]


def write(folder: Path) -> None:
    from ragatouille_xm import RAGPretrainedModel

    files: dict[str, Any] = {}
    for name, metadata in CHECKPOINTS.items():
        base = BUILDERS[name.split()[0]](folder / "base" / name, metadata=metadata)
        model = RAGPretrainedModel.from_pretrained(base, verbose=0, device="cpu")
        for form in sorted(set(FORMATS.values())):
            model.save_pretrained(folder / form / name, format=form)
            files[f"{name}, {form}"] = written(folder / form / name)
    amend("saved.json", passages=PASSAGES, queries=ASKED, files=files)


def read(library: str, folder: Path) -> None:
    arrays: Arrays = {}
    for name in CHECKPOINTS:
        found = READERS[library](folder / FORMATS[library] / name)
        arrays |= {f"{name} {part}": value for part, value in found.items()}
    np.savez_compressed(HERE / f"saved_{library}.npz", **arrays)
    packages = {"colbert-ai": ["colbert-ai"], "sentence-transformers": ["sentence-transformers"]}
    made_by = versions(*packages.get(library, ["pylate", "sentence-transformers"]), "transformers", "torch")
    amend("saved.json", **{f"made_by {library}": made_by})


def flat(vectors: list[Any], ids: list[Any]) -> Arrays:
    """Return the kept vectors of all texts, one text after the other, and the ids of all tokens likewise."""
    return {
        "lengths": np.array([len(each) for each in vectors]),
        "vectors": np.concatenate([np.asarray(each, dtype=np.float32) for each in vectors]),
        "widths": np.array([len(each) for each in ids]),
        "ids": np.concatenate([np.asarray(each, dtype=np.int64) for each in ids]),
    }


def both(queries: Arrays, passages: Arrays) -> Arrays:
    return {f"query {k}": v for k, v in queries.items()} | {f"passage {k}": v for k, v in passages.items()}


def attended(ids: Any, mask: Any) -> list[Any]:
    return [row[kept.bool()].numpy() for row, kept in zip(ids.cpu(), mask.cpu(), strict=True)]


def read_colbert_ai(folder: Path) -> Arrays:
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint

    checkpoint = Checkpoint(str(folder), ColBERTConfig(), verbose=0)
    queries = checkpoint.queryFromText(ASKED)
    [passages] = checkpoint.docFromText(PASSAGES, bsize=2, keep_dims=False)
    query_ids, _ = checkpoint.query_tokenizer.tensorize(ASKED)
    doc_ids, mask = checkpoint.doc_tokenizer.tensorize(PASSAGES)
    return both(flat(list(queries), list(query_ids)), flat(passages, attended(doc_ids, mask)))


def read_sentence_transformers(folder: Path) -> Arrays:
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    queries, passages = model.encode_query(ASKED), model.encode_document(PASSAGES)
    asked = model.preprocess(ASKED, task="query", prompt=model.prompts.get("query"))
    given = model.preprocess(PASSAGES, task="document", prompt=model.prompts.get("document"))
    return both(
        flat(queries, list(asked["input_ids"])), flat(passages, attended(given["input_ids"], given["attention_mask"]))
    )


def read_pylate(folder: Path) -> Arrays:
    from pylate import models

    model = models.ColBERT(str(folder), device="cpu")
    queries, passages = model.encode(ASKED, is_query=True), model.encode(PASSAGES, is_query=False)
    asked, given = model.tokenize(ASKED, is_query=True), model.tokenize(PASSAGES, is_query=False)
    return both(
        flat(queries, list(asked["input_ids"])), flat(passages, attended(given["input_ids"], given["attention_mask"]))
    )


READERS = {"colbert-ai": read_colbert_ai, "sentence-transformers": read_sentence_transformers, "pylate": read_pylate}

if __name__ == "__main__":
    step, place = sys.argv[1], Path(sys.argv[2]).resolve()
    write(place) if step == "write" else read(step, place)
