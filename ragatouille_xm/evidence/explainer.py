"""From texts and vectors to evidence."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from ..encoder import Encoder
from ..text.tokenizer import Pieces
from .matching import Side, compare
from .values import Evidence

logger = logging.getLogger(__name__)


class Explainer:
    """Explains why passages were found.

    Parameters
    ----------
    encoder : Encoder
    max_document_length : int
        Most tokens of a passage, as it was encoded.
    """

    def __init__(self, encoder: Encoder, max_document_length: int) -> None:
        self._encoder = encoder
        self._length = max_document_length

    def explain(
        self,
        query: str,
        rows: torch.Tensor,
        texts: Sequence[str],
        languages: Sequence[str],
        stored: Sequence[torch.Tensor],
    ) -> list[Evidence]:
        """Return the evidence of each passage for a query.

        A passage that has not one vector for each of its tokens, since the index has merged some, is encoded again.

        Parameters
        ----------
        query : str
        rows : torch.Tensor
            Shape ``(q, dim)``: what `Encoder.encode_queries` made of it; rows of zeros are padding.
        texts, languages : sequence of str
            Of the passages.
        stored : sequence of torch.Tensor
            The vectors ``(t_i, dim)`` that the index has of each.
        """
        pieces = [self._encoder.tokenizer.document_pieces(text, self._length) for text in texts]
        merged = [i for i, block in enumerate(stored) if len(block) != sum(pieces[i].scored)]
        vectors = list(stored)
        if merged:
            logger.info("%d of %d passages are encoded again: not every token has a vector", len(merged), len(texts))
            encoded = self._encoder.encode_documents(
                [texts[i] for i in merged], [languages[i] for i in merged], max_length=self._length
            )
            for i, block in zip(merged, encoded, strict=True):
                vectors[i] = block
        asked, n_tokens = self._side_of_query(query, rows)
        return [
            compare(asked, Side.of(text, piece, _array(block)), n_tokens, from_index=i not in merged)
            for i, (text, piece, block) in enumerate(zip(texts, pieces, vectors, strict=True))
        ]

    def _side_of_query(self, query: str, rows: torch.Tensor) -> tuple[Side, int]:
        pieces: Pieces = self._encoder.tokenizer.query_pieces(query)
        return Side.of(query, pieces, _array(rows[rows.any(dim=1)])), len(pieces.spans)


def _array(vectors: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return vectors.float().cpu().numpy()
