"""Which markers, fill, layer, width and head make the best ColBERT of an untrained multilingual-e5-small?

MRR@10 on slices of a retrieval set with one folder a language (``collection.tsv``, ``queries.tsv``, ``qrels.tsv``, and
``keys.tsv``, where passages of one key say the same): each language alone, beside BM25 and E5's own mean pooling, and
all languages mixed, where a query looks for its passage in its own language or in the next one. Then the bundled
sample. Heads are fitted on the sample alone, of which nothing is in the retrieval set, and scored on the sample without
the topic that is looked for.

    python benchmarks/demo_choices.py [--data ../shared/data/A] [--languages de,en,…] [--out …/demo_choices.json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from demo_head import BEFORE_PASSAGE, BEFORE_QUERY, E5, LAYERS, Encoded, Head, Heads
from torch.nn.functional import normalize

from ragatouille_xm.demo import build, demo_queries

WIDTHS = (128, 256, 384)
LAYER, WIDTH = build.NUM_LAYERS, build.DIM
MARKERS = {  # name: tokens before a query, tokens before a passage
    "E5's own, three tokens and two": ("▁que ry :", "▁passage :"),
    "▁que, ▁passage": ("▁que", "▁passage"),
    "<unk>, ▁passage": ("<unk>", "▁passage"),
    "▁passage, ▁passage": ("▁passage", "▁passage"),
    "<unk>, <unk>": ("<unk>", "<unk>"),
    "▁que, ▁passage, and the prefix's '.'": ("▁que .", "▁passage ."),
    "none": ("", ""),
}


class Slice(NamedTuple):
    """Some of a language's queries and passages."""

    queries: list[str]
    passages: list[str]
    keys: list[str]  # of the passages; equal keys say the same in several languages
    gold: torch.Tensor  # (Q,) position of a query's one judged passage


def read(path: Path) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines())  # type: ignore[misc]


def load_slices(folder: Path, languages: Sequence[str], queries: int, passages: int) -> dict[str, Slice]:
    """Choose queries, their passages, those that say the same as what the language before looks for, and others."""
    chance, asked = random.Random(0), {}
    judged, texts, keys = {}, {}, {}
    for language in languages:
        lines = (folder / language / "qrels.tsv").read_text().splitlines()
        judged[language] = {line.split()[0]: line.split()[2] for line in lines}
        texts[language], keys[language] = (read(folder / language / f"{n}.tsv") for n in ("collection", "keys"))
        asked[language] = chance.sample(sorted(judged[language]), queries)
    slices = {}
    for i, language in enumerate(languages):
        mine, before = judged[language], languages[i - 1]
        sought = {keys[before][judged[before][q]] for q in asked[before]}
        pids = dict.fromkeys(mine[q] for q in asked[language])
        pids |= dict.fromkeys(pid for pid, key in keys[language].items() if key in sought)
        others = sorted(set(texts[language]) - set(pids))
        chosen = [*pids, *chance.sample(others, max(0, passages - len(pids)))]
        text_of = read(folder / language / "queries.tsv")
        slices[language] = Slice(
            [text_of[q] for q in asked[language]],
            [texts[language][pid] for pid in chosen],
            [keys[language][pid] for pid in chosen],
            torch.tensor([chosen.index(mine[q]) for q in asked[language]]),
        )
    return slices


def max_sim(queries: torch.Tensor, lengths: torch.Tensor, vectors: torch.Tensor, cuts: torch.Tensor) -> torch.Tensor:
    """Return the scores ``(Q, n)``."""
    asked = [query[:length] for query, length in zip(queries, lengths.tolist(), strict=True)]
    return torch.stack([torch.segment_reduce(vectors @ q.T, "max", lengths=cuts).sum(1) for q in asked])


