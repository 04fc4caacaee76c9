"""Record folders of colbert-ai and RAGatouille, and what colbert-ai finds in them and in our export. See README.md.

python make_plaid.py export     (where ragatouille_xm is installed)
python make_plaid.py new        (where colbert-ai is)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import HERE, amend, versions
from texts import DOCUMENTS
from tiny import build_tiny_xmod

PLAID = HERE / "plaid"
NOWHERE = "/nowhere"  # in the committed folders, where the temporary folder stood
LANGUAGES = ("en_XX", "fr_XX")
WHERE = {"root": "experiments", "experiment": "default"}  # as published checkpoints have it
THINGS = ("library", "garden", "market", "river", "train", "book", "town", "bread")
TIMES = ("in the morning", "in winter", "at nine", "late again")
PASSAGES = [text for text in DOCUMENTS[:8] if text] + [
    f"The {THINGS[i % 8]} is {('old', 'small')[i % 2]} {TIMES[i % 4]}, and the {THINGS[(3 * i + 1) % 8]} {i} opens."
    for i in range(10)
]
IDS = [f"doc-{i // 2}" for i in range(len(PASSAGES))]  # two passages a document
QUERIES = ["When does the library open?", "bread", "Où est le livre ?", "The old train along the river in winter"]
WIDTHS = {1: 32, 2: 32, 4: 32, 8: 64}  # colbert-ai wants a width that is a multiple of 8 * nbits
EVERYTHING = {"ncells": 64, "centroid_score_threshold": -10.0, "ndocs": 4096}  # no passage is pruned


def checkpoint(folder: Path, dim: int) -> str:
    """Build a checkpoint that our tokeniser treats as colbert-ai 0.2.22 does."""
    return str(build_tiny_xmod(folder, languages=LANGUAGES, dim=dim, metadata={"marker": "insert", **WHERE}))


def export() -> None:
    """Write `export`: an index of ours, some of it deleted, as our exporter writes it."""
    from ragatouille_xm import RAGPretrainedModel
    from ragatouille_xm.index.plaid.export import export_plaid

    with tempfile.TemporaryDirectory() as temporary:
        model = RAGPretrainedModel.from_pretrained(checkpoint(Path(temporary) / "tiny", 32), verbose=0, device="cpu")
        model.catalog.root = Path(temporary)
        ids = [f"doc-{i}" for i in range(len(PASSAGES))]
        metadatas = [{"number": i} for i in range(len(PASSAGES))]
        model.index(PASSAGES, ids, metadatas, index_name="mine", languages="en")
        model.delete_from_index(["doc-3", "doc-12"])
        shutil.rmtree(PLAID / "export", ignore_errors=True)
        index = model.catalog.get().index
        export_plaid(index, PLAID / "export", checkpoint=f"{NOWHERE}/tiny", max_document_length=256, nbits=4, chunk=9)
    amend("plaid.json", exported_by=versions("torch", "numpy"))


def searched(folder: Path, name: str) -> dict[str, Any]:
    """Return what colbert-ai's `Searcher` finds in an index, and what it makes of the compressed vectors."""
    from colbert import Searcher
    from colbert.search.index_storage import IndexScorer

    metadata = json.loads((folder / name / "metadata.json").read_text(encoding="utf-8"))
    n = sum(len(json.loads(path.read_text(encoding="utf-8"))) for path in (folder / name).glob("doclens.*.json"))
    tiny = checkpoint(folder / f"tiny-{metadata['config']['dim']}", metadata["config"]["dim"])
    searcher = Searcher(
        index=name, index_root=str(folder), checkpoint=tiny, collection=["" for _ in range(n)], verbose=0
    )
    searcher.configure(**EVERYTHING | {"ncells": min(64, metadata["num_partitions"])})
    answers = [searcher.search(query, k=10) for query in QUERIES]
    ranker, codec = searcher.ranker, searcher.ranker.codec
    vectors = IndexScorer.decompress_residuals(
        torch.arange(n, dtype=torch.int32), ranker.doclens, ranker.offsets, codec.bucket_weights,
        codec.reversed_bit_map, codec.decompression_lookup_table, ranker.embeddings.residuals, ranker.embeddings.codes,
        codec.centroids, codec.dim, codec.nbits,
    )  # fmt: skip
    unit = torch.nn.functional.normalize(vectors.float(), dim=-1).numpy()
    return {
        "nbits": codec.nbits,
        "lengths": ranker.doclens.tolist(),
        "projections": [round(float(x), 5) for x in unit @ np.cos(np.arange(codec.dim))],
        "pids": [pids for pids, _, _ in answers],
        "scores": [[round(score, 4) for score in scores] for _, _, scores in answers],
    }


