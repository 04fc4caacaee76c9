"""Long texts → chunks that fit the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from math import ceil

from ..errors import InputError
from .breaks import Span, sentences, slices

Counted = tuple[Span, int]
"""A span and its number of tokens."""

_ATTEMPTS = 3
_TEXT_BATCH = 1024  # strings per call of the tokeniser
_FILL = 0.3  # target size of a long sentence's parts, relative to a chunk: small parts pack well


class SentenceSplitter:
    """Packs as many whole sentences as fit into each chunk.

    A sentence that is too long by itself is cut after a line, a clause, a word, or finally a character. The chunks are
    the whole text except for whitespace between them. Each part of a text passes through the tokeniser about twice,
    whatever the length of the text.

    Parameters
    ----------
    count_tokens : callable
        From texts to the number of tokens of each, without special tokens.
    max_tokens : int
        Maximum tokens per chunk. Only a single character of more tokens may exceed it.

    Raises
    ------
    InputError
        If `max_tokens` is less than 1.

    Examples
    --------
    >>> splitter = SentenceSplitter(lambda texts: [len(text.split()) for text in texts], max_tokens=5)
    >>> splitter.split("One two three. Four five. Six seven eight nine ten eleven.")
    ['One two three. Four five.', 'Six seven eight', 'nine ten eleven.']
    """

    def __init__(self, count_tokens: Callable[[Sequence[str]], Sequence[int]], max_tokens: int) -> None:
        if max_tokens < 1:
            raise InputError(f"max_tokens={max_tokens!r} leaves no room for text. Give at least 1.")
        self.count_tokens = count_tokens
        self.max_tokens = max_tokens

    def split(self, text: str) -> list[str]:
        """Return the chunks of a text, in order.

        A text that fits, or is blank, is returned unchanged as the only chunk. (A text of more than 16 characters per
        token is not counted as a whole: it fits if the sum of its sentences does.)
        """
        if not text.strip() or (len(text) <= 16 * self.max_tokens and self._count([text])[0] <= self.max_tokens):
            return [text]
        width = 4 * self.max_tokens  # keeps huge texts away from the tokeniser
        parts = (part for start, end in sentences(text) for part in slices(text, start, end, width))
        pieces = self._fit(text, self._measure(text, parts))
        chunks = self._fit(text, self._joined(text, pieces))
        return [text[start:end] for (start, end), _ in chunks] if len(chunks) > 1 else [text]

    def _fit(self, text: str, pieces: list[Counted]) -> list[Counted]:
        """Cut pieces until none is too long."""
        while any(count > self.max_tokens for _, count in pieces):
            cuts = [self._cut(text, span, count) for span, count in pieces]
            smaller = iter(self._measure(text, (part for parts in cuts if len(parts) > 1 for part in parts)))
            pieces = [
                piece
                for (span, count), parts in zip(pieces, cuts, strict=True)
                for piece in (islice(smaller, len(parts)) if len(parts) > 1 else [(span, min(count, self.max_tokens))])
            ]
        return pieces

    def _cut(self, text: str, span: Span, count: int) -> list[Span]:
        """Return a span that fits unchanged, a longer one in parts (only one, if it is a single character)."""
        if count <= self.max_tokens:
            return [span]
        start, end = span
        parts = max(2, ceil(count / (_FILL * self.max_tokens)))
        return _stripped(text, slices(text, start, end, max(1, (end - start) // parts)))

    def _joined(self, text: str, pieces: list[Counted]) -> list[Counted]:
        """Join neighbours as long as they fit.

        The sum of the pieces' tokens is a good estimate for most tokenisers. If it proves too low, everything is joined
        again with less room.
        """
        alone = {span for span, _ in pieces}
        room = self.max_tokens
        for _ in range(_ATTEMPTS):
            chunks = self._measure(text, _pack(pieces, room))
            most = max((count for span, count in chunks if span not in alone), default=0)
            if most <= self.max_tokens:
                break
            room = room * self.max_tokens // most
        return chunks

    def _measure(self, text: str, spans: Iterable[Span]) -> list[Counted]:
        kept = _stripped(text, spans)
        return list(zip(kept, self._count([text[start:end] for start, end in kept]), strict=True))

    def _count(self, texts: Sequence[str]) -> list[int]:
        batches = (texts[i : i + _TEXT_BATCH] for i in range(0, len(texts), _TEXT_BATCH))
        return [count for batch in batches for count in self.count_tokens(batch)]


def _pack(pieces: Iterable[Counted], room: int) -> list[Span]:
    """Join neighbours as long as the sum of their tokens is at most `room`."""
    chunks: list[Span] = []
    left = 0
    for (start, end), count in pieces:
        if chunks and count <= left:
            chunks[-1] = (chunks[-1][0], end)
        else:
            chunks.append((start, end))
            left = room
        left -= count
    return chunks


def _stripped(text: str, spans: Iterable[Span]) -> list[Span]:
    """Strip whitespace from both ends of each span; drop spans that are only whitespace."""
    result = []
    for start, end in spans:
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = start + len(piece.rstrip())
        if left < right:
            result.append((left, right))
    return result
