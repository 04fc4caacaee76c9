"""How well does a search find things: MaxSim, pieces of words, and both, trained or not, in one language or in many?

On a folder of retrieval sets (`retrieval.py`), all passages in an index of their language, and in one index of all
languages: MRR@10 and recall@100 of what `RAGPretrainedModel.search` finds with its defaults, a document once; and of
BM25 over words. Queries that the training of the demo checkpoint has seen are measured, but not in the means that are
compared. Differences of reciprocal ranks are tested by paired randomisation, with Holm's correction for all comparisons
of a table.

    python benchmarks/quality.py --scratch FOLDER [--systems "untrained;trained"] [--languages fr,de]
    python benchmarks/quality.py --systems ""         # only the tests of what is in the results

"trained" is what ./integrations/demo has; install it, or put that folder on PYTHONPATH. What is encoded stays in
``FOLDER``, and is not encoded again; indexes are made there, and removed. A system that is not asked for keeps its
numbers in the results.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import bm25s
import torch
from demo_checkpoint.split import languages_in
from ir_measures import Qrel, ScoredDoc
from machine import cpu
from remembering import RememberingEncoder
from retrieval import (
    DATA,
    DEPTH,
    Set,
    Values,
    averaged,
    compared,
    keep_queries,
    measured,
    queries_file,
    read_json,
    words_of,
    write_json,
)

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.demo.checkpoint import RECIPE
from ragatouille_xm.demo.delta import find_delta

ALL = "all"
TRAINED = "trained"
CHECKPOINTS = {"untrained": "demo-untrained", TRAINED: "demo"}
Runs = dict[str, dict[str, list[list[str]]]]  # alone and mixed, by language: ids found for each query, best first


class Indexes:
    """The indexes of a checkpoint: one of each language, and one of all."""

    def __init__(self, checkpoint: str, sets: Sequence[Set], scratch: Path) -> None:
        self._checkpoint, self._sets, self._scratch = checkpoint, sets, scratch

    @cached_property
    def rag(self) -> RAGPretrainedModel:
        encoder = RememberingEncoder.from_pretrained(self._checkpoint, device="cpu")
        encoder.remember(self._scratch / "encoded")
        rag = RAGPretrainedModel(encoder, tempfile.mkdtemp(dir=self._scratch), verbose=0)
        for each in self._sets:
            rag.index(each.passages, index_name=each.language)
            print(self._checkpoint, each.language, flush=True)
        rag.index(self._everything, index_name=ALL)
        return rag

    @property
    def _everything(self) -> dict[str, str]:
        return {pid: text for each in self._sets for pid, text in each.passages.items()}

    def search(self, **options: Any) -> Runs:
        def found(each: Set, name: str) -> list[list[str]]:
            results = self.rag.search(list(each.queries.values()), name, k=DEPTH, group_by_document=True, **options)
            return [[result["document_id"] for result in some] for some in results]

        return {
            "alone": {each.language: found(each, each.language) for each in self._sets},
            "mixed": {each.language: found(each, ALL) for each in self._sets},
        }

    def facts(self) -> dict[str, Any]:
        """Return how many languages are detected right, and what postings of pieces add to the disk."""
        right = [
            result[0]["query_language"] == each.language
            for each in self._sets
            for result in self.rag.search(list(each.queries.values()), ALL, k=1)
        ]
        index = self.rag.catalog.get(ALL).index
        of_passages = [p.document_id.startswith(f"{p.language}-") for passages, _ in index.scroll() for p in passages]
        with_pieces = size_of(self.rag.catalog.path(ALL))
        self.rag.index(self._everything, index_name="without", lexical=False)
        return {
            "detected right": {
                name: round(100 * mean(each), 1) for name, each in (("queries", right), ("passages", of_passages))
            },
            "disk": {"bytes": with_pieces, "without pieces": size_of(self.rag.catalog.path("without"))},
        }

    def close(self) -> None:
        if "rag" in self.__dict__:
            self.rag.close()
            shutil.rmtree(self.rag.catalog.root)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bm25(sets: Sequence[Set]) -> Runs:
    """bm25s with Lucene's settings, over words, and character bigrams where words are not set apart."""

    def engine(passages: dict[str, str]) -> Callable[[Set], list[list[str]]]:
        ids, index = list(passages), bm25s.BM25(method="lucene")
        index.index([words_of(text) for text in passages.values()], show_progress=False)

        def search(each: Set) -> list[list[str]]:
            asked = [words_of(query) for query in each.queries.values()]
            places, scores = index.retrieve(asked, k=min(DEPTH, len(ids)), show_progress=False)
            rows = zip(places.tolist(), scores.tolist(), strict=True)
            return [[ids[i] for i, score in zip(*row, strict=True) if score > 0] for row in rows]

        return search

    together = engine({pid: text for each in sets for pid, text in each.passages.items()})
    return {
        "alone": {each.language: engine(each.passages)(each) for each in sets},
        "mixed": {each.language: together(each) for each in sets},
    }


SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {  # the checkpoint, and options of a search
    "untrained": ("untrained", {}),
    "trained": (TRAINED, {}),
    "pieces": ("untrained", {"hybrid": True, "lexical_weight": 1.0}),  # of the tokeniser, which both have
    "untrained, hybrid": ("untrained", {"hybrid": True}),
    "trained, hybrid": (TRAINED, {"hybrid": True}),
}
WORDS = "words"
PAIRS = [
    ("trained", "untrained"),
    ("pieces", WORDS),
    *((f"{name}, hybrid", other) for name in CHECKPOINTS for other in (name, "pieces")),
    ("trained, hybrid", "untrained, hybrid"),
]


# measuring


def measure(each: Set, run: Sequence[Sequence[str]]) -> Values:
    """Return the measures of each query of a set."""
    rows = [
        ScoredDoc(qid, pid, -rank) for qid, ids in zip(each.queries, run, strict=True) for rank, pid in enumerate(ids)
    ]
    return measured(rows, [Qrel(qid, qid, 1) for qid in each.queries])


def of_the_test(tables: dict[str, Values], tested: dict[str, list[bool]]) -> dict[str, Values]:
    """Return the measures of the queries that are marked."""
    return {
        language: {
            name: [value for value, wanted in zip(each, tested[language], strict=True) if wanted]
            for name, each in values.items()
        }
        for language, values in tables.items()
    }


def comparisons(queries: dict[str, Any], tested: dict[str, list[bool]]) -> dict[str, Any]:
    """Return the tests of pairs of systems that were measured on the same queries."""
    result: dict[str, Any] = {}
    for where in ("alone", "mixed"):
        values = {name: of_the_test(found[where], tested) for name, found in queries.items()}
        pairs = [pair for pair in PAIRS if set(pair) <= set(values)]
        result[where] = [{"first": a, "second": b, **rows} for (a, b), rows in compared(values, pairs).items()]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "ragatouille_xm-quality")
    parser.add_argument("--systems", default=";".join([WORDS, *SYSTEMS]), help="names, by semicolons")
    parser.add_argument("--languages", help="folder names, by commas; by default all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quality.json")
    options = parser.parse_args()
    wanted = options.languages.split(",") if options.languages else languages_in(options.data)
    sets = [Set.read(options.data / language) for language in wanted]
    tested = {each.language: each.tested for each in sets}
    names = [name for name in options.systems.split(";") if name]
    if any(SYSTEMS[name][0] == TRAINED for name in names if name != WORDS) and find_delta(RECIPE) is None:
        raise SystemExit("The trained demo is not installed: pip install ./integrations/demo")
    options.scratch.mkdir(parents=True, exist_ok=True)
    indexes = {name: Indexes(checkpoint, sets, options.scratch) for name, checkpoint in CHECKPOINTS.items()}
    report = {"systems": {}, **read_json(options.out)}
    report["question"] = " ".join(str(__doc__).splitlines()[0].split())
    report["data"] = {
        each.language: {"passages": len(each.passages), "queries": len(each.queries), "tested": sum(each.tested)}
        for each in sets
    }
    report["machine"] = {
        "cpu": cpu(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for name in names:
        if name == WORDS:
            runs = bm25(sets)
        else:
            checkpoint, how = SYSTEMS[name]
            runs = indexes[checkpoint].search(**how)
        values = {
            where: {each.language: measure(each, found[each.language]) for each in sets}
            for where, found in runs.items()
        }
        report["systems"][name] = {
            "tested queries": {where: averaged(of_the_test(found, tested)) for where, found in values.items()},
            "all queries": {where: averaged(found) for where, found in values.items()},
        }
        keep_queries(options.out, name, values)
        write_json(options.out, report)
        print(name, {where: report["systems"][name]["tested queries"][where]["mean"] for where in values}, flush=True)
    if "pieces" in names:
        report["facts"] = indexes["untrained"].facts()
    for each in indexes.values():
        each.close()
    report["comparisons"] = comparisons(read_json(queries_file(options.out)), tested)
    write_json(options.out, report)


if __name__ == "__main__":
    main()