def reciprocal_ranks(scores: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """Return ``(Q,)``: 1/rank of `gold` if it is among the first ten, else 0."""
    rank = 1 + (scores > scores.gather(1, gold[:, None])).sum(1)
    return torch.where(rank <= 10, 1 / rank, 0.0)


def percent(values: torch.Tensor) -> float:
    return round(100 * float(values.float().mean()), 1)


def bm25(data: Slice, language: str) -> torch.Tensor:
    import bm25s

    def words(texts: list[str]) -> list[list[str]]:
        if language in ("ja", "zh"):
            return [[a + b for a, b in itertools.pairwise(t) if (a + b).strip()] for t in texts]
        return bm25s.tokenize(texts, token_pattern=r"(?u)\w+", stopwords=None, return_ids=False, show_progress=False)

    index = bm25s.BM25()
    index.index(words(data.passages), show_progress=False)
    none = np.zeros(len(data.passages))
    return torch.from_numpy(np.stack([index.get_scores(q) if q else none for q in words(data.queries)]))


def evaluate(queries: Encoded, passages: Encoded, head: Head, layer: int, width: int, gold: torch.Tensor) -> float:
    q, p = (head(side.vectors[LAYERS.index(layer)], width) for side in (queries, passages))
    return percent(reciprocal_ranks(max_sim(q, queries.lengths, p, passages.lengths), gold))


Variant = tuple[int, bool, int]  # language directions removed, fill attended, width
VARIANTS: list[Variant] = [(0, True, WIDTH), (0, False, WIDTH), (14, True, WIDTH), (14, False, WIDTH), (14, False, 256)]


def variant_name(variant: Variant) -> str:
    removed, attend, width = variant
    return f"{removed} directions removed, fill {'attended' if attend else 'not attended'}, width {width}"


def study_alone(e5: E5, heads: Heads, data: Slice, language: str, passages: Encoded) -> dict[str, Any]:
    """Measure one language by itself."""
    queries = e5.queries(data.queries, BEFORE_QUERY)
    last = [normalize(side.vectors[-1].float(), dim=-1) for side in (queries, passages)]
    plain = max_sim(last[0], queries.lengths, last[1], passages.lengths)
    result: dict[str, Any] = {
        "BM25": percent(reciprocal_ranks(bm25(data, language), data.gold)),
        "mean pooling": percent(reciprocal_ranks(queries.pooled @ passages.pooled.T, data.gold)),
        "last layer, no head": percent(reciprocal_ranks(plain, data.gold)),
        "layers": {
            f"layers {layer}, width {width}": evaluate(queries, passages, heads.get(layer), layer, width, data.gold)
            for layer in LAYERS
            for width in WIDTHS
        },
        "fill": {},
        "head": {},
    }
    for row, attend in [*itertools.product(e5.mask_rows, (True, False)), ("no fill", True)]:
        queries = e5.queries(data.queries, BEFORE_QUERY, row, attend)
        name = row if row == "no fill" else f"{row}, {'attended' if attend else 'not attended'}"
        result["fill"][name] = evaluate(queries, passages, heads.get(), LAYER, WIDTH, data.gold)
    for removed, attend, width in VARIANTS:
        queries, head = e5.queries(data.queries, BEFORE_QUERY, attend=attend), heads.get(removed=removed)
        name = variant_name((removed, attend, width))
        result["head"][name] = evaluate(queries, passages, head, LAYER, width, data.gold)
    return result


def study_markers(e5: E5, heads: Heads, data: Slice) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = {}
    for marker in dict.fromkeys(passage for _, passage in MARKERS.values()):
        passages, head = e5.passages(data.passages, marker), heads.get(marker=marker)
        for name, (before_query, before_passage) in MARKERS.items():
            if before_passage == marker:
                queries = e5.queries(data.queries, before_query)
                for width in (WIDTH, 384):
                    score = evaluate(queries, passages, head, LAYER, width, data.gold)
                    result.setdefault(name, {})[f"width {width}"] = score
    return {name: result[name] for name in MARKERS}


def study_mixed(e5: E5, heads: Heads, slices: dict[str, Slice], passages: dict[str, Encoded]) -> dict[str, Any]:
    """Measure all languages in one pool: a query's passage is in its own language, or in the next one.

    Passages that say the same in a third language are taken out.
    """
    keys = np.array([key for data in slices.values() for key in data.keys])
    starts = dict(zip(slices, itertools.accumulate([0, *(len(d.passages) for d in slices.values())]), strict=False))
    lengths = torch.cat([passages[language].lengths for language in slices])
    pooled = torch.cat([passages[language].pooled for language in slices])
    result: dict[str, Any] = {}
    for variant in [None, *VARIANTS]:
        found: dict[str, list[torch.Tensor]] = {"own language": [], "next language": []}
        if variant:
            head = heads.get(removed=variant[0])
            pool = torch.cat([head(passages[language].vectors[LAYERS.index(LAYER)], variant[2]) for language in slices])
        for language, following in zip(slices, [*list(slices)[1:], next(iter(slices))], strict=True):
            data = slices[language]
            queries = e5.queries(data.queries, BEFORE_QUERY, attend=variant is None or variant[1])
            if variant:
                vectors = head(queries.vectors[LAYERS.index(LAYER)], variant[2])
                scores = max_sim(vectors, queries.lengths, pool, lengths)
            else:
                scores = queries.pooled @ pooled.T
            sought = [data.keys[i] for i in data.gold.tolist()]
            for kind, where in (("own language", language), ("next language", following)):
                known = [i for i, key in enumerate(sought) if key in slices[where].keys]
                gold = torch.tensor([starts[where] + slices[where].keys.index(sought[i]) for i in known])
                only = scores[known].clone()
                twins = torch.from_numpy(keys[None, :] == np.array(sought)[known][:, None])
                twins[torch.arange(len(known)), gold] = False
                found[kind].append(reciprocal_ranks(only.masked_fill(twins, -torch.inf), gold))
        name = variant_name(variant) if variant else "mean pooling"
        result[name] = {kind: percent(torch.cat(values)) for kind, values in found.items()}
        print(name, result[name], flush=True)
    return result | {"queries": {kind: sum(map(len, values)) for kind, values in found.items()}}


def study_sample(e5: E5, heads: Heads) -> dict[str, Any]:
    """Search the bundled sample, with heads that never saw the topic looked for."""
    ids = [document.id for document in heads.sample]
    gold = torch.tensor([ids.index(query.document_id) for query in demo_queries()])
    own = torch.tensor([query.document_id.startswith(query.language) for query in demo_queries()])
    documents, layer = heads.documents(BEFORE_PASSAGE), LAYERS.index(LAYER)
    result = {}
    for variant in VARIANTS:
        removed, attend, width = variant
        queries = e5.queries([query.text for query in demo_queries()], BEFORE_QUERY, attend=attend)
        ranks = torch.zeros(len(gold))
        for topic in sorted({document.topic for document in heads.sample}):
            head = heads.get(removed=removed, without=topic)
            of_topic = torch.tensor([heads.sample[i].topic == topic for i in gold.tolist()])
            asked = head(queries.vectors[layer][of_topic], width)
            pool = head(documents.vectors[layer], width)
            scores = max_sim(asked, queries.lengths[of_topic], pool, documents.lengths)
            ranks[of_topic] = reciprocal_ranks(scores, gold[of_topic])
        result[variant_name(variant)] = {
            kind: {"first": percent(ranks[which] == 1), "MRR@10": percent(ranks[which])}
            for kind, which in (("own language", own), ("another language", ~own))
        }
    return result


def mean_of(results: Sequence[Any]) -> Any:
    if isinstance(results[0], dict):
        return {key: mean_of([r[key] for r in results]) for key in results[0]}
    return round(float(np.mean(results)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/A"))
    parser.add_argument("--languages", default="de,en,es,fr,id,it,ja,ko,pl,pt,ru,tr,vi,zh")
    parser.add_argument("--marker-languages", default="de,ja,tr,zh", help="for the slow study of markers")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo_choices.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    e5 = E5()
    heads = Heads(e5)
    start = time.perf_counter()
    slices = load_slices(given.data, given.languages.split(","), given.queries, given.passages)
    alone, markers, encoded = {}, {}, {}
    for language, data in slices.items():
        encoded[language] = e5.passages(data.passages, BEFORE_PASSAGE)
        alone[language] = study_alone(e5, heads, data, language, encoded[language])
        print(language, json.dumps(alone[language], ensure_ascii=False), flush=True)
        if language in given.marker_languages.split(","):
            markers[language] = study_markers(e5, heads, data)
            print(language, json.dumps(markers[language], ensure_ascii=False), flush=True)
    report = {
        "what": f"MRR@10 in percent; {given.queries} queries and about {given.passages} passages in each language",
        "software": {"python": platform.python_version(), "torch": torch.__version__},
        "all languages mixed": study_mixed(e5, heads, slices, encoded),
        "bundled sample": study_sample(e5, heads),
        "each language alone": {"mean": mean_of(list(alone.values()))} | alone,
        "markers": {"mean": mean_of(list(markers.values())) if markers else {}} | markers,
        "seconds": round(time.perf_counter() - start),
    }
    given.out.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
