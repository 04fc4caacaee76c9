"""Results of long documents: one for each document, and the passages that stand around one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from .index.base import PassageIndex
from .results import Result

SHORTEST_OVERLAP = 10  # characters: fewer are alike by chance


Search: TypeAlias = Callable[[Sequence[int], int], list[list[Result]]]
"""From the positions of some queries, and a number of passages, to so many results of each, or all that qualify."""


def down_to_passage(search: Search, n_queries: int, k: int, n_passages: int) -> list[list[Result]]:
    """Return the first `k` results of each query."""
    return search(range(n_queries), min(k, n_passages))


def down_to_document(search: Search, n_queries: int, k: int, n_passages: int) -> list[list[Result]]:
    """Return the results of each query down to the first of its `k`-th document, searching as deep as that takes.

    Parameters
    ----------
    search : callable
        Best first.
    n_queries, k : int
    n_passages : int
        That the index has.

    Examples
    --------
    >>> ranking = [{"document_id": each} for each in "aaaabbcab"]
    >>> [found] = down_to_document(lambda queries, depth: [ranking[:depth] for _ in queries], 1, 2, len(ranking))
    >>> "".join(result["document_id"] for result in found)
    'aaaab'
    """
    found: list[list[Result]] = [[] for _ in range(n_queries)]
    queries, depth = list(range(n_queries)), min(2 * k, n_passages)
    while queries:
        deeper = []
        for i, results in zip(queries, search(queries, depth), strict=True):
            end = _end_of(results, k)
            found[i] = results[:end]
            if end is None and len(results) == depth < n_passages:
                deeper.append(i)
        queries, depth = deeper, min(2 * depth, n_passages)
    return found


def _end_of(results: Sequence[Result], k: int) -> int | None:
    """Return the number of results down to the first of the `k`-th document; None if there are not so many."""
    seen: set[str] = set()
    for end, result in enumerate(results, start=1):
        seen.add(result["document_id"])
        if len(seen) == k:
            return end
    return None


def by_document(results: Sequence[Result]) -> list[Result]:
    """Return the best result of each document, with its ``other_passages``; ranks of these count within the document.

    Examples
    --------
    >>> found = by_document([{"document_id": "a", "passage_id": 1}, {"document_id": "b", "passage_id": 7},
    ...                      {"document_id": "a", "passage_id": 3}])
    >>> [(each["document_id"], each["rank"], len(each["other_passages"])) for each in found]
    [('a', 1, 1), ('b', 2, 0)]
    """
    documents: dict[str, list[Result]] = {}
    for result in results:
        documents.setdefault(result["document_id"], []).append(result)
    return [
        {**best, "rank": rank, "other_passages": [{**each, "rank": i} for i, each in enumerate(others, start=2)]}
        for rank, (best, *others) in enumerate(documents.values(), start=1)
    ]


def add_context(results: Sequence[Result], index: PassageIndex, n: int) -> None:
    """Give results the texts of the `n` passages of their documents before and after them, in the order of the text.

    One that was deleted since it was found has none.
    """
    near = index.around([result["passage_id"] for result in results], min(n, len(index)))
    for result in results:
        pid = result["passage_id"]
        passages = near.get(pid, ())
        result["context_before"] = [passage.text for passage in passages if passage.pid < pid]
        result["context_after"] = [passage.text for passage in passages if passage.pid > pid]


def with_context(result: Result) -> str:
    r"""Return the text of a result and of its context as one, with a line break where one passage ends.

    Where the end of a passage is the beginning of the next one, as splitters with an overlap leave it, it is kept once.

    Parameters
    ----------
    result : dict
        Of a search with ``context=``; without, it is the text alone.

    Examples
    --------
    >>> with_context({"content": "2, 2, and 2. 3.", "context_before": ["1. 2, 2, and 2."], "context_after": ["4."]})
    '1. 2, 2, and 2. 3.\n4.'
    """
    text: str = result["content"]
    for before in reversed(result.get("context_before", ())):
        text = _joined(before, text)
    for after in result.get("context_after", ()):
        text = _joined(text, after)
    return text


def _joined(first: str, second: str) -> str:
    for length in range(min(len(first), len(second)), SHORTEST_OVERLAP - 1, -1):
        if first.endswith(second[:length]):
            return first + second[length:]
    return f"{first}\n{second}"
