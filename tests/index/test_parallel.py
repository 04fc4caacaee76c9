from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
import torch

from ragatouille_xm.index.parallel import parallel_map


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_work_at_the_same_time_in_order():
    both = threading.Barrier(2)
    assert parallel_map(lambda n: (both.wait(10), n)[1], [3, 4]) == [3, 4]


def test_within_a_thread_nothing_is_spread_again_and_torch_keeps_to_it():
    def inner(n: int) -> tuple[int, bool]:
        name = threading.current_thread().name
        return torch.get_num_threads(), parallel_map(lambda _: threading.current_thread().name, [1, 2, 3]) == [name] * 3

    assert parallel_map(inner, [1, 2, 3]) == [(1, True)] * 3


def test_other_threads_keep_what_was_set():
    parallel_map(abs, [1, 2])
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *found] == [2, 2]


def test_what_goes_wrong_is_raised():
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda n: 1 / n, [1, 0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_a_fork_has_threads_of_its_own():
    parallel_map(abs, [1, 2])
    child = os.fork()
    if not child:
        os._exit(0 if parallel_map(abs, [-1, -2]) == [1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0
