"""Training examples and their order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from ..errors import InputError

Example = TypeVar("Example")
Example_co = TypeVar("Example_co", covariant=True)


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A query, a relevant passage, and passages that are not.

    Attributes
    ----------
    query, positive : str
    negatives : tuple of str
        Best first: a run that uses fewer takes the first ones.
    scores : tuple of float or None
        A teacher's scores of the positive and each negative.
    query_language, passage_language : str or None
        By default the run's language, else detected.
    """

    query: str
    positive: str
    negatives: tuple[str, ...]
    scores: tuple[float, ...] | None = None
    query_language: str | None = None
    passage_language: str | None = None

    def __post_init__(self) -> None:
        if not self.negatives:
            raise InputError(f"The query {self.query!r} has no negative passage: give some, or mine hard negatives.")
        if not isinstance(self.negatives, (tuple, list)):
            raise InputError(f"The query {self.query!r} has negatives={self.negatives!r}. Give a tuple of strings.")
        for text in (self.query, self.positive, *self.negatives):
            if not isinstance(text, str):
                raise InputError(f"The query {self.query!r} comes with the text {text!r}. Give strings.")
        if self.scores is not None and len(self.scores) != 1 + len(self.negatives):
            raise InputError(
                f"The query {self.query!r} has {len(self.scores)} teacher scores for {1 + len(self.negatives)} "
                "passages. Give one for the positive and one for each negative, or none."
            )


@runtime_checkable
class ExampleStream(Protocol[Example_co]):
    """An endless stream of examples in a fixed order."""

    def stream(self, start: int = 0) -> Iterator[Example_co]:
        """Yield examples from position `start`."""
        ...


class Shuffled(Generic[Example]):
    """Examples in a seeded order that differs in every pass.

    Parameters
    ----------
    examples : sequence
        Anything with a length and items; items may be created on access.
    seed : int

    Raises
    ------
    InputError
        If there are none, or they have no length.

    Examples
    --------
    >>> examples = [TrainingExample(str(i), "yes", ("no",)) for i in range(3)]
    >>> stream = Shuffled(examples, seed=7).stream()
    >>> sorted(next(stream).query for _ in range(3))
    ['0', '1', '2']
    """

    def __init__(self, examples: Sequence[Example], seed: int = 0) -> None:
        if not isinstance(examples, Sized):
            raise InputError(
                f"The training examples are a {type(examples).__name__}. Give a list, or an ExampleStream."
            )
        if not len(examples):
            raise InputError("There are no training examples: the data is empty.")
        self._examples = examples
        self._seed = seed

    def stream(self, start: int = 0) -> Iterator[Example]:
        """Yield examples endlessly, from position `start`."""
        n = len(self._examples)
        done, skipped = divmod(start, n)
        while True:
            order = list(range(n))
            random.Random(f"{self._seed} {done}").shuffle(order)
            for i in order[skipped:]:
                yield self._examples[i]
            done, skipped = done + 1, 0
