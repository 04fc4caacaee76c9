"""Parallel texts: what is accepted, and validation on some of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..encoder import Encoder
from ..errors import InputError
from ..scoring import maxsim
from ..text.detect import list_of_strings
from ..types import TokenVectors

FEWEST = 20
MOST_HELD_OUT = 100
DEPTH = 10
_SAMPLED = 50  # texts whose language is looked at, the longest ones


@dataclass(frozen=True, slots=True)
class Pair:
    """A text, and the same in the language that is learnt."""

    known: str
    new: str


def read_pairs(
    known: Sequence[str], new: Sequence[str], names: tuple[str, str] = ("the first texts", "the second texts")
) -> list[Pair]:
    """Put parallel texts side by side, each pair once.

    Parameters
    ----------
    known, new : sequence of str
        The same texts in a language the checkpoint knows well, and in the one that is learnt.
    names : tuple of str
        What messages call the two, such as the names of files.

    Raises
    ------
    InputError
        If they are not strings, their numbers differ, a text is empty, or most are the same in both.

    Examples
    --------
    >>> read_pairs(["a good book"], ["littafi mai kyau"])
    [Pair(known='a good book', new='littafi mai kyau')]
    """
    known, new = (list_of_strings(texts, name) for texts, name in zip((known, new), names, strict=True))
    if len(known) != len(new):
        raise InputError(
            f"Parallel texts match line by line, but {names[0]} has {len(known)} and {names[1]} has {len(new)}. Give "
            "as many of one as of the other."
        )
    for name, texts in zip(names, (known, new), strict=True):
        empty = next((i for i, text in enumerate(texts, 1) if not text.strip()), None)
        if empty is not None:
            raise InputError(f"Text {empty} of {name} is empty. Leave its pair out of both.")
    pairs = list(dict.fromkeys(Pair(*each) for each in zip(known, new, strict=True)))
    same = sum(pair.known == pair.new for pair in pairs)
    if 2 * same > len(pairs):
        raise InputError(f"{same} of {len(pairs)} texts are the same in {names[0]} and {names[1]}. Give translations.")
    return pairs


class Encoded(NamedTuple):
    """The same texts as queries and as passages."""

    queries: torch.Tensor
    passages: TokenVectors


def check_languages(pairs: Sequence[Pair], encoder: Encoder, known: str, new: str) -> None:
    """Check that texts are in the languages that they are said to be in.

    A language without an adapter is not recognised: its texts may be taken for any but the known one.

    Raises
    ------
    InputError
        If most of them are evidently in another.
    """
    sides = {known: [pair.known for pair in pairs], new: [pair.new for pair in pairs]}
    for language, texts in sides.items():
        longest = sorted(texts, key=lambda text: (-len(text), text))[:_SAMPLED]
        counts = Counter(each.language for each in encoder.detect(longest, together=True))
        found = counts.most_common(1)[0][0]
        expected = encoder.adapters.resolve(language) if language in encoder.adapters.languages else None
        if found == known if expected is None else found != expected:
            raise InputError(
                f"Texts that should be in {language!r} are in {found!r}, such as {longest[0][:60]!r}. Give texts in "
                f"{known!r} first, and the same in {new!r} second."
            )


def hold_out(pairs: Sequence[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train on, and a tenth (100 at most) to validate on.

    Raises
    ------
    InputError
        If there are fewer than 20, or one of them is not a `Pair`.
    """
    if wrong := [each for each in pairs if not isinstance(each, Pair)]:
        raise InputError(f"{str(wrong[0])[:80]!r} is not a Pair. Give what read_pairs returns.")
    if len(pairs) < FEWEST:
        raise InputError(f"There are {len(pairs)} different pairs, and {FEWEST} is the least. Thousands are useful.")
    order = list(pairs)
    random.Random(seed).shuffle(order)
    cut = min(MOST_HELD_OUT, len(order) // 10)
    return order[cut:], order[:cut]


class PairsValidation:
    """Measures how well texts find their translations among all of some pairs, in both directions.

    Parameters
    ----------
    pairs : sequence of Pair
    known, new : str
        Languages of their texts. What is encoded of the first is kept: it is for one run, in which that is frozen.
    """

    name = "MRR@10"

    def __init__(self, pairs: Sequence[Pair], known: str, new: str) -> None:
        self._texts = {known: [pair.known for pair in pairs], new: [pair.new for pair in pairs]}
        self._known, self._new = known, new
        self._kept: Encoded | None = None

    def __call__(self, encoder: Encoder) -> float:
        """Return MRR@10, 0 to 1, the mean of both directions."""
        if self._kept is None:
            self._kept = self._encode(encoder, self._known)
        new = self._encode(encoder, self._new)
        ranks = torch.cat([reciprocal_ranks(new, self._kept), reciprocal_ranks(self._kept, new)])
        return float(ranks.mean())

    @torch.inference_mode()
    def _encode(self, encoder: Encoder, language: str) -> Encoded:
        texts = self._texts[language]
        languages = [language] * len(texts)
        return Encoded(encoder.encode_queries(texts, languages), encoder.encode_documents(texts, languages))


def reciprocal_ranks(asked: Encoded, found: Encoded) -> torch.Tensor:
    """Return those of each query's own passage among all: ``(n,)``; 0 past the tenth."""
    scores = maxsim(asked.queries, found.passages.vectors, found.passages.lengths).cpu()
    ranks = 1 + (scores > scores.diagonal()[:, None]).sum(1)
    return torch.where(ranks <= DEPTH, 1 / ranks, 0.0)