def index_by_colbert(root: Path, nbits: int) -> None:
    from colbert import Indexer
    from colbert.data import Collection
    from colbert.infra import ColBERTConfig, Run, RunConfig

    if nbits == 2:  # in several chunks, as large indexes are
        Collection.get_chunksize = lambda self: 12
    tiny = checkpoint(root / f"tiny-{WIDTHS[nbits]}", WIDTHS[nbits])
    collection: Any = PASSAGES[::2] if nbits == 8 else PASSAGES  # to keep it small
    if nbits == 1:  # the configuration of the index names the file then
        (root / "collection.tsv").write_text("".join(f"{i}\t{t}\n" for i, t in enumerate(PASSAGES)), encoding="utf-8")
        collection = str(root / "collection.tsv")
    with Run().context(RunConfig(nranks=1, root=str(root), experiment="colbert", avoid_fork_if_possible=True)):
        indexer = Indexer(checkpoint=tiny, config=ColBERTConfig(nbits=nbits, dim=WIDTHS[nbits]), verbose=0)
        indexer.index(name=f"nbits-{nbits}", collection=collection)
    Collection.get_chunksize = lambda self: 25_000
    shutil.copytree(root / "colbert" / "indexes" / f"nbits-{nbits}", root / "folders" / f"nbits-{nbits}")


def index_by_ragatouille(root: Path) -> None:
    from ragatouille import RAGPretrainedModel

    model = RAGPretrainedModel.from_pretrained(checkpoint(root / "tiny-32", 32), verbose=0, index_root=str(root / "r"))
    path = model.index(
        collection=PASSAGES[::2],
        document_ids=IDS[::2],
        document_metadatas=[{"number": i} for i in range(len(PASSAGES[::2]))],
        index_name="ragatouille",
        split_documents=False,
    )
    shutil.copytree(path, root / "folders" / "ragatouille")
    model.delete_from_index(["doc-2", "doc-5"], index_name="ragatouille")
    shutil.copytree(path, root / "folders" / "ragatouille-deleted")


def found_by_ragatouille(folder: Path, tiny: str) -> list[list[Any]]:
    """Return the document id and metadata of each result of the first query, by RAGatouille in a folder of ours."""
    from ragatouille import RAGPretrainedModel

    for name in ("metadata.json", "plan.json"):
        text = (folder / name).read_text(encoding="utf-8").replace(f"{NOWHERE}/tiny", tiny)
        (folder / name).write_text(text, encoding="utf-8")
    results = RAGPretrainedModel.from_index(folder).search(QUERIES[0], k=10)
    return [[result["document_id"], result["content"], result["document_metadata"]] for result in results]


def new() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)  # colbert-ai writes beside its indexes, too
        root = Path(temporary)
        for nbits in WIDTHS:
            index_by_colbert(root, nbits)
        index_by_ragatouille(root)
        shutil.copytree(PLAID / "export", root / "folders" / "export")
        found = {path.name: searched(root / "folders", path.name) for path in sorted((root / "folders").iterdir())
                 if (path / "plan.json").exists()}  # fmt: skip
        found["export"]["ragatouille"] = found_by_ragatouille(
            root / "folders" / "export", checkpoint(root / "tiny-32", 32)
        )
        for name in found.keys() - {"export"}:
            shutil.rmtree(PLAID / name, ignore_errors=True)
            shutil.copytree(root / "folders" / name, PLAID / name)
            for file in PLAID.glob(f"{name}/*.json"):
                text = file.read_text(encoding="utf-8").replace(temporary.replace("/", "\\/"), NOWHERE)
                file.write_text(text.replace(temporary, NOWHERE), encoding="utf-8")
    amend("plaid.json", made_by=versions("colbert-ai", "ragatouille", "transformers", "torch", "numpy", "faiss-cpu"),
          passages=PASSAGES, document_ids=IDS, queries=QUERIES, settings=EVERYTHING, folders=found)  # fmt: skip


if __name__ == "__main__":
    {"export": export, "new": new}[sys.argv[1]]()
