"""Do adapters that were trained on translations help in languages that the demo checkpoint is weak in?

    python benchmarks/adapters.py --cache /tmp/demo-adapters [--languages ha,am]

A text must be found by its translation among `CANDIDATES`, English against each language, in both directions, on text
of other sources than the training's: the 30 articles of the Universal Declaration of Human Rights, and messages of a
program that was held out (`demo_checkpoint/parallel.py`). English goes through its adapter; the other language through
its own, through English's, or through none, which is also what its own was before it was trained. Differences of the
reciprocal ranks are tested by paired randomisation, with Holm's correction for all comparisons of a test.

A language that is not asked for keeps its numbers in the results.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cpu

sys.path.insert(0, str(Path(__file__).parent / "demo_checkpoint"))
from declaration import articles
from demo_quality import NO_ADAPTER
from parallel import HELD_OUT, LANGUAGES, pairs
from retrieval import queries_file, read_json, write_json

from ragatouille_xm.demo.checkpoint import RECIPE
from ragatouille_xm.demo.delta import find_delta
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.evaluation.significance import holm, paired_test
from ragatouille_xm.training.pairs import Encoded, Pair, reciprocal_ranks

CANDIDATES = 30
MESSAGES = 150
ENGLISH, OWN = "English adapter", "own adapter"
SYSTEMS = {OWN: None, "no adapter": NO_ADAPTER, ENGLISH: "en"}
DECLARATION = {
    "ha": "hau_NG", "am": "amh", "la": "lat", "is": "isl", "ku": "kmr", "eu": "eus", "so": "som", "lo": "lao",
}  # fmt: skip
TESTS = ("declaration", "messages")


def tests(language: str, cache: Path) -> dict[str, list[list[Pair]]]:
    """Return groups of `CANDIDATES` pairs for each test."""
    declared = zip(articles("eng", cache), articles(DECLARATION[language], cache), strict=True)
    found = {"declaration": [[Pair(*each) for each in declared]]}
    if program := HELD_OUT.get(language):
        messages = [Pair(*each) for each in pairs(language, cache)[program]]
        chosen = random.Random(0).sample(messages, min(MESSAGES, len(messages)))
        starts = range(0, len(chosen) - CANDIDATES + 1, CANDIDATES)
        found["messages"] = [chosen[i : i + CANDIDATES] for i in starts]
    return found


def encoded(encoder: Encoder, texts: Sequence[str], language: str) -> Encoded:
    with torch.inference_mode():
        languages = [language] * len(texts)
        return Encoded(encoder.encode_queries(texts, languages), encoder.encode_documents(texts, languages))


def measure(encoder: Encoder, language: str, groups: Sequence[Sequence[Pair]]) -> dict[str, list[float]]:
    """Return the reciprocal ranks of each system: of each group into English, then from it."""
    ranks: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    for group in groups:
        english = encoded(encoder, [pair.known for pair in group], "en")
        for name, adapter in SYSTEMS.items():
            other = encoded(encoder, [pair.new for pair in group], adapter or language)
            for way in ((other, english), (english, other)):
                ranks[name] += [round(value, 6) for value in reciprocal_ranks(*way).tolist()]
    return ranks


def compared(queries: dict[str, dict[str, dict[str, list[float]]]]) -> dict[str, dict[str, Any]]:
    """Test each language's own adapter against the other two, in each test by itself."""
    result: dict[str, dict[str, Any]] = {}
    for test in TESTS:
        found = []
        for language, ranks in ((language, each[test]) for language, each in queries.items() if test in each):
            own = np.array(ranks[OWN])
            for other in (name for name in SYSTEMS if name != OWN):
                theirs = np.array(ranks[other])
                found.append((language, other, 100 * (own - theirs).mean(), paired_test(own, theirs)))
        for (language, other, difference, p), corrected in zip(found, holm([p for *_, p in found]), strict=True):
            row = {"difference": round(float(difference), 1), "p": round(p, 4), "corrected": round(corrected, 4)}
            result.setdefault(test, {}).setdefault(language, {})[other] = row
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--checkpoint", default="demo", help="the trained demo, or a folder of `distil.py`")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "adapters.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = Encoder.from_pretrained(options.checkpoint, device="cpu", dtype="float32")
    for language in options.languages.split(","):
        start = time.process_time()
        ranks = {test: measure(encoder, language, groups) for test, groups in tests(language, options.cache).items()}
        report, queries = read_json(options.out), read_json(queries_file(options.out)) | {language: ranks}
        means = {
            test: {name: round(100 * float(np.mean(values)), 1) for name, values in each.items()}
            | {"queries": len(each[OWN])}
            for test, each in ranks.items()
        }
        delta = find_delta(RECIPE)
        report = {
            "question": " ".join(str(__doc__).splitlines()[0].split()),
            "candidates": CANDIDATES,
            "machine": {"cpu": cpu(), "threads": 1, "torch": torch.__version__, "dtype": "float32"},
            "delta": delta.checksum[:8] if delta else None,
            "mrr@10": report.get("mrr@10", {}) | {language: means},
            "cpu_s": report.get("cpu_s", {}) | {language: round(time.process_time() - start)},
            "comparisons": compared(queries),
        }
        write_json(options.out, report)
        write_json(queries_file(options.out), queries, indent=None)
        print(language, means, {test: rows.get(language) for test, rows in report["comparisons"].items()}, flush=True)


if __name__ == "__main__":
    main()
