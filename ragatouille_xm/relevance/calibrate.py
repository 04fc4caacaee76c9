"""Fits the relevance of an index, without labels: its own sentences are the queries.

The first words of a sentence are asked twice: of all passages in its language, where the best hit counts as an answer
if it is of the sentence's own document, and of these without that document, where no hit is one. So the curve learns
how answers stand out among the passages of this index, however many and however similar they are. Passages in other
languages may be translations, which would count as wrong. A whole sentence would be easier than what users ask.
"""

from __future__ import annotations

import random
from hashlib import sha256
from heapq import nsmallest

import numpy as np

from ..corpus.filters import And, Compare, Not
from ..encoder import Encoder
from ..index.base import PassageIndex
from ..text.breaks import sentences, slices
from ..types import Calibration, Passage
from .curve import Curve
from .gauge import Gauge

BACKGROUND = 64  # passages: chance is a mean, which more do not change
QUERIES = 64
LEAST = 2 * BACKGROUND  # passages of an index that is calibrated
LONGEST, SHORTEST = 24, 8  # characters of a query, if the passage has as many


def is_due(calibration: Calibration | None, passages: int, *, refit: bool = False) -> bool:
    """Return whether an index of so many passages needs another calibration: its first, or at twice or half the size.

    Examples
    --------
    >>> made = Calibration(1000, (), 10.0, 0.6)
    >>> [is_due(made, passages) for passages in (400, 600, 1900, 2000)], is_due(made, 1001, refit=True)
    ([True, False, False, True], True)
    """
    if calibration is None:
        return passages >= LEAST
    if refit and passages != calibration.passages:
        return True
    return not calibration.passages / 2 < passages < calibration.passages * 2


def calibrate(encoder: Encoder, index: PassageIndex) -> Calibration | None:
    """Return the calibration of an index as it is now; None if it has few passages, or loses some meanwhile.

    `QUERIES` short texts are encoded, which takes a few seconds on one core.
    """
    passages = len(index)
    if passages < LEAST:
        return None
    try:
        return _calibrate(encoder, index, passages)
    except KeyError:  # deleted by another process since it was found
        return None


def _calibrate(encoder: Encoder, index: PassageIndex, passages: int) -> Calibration:
    every = (passage for found, _ in index.scroll() for passage in found)
    drawn = nsmallest(BACKGROUND + QUERIES, every, key=lambda passage: sha256(b"%d" % passage.pid).digest())
    background, asked = drawn[:BACKGROUND], drawn[BACKGROUND:]
    pids = tuple(sorted(passage.pid for passage in background))
    curve = _fit(encoder, index, Gauge(index.vectors(pids), Curve(1.0, 0.0)), asked)
    return Calibration(passages, pids, curve.slope, curve.midpoint)


def _fit(encoder: Encoder, index: PassageIndex, gauge: Gauge, asked: list[Passage]) -> Curve:
    texts = [_query_of(passage) for passage in asked]
    queries = encoder.encode_queries(texts, [passage.language for passage in asked])
    shares: list[float] = []
    answers: list[bool] = []
    for rows, passage in zip(queries, asked, strict=True):
        language = Compare("language", "$eq", passage.language)
        others = Not(Compare("document_id", "$eq", passage.document_id))
        for condition in (language, And((language, others))):
            hits = index.search(rows[None], 1, filter=condition)
            if hits.pids[0, 0] >= 0:
                [found] = index.fetch(hits.pids[0].tolist())
                shares += gauge.shares(rows, hits.scores[0]).tolist()
                answers.append(found.document_id == passage.document_id)
    return Curve.fit(np.array(shares), np.array(answers, np.bool_))


def _query_of(passage: Passage) -> str:
    """Return the beginning of a sentence of a passage, always the same one."""
    found = [passage.text[start:end].strip() for start, end in sentences(passage.text)]
    long = [text for text in found if len(text) >= SHORTEST]
    sentence = random.Random(passage.pid).choice(long or [passage.text.strip()])
    start, end = next(slices(sentence, 0, len(sentence), LONGEST))
    return sentence[start:end].strip()
