"""Does relevance tell answers from other hits, is it calibrated, and what does a say in the language cost?

    python benchmarks/relevance.py FOLDER [--data ../shared/data/A] [--queries 50] [--preferring 20] [--every 40]

``FOLDER`` holds the token vectors that ``search_peers/encode.py`` made of the collections in ``--data``: sections of
LibreOffice's help in 14 languages, parallel where their keys are the same, and their titles as queries. All are in one
index, which is calibrated as a build does it; no label is used for that. Each query is asked twice: of the whole index,
and without its answer, where no hit is one. A translation of the answer is an answer too, so it is one of the hits that
count, and is taken away with it.

For the best hit, and for the ten best: AUROC, the expected calibration error in ten bins, and the balanced accuracy at
0.5, of the score over the number of rows, and of relevance. ``limit`` is the same for a logistic curve fitted to the
labels themselves, by cross-validation over queries. ``every`` thins out the collections, for a second, smaller index.

Language, after MLAIRE (Jang et al., 2026, arXiv 2605.07249): of the queries with answers in several languages that find
one, how often the first is in the query's language, or in another one that is preferred (preference rate); and nDCG@10
with a gain of 1/2 for an answer in any other language.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import cpu

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.relevance import DEFAULT, Curve, Gauge, neutral_gauge
from ragatouille_xm.retriever import Retriever
from ragatouille_xm.types import Passage, TokenVectors

K, BINS, FOLDS, OTHER_GAIN, LENGTH = 10, 10, 5, 0.5, 180
WEIGHTS = (0.25, 0.5, 0.75, 1.0)
VAGUE = ("when", "and then", "yes", "hello")

Array = np.ndarray[Any, Any]


# ---- data


class Collection:
    """The passages of all languages, and some queries of each."""

    def __init__(self, folder: Path, data: Path, n_queries: int) -> None:
        self.languages = sorted(each.name for each in data.iterdir() if each.is_dir())
        self.parts = sorted((folder / "A").glob("*.npz"))
        self.keys: list[str] = []
        self.texts: list[str] = []
        self.language: list[str] = []
        for language in self.languages:
            keys = dict(row.split("\t") for row in (data / language / "keys.tsv").read_text("utf-8").splitlines())
            for row in (data / language / "collection.tsv").read_text("utf-8").splitlines():
                pid, text = row.split("\t", 1)
                self.keys.append(keys[pid])
                self.texts.append(text)
                self.language.append(language)
        asked = np.load(folder / "queries.npz")
        per_language = len(asked["answers"]) // len(self.languages)
        chosen = [i for i in range(len(asked["answers"])) if i % per_language < n_queries]
        self.queries = torch.from_numpy(asked["queries"][chosen].astype(np.float32))
        self.answers = asked["answers"][chosen].tolist()

    def passages(self, every: int) -> Iterator[tuple[list[Passage], TokenVectors]]:
        """Yield the passages of each language, all or one in so many, and always the answers."""
        answered = {self.keys[answer] for answer in self.answers}
        first = 0
        for path in self.parts:
            part = np.load(path)
            lengths = torch.from_numpy(part["lengths"])
            blocks = torch.from_numpy(part["vectors"].astype(np.float32)).split(lengths.tolist())
            kept = [i for i in range(len(blocks)) if (first + i) % every == 0 or self.keys[first + i] in answered]
            yield (
                [self._passage(first + i) for i in kept],
                TokenVectors(torch.cat([blocks[i] for i in kept]), lengths[kept]),
            )
            first += len(blocks)

    def _passage(self, i: int) -> Passage:
        return Passage(i, f"{self.language[i]} {self.keys[i]}", self.texts[i], self.language[i])

    def translations(self, query: int) -> list[str]:
        """Return the ids of the documents that answer a query."""
        return [f"{language} {self.keys[self.answers[query]]}" for language in self.languages]


def build(collection: Collection, encoder: Encoder, folder: Path, every: int) -> Retriever:
    description = {"dim": encoder.dim, "checkpoint": "demo", "fingerprint": encoder.checkpoint.fingerprint}
    with LocalIndex.build(folder, **description, settings={}, storage="int16") as target:
        for passages, vectors in collection.passages(every):
            target.add(passages, vectors)
    return Retriever(encoder, LocalIndex.open(folder), LENGTH)


# ---- measures


def auroc(answers: Array, values: Array) -> float:
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(1, len(values) + 1)
    _, group = np.unique(values, return_inverse=True)  # of ties, the mean rank
    ranks = (np.bincount(group, ranks) / np.bincount(group))[group]
    n, m = int(answers.sum()), int((~answers).sum())
    return float((ranks[answers].sum() - n * (n + 1) / 2) / (n * m))


def calibration_error(answers: Array, values: Array) -> float:
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    return float(
        sum(abs(answers[bins == b].mean() - values[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
    )


def balanced_accuracy(answers: Array, values: Array) -> float:
    return float(((values >= 0.5)[answers].mean() + (values < 0.5)[~answers].mean()) / 2)


def judged(answers: Array, values: Array) -> dict[str, float]:
    return {
        "auroc": auroc(answers, values),
        "calibration_error": calibration_error(answers, values),
        "balanced_accuracy": balanced_accuracy(answers, values),
    }


def limit(answers: Array, shares: Array, query: Array) -> Array:
    """Return what a curve that knows the labels of all other queries says."""
    found = np.empty(len(shares))
    design = np.stack([np.ones_like(shares), shares], 1)
    for fold in range(FOLDS):
        held = query % FOLDS == fold
        x, y, parameters = design[~held], answers[~held], np.zeros(2)
        for _ in range(30):
            p = 1 / (1 + np.exp(-x @ parameters))
            curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2)
            parameters = parameters + np.linalg.solve(curvature, x.T @ (y - p))
        found[held] = 1 / (1 + np.exp(-design[held] @ parameters))
    return found


def telling(collection: Collection, retriever: Retriever, curve: Curve) -> dict[str, Any]:
    """Ask all queries with and without their answers."""
    gauge, neutral = retriever.gauge(), neutral_gauge(retriever.encoder)
    columns: dict[str, list[Any]] = {name: [] for name in ("query", "rank", "answer", "old", "share", "neutral", "new")}
    for i, rows in enumerate(collection.queries):
        right = collection.translations(i)
        for admitted in (None, {"document_id": {"$nin": right}}):
            [found] = retriever.search(rows[None], K, filter=admitted)
            scores = [each["score"] for each in found]
            columns["query"] += [i] * len(found)
            columns["rank"] += [each["rank"] for each in found]
            columns["answer"] += [each["document_id"] in right for each in found]
            columns["old"] += [score / int(rows.any(1).sum()) for score in scores]
            columns["share"] += gauge.shares(rows, scores).tolist()
            columns["neutral"] += neutral.shares(rows, scores).tolist()
            columns["new"] += [each["relevance"] for each in found]
    arrays = {name: np.array(values) for name, values in columns.items()}
    result: dict[str, Any] = {}
    for name, depth in (("best", 1), ("ten best", K)):
        some = arrays["rank"] <= depth
        answers, query = arrays["answer"][some], arrays["query"][some]
        result[name] = {
            "hits": int(some.sum()),
            "answers": float(answers.mean()),
            "score over rows": judged(answers, arrays["old"][some]),
            "relevance": judged(answers, arrays["new"][some]),
            "default curve": judged(answers, curve(arrays["share"][some])),
            "neutral background": judged(answers, curve(arrays["neutral"][some])),
            "limit": judged(answers, limit(answers, arrays["share"][some], query)),
        }
    return result


# ---- languages


def gains(found: Sequence[dict[str, Any]], right: Sequence[str], language: str) -> list[float]:
    return [(1.0 if each["language"] == language else OTHER_GAIN) * (each["document_id"] in right) for each in found]


def preferring(
    collection: Collection, retriever: Retriever, there: set[str], wanted: Sequence[str], weight: float
) -> dict[str, float]:
    """Search with a preference for one language a query, where an answer is in it and one in another."""
    first: list[bool] = []
    ndcg: list[float] = []
    reciprocal: list[float] = []
    discounts = 1 / np.log2(np.arange(2, K + 2))
    for i, (rows, language) in enumerate(zip(collection.queries, wanted, strict=True)):
        right = [each for each in collection.translations(i) if each in there]
        if len(right) < 2 or f"{language} {collection.keys[collection.answers[i]]}" not in right:
            continue
        [found] = retriever.search(rows[None], K, prefer_language=language, language_weight=weight)
        gained = gains(found, right, language)
        hits = [j for j, gain in enumerate(gained) if gain]
        reciprocal.append(1 / (hits[0] + 1) if hits else 0.0)
        if hits:
            first.append(found[hits[0]]["language"] == language)
        best = np.array(([1.0] + [OTHER_GAIN] * (len(right) - 1))[:K])
        ndcg.append(float((np.array(gained) * discounts[: len(gained)]).sum() / (best * discounts[: len(best)]).sum()))
    return {
        "weight": weight,
        "queries": len(ndcg),
        "preference_rate": float(np.mean(first)),
        "language_ndcg": float(np.mean(ndcg)),
        "mrr": float(np.mean(reciprocal)),
    }


def languages(collection: Collection, retriever: Retriever, there: set[str]) -> dict[str, Any]:
    own = [collection.language[answer] for answer in collection.answers]
    random = np.random.default_rng(0)
    others = []
    for i, language in enumerate(own):
        known = [each.split()[0] for each in collection.translations(i) if each in there]
        known = [each for each in known if each != language]
        others.append(str(random.choice(known)) if known else language)
    return {
        name: [preferring(collection, retriever, there, wanted, weight) for weight in (0.0, *WEIGHTS)]
        for name, wanted in (("query", own), ("other", others))
    }


def milliseconds(collection: Collection, gauge: Gauge) -> float:
    times = []
    for rows in collection.queries[:60]:
        start = time.process_time()
        gauge.relevance(rows, [20.0] * K)
        times.append(time.process_time() - start)
    return median(times) * 1000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--data", type=Path, default=Path("../shared/data/A"))
    options.add_argument("--queries", type=int, default=50, help="of each language")
    options.add_argument("--preferring", type=int, default=20, help="the same, of the measurement of languages")
    options.add_argument("--every", type=int, default=40, help="of the smaller index")
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "relevance.json")
    given = options.parse_args()
    torch.set_num_threads(1)
    encoder = Encoder.from_pretrained("demo", device="cpu")
    collection = Collection(given.folder, given.data, given.queries)
    result: dict[str, Any] = {
        "cpu": cpu(),
        "threads": 1,
        "python": platform.python_version(),
        "checkpoint": encoder.checkpoint.name,
        "queries": len(collection.queries),
        "languages": len(collection.languages),
        "indexes": [],
    }
    for every in (1, given.every):
        with tempfile.TemporaryDirectory() as folder:
            retriever = build(collection, encoder, Path(folder) / "index", every)
            start = time.process_time()
            retriever.calibrate()
            seconds = time.process_time() - start
            made = retriever.index.calibration
            assert made is not None
            vague = encoder.encode_queries(VAGUE, ["en"] * len(VAGUE))
            found = retriever.search(vague, 1)
            counts = vague.any(2).sum(1).tolist()
            described = {
                "passages": made.passages,
                "calibration": {"slope": made.slope, "midpoint": made.midpoint, "cpu_seconds": seconds},
                "cpu_ms_a_query": milliseconds(collection, retriever.gauge()),
                "vague": {
                    text: {"score over rows": best["score"] / count, "relevance": best["relevance"]}
                    for text, [best], count in zip(VAGUE, found, counts, strict=True)
                },
                **telling(collection, retriever, DEFAULT),
            }
            if every == 1 and given.preferring:
                there = {each.document_id for batch, _ in retriever.index.scroll() for each in batch}
                some = Collection(given.folder, given.data, given.preferring)
                result["language"] = languages(some, retriever, there)
            result["indexes"].append(described)
            print(json.dumps(described, indent=1), flush=True)
            given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            retriever.close()
    print(json.dumps(result.get("language"), indent=1))


if __name__ == "__main__":
    main()
