"""What did training do to the demo checkpoint, and do its language adapters matter?

On the test queries of `demo_checkpoint/split.py`, in 14 languages: MRR@10 and recall@100 among all 1,000 passages of
the query's language, for the trained demo, the untrained one, BM25 and the mean-pooled encoder; in the collection of
all languages (14,000 passages); and across languages: the query in one, its answer in another. Then the trained demo
again with every text through the English adapter, and with none, within languages only. Scores are exact MaxSim: no
index plays a part. Differences from the trained demo are tested by paired randomisation on the queries' reciprocal
ranks, with Holm's correction for all comparisons of a table.

    python benchmarks/demo_quality.py [--systems "untrained;bm25"] [--languages fr,ja]
    python benchmarks/demo_quality.py --systems ""        # only the tests and the tables of what is in the results

"trained" is what ./integrations/demo has; install it, or put that folder on PYTHONPATH.

A system that is not asked for keeps its numbers in the results. The last two collections are searched with the first
`MIXED_QUERIES` test queries of each language.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import bm25s
import retrieval
import torch
from demo_checkpoint.split import languages_in
from ir_measures import Qrel, ScoredDoc
from machine import cpu
from retrieval import (
    DATA,
    DEPTH,
    MEASURES,
    Set,
    Values,
    averaged,
    keep_queries,
    measured,
    queries_file,
    read_json,
    words_of,
    write_json,
)

from ragatouille_xm.demo.checkpoint import RECIPE
from ragatouille_xm.demo.delta import find_delta
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.evaluation.significance import LEVEL
from ragatouille_xm.scoring import maxsim

TRAINED = "trained"
MIXED_QUERIES = 80
DTYPE = torch.bfloat16  # of every encoder here: three times as fast as float32 on this machine
NO_ADAPTER = "sa"  # Sanskrit's was never trained, so it still adds nothing


class System(Protocol):
    """Scores (Q, n) of queries in a language among all passages of some sets, one set's after the other's."""

    def __call__(self, language: str, queries: Sequence[str], within: Sequence[Set]) -> torch.Tensor: ...


# systems


def late_interaction(name: str, sets: Sequence[Set], adapter: str | None = None) -> System:
    """A demo checkpoint; `adapter` is the language whose adapter every text goes through."""
    encoder = Encoder.from_pretrained(name, device="cpu", dtype=DTYPE)
    vectors = {}
    for each in sets:
        texts = list(each.passages.values())
        with torch.inference_mode():
            encoded = encoder.encode_documents(texts, [adapter or each.language] * len(texts))
        vectors[each.language] = (encoded.vectors.half(), encoded.lengths)
        print(name, adapter or "", each.language, flush=True)

    def search(language: str, queries: Sequence[str], within: Sequence[Set]) -> torch.Tensor:
        with torch.inference_mode():
            asked = encoder.encode_queries(queries, [adapter or language] * len(queries))
            return torch.cat([maxsim(asked, *vectors[each.language]) for each in within], 1)

    return search


def mean_pooled(sets: Sequence[Set]) -> System:
    """multilingual-e5-small itself: one vector a text, with the prefixes that it was trained with."""
    from demo_choices import E5  # the whole of it: the demo checkpoint leaves out the last layer
    from transformers import AutoTokenizer

    from ragatouille_xm.demo import demo_checkpoint

    tokenizer = AutoTokenizer.from_pretrained(demo_checkpoint())
    model = E5().model.to(DTYPE)

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> torch.Tensor:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors = torch.empty(len(texts), model.config.hidden_size)
        for start in range(0, len(order), 16):
            rows = order[start : start + 16]
            batch = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=256,
                              return_tensors="pt")  # fmt: skip
            mask = batch["attention_mask"]
            hidden = model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state.float()
            vectors[rows] = torch.nn.functional.normalize((hidden * mask[:, :, None]).sum(1), dim=1)
        return vectors

    passages = {s.language: encode([f"passage: {text}" for text in s.passages.values()]) for s in sets}

    def search(language: str, queries: Sequence[str], within: Sequence[Set]) -> torch.Tensor:
        asked = encode([f"query: {text}" for text in queries])
        return asked @ torch.cat([passages[each.language] for each in within]).T

    return search


def bm25(sets: Sequence[Set]) -> System:
    """bm25s with Lucene's settings."""
    indexes: dict[tuple[str, ...], bm25s.BM25] = {}

    def search(language: str, queries: Sequence[str], within: Sequence[Set]) -> torch.Tensor:
        key = tuple(each.language for each in within)
        if key not in indexes:
            indexes[key] = bm25s.BM25(method="lucene")
            indexes[key].index([words_of(t) for each in within for t in each.passages.values()], show_progress=False)
        return torch.stack([torch.from_numpy(indexes[key].get_scores(words_of(query))) for query in queries])

    return search


