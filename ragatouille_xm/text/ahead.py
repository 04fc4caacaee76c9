"""Work that a thread does ahead of whoever uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LOOK = 0.1  # seconds after which a waiting thread looks whether it is still wanted


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield `items` in their order, made in a thread that is at most `depth` of them ahead.

    An exception of the thread is raised here, after the items before it. If the caller stops early (closes the
    generator), so does the thread.

    Examples
    --------
    >>> list(ahead(n * n for n in range(4)))
    [0, 1, 4, 9]
    """
    ready: Queue[tuple[bool, T | BaseException | None]] = Queue(depth)
    stopped = Event()

    def put(more: bool, value: T | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put((more, value), timeout=_LOOK)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(True, item):
                    return
        except BaseException as error:  # whatever it is, the caller gets it
            put(False, error)
        else:
            put(False, None)

    thread = Thread(target=work, name="ragatouille_xm ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, value = ready.get()
            if more:
                yield value  # type: ignore[misc]
            elif isinstance(value, BaseException):
                raise value
            else:
                return
    finally:
        stopped.set()
        thread.join()


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
