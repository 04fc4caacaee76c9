"""Prefetching in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``function(item)`` in order, computing each in a thread while the caller uses the previous one.

    `items` is read in the caller's thread, one ahead, since a user's iterable may be bound to its thread, as a database
    cursor is. Exceptions of either are raised after the results that precede them. If the caller stops early, at most
    one result is computed in vain.

    Examples
    --------
    >>> list(map_ahead(lambda n: n * n, range(4)))
    [0, 1, 4, 9]
    """
    with ThreadPoolExecutor(1, "ragatouille_xm ahead") as thread:
        started = (thread.submit(function, item) for item in items)
        waiting: Future[R] | None = next(started, None)
        while waiting is not None:
            following: Future[R] | None = None
            failure: BaseException | None = None
            try:
                following = next(started, None)
            except BaseException as error:  # raised after the pending result
                failure = error
            yield waiting.result()
            if failure is not None:
                raise failure
            waiting = following
