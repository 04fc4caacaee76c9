"""How well does the demo checkpoint find things, and do the adapters get the right texts?

On a folder of retrieval sets in MS MARCO's tsv form, one for each language (``collection.tsv``, ``queries.tsv``,
``qrels.tsv``): MRR@10 and recall@100 for this package, for the same with every text forced through one adapter, for
BM25 and for the mean-pooled encoder that the demo checkpoint is made of; within each language, and over all languages
in one collection.

    python benchmarks/quality.py --data ../shared/data/A [--queries 100 --passages 300] [--languages fr,de]
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DEPTH = 100
Run = list[list[str]]  # ids found for each query, best first


@dataclass(frozen=True)
class Set:
    language: str
    ids: list[str]
    passages: list[str]
    queries: list[str]
    relevant: list[set[str]]


def read(folder: Path, n_queries: int | None, n_passages: int | None) -> Set:
    """Read a set: its first queries, and the passages judged for them with as many others as are wanted."""

    def rows(name: str) -> list[list[str]]:
        lines = (folder / name).read_text(encoding="utf-8").split("\n")
        return [line.split("\t", 1) if name != "qrels.tsv" else line.split() for line in lines if line]

    language = folder.name
    judged: dict[str, set[str]] = {}
    for qid, _, pid, grade in rows("qrels.tsv"):
        if int(grade) > 0:
            judged.setdefault(qid, set()).add(f"{language}-{pid}")
    collection, queries = rows("collection.tsv"), rows("queries.tsv")[:n_queries]
    wanted = set().union(*(judged[qid] for qid, _ in queries))
    room = (n_passages or len(collection)) - len(wanted)
    others = [pid for pid, _ in collection if f"{language}-{pid}" not in wanted][:room]
    kept = wanted | {f"{language}-{pid}" for pid in others}
    collection = [row for row in collection if f"{language}-{row[0]}" in kept]
    return Set(
        language,
        [f"{language}-{pid}" for pid, _ in collection],
        [text for _, text in collection],
        [text for _, text in queries],
        [judged[qid] for qid, _ in queries],
    )


def measure(run: Run, relevant: Sequence[set[str]]) -> dict[str, float]:
    """Return MRR@10 and recall@100, in percent."""
    reciprocal = [
        next((1 / rank for rank, found in enumerate(ids[:10], 1) if found in wanted), 0.0)
        for ids, wanted in zip(run, relevant, strict=True)
    ]
    recall = [len(wanted & set(ids[:DEPTH])) / len(wanted) for ids, wanted in zip(run, relevant, strict=True)]
    return {"mrr@10": round(100 * float(np.mean(reciprocal)), 1), "r@100": round(100 * float(np.mean(recall)), 1)}


def evaluate(sets: list[Set], search: Callable[[Set, bool], Run]) -> dict[str, Any]:
    """Run a system on each set alone and on all sets together; `search(set, mixed)`."""
    report: dict[str, Any] = {}
    for mixed in (False, True):
        each = {s.language: measure(search(s, mixed), s.relevant) for s in sets}
        mean = {key: round(float(np.mean([row[key] for row in each.values()])), 1) for key in ("mrr@10", "r@100")}
        report["mixed" if mixed else "alone"] = {"mean": mean, **each}
    return report


# systems


def ours(sets: list[Set], force: str | None) -> dict[str, Any]:
    """This package; `force` sends every text through one adapter."""
    from ragatouille_xm import RAGPretrainedModel

    with tempfile.TemporaryDirectory() as root:
        rag = RAGPretrainedModel.from_pretrained("demo", index_root=root, device="cpu")
        start = time.perf_counter()
        rag.index(
            [text for s in sets for text in s.passages],
            [i for s in sets for i in s.ids],
            [{"set": s.language} for s in sets for _ in s.ids],
            index_name="quality",
            languages=force,
        )
        seconds = time.perf_counter() - start

        def search(s: Set, mixed: bool) -> Run:
            where = None if mixed else {"set": s.language}
            results = rag.search(s.queries, k=DEPTH, language=force, filter=where, exact=not mixed)
            return [list(dict.fromkeys(r["document_id"] for r in each)) for each in results]

        report = evaluate(sets, search) | {"index_s": round(seconds, 1)}
        if force is None:
            report["detected_right"] = detection(rag, sets)
        rag.close()
        return report


def detection(rag: Any, sets: list[Set]) -> dict[str, float]:
    """Return how often the language of a text is the set's, in percent."""
    present = [s.language for s in sets]

    def share(texts: Callable[[Set], list[str]], candidates: list[str] | None) -> float:
        right = [found.language == s.language for s in sets for found in rag.encoder.detect(texts(s), candidates)]
        return round(100 * float(np.mean(right)), 1)

    return {
        "passages": share(lambda s: s.passages, None),
        "queries, among all adapters": share(lambda s: s.queries, None),
        "queries, among those in the index": share(lambda s: s.queries, present),
    }


