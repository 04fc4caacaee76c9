from __future__ import annotations

from collections.abc import Iterator
from threading import Event, active_count, current_thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.text.ahead import map_ahead


@given(st.lists(st.integers()))
def test_results_come_in_order(items: list[int]) -> None:
    assert list(map_ahead(lambda n: n + 1, items)) == [n + 1 for n in items]


def test_items_are_read_here_and_worked_on_elsewhere() -> None:
    readers, workers = set(), set()

    def items() -> Iterator[int]:
        for n in range(5):
            readers.add(current_thread())
            yield n

    assert len(list(map_ahead(lambda n: workers.add(current_thread()), items()))) == 5
    assert readers == {current_thread()}
    assert workers.isdisjoint(readers)


def test_the_next_result_is_made_meanwhile() -> None:
    second = Event()
    stream = map_ahead(lambda n: second.set() if n == 2 else n, [1, 2])
    assert next(stream) == 1
    assert second.wait(10)  # without being asked for
    assert list(stream) == [None]


def test_a_failing_source_and_a_failing_function_fail_in_their_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 0
        raise KeyError("third")

    stream = map_ahead(lambda n: n, items())
    assert [next(stream), next(stream)] == [1, 0]
    with pytest.raises(KeyError, match="third"):
        next(stream)
    stream = map_ahead(lambda n: 1 // n, items())
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_no_more_is_made_than_one_that_nobody_wants() -> None:
    made: list[int] = []
    before = active_count()
    stream = map_ahead(made.append, range(1_000_000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert made in ([0], [0, 1])
    assert active_count() == before
