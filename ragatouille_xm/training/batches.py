"""Training examples as token batches, made by the encoder's tokeniser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..encoder import Encoder
from ..errors import InputError
from ..text.tokenizer import TokenBatch
from .data import TrainingExample


@dataclass(frozen=True, slots=True)
class Texts:
    """Tokenised texts and their adapters; `adapters` is empty for a backbone without any."""

    tokens: TokenBatch
    adapters: list[str]

    def __len__(self) -> int:
        return len(self.tokens.input_ids)

    def chunks(self, size: int | None) -> list[Texts]:
        """Split into runs of at most `size` texts; None does not split."""
        if size is None or size >= len(self):
            return [self]
        masks = (self.tokens.input_ids, self.tokens.attention_mask, self.tokens.scoring_mask)
        parts = zip(*(mask.split(size) for mask in masks), strict=True)
        return [Texts(TokenBatch(*part), self.adapters[i * size : (i + 1) * size]) for i, part in enumerate(parts)]


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries and their passages.

    Attributes
    ----------
    queries : Texts
        `b` of them.
    passages : Texts
        ``b · n``: the first query's positive, its negatives, the second query's positive, …
    relevant : torch.Tensor
        Shape ``(b, b · n)``, bool: passages known to answer a query, whichever query they belong to.
    teacher : torch.Tensor or None
        Shape ``(b, n)``.
    together : int or None
        Texts encoded together at most: those that need no gradient apart from those that do. None for all.
    """

    queries: Texts
    passages: Texts
    relevant: torch.Tensor
    teacher: torch.Tensor | None
    together: int | None = None

    @property
    def n_tokens(self) -> int:
        """Number of tokens, without padding."""
        return sum(int(texts.tokens.attention_mask.sum()) for texts in (self.queries, self.passages))


class Collator:
    """Makes batches with an encoder's tokeniser and languages.

    Parameters
    ----------
    encoder : Encoder
    negatives : int
        Number used of each example.
    distillation : bool
        Whether the teacher's scores are needed.
    language : str or None
        Language of texts that do not state theirs; None detects it.
    """

    def __init__(self, encoder: Encoder, negatives: int, distillation: bool, language: str | None) -> None:
        self._encoder = encoder
        self._negatives = negatives
        self._distillation = distillation
        self._language = None if language is None else encoder.adapters.resolve(language)

    def __call__(self, examples: Sequence[TrainingExample]) -> Batch:
        """Make one batch.

        Raises
        ------
        InputError
            If an example is none, has too few negatives, or lacks the teacher's scores.
        """
        for example in examples:
            self._check(example)
        n = 1 + self._negatives
        passages = [text for each in examples for text in (each.positive, *each.negatives[: self._negatives])]
        encoder = self._encoder
        queries = [each.query for each in examples]
        query_tokens = encoder.tokenizer.queries(queries)
        passage_tokens = encoder.tokenizer.documents(passages, encoder.checkpoint.settings.doc_maxlen)
        teacher = torch.tensor([each.scores[:n] for each in examples if each.scores]) if self._distillation else None
        return Batch(
            Texts(encoder.tokenizer.pad(query_tokens), self._adapters(queries, [e.query_language for e in examples])),
            Texts(
                encoder.tokenizer.pad(passage_tokens),
                self._adapters(passages, [e.passage_language for e in examples for _ in range(n)]),
            ),
            _relevant(examples, passages),
            teacher,
        )

    def _check(self, example: object) -> None:
        if not isinstance(example, TrainingExample):
            raise InputError(f"An example is {str(example)[:80]!r}. Give a list of TrainingExample, or read_examples.")
        if len(example.negatives) < self._negatives:
            raise InputError(
                f"The query {example.query!r} has {len(example.negatives)} negatives, fewer than negatives="
                f"{self._negatives}. Give fewer (negatives=…), or mine more."
            )
        if self._distillation and example.scores is None:
            raise InputError(f"The query {example.query!r} has no teacher scores, which distillation=True needs.")

    def _adapters(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[str]:
        encoder = self._encoder
        given = [self._language if each is None else encoder.adapters.resolve(each) for each in languages]
        unknown = [i for i, each in enumerate(given) if each is None]
        for i, found in zip(unknown, encoder.detect([texts[i] for i in unknown]), strict=True):
            given[i] = found.language
        names = [encoder.adapters.adapter_for(each) for each in given if each is not None]
        return [name for name in names if name is not None]


def _relevant(examples: Sequence[TrainingExample], passages: Sequence[str]) -> torch.Tensor:
    """Return which passages answer which query, according to the batch: ``(b, b · n)``, bool."""
    answers: dict[str, set[str]] = {}
    for example in examples:
        answers.setdefault(example.query, set()).add(example.positive)
    return torch.tensor([[passage in answers[example.query] for passage in passages] for example in examples])
