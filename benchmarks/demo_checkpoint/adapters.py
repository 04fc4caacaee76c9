"""The first stage: one language's adapter, trained with all else frozen, and whether it is worth keeping.

A title of the *English* help must find the text of the same section in the adapter's language, among those of its
batch, half of which come from neighbouring pages. So no title of another language is seen. For the English adapter,
which titles would teach what the second stage is for, a sentence must find the rest of its section (the inverse cloze
task of Lee et al. 2019, arXiv:1906.00300).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from halves import Halves
from optimiser import contrast, draw_places, make_optimizer, optimise
from record import Record
from split import part_of
from text import Section
from torch import Tensor

STEPS, BATCH, NEAR, RATE = 60, 16, 8, 3e-4
CHECKS = 8  # batches of the held-out pages
ENGLISH = "en"
_HELD_OUT_SEED = 6  # of `part_of`: its smallest part is kept from training the adapters
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


@dataclass(frozen=True)
class Pair:
    """A section in a language, and the title of the same section in English."""

    title: str
    section: Section


class Task:
    """What an adapter is trained on and checked on: pairs of the pages that train, and of those held out."""

    def __init__(self, model: Halves, language: str, sections: Sequence[Section], english: Sequence[Section]) -> None:
        self.model, self.language = model, language
        self.adapter = model.encoder.adapters.adapter_for(language) or ""
        self.english = model.encoder.adapters.adapter_for(ENGLISH) or ""
        titles = {section.key: section.title for section in english}
        pairs = [Pair(titles[s.key], s) for s in sections if s.key in titles and s.heading and len(sentences_of(s)) > 1]
        held_out = [part_of(pair.section.page, _HELD_OUT_SEED) == "train" for pair in pairs]
        self.pairs = [pair for pair, out in zip(pairs, held_out, strict=True) if not out]
        self.held_out = [pair for pair, out in zip(pairs, held_out, strict=True) if out]
        self.tokens = 0

    def titles_loss(self, pairs: Sequence[Pair]) -> Tensor:
        """English titles among texts in the language."""
        return self._loss([pair.title for pair in pairs], self.english, [pair.section.body for pair in pairs])

    def sentences_loss(self, pairs: Sequence[Pair], rng: random.Random) -> Tensor:
        """Sentences among the rests of their sections, all in the language."""
        asked, rest = [], []
        for pair in pairs:
            sentences = sentences_of(pair.section)
            asked.append(sentences.pop(rng.randrange(len(sentences))))
            rest.append(" ".join(sentences))
        return self._loss(asked, self.adapter, rest)

    def _loss(self, queries: Sequence[str], adapter: str, passages: Sequence[str]) -> Tensor:
        asked, found = self.model.queries(queries, adapter), self.model.passages(passages, self.adapter)
        self.tokens += sum(len(half.states) for half in asked + found)
        return contrast(self.model, asked, found, adapter, self.adapter)

    def batches(self, pairs: Sequence[Pair], rng: random.Random) -> Iterator[list[Pair]]:
        while True:
            yield [pairs[i] for i in draw_places(len(pairs), BATCH, NEAR, rng)]

    @torch.no_grad()
    def check(self) -> dict[str, float]:
        """Return the mean losses on the held-out pages: always of the same batches."""
        rng, tokens = random.Random(1), self.tokens
        batches = [batch for batch, _ in zip(self.batches(self.held_out, rng), range(CHECKS), strict=False)]
        titles = sum(self.titles_loss(batch).item() for batch in batches) / CHECKS
        sentences = sum(self.sentences_loss(batch, rng).item() for batch in batches) / CHECKS
        self.tokens = tokens
        return {"titles": round(titles, 4), "sentences": round(sentences, 4)}


def sentences_of(section: Section) -> list[str]:
    return [each for each in _SENTENCE_END.split(section.body) if len(each.encode()) > 25]


def train_adapter(task: Task, record: Record, seed: int) -> dict[str, Tensor]:
    """Train the adapter in the model; return its tensors by their names in the checkpoint."""
    rng = random.Random(seed)
    batches = task.batches(task.pairs, rng)
    tensors = task.model.free_adapter(task.adapter)

    def loss() -> Tensor:
        batch = next(batches)
        return task.sentences_loss(batch, rng) if task.language == ENGLISH else task.titles_loss(batch)

    for step, value in optimise(make_optimizer([(tensors, RATE)]), STEPS, loss):
        record.add(stage="adapters", language=task.language, step=step, loss=value, tokens=task.tokens)
    for tensor in tensors:
        tensor.requires_grad_(False)
    return {name: value for name, value in task.model.trained([task.adapter]).items() if task.adapter in name}
