"""Record a session with RAGatouille on the demo checkpoint, from building an index to deleting from it. See README.md.

python make_migration.py DEMO_CHECKPOINT
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from golden import amend, versions
from ragatouille import RAGPretrainedModel

from ragatouille_xm.demo import demo_queries, demo_sample

FIRST, LATER = ("de", "en", "es", "fr"), ("it",)
K = 5


def columns(languages: tuple[str, ...]) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """Return the texts, ids and metadata of the bundled documents of some languages."""
    chosen = [document for document in demo_sample() if document.language in languages]
    metadata = [{"title": document.title, "topic": document.topic} for document in chosen]
    return [document.text for document in chosen], [document.id for document in chosen], metadata


def queries(languages: tuple[str, ...]) -> list[str]:
    return [query.text for query in demo_queries() if query.language in languages]


def ranking(results: list[dict[str, Any]]) -> list[list[Any]]:
    return [[result["document_id"], round(result["score"], 3)] for result in results]


def record(checkpoint: str, root: str) -> dict[str, Any]:
    rag = RAGPretrainedModel.from_pretrained(checkpoint, index_root=root, verbose=0)
    texts, ids, metadata = columns(FIRST)
    asked, italian = queries(FIRST), queries(LATER)
    steps: dict[str, Any] = {}
    options = {"index_name": "sample", "split_documents": False}
    path = rag.index(collection=texts, document_ids=ids, document_metadatas=metadata, **options)
    steps["index"] = path.removeprefix(root)
    first = rag.search(query=asked[0], k=K)[0]
    steps["search, first result"] = {key: value for key, value in first.items() if key != "score"}
    steps["search, types"] = {key: type(value).__name__ for key, value in first.items()}
    steps["search"] = [ranking(rag.search(query=query, k=K)) for query in asked]
    steps["search, all at once"] = [ranking(found) for found in rag.search(query=asked, k=K)]
    steps["search, doc_ids"] = ranking(rag.search(query=asked[0], k=K, doc_ids=ids[:3]))
    reranked = rag.rerank(query=asked[0], documents=texts[:10], k=K)
    steps["rerank"] = [[ids[result["result_index"]], round(result["score"], 3)] for result in reranked]
    steps["rerank, keys"] = list(reranked[0])
    rag = RAGPretrainedModel.from_index(path)
    steps["from_index, search"] = [ranking(rag.search(query=query, k=K)) for query in asked]
    rag.add_to_index(*columns(LATER), split_documents=False)
    steps["add_to_index, search"] = [ranking(rag.search(query=query, k=1)) for query in italian]
    rag = RAGPretrainedModel.from_index(path)
    steps["add_to_index, from_index, search"] = [ranking(rag.search(query=query, k=1)) for query in italian]
    return steps


def main(demo: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "demo"
        checkpoint.mkdir()
        for path in demo.iterdir():
            (checkpoint / path.name).symlink_to(path.resolve())
        # Without these two keys RAGatouille searches an index in another folder than it wrote it to.
        settings = json.loads((demo / "artifact.metadata").read_text(encoding="utf-8"))
        (checkpoint / "artifact.metadata").unlink()
        where = {"root": "experiments", "experiment": "default"}
        (checkpoint / "artifact.metadata").write_text(json.dumps(settings | where), encoding="utf-8")
        os.chdir(temporary)
        steps = record(str(checkpoint), f"{temporary}/indexes")
    packages = ("ragatouille", "colbert-ai", "transformers", "torch")
    amend("migration.json", made_by=versions(*packages), k=K, steps=steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
