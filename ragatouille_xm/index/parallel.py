"""The same for each of several things, on all cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")

_here = threading.local()


def parallel_map(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Return ``[function(item) for item in items]``, computed on as many threads as torch uses.

    Each gets a share of items that follow one another. Within one of these threads it is a plain loop, and torch uses
    that thread alone. A single item goes to one of them too: threads of torch's own wait for more work for a while
    after each product, on the cores that are needed here.

    Examples
    --------
    >>> parallel_map(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    threads = torch.get_num_threads()
    if threads == 1 or getattr(_here, "is_one", False):
        return [function(item) for item in items]
    starts = [len(items) * n // threads for n in range(threads + 1)]
    shares = [items[first:last] for first, last in pairwise(starts) if last > first]
    done = _pool(threads, os.getpid()).map(lambda share: [function(item) for item in share], shares)
    return [result for share in done for result in share]


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
