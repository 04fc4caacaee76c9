"""BGE-M3's format: an encoder beside ``colbert_linear.pt``; no markers, no filling, no vector for the first token.

Its other two heads, for one vector a text and for weights of words, are not read. FlagEmbedding divides a score by the
number of the query's vectors; here it is their sum, which ranks alike.
"""

from __future__ import annotations

from pathlib import Path

from ...text.token_settings import TokenSettings
from ..weights import Weights
from .layout import Dense, Layout

MARK = "colbert_linear.pt"
LENGTH = 512  # FlagEmbedding's default for queries and passages
_PREFIX = "colbert_"


def read(folder: Path) -> Layout:
    """Read a folder."""
    settings = TokenSettings(
        query_maxlen=LENGTH,
        doc_maxlen=LENGTH,
        query_token_id="",
        doc_token_id="",
        mask_punctuation=False,
        marker="insert",
        expand_queries=False,
        skiplist=(),
        skip_first=True,
    )
    weights = Weights.open_pickle(folder / MARK)
    head = Dense(_PREFIX, bias=True)
    return Layout("BGE-M3", folder, settings, folder / MARK, b"", (head,), {f"{_PREFIX}linear.": weights})
