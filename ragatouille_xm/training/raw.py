"""RAGatouille's raw training data (pairs, labelled pairs, triplets) as triplets, and its files."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..text.detect import list_of_strings
from .data import TrainingExample

QUERIES, CORPUS, TRIPLES = "queries.train.colbert.tsv", "corpus.train.colbert.tsv", "triples.train.colbert.jsonl"
MOST_TRIPLETS = 20  # of a query with several positives, as in RAGatouille

NewNegatives = Callable[[Sequence[str], Mapping[str, frozenset[str]]], Mapping[str, Sequence[str]]]


@dataclass
class Judged:
    """Known passages of a query, each once, in order of appearance."""

    positives: dict[str, None] = field(default_factory=dict)
    negatives: dict[str, None] = field(default_factory=dict)


def read_raw(
    raw_data: Sequence[Sequence[Any]],
    *,
    pairs_with_labels: bool = False,
    positive_label: int | str = 1,
    negative_label: int | str = 0,
) -> dict[str, Judged]:
    """Read pairs, labelled pairs or triplets, as the first record indicates.

    Parameters
    ----------
    raw_data : sequence of sequence
        ``(query, positive)``, ``(query, passage, label)`` with `pairs_with_labels`, or ``(query, positive, negative)``.
        A passage may be a string, a list of strings, or a dict with ``"content"``.
    pairs_with_labels, positive_label, negative_label
        As in RAGatouille.

    Returns
    -------
    dict of str to Judged
        By query.

    Raises
    ------
    InputError
        If there are no records, one has another shape, or a label is neither; the message names the record.

    Examples
    --------
    >>> found = read_raw([("q", "a", 1), ("q", "b", 0)], pairs_with_labels=True)["q"]
    >>> list(found.positives), list(found.negatives)
    (['a'], ['b'])
    """
    if not isinstance(raw_data, (list, tuple)) or not raw_data:
        what = "empty" if raw_data is None or isinstance(raw_data, (list, tuple)) else f"a {type(raw_data).__name__}"
        raise InputError(f"raw_data is {what}. Give a list of pairs, labelled pairs or triplets.")
    wanted = "(query, passage, label)" if pairs_with_labels else "(query, positive) or (query, positive, negative)"
    width = len(raw_data[0]) if isinstance(raw_data[0], (list, tuple)) else 0
    if width == 1 or width > 3 or (pairs_with_labels and width == 2):
        raise InputError(f"Record 0 of raw_data has {width} items: {raw_data[0]!r}. Give {wanted}.")
    result: dict[str, Judged] = {}
    for number, record in enumerate(raw_data):
        if not isinstance(record, (list, tuple)) or not record:
            raise InputError(f"Record {number} of raw_data is {record!r}. Give {wanted}.")
        if len(record) != width:
            raise InputError(f"Record {number} of raw_data has {len(record)} items, and the first has {width}.")
        query = record[0]
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"The query of record {number} of raw_data is {query!r}. Give a string with text.")
        judged = result.setdefault(query, Judged())
        passages = dict.fromkeys(_passages(record[1], number))
        if not pairs_with_labels or record[2] == positive_label:
            judged.positives |= passages
        elif record[2] == negative_label:
            judged.negatives |= passages
        else:
            raise InputError(
                f"The label of record {number} of raw_data is {record[2]!r}: neither positive_label={positive_label!r} "
                f"nor negative_label={negative_label!r}."
            )
        if width == 3 and not pairs_with_labels:
            judged.negatives |= dict.fromkeys(_passages(record[2], number))
    return result


def read_passages(given: Any, name: str) -> list[str]:
    """Return passages, strings or dicts with ``"content"``, as strings; `name` is the parameter's name in messages.

    Raises
    ------
    InputError
        If one is neither.

    Examples
    --------
    >>> read_passages(["a", {"document_id": "x", "content": "b"}], "all_documents")
    ['a', 'b']
    """
    listed = [_content(each) for each in given] if isinstance(given, (list, tuple)) else given
    return list_of_strings(listed, name, in_order=True)


def _content(passage: Any) -> Any:
    return passage["content"] if isinstance(passage, Mapping) and "content" in passage else passage


def _passages(given: Any, number: int) -> list[str]:
    texts: list[Any] = [_content(each) for each in (given if isinstance(given, (list, tuple)) else [given])]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"A passage of record {number} of raw_data is {text!r}. Give a string with text, or a list of them; "
                "labels need pairs_with_labels=True."
            )
    return texts


def make_triplets(
    judged: Mapping[str, Judged], new_negatives: NewNegatives | None, seed: int = 42
) -> list[TrainingExample]:
    """Pair each query's positives with its negatives.

    Parameters
    ----------
    judged : mapping of str to Judged
    new_negatives : callable, optional
        From queries, and passages to avoid for each, to more negatives for each.
    seed : int
        Seed for queries with several positives: 20 of their pairs with negatives are chosen, covering every positive.

    Raises
    ------
    InputError
        If no query has both kinds.
    """
    queries = [query for query, each in judged.items() if each.positives]
    known = {query: frozenset(judged[query].positives | judged[query].negatives) for query in queries}
    new = {} if new_negatives is None else new_negatives(queries, known)
    generator = random.Random(seed)
    result = []
    for query in queries:
        positives = list(judged[query].positives)
        negatives = [each for each in (*judged[query].negatives, *new.get(query, ())) if each not in positives]
        share = len(negatives) if len(positives) == 1 else max(1, MOST_TRIPLETS // len(positives))
        for positive in positives:
            chosen = negatives if share >= len(negatives) else generator.sample(negatives, share)
            result += [TrainingExample(query, positive, (negative,)) for negative in chosen]
    if not result:
        raise InputError(
            "No query has both a positive and a negative passage. Give triplets or labelled pairs, or have negatives "
            "found: num_new_negatives above 0, and all_documents with more than the relevant passages."
        )
    return result


def export(examples: Sequence[TrainingExample], corpus: Iterable[str], folder: Path) -> None:
    """Write RAGatouille's three files, which colbert-ai trains on too: queries, corpus, and triples of ids.

    Raises
    ------
    InputError
        If they cannot be written; existing files are kept then.
    """
    queries = {query: i for i, query in enumerate(dict.fromkeys(example.query for example in examples))}
    used = [text for each in examples for text in (each.positive, *each.negatives)]
    passages = {text: i for i, text in enumerate(dict.fromkeys([*corpus, *used]))}
    rows = [[queries[e.query], passages[e.positive], *(passages[each] for each in e.negatives)] for e in examples]
    contents = {
        QUERIES: "".join(f"{i}\t{_on_one_line(query)}\n" for query, i in queries.items()),
        CORPUS: "".join(f"{i}\t{_on_one_line(text)}\n" for text, i in passages.items()),
        TRIPLES: "".join(json.dumps(row) + "\n" for row in rows),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / f"{name}.tmp").write_text(content, encoding="utf-8", newline="\n")
        for name in contents:
            os.replace(folder / f"{name}.tmp", folder / name)
    except OSError as error:
        for name in contents:
            with suppress(OSError):
                (folder / f"{name}.tmp").unlink()
        raise InputError(
            f"The training data cannot be written to {str(folder)!r}: {error}. Give another folder."
        ) from error


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
