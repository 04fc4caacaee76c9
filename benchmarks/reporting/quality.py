"""Language detection, and the quality of the demo checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table
from .plots import Panel, Plot, Series

DETECTORS = {
    "py3langid": "py3langid behind the script rules (the default)",
    "langdetect": "langdetect through the same interface",
    "langdetect_alone": "langdetect alone",
}
DETECTION_SETTINGS = {
    "a collection of short texts in one language": ("one_language", "query"),
    "a collection of passages in one language": ("one_language", "passage"),
    "five short texts in one language": ("one_language_5",),
    "twenty short texts in one language": ("one_language_20",),
    "the same, added one after the other": ("one_by_one",),
    "200 short texts beside 3 of a close relative: the 200": ("beside_a_relative", "majority"),
    "200 short texts beside 3 of a close relative: the 3": ("beside_a_relative", "minority"),
    "all languages evenly, short texts": ("even", "query"),
    "all languages evenly, passages": ("even", "passage"),
    "a query in the language of the index": ("query", "own"),
    "a query in a close relative of it": ("query", "relative"),
    "a query to an English index, in any other language": ("query", "foreign"),
    "a query to an index in 14 languages, in one of them": ("query", "fourteen"),
}
TRAINED, BM25 = "trained", "bm25"
OWN_ADAPTER, ADAPTERS_OF_OTHERS = "own adapter", ("no adapter", "English adapter")
ABLATIONS = ("trained, English adapter for all", "trained, no adapter")
SYSTEMS = {
    TRAINED: "trained",
    "untrained": "untrained",
    "mean-pooled encoder": "E5, mean pooling",
    BM25: "BM25",
    **{name: name for name in ABLATIONS},
}
COLLECTIONS = {"mixed": "all languages in one collection*", "across languages": "answer in another language*"}
FOUND_BY = {
    "words": "BM25 over words (bm25s)",
    "pieces": "BM25 over pieces, `hybrid=True, lexical_weight=1`",
    "untrained": "MaxSim, untrained",
    "untrained, hybrid": "MaxSim and pieces, untrained, `hybrid=True`",
    "trained": "MaxSim, trained",
    "trained, hybrid": "MaxSim and pieces, trained, `hybrid=True`",
}
HYBRID_AIM = 3.0  # points of MRR@10 over MaxSim, all languages in one index
SIGNIFICANT = 0.05


def sections(results: Results) -> Iterator[Section]:
    """Yield the sections whose results are there."""
    if found := results.get("languages"):
        yield _detection(found)
    if found := results.get("demo_quality"):
        yield _trained(found)
    if log := results.lines("demo_training"):
        yield _training_log(log)
    if found := results.get("adapters"):
        yield _translations(found, results.get("demo_adapters") or {})
    if found := results.get("demo_masked"):
        yield _masked(found)
    if found := results.get("quality"):
        yield _search(found)
    if found := results.get("demo_choices"):
        yield _choices(found)


def _detection(result: Json) -> Section:
    body = [
        [said, f"{row['query']['macro_accuracy']:.1f} %", f"{row['passage']['macro_accuracy']:.1f} %",
         f"{row['query']['microseconds_per_text']:,} / {row['passage']['microseconds_per_text']:,}"]
        for system, said in DETECTORS.items()
        for row in [result[system]]
    ]  # fmt: skip
    settings = [
        [said, *(f"{_within(result['settings'][state], path):.1f}" for state in ("before", "after"))]
        for said, path in DETECTION_SETTINGS.items()
    ]
    every = result["py3langid"]
    worst = sorted(every["adapters"].items(), key=lambda each: each[1][0])[:5]
    return Section(
        "Language detection",
        "Does detection pick the right adapter: of a text by itself, in a collection, of a query to an index?",
        ("languages.py", "languages.json"),
        machine_of(result),
        f"Accuracy, averaged over languages, on {every['query']['texts']:,} queries and {every['passage']['texts']:,} "
        f"passages in {len(every['adapters'])} languages, each by itself; CPU time for a text.\n\n"
        + table(["", "queries", "passages", "µs: query / passage"], body)
        + "\n\nIn collections, and for queries to an index, before the collection counted and after: accuracy in "
        "percent, averaged over languages or over pairs of relatives.\n\n" + table(["", "before", "after"], settings),
        missed=(
            "Short queries in closely related languages are what it gets wrong. The worst on queries: "
            + ", ".join(f"{adapter} {values[0]:.0f} %" for adapter, values in worst)
            + ". A language that you give is always taken.",
            "The constants were chosen on the same texts. Before, a query was taken for a language of the index.",
            "Other work ran beside it on the machine.",
        ),
    )


def _within(result: Json, path: tuple[str, ...]) -> float:
    for key in path:
        result = result[key]
    return float(result)  # type: ignore[arg-type]


# ---- the demo checkpoint, trained


def _pair(scores: Json) -> str:
    return f"{scores['mrr@10']:.1f} / {scores['r@100']:.1f}"


def _trained(result: Json) -> Section:
    systems, compared = result["systems"], result["comparisons"]
    alone = {name: systems[name]["alone"] for name in SYSTEMS}
    languages = [name for name in alone[TRAINED] if name != "mean"]

    def mark(collection: str, system: str, language: str) -> str:
        test = compared.get(collection, {}).get(system, {}).get("all" if language == "mean" else language)
        return "†" if test and test["corrected"] < SIGNIFICANT and test["difference"] > 0 else ""

    def cell(collection: str, system: str, language: str = "mean") -> str:
        found = systems[system].get(collection)
        return "–" if found is None else _pair(found[language]) + mark(collection, system, language)

    body = [[language, *(cell("alone", system, language) for system in SYSTEMS)] for language in [*languages, "mean"]]
    body += [[said, *(cell(name, system) for system in SYSTEMS)] for name, said in COLLECTIONS.items()]
    queries = sum(each["test queries"] for each in result["data"].values())
    few = result["queries of a language in mixed, across languages"]
    english, none = (compared["ablation"][name]["all"] for name in ABLATIONS)
    return Section(
        "The trained demo checkpoint",
        "What did training do to the demo checkpoint, and do its language adapters matter?",
        ("demo_quality.py", "demo_quality.json"),
        machine_of(result),
        "MRR@10 / recall@100 in percent. Sections of LibreOffice's help that training never saw, split by page: "
        f"{queries:,} titles as queries, 1,000 passages in each language, exact MaxSim. † The trained one's MRR@10 is "
        "significantly higher (paired randomisation, Holm's correction for all comparisons, p < 0.05). * The first "
        f"{few} queries of each language.\n\n" + table(["", *SYSTEMS.values()], body),
        Plot(
            "demo_quality", "MRR@10 by language: the trained demo checkpoint, the untrained one, and BM25",
            "", "MRR@10, %",
            [Panel("", [Series(SYSTEMS[name], languages, [alone[name][each]["mrr@10"] for each in languages])
                        for name in (TRAINED, "untrained", BM25)])],
            bars=True,
        ),
        (
            "The gain comes from the English pairs. The right adapter is "
            f"{number(english['difference'], 2)} points better than the English one for all, and "
            f"{number(none['difference'], 2)} better than none (p {number(english['corrected'], 2)} and "
            f"{number(none['corrected'], 2)} after correction: a difference counts below {SIGNIFICANT}).",
            "The domain is that of the training. The adapters saw texts of other languages beside English titles, so "
            "the last row is not zero-shot; de, ja, ru and tr helped to choose adapters and step.",
            "This is the demo checkpoint. No published weights were evaluated.",
        ),
    )  # fmt: skip


def _training_log(log: list[Json]) -> Section:
    checks = [entry for entry in log if entry["stage"] == "validation" and entry["of"] == "english"]
    before = next(entry for entry in log if entry["stage"] == "validation" and entry["of"] == "untrained")
    adapters = [entry for entry in log if entry["stage"] == "adapter"]
    kept = [entry["language"] for entry in adapters if entry["kept"]]
    dropped = sorted({entry["language"] for entry in adapters} - set(kept))
    best = max(checks, key=lambda entry: entry["mean"])
    pairs = next(entry["pairs"] for entry in log if entry["stage"] == "english")
    steps = max(entry["step"] for entry in log if entry["stage"] == "adapters")
    languages = list(best["languages"])
    entries = [("untrained", before), *((f"step {entry['step']}", entry) for entry in checks)]
    body = [
        [name, *(f"{entry['languages'][each]['mrr@10']:.1f}" for each in languages), f"{entry['mean']:.1f}"]
        for name, entry in entries
    ]
    xs = [entry["step"] for entry in checks]
    return Section(
        "Training of the demo checkpoint",
        "How did the training of the demo checkpoint go?",
        ("demo_checkpoint/train.py", "demo_training.jsonl"),
        "one core of a CPU; machine not recorded",
        f"First an adapter for each of {len(adapters)} languages, {steps} steps in which an English title must find "
        "the text of the same section in that language (English: a sentence its section). An adapter is kept if "
        f"validation or held-out loss gets better: {len(kept)} are (not {', '.join(dropped)}). Then {pairs:,} English "
        f"pairs of title and section; the best step by validation ({best['step']} of {checks[-1]['step']}) is taken. "
        f"All of it takes {log[-1]['cpu_s'] / 60:.0f} CPU minutes. MRR@10 in percent on validation queries:\n\n"
        + table(["", *languages, "mean"], body),
        Plot(
            "demo_validation", "MRR@10 on validation queries, by step of the English stage", "step", "MRR@10, %",
            [Panel("", [Series(each, xs, [entry["languages"][each]["mrr@10"] for entry in checks])
                        for each in languages])],
        ),
    )  # fmt: skip


def _translations(result: Json, training: Json) -> Section:
    measured, compared, trained = result["mrr@10"], result["comparisons"], training["training"]
    names = [OWN_ADAPTER, *ADAPTERS_OF_OTHERS]

    def cell(language: str, test: str, name: str) -> str:
        if test not in measured[language]:
            return "–"
        found = compared[test][language].get(name)
        mark = "†" if found and found["corrected"] < SIGNIFICANT and found["difference"] > 0 else ""
        return f"{measured[language][test][name]:.1f}{mark}"

    body = [
        [language, *(cell(language, test, name) for test in ("declaration", "messages") for name in names),
         f"{sum(trained[language]['pairs'].values()):,}", trained[language]["best step"],
         f"{trained[language]['cpu_s'] / 60:.0f}"]
        for language in measured
    ]  # fmt: skip
    better = {
        test: [
            language for language in measured
            if all(cell(language, test, name).endswith("†") for name in ADAPTERS_OF_OTHERS)
        ]
        for test in ("declaration", "messages")
    }  # fmt: skip
    return Section(
        "Adapters by translations",
        "Does an adapter that is trained on translations help in a language that the demo checkpoint is weak in?",
        ("adapters.py", "adapters.json"),
        machine_of(result),
        "MRR@10 in percent: a text is found by its translation among "
        f"{result['candidates']}, English against the language, mean of both directions; English always through its "
        "own adapter. *Declaration*: the 30 articles of the Universal Declaration of Human Rights. *Messages*: of a "
        "program that training never saw. No adapter is also what the own one was before training. † The own adapter "
        "is significantly better than this (paired randomisation, Holm's correction for a test's comparisons, "
        f"p < {SIGNIFICANT}).\n\n"
        + table(["", *(f"{test}, {name}" for test in ("declaration", "messages") for name in names), "pairs",
                 "best step", "CPU minutes"], body)
        + "\n\nThe own adapter is significantly better than both others on the messages of another program in "
        f"{', '.join(better['messages']) or 'no language'}, and on the declaration in "
        f"{', '.join(better['declaration']) or 'no language'}.",
        missed=(
            "Text of programs alone was trained on, and few steps: longer training was not tried. What is kept is "
            "chosen by such text too, which in Basque does not carry over.",
            "The recipe was chosen on the declaration in Hausa, so its figures there are not independent of that. With "
            "60 queries, small differences are seldom significant.",
            "Parallel text measures whether meaning is shared with English, not retrieval of long answers.",
            "Other languages' adapters are the same to the bit (`tests/test_demo_delta.py`).",
        ),
    )  # fmt: skip


def _masked(result: Json) -> Section:
    tried = {name: value for name, value in result.items() if isinstance(value, dict) and "validation" in value}
    scores = {"untrained": result["untrained"]} | {name: value["validation"] for name, value in tried.items()}
    body = [
        [name, *(number(value[language][key], 4) for language in value for key in ("mrr@10", "nll"))]
        for name, value in scores.items()
    ]
    languages = list(result["untrained"])
    return Section(
        "Adapters by masked-language modelling",
        "What does masked-language modelling of adapters, ColBERT-XM's own recipe, do to retrieval with the demo "
        "checkpoint?",
        ("demo_checkpoint/masked.py", "demo_masked.json"),
        "machine not recorded",
        f"{result['steps']} steps at two learning rates; validation queries.\n\n"
        + table(["", *(f"{language}, {what}" for language in languages for what in ("MRR@10", "loss"))], body),
        missed=("Only a few steps, in one language: retrieval does not change by more than noise.",),
    )


# ---- what searches find


def _search(result: Json) -> Section:
    systems = {name: said for name, said in FOUND_BY.items() if name in result["systems"]}
    tested = {name: result["systems"][name]["tested queries"] for name in systems}
    every = {name: result["systems"][name]["all queries"] for name in systems}
    languages = list(result["data"])
    where = ("alone", "mixed")
    means = [
        [said, *(_pair(found[name][place]["mean"]) for found in (tested, every) for place in where)]
        for name, said in systems.items()
    ]
    each = [
        [said, *(f"{tested[name]['mixed'][language]['mrr@10']:.1f}" for language in languages)]
        for name, said in systems.items()
    ]
    tests = [
        [f"{alone['first']} – {alone['second']}", *(_difference(test["all"]) for test in (alone, mixed))]
        for alone, mixed in zip(*(result["comparisons"][place] for place in where), strict=True)
    ]
    n_tested, n_queries, n_passages = (
        sum(row[key] for row in result["data"].values()) for key in ("tested", "queries", "passages")
    )
    body = (
        f"Section titles → sections of LibreOffice's help, {len(languages)} languages: {n_passages:,} passages in an "
        f"index of each language, and in one index of all. MRR@10 / recall@100 in percent, means of the languages, for "
        f"{n_tested:,} queries that training has not seen, and for all {n_queries:,}. Pieces are the tokeniser's.\n\n"
        + table(["", "tested, alone", "tested, in one index", "all, alone", "all, in one index"], means)
        + "\n\n"
        + table(["MRR@10, in one index", *languages], each)
        + "\n\nDifferences of MRR@10 over all tested queries (p after Holm's correction, paired randomisation):\n\n"
        + table(["", "each alone", "in one index"], tests)
    )
    if facts := result.get("facts"):
        right, disk = facts["detected right"], facts["disk"]
        added = disk["bytes"] / disk["without pieces"] - 1
        body += (
            f"\n\nPostings of pieces add {added:.1%} to the disk ({disk['without pieces'] / 1e6:,.0f} MB). Detection "
            f"is right for {right['queries']:.1f} % of the queries and {right['passages']:.1f} % of the passages."
        )
    short = [
        f"{test['first']}: {test['all']['difference']:+.1f} points of MRR@10 over MaxSim alone in one index; "
        f"{HYBRID_AIM:+.0f} was the aim."
        for test in result["comparisons"]["mixed"]
        if test["first"] == f"{test['second']}, hybrid" and test["all"]["difference"] < HYBRID_AIM
    ]
    return Section(
        "What a search finds",
        "How well does a search find things: MaxSim, pieces of words, and both, trained or not, in one language or in "
        "many?",
        ("quality.py", "quality.json"),
        machine_of(result),
        body,
        missed=(
            *short,
            "One domain, whose titles share words with their sections; an answer in another language counts as wrong.",
            "This is the demo checkpoint. No published weights were evaluated.",
        ),
    )


def _difference(test: Json) -> str:
    return f"{test['difference']:+.1f} ({test['corrected']:.3f})"


# ---- the demo checkpoint's choices


def _choices(result: Json) -> Section:
    alone, mixed = result["each language alone"]["mean"], result["all languages mixed"]
    where = ("own language", "next language")
    heads = [
        [name, f"{score:.1f}", *((f"{mixed[name][key]:.1f}" if name in mixed else "") for key in where)]
        for name, score in {"BM25": alone["BM25"], "mean pooling": alone["mean pooling"], **alone["head"]}.items()
    ]  # fmt: skip
    others = [[name, f"{score:.1f}"] for name, score in {**alone["layers"], **alone["fill"]}.items()]
    return Section(
        "The demo checkpoint's choices",
        "Which layer, fill and head make the best late-interaction model of an untrained multilingual-e5-small?",
        ("demo_choices.py", "demo_choices.json"),
        machine_of(result),
        f"{result['what']}. The chosen head: 14 directions removed, fill not attended, width 128.\n\n"
        + table(["", "each language alone", "mixed, own language", "mixed, answer in the next language"], heads)
        + "\n\n"
        + table(["layer or fill", "each language alone"], others),
        missed=("A difference of a point or two is noise.",
                "Cross-lingual search with the untrained checkpoint is weak."),
    )  # fmt: skip
