"""What an explanation says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .html import to_html


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a passage.

    Attributes
    ----------
    start, end : int
        ``text[start:end]`` of the passage as it is stored, in characters as Python counts them.
    text : str
        What stands there.
    similarity : float
        Of the query's words to it: a mean of cosines, 1 at most.
    """

    start: int
    end: int
    text: str
    similarity: float


@dataclass(frozen=True, slots=True)
class WordMatch:
    """A word of the query, and what it matched.

    Attributes
    ----------
    start, end : int
        ``query[start:end]``.
    text : str
        The word.
    score : float
        What it adds to the passage's score: the sum over its tokens of the similarity to the nearest token, which may
        also be one that stands for no word.
    matches : tuple of Span
        The words of the passage that it is nearest to as a whole, or that one of its tokens is nearest to; best first.
    """

    start: int
    end: int
    text: str
    score: float
    matches: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a passage was found: a score, taken apart.

    ``score`` is the sum of the words' scores, `mask_score` and `marker_score`. A notebook shows the passage with its
    highlights.

    Attributes
    ----------
    query, text : str
        As they were given, and as it is stored.
    score : float
        MaxSim of the two.
    words : tuple of WordMatch
        In the order of the query.
    highlights : tuple of Span
        What to mark in the passage, in the order of the text: matches that stand out, being well nearer to a word of
        the query than the other words of the passage are; neighbours as one. A passage may have none.
    sentences : tuple of Span
        The sentences of the passage, the one that answers the query's words best first.
    mask_score : float
        What the filling of a short query adds: its ``<mask>`` tokens, which stand for no word.
    mask_matches : tuple of Span
        The words of the passage that these are nearest to, the one that adds most first; three at most.
    marker_score : float
        What special tokens and punctuation of the query add.
    from_index : bool
        Whether the vectors of the passage are those of the index. If not, it was encoded again, since the index has
        none, or has merged them; then `score` may differ from the result's.

    Examples
    --------
    >>> match = WordMatch(0, 3, "Zug", 0.9, (Span(4, 9, "train", 0.9),))
    >>> found = Evidence("Zug", "The train.", 1.3, (match,), match.matches, (), 0.3, (), 0.1)
    >>> found.marked("[", "]"), round(found.mask_share, 2)
    ('The [train].', 0.23)
    >>> found.summary()
    'score 1.30: words 0.90, <mask> 0.30 (23%), special tokens and punctuation 0.10'
    >>> found.as_dict()["highlights"]
    [{'start': 4, 'end': 9, 'text': 'train', 'similarity': 0.9}]
    """

    query: str
    text: str
    score: float
    words: tuple[WordMatch, ...]
    highlights: tuple[Span, ...]
    sentences: tuple[Span, ...]
    mask_score: float
    mask_matches: tuple[Span, ...]
    marker_score: float
    from_index: bool = True

    @property
    def mask_share(self) -> float:
        """The part of the score that ``<mask>`` tokens add, 0 to 1."""
        return min(max(self.mask_score / self.score, 0.0), 1.0) if self.score > 0 else 0.0

    def summary(self) -> str:
        """Return what the score is made of, in one line."""
        words = sum(word.score for word in self.words)
        again = "" if self.from_index else "; the passage was encoded again"
        return (
            f"score {self.score:.2f}: words {words:.2f}, <mask> {self.mask_score:.2f} ({self.mask_share:.0%}), "
            f"special tokens and punctuation {self.marker_score:.2f}{again}"
        )

    def marked(self, before: str, after: str) -> str:
        """Return the passage with something put before and after each highlight."""
        pieces, end = [], 0
        for span in self.highlights:
            pieces += [self.text[end : span.start], before, span.text, after]
            end = span.end
        return "".join([*pieces, self.text[end:]])

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values: everything but the passage's text, with ``mask_share``."""
        values = _plain(asdict(self))
        del values["text"]
        return {**values, "mask_share": self.mask_share}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], text: str) -> Evidence:
        """Return what `as_dict` was made from, given the passage's text."""
        given = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        words = tuple(WordMatch(**{**word, "matches": _spans(word["matches"])}) for word in values["words"])
        spans = {name: _spans(values[name]) for name in ("highlights", "sentences", "mask_matches")}
        return cls(**{**given, "text": text, "words": words, **spans})

    def _repr_html_(self) -> str:
        return to_html(self)


def _spans(values: Iterable[Mapping[str, Any]]) -> tuple[Span, ...]:
    return tuple(Span(**each) for each in values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (tuple, list)) else value