def bm25(sets: list[Set]) -> dict[str, Any]:
    """bm25s with Lucene's settings over words, and character bigrams where words are not set apart."""
    import bm25s

    def tokens(text: str) -> list[str]:
        words = re.findall(r"\w+", text.lower())
        return [
            piece
            for word in words
            for piece in (
                [word[i : i + 2] for i in range(max(1, len(word) - 1))]
                if re.search(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]", word)
                else [word]
            )
        ]

    def build(ids: list[str], passages: list[str]) -> Callable[[list[str]], Run]:
        index = bm25s.BM25(method="lucene")
        index.index([tokens(text) for text in passages], show_progress=False)

        def search(queries: list[str]) -> Run:
            k = min(DEPTH, len(ids))
            found, scores = index.retrieve([tokens(q) for q in queries], k=k, show_progress=False)
            pairs = zip(found.tolist(), scores.tolist(), strict=True)
            return [[ids[i] for i, score in zip(*pair, strict=True) if score > 0] for pair in pairs]

        return search

    alone = {s.language: build(s.ids, s.passages) for s in sets}
    together = build([i for s in sets for i in s.ids], [text for s in sets for text in s.passages])
    return evaluate(sets, lambda s, mixed: (together if mixed else alone[s.language])(s.queries))


def mean_pooled(sets: list[Set]) -> dict[str, Any]:
    """multilingual-e5-small itself: one vector a text, with the prefixes that it was trained with."""
    import torch
    from demo_choices import E5  # decodes the whole of it: the demo checkpoint leaves out the last layer
    from transformers import AutoTokenizer

    from ragatouille_xm.demo import demo_checkpoint

    tokenizer = AutoTokenizer.from_pretrained(demo_checkpoint())
    model = E5().model

    @torch.inference_mode()
    def encode(texts: list[str]) -> torch.Tensor:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors = torch.empty(len(texts), model.config.hidden_size)
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=256,
                              return_tensors="pt")  # fmt: skip
            mask = batch["attention_mask"]
            hidden = model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[rows] = torch.nn.functional.normalize(pooled, dim=1)
        return vectors

    passages = {s.language: encode([f"passage: {text}" for text in s.passages]) for s in sets}
    queries = {s.language: encode([f"query: {text}" for text in s.queries]) for s in sets}
    all_ids = [i for s in sets for i in s.ids]
    all_passages = torch.cat(list(passages.values()))

    def search(s: Set, mixed: bool) -> Run:
        among, ids = (all_passages, all_ids) if mixed else (passages[s.language], s.ids)
        best = (queries[s.language] @ among.T).topk(min(DEPTH, len(ids)), dim=1).indices
        return [[ids[i] for i in row] for row in best.tolist()]

    return evaluate(sets, search)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "A")
    parser.add_argument("--languages", help="comma-separated folder names; by default all")
    parser.add_argument("--queries", type=int, help="take only so many of each set; by default all")
    parser.add_argument("--passages", type=int, help="take only so many of each set, the judged ones among them")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quality.json")
    options = parser.parse_args()
    folders = sorted(path for path in options.data.iterdir() if (path / "collection.tsv").is_file())
    wanted = options.languages.split(",") if options.languages else [folder.name for folder in folders]
    sets = [read(folder, options.queries, options.passages) for folder in folders if folder.name in wanted]
    systems: dict[str, Callable[[], dict[str, Any]]] = {
        "bm25": lambda: bm25(sets),
        "ragatouille_xm": lambda: ours(sets, None),
        "mean-pooled encoder": lambda: mean_pooled(sets),
        "ragatouille_xm, all through en_XX": lambda: ours(sets, "en_XX"),
    }
    import torch
    import transformers

    report = {
        "question": " ".join(__doc__.splitlines()[0].split()),
        "data": {s.language: [len(s.passages), len(s.queries)] for s in sets},
        "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads(), "python": platform.python_version(),
                    "torch": torch.__version__, "transformers": transformers.__version__},
        "systems": {},
    }  # fmt: skip
    for name, run in systems.items():
        report["systems"][name] = run()
        print(name, {where: report["systems"][name][where]["mean"] for where in ("alone", "mixed")}, flush=True)
        options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