SYSTEMS: dict[str, Callable[[Sequence[Set]], System]] = {
    "bm25": bm25,
    "mean-pooled encoder": mean_pooled,
    "untrained": lambda sets: late_interaction("demo-untrained", sets),
    TRAINED: lambda sets: late_interaction("demo", sets),
    f"{TRAINED}, English adapter for all": lambda sets: late_interaction("demo", sets, "en"),
    f"{TRAINED}, no adapter": lambda sets: late_interaction("demo", sets, NO_ADAPTER),
}
ABLATION = tuple(name for name in SYSTEMS if name.startswith(f"{TRAINED}, "))
OTHERS = ("untrained", "mean-pooled encoder", "bm25")


# measuring


def measure(scores: torch.Tensor, ids: Sequence[str], qrels: Sequence[Qrel]) -> Values:
    """Return the measures of each query; `scores` has a row of each query and a column of each id."""
    values, places = scores.topk(min(DEPTH, len(ids)), dim=1)
    run = [
        ScoredDoc(qrel.query_id, ids[i], score)
        for qrel, *found in zip(qrels, places.tolist(), values.tolist(), strict=True)
        for i, score in zip(*found, strict=True)
        if score > 0  # what BM25 did not find
    ]
    return measured(run, qrels)


def alone(system: System, sets: Sequence[Set]) -> dict[str, Values]:
    """Measure all test queries among the passages of their own language."""
    return {
        each.language: measure(
            system(each.language, list(each.queries.values()), [each]),
            list(each.passages),
            [Qrel(qid, qid, 1) for qid in each.queries],
        )
        for each in sets
    }


def together(system: System, sets: Sequence[Set]) -> tuple[dict[str, Values], dict[str, Values]]:
    """Measure the first test queries of each language among the passages of all, and in each other language.

    The second is each query's mean over the other languages that have the answer's section; queries whose section no
    other language has are left out.
    """
    mixed, across = {}, {}
    ids = [pid for each in sets for pid in each.passages]
    for asked in sets:
        queries = dict(list(asked.queries.items())[:MIXED_QUERIES])
        scores = system(asked.language, list(queries.values()), sets)
        mixed[asked.language] = measure(scores, ids, [Qrel(qid, qid, 1) for qid in queries])
        parts = zip(sets, scores.split([len(each.passages) for each in sets], 1), strict=True)
        found: dict[str, list[dict[str, float]]] = {qid: [] for qid in queries}
        for other, part in parts:
            if other is not asked:
                for qid, values in in_another(asked, list(queries), other, part):
                    found[qid].append(values)
        across[asked.language] = {
            name: [mean(row[name] for row in rows) for rows in found.values() if rows] for name in MEASURES
        }
    return mixed, across


def in_another(
    asked: Set, queries: Sequence[str], other: Set, scores: torch.Tensor
) -> Iterator[tuple[str, dict[str, float]]]:
    """Measure queries among the passages of another language: those whose answer is there, too."""
    answers = {section: pid for pid, section in other.sections.items()}
    found = [(i, answers[asked.sections[qid]]) for i, qid in enumerate(queries) if asked.sections[qid] in answers]
    if not found:
        return
    qrels = [Qrel(queries[i], answer, 1) for i, answer in found]
    values = measure(scores[[i for i, _ in found]], list(other.passages), qrels)
    for place, (i, _) in enumerate(found):
        yield queries[i], {name: values[name][place] for name in MEASURES}


# comparing


