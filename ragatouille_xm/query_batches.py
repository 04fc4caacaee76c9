"""Queries of several threads, encoded in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Encode: TypeAlias = "Callable[[Sequence[str], Sequence[str]], torch.Tensor]"


@dataclass(eq=False)
class _Call:
    texts: Sequence[str]
    languages: Sequence[str]
    found: Future[torch.Tensor] = field(default_factory=Future)


class QueryBatches:
    """Joins the calls of threads that encode queries at the same time.

    One of the threads encodes for all who wait; whoever comes meanwhile is in the next batch. A pass over many queries
    takes less time than as many passes, and passes side by side would take the cores from one another.

    Parameters
    ----------
    encode : callable
        ``encode(texts, languages) -> (Q, q_len, dim)``, as `Encoder.encode_queries`.
    size : int
        Most queries of a batch; a call with more is a batch of its own.
    window : float
        Seconds that the first waits for others.
    on_batch : callable, optional
        Called with the number of queries of each batch.

    Examples
    --------
    >>> import torch
    >>> batches = QueryBatches(lambda texts, languages: torch.ones(len(texts), 4, 2), size=8)
    >>> batches(["a", "b"], ["en", "en"]).shape
    torch.Size([2, 4, 2])
    """

    def __init__(
        self, encode: Encode, size: int = 32, window: float = 0.0, on_batch: Callable[[int], object] | None = None
    ) -> None:
        self._encode = encode
        self._size = size
        self._window = window
        self._on_batch = on_batch
        self._waiting: list[_Call] = []
        self._busy = False  # whether a thread encodes
        self._changed = Condition()

    def __call__(self, texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        """Return the rows of queries, as `encode` does."""
        call = _Call(texts, languages)
        with self._changed:
            self._waiting.append(call)
            self._changed.notify_all()
        while batch := self._next_batch(call):
            try:
                self._encode_all(batch)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
        return call.found.result()

    def _next_batch(self, call: _Call) -> list[_Call]:
        """Return the calls to encode, once no other thread encodes; none if `call` is done by then."""
        with self._changed:
            self._changed.wait_for(lambda: call.found.done() or not self._busy)
            if call.found.done():
                return []
            self._busy = True
            self._changed.wait_for(lambda: self._queries() >= self._size, self._window)
            batch: list[_Call] = []
            n = 0
            while self._waiting and (not batch or n + len(self._waiting[0].texts) <= self._size):
                batch.append(self._waiting.pop(0))
                n += len(batch[-1].texts)
            return batch

    def _queries(self) -> int:
        return sum(len(call.texts) for call in self._waiting)

    def _encode_all(self, calls: Sequence[_Call]) -> None:
        try:
            texts = [text for call in calls for text in call.texts]
            rows = self._encode(texts, [language for call in calls for language in call.languages])
        except BaseException as error:
            if len(calls) == 1:
                calls[0].found.set_exception(error)
                return
            for call in calls:  # one of them is to blame, and the others are not to suffer
                self._encode_all([call])
            return
        if self._on_batch is not None:
            self._on_batch(len(texts))
        for call, block in zip(calls, rows.split([len(call.texts) for call in calls]), strict=True):
            used = block.any(dim=2).any(dim=0).nonzero()  # rows that a longer query of another call has made
            call.found.set_result(block[:, : int(used[-1]) + 1] if len(used) else block)
