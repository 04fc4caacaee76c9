"""Record the form of what colbert-ai's `Searcher` returns, and what it finds. See README.md.

python make_colbert.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from colbert import Indexer, Searcher
from colbert.data import Queries
from colbert.infra import ColBERTConfig, Run, RunConfig
from golden import amend, versions
from texts import DOCUMENTS
from tiny import build_tiny_xmod

ENGLISH = [*DOCUMENTS[:4], "The river is old and the garden is small.", "Nine apples for the morning train."]
QUERIES = {7: ENGLISH[2], 3: ENGLISH[0]}


def form(value: Any) -> Any:
    """Return the types of a value, of the first of each list."""
    if isinstance(value, (tuple, list)):
        first = [form(each) for each in value] if isinstance(value, tuple) else form(value[0])
        return {type(value).__name__: first}
    return type(value).__name__


def main() -> None:
    found: dict[str, Any] = {"texts": ENGLISH, "queries": list(QUERIES.items())}
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)  # it writes beside its indexes, too
        checkpoint = str(build_tiny_xmod(Path(temporary) / "tiny"))
        with Run().context(RunConfig(nranks=1, root=temporary, experiment="colbert", avoid_fork_if_possible=True)):
            indexer = Indexer(checkpoint=checkpoint, config=ColBERTConfig(nbits=4))
            path = indexer.index(name="mine", collection=ENGLISH)
            found["index"] = str(Path(path).relative_to(temporary))
            searcher = Searcher(index="mine", config=ColBERTConfig(ncells=8, ndocs=64))
            answers = {qid: searcher.search(query, k=3) for qid, query in QUERIES.items()}
            beyond = searcher.search(QUERIES[7], k=100)
            among = searcher.search(QUERIES[7], k=3, pids=[4, 1])
            ranking = searcher.search_all(Queries(data=QUERIES), k=3)
        found["search"] = {"form": form(answers[7]), "pids": {qid: answer[0] for qid, answer in answers.items()}}
        found["search"]["ranks"] = answers[7][1]
        found["search"]["scores"] = {qid: [round(score, 2) for score in answer[2]] for qid, answer in answers.items()}
        found["search, k beyond the collection"] = [len(part) for part in beyond]
        found["search, pids"] = among[0]
        found["search_all"] = {
            "form": form(ranking.data[7]),
            "order": list(ranking.data),
            "flat": form(ranking.tolist()[0]),
        }
        found["collection[2]"] = searcher.collection[2]
    amend("colbert.json", made_by=versions("colbert-ai", "transformers", "torch"), **found)


if __name__ == "__main__":
    main()
