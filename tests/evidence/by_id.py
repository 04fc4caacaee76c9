"""Token vectors that depend on a token's id and position alone, so that a word is nearest to itself."""

from __future__ import annotations

from functools import cache

import numpy as np

from ragatouille_xm.evidence.matching import Side, compare
from ragatouille_xm.evidence.values import Evidence
from ragatouille_xm.text.tokenizer import ColBERTTokenizer

DIM = 48
MASK = 10**6


@cache
def unit(seed: int) -> np.ndarray:
    drawn = np.random.RandomState(seed).standard_normal(DIM)
    return drawn / np.linalg.norm(drawn)


def vectors(ids: list[int]) -> np.ndarray:
    rows = np.stack([unit(i) + 0.5 * unit(MASK + position) for position, i in enumerate(ids)])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def explained(tokenizer: ColBERTTokenizer, query: str, text: str) -> Evidence:
    pieces, passage = tokenizer.query_pieces(query), tokenizer.document_pieces(text, tokenizer.max_tokens)
    [asked], [read] = tokenizer.queries([query]), tokenizer.documents([text], tokenizer.max_tokens)
    assert passage.scored == read.scored
    rows = vectors(read.ids)[np.array(read.scored)]
    return compare(Side.of(query, pieces, vectors(asked.ids)), Side.of(text, passage, rows), len(pieces.spans))
