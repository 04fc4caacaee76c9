"""Record what the plugin does inside RAGatouille: whose models come back, and what they find. See README.md.

python make_plugin.py
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from golden import amend, versions
from ragatouille import RAGPretrainedModel  # before install(), as scripts do that know nothing of the plugin
from texts import DOCUMENTS
from tiny import build_tiny_bert, build_tiny_xmod

from ragatouille_xm import plugin

TEXTS = DOCUMENTS[:9]
IDS = [f"doc-{i}" for i in range(len(TEXTS))]
QUERY = TEXTS[4]
METHODS = ("from_pretrained", "from_index")


def whose(model: Any) -> str:
    return type(model).__module__.partition(".")[0]


def answers(model: Any) -> dict[str, Any]:
    """Return who answers a search, the keys of a result, and the ids in their order."""
    found = model.search(QUERY, k=3)
    return {
        "class": whose(model),
        "keys": sorted(found[0]),
        "document_ids": [result["document_id"] for result in found],
        "languages": [result.get("language") for result in found],
        "content": found[0]["content"],
    }


def indexed(model: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Index with RAGatouille's parameters, and search."""
    path = model.index(
        collection=TEXTS, document_ids=IDS, index_name=name, max_document_length=256, split_documents=True, bsize=32,
        use_faiss=False,
    )  # fmt: skip
    return path, answers(model)


def record(root: Path) -> dict[str, Any]:
    # Published checkpoints carry colbert-ai's whole configuration; without these two keys RAGatouille searches an index
    # in another folder than it wrote it to.
    where = {"root": "experiments", "experiment": "default"}
    xmod = str(build_tiny_xmod(root / "xmod", metadata=where))
    bert = str(build_tiny_bert(root / "bert", metadata=where))
    options = {"n_gpu": -1, "verbose": 0, "index_root": str(root / "indexes")}
    before = [vars(RAGPretrainedModel)[name] for name in METHODS]
    steps: dict[str, Any] = {"before install, X-MOD": whose(RAGPretrainedModel.from_pretrained(xmod, **options))}

    plugin.install()
    plugin.install()
    path, steps["installed, X-MOD"] = indexed(RAGPretrainedModel.from_pretrained(xmod, **options), "ours")
    steps["installed, X-MOD by keyword"] = whose(
        RAGPretrainedModel.from_pretrained(pretrained_model_name_or_path=xmod, **options)
    )
    theirs, steps["installed, BERT"] = indexed(RAGPretrainedModel.from_pretrained(bert, **options), "theirs")
    steps["installed, from_index of ours"] = answers(RAGPretrainedModel.from_index(path, -1, 0))
    steps["installed, from_index of RAGatouille's"] = answers(RAGPretrainedModel.from_index(theirs, -1, 0))

    plugin.uninstall()
    plugin.uninstall()
    steps["uninstalled, the methods are the ones before"] = before == [vars(RAGPretrainedModel)[n] for n in METHODS]
    steps["uninstalled, X-MOD"] = whose(RAGPretrainedModel.from_pretrained(xmod, **options))
    steps["uninstalled, from_index of RAGatouille's"] = whose(RAGPretrainedModel.from_index(theirs, -1, 0))
    return steps


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        steps = record(Path(temporary))
    packages = ("ragatouille", "colbert-ai", "transformers", "torch", "langchain")
    amend("plugin.json", made_by=versions(*packages), steps=json.loads(json.dumps(steps)))


if __name__ == "__main__":
    main()
