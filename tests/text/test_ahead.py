from __future__ import annotations

from collections.abc import Iterator
from threading import Event, active_count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.text.ahead import ahead


@given(st.lists(st.integers()), st.integers(1, 4))
def test_order_is_kept(items: list[int], depth: int) -> None:
    assert list(ahead(items, depth)) == items


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("third")

    stream = ahead(items(), 1)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(stream)


def test_it_stops_when_the_caller_does() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for n in range(1_000_000):
            made.append(n)
            yield n

    before = active_count()
    stream = ahead(items(), 2)
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert len(made) <= 5
    assert active_count() == before


def test_it_runs_ahead() -> None:
    second = Event()

    def items() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    stream = ahead(items())
    assert next(stream) == 1
    assert second.wait(10)  # without being asked for
    assert list(stream) == [2]