def compared(queries: dict[str, dict[str, Values]], others: Sequence[str]) -> dict[str, Any]:
    """Test the trained demo's reciprocal ranks against those of others: see `retrieval.compared`."""
    found = retrieval.compared(queries, [(TRAINED, other) for other in others])
    return {other: rows for (_, other), rows in found.items()}


def comparisons(queries: dict[str, Any]) -> dict[str, Any]:
    """Return the tests of every collection, and of the ablation, of the systems that are there."""
    asked = {"alone": OTHERS, "mixed": OTHERS, "across languages": OTHERS, "ablation": ABLATION}
    result = {}
    for name, others in asked.items():
        where = "alone" if name == "ablation" else name
        values = {system: found[where] for system, found in queries.items() if where in found}
        present = [other for other in others if other in values and values[other].keys() == values[TRAINED].keys()]
        if present:
            result[name] = compared(values, present)
    return result


def tables(report: dict[str, Any]) -> str:
    """Return the results as Markdown; a mark says where the trained demo's MRR@10 differs significantly."""
    systems, tests = report["systems"], report["comparisons"]

    def cell(name: str, where: str, row: str, test: str) -> str:
        measures = systems[name][where][row]
        found = tests.get(test, {}).get(name, {}).get("all" if row == "mean" else row)
        mark = "" if found is None or found["corrected"] >= LEVEL else "\u2020"
        return f"{measures['mrr@10']}{mark} / {measures['r@100']}"

    def table(wanted: Sequence[str], test: str, rows: Sequence[tuple[str, str, str]]) -> list[str]:
        names = [name for name in wanted if name in systems]
        lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for label, where, row in rows:
            cells = [cell(name, where, row, where if test == "alone" else test) for name in names]
            lines.append(f"| {label} | {' | '.join(cells)} |")
        return lines

    languages = [(row, "alone", row) for row in systems[TRAINED]["alone"] if row != "mean"]
    last = [("mean", "alone", "mean"), ("all languages", "mixed", "mean"), ("across", "across languages", "mean")]
    lines = table((TRAINED, *OTHERS), "alone", [*languages, *last])
    return "\n".join([*lines, "", *table((TRAINED, *ABLATION), "ablation", [*languages, last[0]])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--systems", default=";".join(SYSTEMS), help="names, by semicolons")
    parser.add_argument("--languages", help="folder names, by commas; by default all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "demo_quality.json")
    options = parser.parse_args()
    wanted = options.languages.split(",") if options.languages else languages_in(options.data)
    sets = [Set.read(options.data / language).of_the_test() for language in wanted]
    delta = find_delta(RECIPE)
    for name in filter(None, options.systems.split(";")):
        if name.startswith(TRAINED) and delta is None:
            raise SystemExit("The trained demo is not installed: pip install ./integrations/demo")
        start = time.process_time()
        system = SYSTEMS[name](sets)
        values = {"alone": alone(system, sets)}
        if name not in ABLATION:
            values["mixed"], values["across languages"] = together(system, sets)
        trained = {"delta": delta.checksum[:8]} if delta and name.startswith(TRAINED) else {}
        record(options.out, sets, name, values, trained | {"cpu_s": round(time.process_time() - start)})
    report = read_json(options.out)
    if TRAINED in report["systems"]:
        report["comparisons"] = comparisons(read_json(queries_file(options.out)))
        write_json(options.out, report)
        print(tables(report))


def record(
    out: Path, sets: Sequence[Set], name: str, values: dict[str, dict[str, Values]], facts: dict[str, Any]
) -> None:
    report = {"systems": {}} | read_json(out)
    sizes = {s.language: {"passages": len(s.passages), "test queries": len(s.queries)} for s in sets}
    report |= {
        "question": " ".join(str(__doc__).splitlines()[0].split()),
        "data": report.get("data", {}) | sizes,
        "queries of a language in mixed, across languages": MIXED_QUERIES,
        "machine": {
            "cpu": cpu(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "dtype": str(DTYPE),
        },
    }
    result = {where: averaged(found) for where, found in values.items()} | facts
    report["systems"][name] = result
    print(name, {where: result[where]["mean"] for where in values}, flush=True)
    write_json(out, report)
    keep_queries(out, name, values)


if __name__ == "__main__":
    main()
