"""Work that a thread does ahead of whoever uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``function(item)`` in order, each made in a thread while the caller uses the one before.

    `items` are read in the caller's thread, one ahead: what a user gives may be bound to it, as a database cursor is.
    An exception of either is raised after the results before it. If the caller stops early, at most one result that
    nobody wants is made.

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
            except BaseException as error:  # not before the result that is on its way
                failure = error
            yield waiting.result()
            if failure is not None:
                raise failure
            waiting = following
