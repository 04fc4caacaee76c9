"""Retrieval sets in many languages: what is in them, measures of what systems find, and tests between systems.

A folder of sets has one for each language in MS MARCO's tsv form (collection, queries, qrels). The id of a query is
that of the passage that answers it, and ``keys.tsv`` names a passage's section in the same way in every language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import ir_measures
import numpy as np
from demo_checkpoint.split import page_of, part_of, queried, sections_of
from ir_measures import RR, Qrel, R, ScoredDoc

from ragatouille_xm.evaluation.significance import holm, paired_test

DATA = Path(__file__).parents[2] / "shared" / "data" / "A"
DEPTH = 100
MEASURES = {"mrr@10": RR @ 10, "r@100": R @ 100}
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")

Values = dict[str, list[float]]  # by measure, 0 to 1, of queries in their order


@dataclass(frozen=True)
class Set:
    """A language's passages by id, queries by the id of their answer, and the section of each passage."""

    language: str
    passages: dict[str, str]
    queries: dict[str, str]
    sections: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Set:
        def rows(name: str) -> dict[str, str]:
            lines = (folder / name).read_text(encoding="utf-8").split("\n")
            return {f"{folder.name}-{line.split(chr(9))[0]}": line.split("\t", 1)[1] for line in lines if line}

        named = sections_of(folder)
        assert queried(folder) == {qid: named[qid] for qid in queried(folder)}, "a query has another id than its answer"
        sections = {f"{folder.name}-{pid}": section for pid, section in named.items()}
        return cls(folder.name, rows("collection.tsv"), rows("queries.tsv"), sections)

    @property
    def tested(self) -> list[bool]:
        """Which of the queries the training of the demo checkpoint has not seen."""
        return [part_of(page_of(self.sections[qid])) == "test" for qid in self.queries]

    def of_the_test(self) -> Set:
        """Return the set with those queries alone."""
        pairs = zip(self.queries.items(), self.tested, strict=True)
        return replace(self, queries=dict(pair for pair, tested in pairs if tested))

    def few(self, n_queries: int | None, n_passages: int | None) -> Set:
        """Return the first queries, and their answers with as many of the first other passages as there is room for."""
        queries = dict(islice(self.queries.items(), n_queries))
        room = max((n_passages or len(self.passages)) - len(queries), 0)
        kept = {*queries, *islice((pid for pid in self.passages if pid not in queries), room)}
        passages = {pid: text for pid, text in self.passages.items() if pid in kept}
        return replace(self, passages=passages, queries=queries)


def words_of(text: str) -> list[str]:
    """Return the words of a text, and the character bigrams where words are not set apart."""
    return [
        piece
        for word in re.findall(r"\w+", text.lower())
        for piece in ([word[i : i + 2] for i in range(max(1, len(word) - 1))] if UNSPACED.search(word) else [word])
    ]


# measuring


def measured(run: Iterable[ScoredDoc], qrels: Sequence[Qrel]) -> Values:
    """Return the measures of each query that has a judgement; one each."""
    result = {each: dict.fromkeys((qrel.query_id for qrel in qrels), 0.0) for each in MEASURES.values()}
    for found in ir_measures.iter_calc(MEASURES.values(), qrels, run):
        result[found.measure][found.query_id] = found.value
    return {name: list(result[wanted].values()) for name, wanted in MEASURES.items()}


def averaged(tables: Mapping[str, Values]) -> dict[str, dict[str, float]]:
    """Return the measures in percent by language, and first the mean of the languages."""
    rows = {
        language: {name: round(100 * mean(values[name]), 1) for name in MEASURES} for language, values in tables.items()
    }
    means = {name: round(mean(100 * mean(values[name]) for values in tables.values()), 1) for name in MEASURES}
    return {"mean": means, **rows}


# comparing


def compared(
    queries: Mapping[str, Mapping[str, Values]], pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Test the reciprocal ranks of pairs of systems, by language and over all queries.

    `queries` is by system and language. Corrected by Holm for the number of all these comparisons.
    """
    found = []
    for pair in pairs:
        first, second = (queries[name] for name in pair)
        values = {language: (first[language]["mrr@10"], second[language]["mrr@10"]) for language in first}
        every = tuple([value for each in values.values() for value in each[side]] for side in (0, 1))
        for language, (ours, theirs) in {"all": every, **values}.items():
            difference = round(100 * (mean(ours) - mean(theirs)), 2)
            found.append((pair, language, difference, paired_test(np.array(ours), np.array(theirs))))
    result: dict[tuple[str, str], dict[str, dict[str, float]]] = {pair: {} for pair in pairs}
    for (pair, language, difference, p), corrected in zip(found, holm([p for *_, p in found]), strict=True):
        result[pair][language] = {"difference": difference, "p": round(p, 4), "corrected": round(corrected, 4)}
    return result


# keeping


def queries_file(out: Path) -> Path:
    """Return the file of the measures of each query, beside that of their means."""
    return out.with_name(f"{out.stem}_queries.json")


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file has; nothing if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def keep_queries(out: Path, name: str, values: Mapping[str, Mapping[str, Values]]) -> dict[str, Any]:
    """Put the measures of a system's queries beside those of the others; return all."""
    queries = read_json(queries_file(out))
    queries[name] = {
        where: {
            language: {measure: [round(value, 4) for value in each] for measure, each in found.items()}
            for language, found in languages.items()
        }
        for where, languages in values.items()
    }
    write_json(queries_file(out), queries, None)
    return queries
