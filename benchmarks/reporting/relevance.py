"""Relevance: does it tell answers from other hits, and the language of answers."""

from __future__ import annotations

from collections.abc import Iterator

from .page import Json, Results, Section, machine_of, number, table

HITS = {"best": "the best hit", "ten best": "the ten best hits"}
VALUES = {
    "score over rows": "score over rows",
    "relevance": "**relevance**",
    "default curve": "with the default curve",
    "neutral background": "with the default curve and the neutral background",
    "limit": "limit: a curve that knows the labels of other queries",
}
PREFERRED = {"query": "the query's", "other": "another"}
LANGUAGE_COLUMNS = ("language preferred", "`language_weight`", "preference rate", "language-aware nDCG@10", "MRR@10")
AIMS = {"auroc": 0.9, "balanced_accuracy": 0.8, "calibration_error": 0.08}


def sections(results: Results) -> Iterator[Section]:
    """Yield the section if its result is there."""
    if found := results.get("relevance"):
        yield _relevance(found)


def _relevance(result: Json) -> Section:
    body = [
        [f"{index['passages']:,}", HITS[hits], f"{index[hits]['answers']:.0%}", said,
         *(f"{index[hits][value][measure]:.{digits}f}" for measure, digits in
           (("auroc", 2), ("calibration_error", 3), ("balanced_accuracy", 2)))]
        for index in result["indexes"]
        for hits in HITS
        for value, said in VALUES.items()
    ]  # fmt: skip
    languages = [
        [PREFERRED[which], number(row["weight"], 2), f"{row['preference_rate']:.0%}", f"{row['language_ndcg']:.3f}",
         f"{row['mrr']:.3f}"]
        for which, rows in result["language"].items()
        for row in rows
    ]  # fmt: skip
    vague = [
        [f'"{text}"', f"{row['score over rows']:.2f}", f"{row['relevance']:.2f}"]
        for text, row in result["indexes"][0]["vague"].items()
    ]
    first = result["indexes"][0]
    seconds = max(index["calibration"]["cpu_seconds"] for index in result["indexes"])
    return Section(
        "Relevance, and the language of answers",
        "Is relevance a probability? What does a say in the language bring, and cost?",
        ("relevance.py", "relevance.json"),
        machine_of(result),
        f"Sections of LibreOffice's help in {result['languages']} languages in one index, parallel where keys are "
        f"the same; {result['queries']} queries, their titles, asked of the index and of the index without their "
        "answers, where no hit is one. Translations of an answer are answers, and are taken away with it. AUROC, which "
        "a curve does not change: how often an answer has more than another hit. Calibration error: expected, in ten "
        "bins. Balanced accuracy: at 0.5. The curve of relevance was fitted without labels; the default one is about "
        "that of the smaller index.\n\n"
        + table(["passages", "of", "answers", "value", "AUROC", "calibration error", "balanced accuracy"], body)
        + "\n\nQueries that say nothing, and their best hit among all passages:\n\n"
        + table(["query", "score over rows", "relevance"], vague)
        + f"\n\nCalibrating took up to {number(seconds)} CPU seconds, measuring the relevance of a query's hits "
        f"{number(first['cpu_ms_a_query'])} CPU ms.\n\nLanguages, after MLAIRE (Jang et al., 2026, arXiv 2605.07249): "
        f"{result['language']['query'][0]['queries']} queries with an answer in the language and one in another. "
        "Preference rate: of the queries that find an answer, how often the first one is in the language. nDCG@10 with "
        "a gain of 1 for an answer in the language and 1/2 for others. MRR@10 of answers in any language. Weight 0 is "
        "plain MaxSim, 0.5 the default.\n\n" + table(LANGUAGE_COLUMNS, languages),
        missed=tuple(_missed(result)),
    )


def _missed(result: Json) -> Iterator[str]:
    for index in result["indexes"]:
        found = {hits: index[hits]["relevance"] for hits in HITS}
        auroc, balanced, error = (
            ", ".join(f"{each[measure]:.2f}" for each in found.values())
            for measure in ("auroc", "balanced_accuracy", "calibration_error")
        )
        yield (
            f"The aims were an AUROC of {AIMS['auroc']}, a balanced accuracy of {AIMS['balanced_accuracy']} and a "
            f"calibration error of {AIMS['calibration_error']}; {index['passages']:,} passages: {auroc}, {balanced} "
            f"and {error}."
        )
    yield (
        "No curve could reach them among 14,000: the checkpoint often ranks a related section before an answer, so the "
        "scores of both are alike. Where few hits are answers, a calibrated probability is seldom above 0.5."
    )
    yield "Sections that are related to the answer count as wrong, whatever they say."
