"""What a checkpoint's files say about tokens, in one form for every format."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CheckpointError

WHOLE = 1_000_000_000  # a `doc_maxlen` of as many tokens as the model takes


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """The settings that tokenisation depends on, named as in colbert-ai's ``artifact.metadata`` where that has them.

    Attributes
    ----------
    query_maxlen, doc_maxlen : int
        Tokens of a query (shorter ones are filled with ``<mask>``), and the maximum of a passage, including special
        tokens.
    query_token_id, doc_token_id : str
        Marker tokens; one missing from the vocabulary becomes its unknown token, as in colbert-ai and PyLate. Empty: no
        marker.
    mask_punctuation : bool
        Whether the vectors of punctuation in a passage are dropped, by colbert-ai's rule.
    attend_to_mask_tokens : bool
        Whether the other query tokens attend to the filling.
    marker : {"prefix", "insert"}
        ``"prefix"``: ". " is put before the text and the marker replaces position 1, as in colbert-ai up to 0.2.20,
        which trained colbert-xm. ``"insert"``: the marker is inserted after position 0, as in later versions and in
        PyLate. With BERT's tokeniser both are equal; with XLM-R's, the first leaves a "." before the text.
    query_prefix, doc_prefix : str
        Put before each text, and tokenised with it.
    expand_queries : bool
        Whether queries are filled.
    fill_token : str
        What fills them instead of ``<mask>``.
    skiplist : tuple of str, optional
        Tokens whose vectors are dropped from passages; by default those of colbert-ai: padding, and what
        `mask_punctuation` says.
    skip_unknown : bool
        Whether a word of `skiplist` that the vocabulary lacks stands for the unknown token, as in PyLate, or for
        nothing, as in sentence-transformers.
    skip_in_queries : bool
        Whether the vectors of these tokens are dropped from queries as well.
    skip_first : bool
        Whether the first vector of each text is dropped, as in BGE-M3.
    strip, lowercase : bool
        Whether blanks around a text are removed, and its letters lower-cased, before anything else.
    """

    query_maxlen: int = 32
    doc_maxlen: int = 220
    query_token_id: str = "[unused0]"
    doc_token_id: str = "[unused1]"
    mask_punctuation: bool = True
    attend_to_mask_tokens: bool = False
    marker: str = "prefix"
    query_prefix: str = ""
    doc_prefix: str = ""
    expand_queries: bool = True
    fill_token: str = ""
    skiplist: tuple[str, ...] | None = None
    skip_unknown: bool = False
    skip_in_queries: bool = False
    skip_first: bool = False
    strip: bool = False
    lowercase: bool = False

    def __post_init__(self) -> None:
        if self.marker not in ("prefix", "insert"):
            raise CheckpointError(f'marker={self.marker!r} is not known. Use "prefix" or "insert".')
        for name in ("query_maxlen", "doc_maxlen"):
            if getattr(self, name) < 1:
                raise CheckpointError(f"{name}={getattr(self, name)} is not a length. Use a whole number from 1.")
        if self.skiplist is not None:  # JSON has lists
            object.__setattr__(self, "skiplist", tuple(self.skiplist))
