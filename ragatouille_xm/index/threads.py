"""The same for each of several things, on all cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")

_here = threading.local()


def spread(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Return ``[function(item) for item in items]``, computed on as many threads as torch uses.

    Within one of these threads it is a plain loop, and torch uses that thread alone.

    Examples
    --------
    >>> spread(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2 or getattr(_here, "is_one", False):
        return [function(item) for item in items]
    return list(_pool(threads, os.getpid()).map(function, items))


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return threads of this process: a fork has none of them."""
    all_there = threading.Barrier(threads + 1)

    def begin() -> None:
        _here.is_one = True
        torch.get_num_threads()  # which a new thread takes over from others once
        torch.set_num_threads(1)  # of this thread; but threads that are new would take it over, so:
        all_there.wait()

    pool = ThreadPoolExecutor(threads, "ragatouille_xm-search")
    for _ in range(threads):
        pool.submit(begin)
    all_there.wait()
    torch.set_num_threads(threads)
    return pool
