from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ragatouille_xm.query_batches import QueryBatches


def encode(texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
    """Return a row for each letter of a text, which holds its number and that of the language."""
    rows = torch.zeros(len(texts), max(map(len, texts)), 2)
    for i, (text, language) in enumerate(zip(texts, languages, strict=True)):
        for j, letter in enumerate(text):
            rows[i, j] = torch.tensor([float(ord(letter)), float(ord(language[0]))])
    return rows


def test_everybody_gets_what_they_asked_for():
    sizes: list[int] = []
    batches = QueryBatches(encode, size=5, on_batch=sizes.append)
    calls = [([chr(97 + i) * (1 + i % 7)] * (1 + i % 3), [chr(65 + i % 26)] * (1 + i % 3)) for i in range(200)]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda call: batches(*call), calls))
    for (texts, languages), rows in zip(calls, found, strict=True):
        assert torch.equal(rows, encode(texts, languages))
    assert sum(sizes) == sum(len(texts) for texts, _ in calls)
    assert max(sizes) <= 5


def test_those_who_wait_go_together():
    going_on, begun = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow(texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        seen.append(len(texts))
        begun.set()
        assert going_on.wait(30)
        return encode(texts, languages)

    batches = QueryBatches(slow, size=32)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(batches, ["a"], ["x"])
        assert begun.wait(30)
        others = [threads.submit(batches, ["b"], ["y"]) for _ in range(4)]
        while len(batches._waiting) < 4:
            pass
        going_on.set()
        for each in (first, *others):
            each.result(30)
    assert seen == [1, 4]


def test_a_call_with_more_queries_than_a_batch_has():
    batches = QueryBatches(encode, size=2)
    texts = ["abc", "d", "ef", "g"]
    assert torch.equal(batches(texts, texts), encode(texts, texts))


def test_a_window_brings_queries_together():
    seen: list[int] = []
    batches = QueryBatches(encode, size=2, window=30.0, on_batch=seen.append)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda text: batches([text], ["x"]), ["a", "b"]))
    assert seen == [2]


def test_an_error_is_for_those_who_caused_it():
    def choosy(texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        if "bad" in texts:
            raise ValueError("bad")
        return encode(texts, languages)

    batches = QueryBatches(choosy, size=2, window=30.0)
    with ThreadPoolExecutor(2) as threads:
        bad, good = threads.submit(batches, ["bad"], ["x"]), threads.submit(batches, ["good"], ["x"])
        assert torch.equal(good.result(60), encode(["good"], ["x"]))
        with pytest.raises(ValueError, match="bad"):
            bad.result(60)
    batches = QueryBatches(choosy, size=1)
    assert torch.equal(batches(["next"], ["x"]), encode(["next"], ["x"]))
