"""Does detection pick the right adapter? Text by text, in collections, and for queries to an index.

    python benchmarks/languages.py --data ../shared/langid/dev.jsonl --before CHECKOUT

The data are JSON lines with ``adapter`` (the right one), ``kind`` (``query`` or ``passage``) and ``text``; lines with
``extra`` are left out. Accuracies are in percent, averaged over languages or pairs.

- systems: each text by itself, among 81 languages. ``langdetect`` is the named alternative through the same interface,
  ``langdetect_alone`` what it answers itself, seeded, with every code mapped to an adapter. Times are CPU time in one
  thread, the best of three runs, without loading.
- settings, of the default detector: in ``before``, a checkout of an earlier state, and ``after``, the one that this
  script is in.

  - ``one_language``: a collection of all queries, or all passages, of one language. ``one_language_5`` and ``_20``: of
    so many queries. ``one_by_one``: twenty queries, added one after the other.
  - ``beside_a_relative``: 200 queries of a language (drawn with repetition) and 3 of a close relative.
  - ``even``: the queries, or the passages, of all languages in one collection.
  - ``query``: a query to an index of 1,000 passages: in the language of the index (``own``), in a close relative of it
    (``relative``), in each other language to an index in English (``foreign``); and to an index with as many
    passages in each of mMARCO's 14 languages, in one of these (``fourteen``).
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from machine import cpu

sys.path.append(str(Path(__file__).parents[1]))  # after PYTHONPATH, which names the state that is measured

from ragatouille_xm.languages import ADAPTERS, LANGUAGES, to_adapter, to_language
from ragatouille_xm.text.detect import make_detector

MMARCO = ["ar", "zh", "nl", "en", "fr", "de", "hi", "id", "it", "ja", "pt", "ru", "es", "vi"]
RELATIVES = (
    "id-ms da-no sv-no pt-gl es-gl es-ca it-es hr-sr hr-sl cs-sk bg-mk ru-uk ru-be ru-bg nl-af hi-ne hi-mr mr-sa az-tr "
    "kk-ky et-fi lt-lv fa-ps fa-ur"
)
KINDS = ("query", "passage")
REPEATS = 3
MAJORITY, MINORITY, DRAWS = 200, 3, 5

Picker = Callable[[Sequence[str]], list[str | None]]
Row = dict[str, Any]


def through_detector(name: str) -> Picker:
    detector = make_detector(name)
    return lambda texts: [to_adapter(found.language) for found in detector.detect(texts, LANGUAGES)]


def langdetect_alone(texts: Sequence[str]) -> list[str | None]:
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0

    def pick(text: str) -> str | None:
        try:
            return to_adapter(detect(text), nearest=False)
        except LangDetectException:
            return None

    return [pick(text) for text in texts]


def evaluate(pick: Picker, rows: Sequence[Row]) -> Row:
    pick([rows[0]["text"]])  # loads the model
    measured: Row = {}
    accuracies: dict[str, list[float]] = defaultdict(list)
    for kind in KINDS:
        chosen = [row for row in rows if row["kind"] == kind]
        seconds = float("inf")
        for _ in range(REPEATS):
            start = time.process_time()
            picked = pick([row["text"] for row in chosen])
            seconds = min(seconds, time.process_time() - start)
        right: dict[str, list[bool]] = defaultdict(list)
        for row, adapter in zip(chosen, picked, strict=True):
            right[row["adapter"]].append(adapter == row["adapter"])
        for adapter in ADAPTERS:
            accuracies[adapter].append(round(100 * sum(right[adapter]) / len(right[adapter]), 1))
        measured[kind] = {
            "texts": len(chosen),
            "macro_accuracy": round(sum(sum(each) / len(each) for each in right.values()) / len(right) * 100, 2),
            "microseconds_per_text": round(seconds / len(chosen) * 1e6),
        }
    return {**measured, "adapters": dict(accuracies)}


class Product:
    """How the checkout that is imported detects the languages of documents and of queries."""

    def __init__(self) -> None:
        self.detector: Any = make_detector()
        self.knows_collections = "together" in inspect.signature(self.detector.detect).parameters

    def documents(self, texts: Sequence[str], held: Counter[str] | None = None) -> list[str]:
        """Return the languages of texts that are added, in one call, to an index that holds so many."""
        if self.knows_collections:
            found = self.detector.detect(texts, LANGUAGES, held, together=True)
        else:
            found = self.detector.detect(texts, LANGUAGES)
        return [each.language for each in found]

    def query(self, text: str, held: Counter[str]) -> str:
        """Return the language of a query to an index that holds so many passages."""
        if self.knows_collections:
            (found,) = self.detector.detect([text], LANGUAGES, held)
        else:
            (found,) = self.detector.detect([text], list(held), next(iter(held)))
        return str(found.language)


def settings(rows: Sequence[Row]) -> Row:
    """Return the accuracy of the imported checkout in each setting."""
    product = Product()
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        texts[row["kind"], to_language(row["adapter"])].append(row["text"])
    queries = {language: texts["query", language] for language in LANGUAGES}
    pairs = [tuple(pair.split("-")) for pair in RELATIVES.split()]
    pairs += [(b, a) for a, b in pairs]
    draw = np.random.default_rng(0)

    def collection(some: Sequence[str], language: str) -> float:
        return share(product.documents(some), language)

    def one_by_one(some: Sequence[str], language: str) -> float:
        held: Counter[str] = Counter()
        for text in some:
            held[product.documents([text], held)[0]] += 1
        return 100 * held[language] / len(some)

    def drawn(language: str, n: int) -> list[str]:
        return [str(text) for text in draw.choice(queries[language], n, replace=n > len(queries[language]))]

    def even(kind: str) -> float:
        every = [(text, language) for language in LANGUAGES for text in texts[kind, language]]
        found = product.documents([text for text, _ in every])
        right: dict[str, list[bool]] = defaultdict(list)
        for (_, language), answer in zip(every, found, strict=True):
            right[language].append(answer == language)
        return 100 * mean([float(np.mean(each)) for each in right.values()])

    majority, minority = [], []
    for main, relative in pairs * DRAWS:
        found = product.documents([*drawn(main, MAJORITY), *drawn(relative, MINORITY)])
        majority.append(share(found[:MAJORITY], main))
        minority.append(share(found[MAJORITY:], relative))

    def asked(held: Counter[str], language: str) -> float:
        return share([product.query(text, held) for text in queries[language]], language)

    def holding(*languages: str) -> Counter[str]:
        return Counter(dict.fromkeys(languages, 1000 // len(languages)))

    return {
        "one_language": {
            kind: mean([collection(texts[kind, language], language) for language in LANGUAGES]) for kind in KINDS
        },
        "one_language_5": mean([collection(drawn(language, 5), language) for language in LANGUAGES * DRAWS]),
        "one_language_20": mean([collection(drawn(language, 20), language) for language in LANGUAGES * DRAWS]),
        "one_by_one": mean([one_by_one(drawn(language, 20), language) for language in LANGUAGES]),
        "beside_a_relative": {"majority": mean(majority), "minority": mean(minority)},
        "even": {kind: even(kind) for kind in KINDS},
        "query": {
            "own": mean([asked(holding(main), main) for main, _ in pairs]),
            "relative": mean([asked(holding(main), relative) for main, relative in pairs]),
            "foreign": mean([asked(holding("en"), language) for language in LANGUAGES if language != "en"]),
            "fourteen": mean([asked(holding(*MMARCO), language) for language in MMARCO]),
        },
    }


def share(found: Sequence[str], language: str) -> float:
    return 100 * sum(each == language for each in found) / len(found)


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return round(value, 2)


def environment() -> Row:
    packages = {name: version(name) for name in ("py3langid", "langdetect", "numpy")}
    return {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version(), **packages}


def read(path: Path) -> list[Row]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if not row.get("extra")]


def settings_of(checkout: Path, data: Path) -> Row:
    """Return the settings as they come out in another checkout, in a process of its own."""
    arguments = [sys.executable, __file__, "--data", str(data.resolve()), "--settings"]
    environ = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    out = subprocess.run(arguments, env=environ, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(out))


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=root / "../shared/langid/dev.jsonl")
    parser.add_argument("--out", type=Path, default=root / "benchmarks/results/languages.json")
    parser.add_argument("--before", type=Path, help="a checkout of the state to compare with")
    parser.add_argument("--settings", action="store_true", help="print the settings of the imported checkout")
    options = parser.parse_args()
    rows = read(options.data)
    if options.settings:
        print(json.dumps(rounded(settings(rows))))
        return
    results: Row = {"adapters_hold": "[accuracy on queries, on passages], percent", "environment": environment()}
    if options.before is not None:
        results["settings"] = {
            "before": settings_of(options.before, options.data), "after": settings_of(root, options.data)
        }  # fmt: skip
        print(json.dumps(results["settings"], indent=1))
    systems: dict[str, Picker] = {
        "py3langid": through_detector("py3langid"),
        "langdetect": through_detector("langdetect"),
        "langdetect_alone": langdetect_alone,
    }
    for name, pick in systems.items():
        results[name] = evaluate(pick, rows)
        print(name, *(f"{kind} {results[name][kind]}" for kind in KINDS))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in results.items())
    options.out.write_text("{\n" + text + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
