"""Copies of a model that share the batches: data parallelism over the devices of a process, or over workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Protocol

import torch
from torch import Tensor

from ..text.tokenizer import TokenBatch

Work = tuple[TokenBatch, Sequence[str]]  # a batch, and the adapter of each of its rows
Done = tuple[Tensor, Tensor]  # vectors (b, L, dim), and the mask of scored tokens (b, L)


class Model(Protocol):
    """What encodes batches: `ColBERT`, here or elsewhere."""

    @property
    def device(self) -> torch.device:
        """The device that its vectors are on."""
        ...

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, adapters: Sequence[str]) -> Tensor:
        """Encode a batch, as `ColBERT` does."""
        ...


def encode_on(models: Sequence[Model], work: Iterable[Work]) -> Iterator[Done]:
    """Encode batches on all models in parallel, each on the next free one; yield them in order.

    Each model has a thread while the iterator lives. `work` is read in the caller's thread while the models run: up to
    two batches per model, one being encoded and one waiting for the model or to be yielded. A model's exception is
    raised where its batch would be yielded; waiting batches are then dropped, as they are if the caller stops early.

    Parameters
    ----------
    models : sequence of Model
        Identical ones; one that is in it twice encodes two batches at a time. Vectors are returned on the device of
        the first.
    work : iterable of (TokenBatch, sequence of str)
        Batches, and the adapter of each row.

    Yields
    ------
    tuple of torch.Tensor
        Vectors ``(b, L, dim)`` as returned by `ColBERT`, and the scoring mask ``(b, L)`` of the batch.
    """
    home = models[0].device
    free: SimpleQueue[Model] = SimpleQueue()
    for model in models:
        free.put(model)

    def run(batch: TokenBatch, adapters: Sequence[str]) -> Done:
        model = free.get()  # never waits: there are as many models as threads
        try:
            vectors = model(batch.input_ids, batch.attention_mask, adapters).to(home)
            if model.device.type == "cuda":  # a GPU with queued work is not free
                torch.cuda.current_stream(model.device).synchronize()
            return vectors, batch.scoring_mask
        finally:
            free.put(model)

    threads = ThreadPoolExecutor(len(models), "ragatouille_xm replica")
    waiting: deque[Future[Done]] = deque()
    try:
        for batch, adapters in work:
            if len(waiting) == 2 * len(models):
                yield waiting.popleft().result()
            waiting.append(threads.submit(run, batch, adapters))
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
