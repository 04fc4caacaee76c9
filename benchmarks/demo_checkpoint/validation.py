"""How well a model finds the sections of the validation pages by their titles."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from halves import Half, Halves
from split import page_of, split
from text import fetch, pages_of
from torch.nn import functional as F

from ragatouille_xm.scoring import maxsim

QUERIES = 200  # of a language
TEMPERATURES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0)


@dataclass(frozen=True)
class Validation:
    """A language's queries, passages, and the passage that answers each query."""

    adapter: str
    queries: list[Half]
    passages: list[Half]
    answers: torch.Tensor

    @classmethod
    def read(cls, model: Halves, data: Path, language: str, cache: Path) -> Validation:
        pages = {page_of(section) for section in split(data)["validation"]}
        found = {s.body: s for s in pages_of(fetch(language, cache / "packages")) if s.page in pages}
        sections = list(found.values())
        titles = Counter(s.title for s in sections)
        clear = [i for i, s in enumerate(sections) if titles[s.title] == 1 and len(s.title.encode()) > 8]
        chosen = random.Random(1).sample(clear, min(QUERIES, len(clear)))
        adapter = model.encoder.adapters.adapter_for(language) or ""
        queries = model.queries([sections[i].title for i in chosen], adapter)
        return cls(adapter, queries, model.passages([s.body for s in sections], adapter), torch.tensor(chosen))

    @torch.no_grad()
    def measure(self, model: Halves) -> dict[str, float]:
        """Return MRR@10 in percent, and the mean of -log p(answer) at the best of a few temperatures."""
        passages: list[torch.Tensor] = [torch.empty(0)] * len(self.passages)
        order = sorted(range(len(passages)), key=lambda i: -len(self.passages[i].states))
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            for i, vectors, scored in zip(
                rows, *model.upper([self.passages[i] for i in rows], self.adapter), strict=True
            ):
                passages[i] = vectors[scored]
        queries = torch.cat(
            [model.upper(self.queries[i : i + 32], self.adapter)[0] for i in range(0, len(self.queries), 32)]
        )
        scores = maxsim(queries, torch.cat(passages), torch.tensor([len(vectors) for vectors in passages]))
        rank = 1 + (scores > scores.gather(1, self.answers[:, None])).sum(1)
        reciprocal = torch.where(rank <= 10, 1 / rank, torch.zeros(()))
        nll = min(F.cross_entropy(scores / t, self.answers).item() for t in TEMPERATURES)
        return {"mrr@10": round(100 * reciprocal.mean().item(), 2), "nll": round(nll, 3)}
