"""Token vectors → which words match, and what each adds to the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..text import breaks
from ..text.tokenizer import Pieces
from .highlights import merge_words
from .values import Evidence, Span, WordMatch
from .words import owners, words

Floats: TypeAlias = NDArray[np.float32]

MASK_MATCHES = 3
STANDS_OUT = 1 / 3  # of the way from the usual similarity to 1


class Side(NamedTuple):
    """A query or a passage: its text, its words, and the rows of its vectors.

    Attributes
    ----------
    text : str
    words : list of (int, int)
    owners : numpy.ndarray
        Shape ``(t,)``, int64: the word of each row; -1 for none.
    spans : list of ((int, int) or None)
        Where each row's token stands.
    vectors : numpy.ndarray
        Shape ``(t, dim)``, float32.
    """

    text: str
    words: list[breaks.Span]
    owners: NDArray[np.int64]
    spans: list[breaks.Span | None]
    vectors: Floats

    @classmethod
    def of(cls, text: str, pieces: Pieces, vectors: Floats) -> Side:
        """Return the words of a text, and which rows of its vectors are theirs; rows beyond the pieces are nobody's."""
        found = words(text, {span[0] for span in pieces.spans if span is not None})
        spans = [span for span, scored in zip(pieces.spans, pieces.scored, strict=True) if scored]
        spans += [None] * (len(vectors) - len(spans))
        return cls(text, found, np.array(owners(found, spans), np.int64), spans, vectors)

    def rows(self) -> Iterator[tuple[breaks.Span, NDArray[np.int64]]]:
        """Yield the words that have vectors, with the rows of these."""
        for i, span in enumerate(self.words):
            rows = np.flatnonzero(self.owners == i)
            if len(rows):
                yield span, rows


def compare(query: Side, passage: Side, n_query_tokens: int, *, from_index: bool = True) -> Evidence:
    """Take MaxSim apart.

    A word's similarity to another one is the mean over its tokens of the cosine with the nearest token of the other.
    A match is highlighted if it stands out: every word is nearest to some word of any passage, and how near unrelated
    words are depends on the checkpoint, so a similarity alone says little.

    Parameters
    ----------
    query, passage : Side
    n_query_tokens : int
        Rows of the query from here on are of ``<mask>`` tokens.
    from_index : bool
        See `Evidence`.
    """
    similarities = query.vectors @ passage.vectors.T
    best, nearest = similarities.max(1), passage.owners[similarities.argmax(1)]
    places = list(passage.rows())
    place_of = {span: i for i, (span, _) in enumerate(places)}
    by_place = _columns(similarities, [rows for _, rows in places])
    matches: list[WordMatch] = []
    marked: list[Span] = []
    names = np.array([passage.text[start:end].casefold() for (start, end), _ in places], object)
    for (start, end), rows in query.rows():
        whole = by_place[rows].mean(0)
        chosen = {place_of[passage.words[i]] for i in nearest[rows].tolist() if i >= 0}
        chosen |= {int(whole.argmax())} if len(whole) else set()
        ordered = sorted(chosen, key=lambda i: (-whole[i], i))
        found = tuple(_span(passage.text, places[i][0], whole[i]) for i in ordered)
        marked += [
            span for i, span in zip(ordered, found, strict=True) if _stands_out(whole[i], whole[names != names[i]])
        ]
        matches.append(WordMatch(start, end, query.text[start:end], float(best[rows].sum()), found))
    is_word = query.owners >= 0
    is_mask = np.arange(len(query.vectors)) >= n_query_tokens
    return Evidence(
        query.text,
        passage.text,
        float(best.sum()),
        tuple(matches),
        merge_words(passage.text, marked),
        _sentences(passage, similarities[is_word]),
        float(best[is_mask].sum()),
        _mask_matches(passage, best[is_mask], nearest[is_mask]),
        float(best[~is_mask & ~is_word].sum()),
        from_index,
    )


def _stands_out(similarity: float, others: Floats) -> bool:
    """Return whether a word's similarity is well above that to the other words of the passage, by their median."""
    usual = float(np.median(others)) if len(others) else 0.0
    return similarity - usual >= STANDS_OUT * (1 - usual)


def _columns(similarities: Floats, groups: Sequence[NDArray[np.int64]]) -> Floats:
    """Return the maximum over each group of columns: ``(q, t)`` → ``(q, groups)``."""
    if not groups:
        return np.empty((len(similarities), 0), np.float32)
    return np.stack([similarities[:, rows].max(1) for rows in groups], 1)


def _sentences(passage: Side, similarities: Floats) -> tuple[Span, ...]:
    """Return the sentences that have vectors, by the mean similarity of the query's words' tokens, best first."""
    spans, groups = [], []
    for start, end in breaks.sentences(passage.text):
        rows = [i for i, span in enumerate(passage.spans) if span is not None and start <= span[0] < end]
        if rows and not passage.text[start:end].isspace():
            spans.append(_stripped(passage.text, start, end))
            groups.append(np.array(rows))
    if not len(similarities):
        return ()
    means = _columns(similarities, groups).mean(0)
    ordered = sorted(range(len(spans)), key=lambda i: (-means[i], i))
    return tuple(_span(passage.text, spans[i], means[i]) for i in ordered)


def _mask_matches(passage: Side, best: Floats, nearest: NDArray[np.int64]) -> tuple[Span, ...]:
    added = {i: best[nearest == i] for i in np.unique(nearest[nearest >= 0]).tolist()}
    ordered = sorted(added, key=lambda i: (-added[i].sum(), i))[:MASK_MATCHES]
    return tuple(_span(passage.text, passage.words[i], added[i].mean()) for i in ordered)


def _stripped(text: str, start: int, end: int) -> breaks.Span:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _span(text: str, span: breaks.Span, similarity: float) -> Span:
    return Span(*span, text[span[0] : span[1]], float(similarity))
