"""Texts → token ids and masks, exactly as in the checkpoint's training."""

from __future__ import annotations

import logging
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..errors import CheckpointError, InputError
from .token_settings import TokenSettings as TokenSettings
from .tokenizer_files import Vocabulary, known, load_vocabulary, tokeniser_errors

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BLANK = "▁"  # before a word that has no form with one
_RARE = "\U0010fffd"  # in no vocabulary: one that has no token for the unknown fails when loaded, not at some text


class Tokens(NamedTuple):
    """One tokenised text.

    Attributes
    ----------
    ids : list of int
    attended : list of bool
        Which tokens the model may attend to.
    scored : list of bool
        Which tokens' vectors take part in MaxSim.
    """

    ids: list[int]
    attended: list[bool]
    scored: list[bool]


class Pieces(NamedTuple):
    """Where the tokens of a text come from.

    Attributes
    ----------
    spans : list of (tuple of (int, int) or None)
        Of each token, start and end in the text as it was given; None for special tokens, the marker and what marks it.
    scored : list of bool
        Which tokens' vectors take part in MaxSim: the `i`-th vector of a text is that of the `i`-th of these.
    """

    spans: list[tuple[int, int] | None]
    scored: list[bool]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """A padded batch of tokenised texts.

    Attributes
    ----------
    input_ids : torch.Tensor
        Shape ``(b, L)``, int64.
    attention_mask : torch.Tensor
        Shape ``(b, L)``, int64: what the model sees.
    scoring_mask : torch.Tensor
        Shape ``(b, L)``, bool: what MaxSim counts.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    scoring_mask: torch.Tensor


class _Side(NamedTuple):
    """How queries are tokenised, or passages.

    Attributes
    ----------
    prefix : str
        Text before each.
    marker : int or None
        Id of the token after the first one.
    skipped : frozenset of int
        Ids of tokens whose vectors are dropped.
    """

    prefix: str
    marker: int | None
    skipped: frozenset[int]


class ColBERTTokenizer:
    """ColBERT's tokenisation over any Hugging Face tokeniser.

    ``tests/reference`` holds golden ids made by colbert-ai.

    Parameters
    ----------
    folder : Path
        Checkpoint folder with ``tokenizer.json``, ``sentencepiece.bpe.model`` or ``vocab.txt``.
    settings : TokenSettings
        The checkpoint's.
    max_tokens : int
        Maximum tokens that the model accepts.

    Raises
    ------
    CheckpointError
        If the folder has no tokeniser, or a damaged one.
    MissingExtraError
        If it has only a SentencePiece model, and sentencepiece is not installed.
    """

    def __init__(self, folder: Path, settings: TokenSettings, max_tokens: int) -> None:
        self._settings = settings
        self.max_tokens = max_tokens
        self._overwrites = settings.marker == "prefix" and bool(settings.query_token_id or settings.doc_token_id)
        with tokeniser_errors(folder):
            self._vocabulary = load_vocabulary(folder, lowercase=settings.lowercase)
            self._prepare()

    def _prepare(self) -> None:
        """Look up what texts are marked and filled with; raise `ValueError` if the tokeniser lacks it."""
        settings, vocabulary = self._settings, self._vocabulary
        self._pad = vocabulary.pad
        self._mask = (
            known(vocabulary.id_of(settings.fill_token), "fill_token") if settings.fill_token else vocabulary.mask
        )
        self._skipped = self._skiplist()
        dot = ". " if self._overwrites else ""
        markers = [
            known(vocabulary.id_of(token), name) if token else None
            for name, token in (("query_token_id", settings.query_token_id), ("doc_token_id", settings.doc_token_id))
        ]
        self._query = _Side(
            dot + settings.query_prefix, markers[0], self._skipped if settings.skip_in_queries else frozenset()
        )
        self._doc = _Side(dot + settings.doc_prefix, markers[1], self._skipped)
        # added by `documents`: special tokens, the marker, and what stands before the text
        self.overhead = len(self._marked(["a"], self._doc, self.max_tokens)[0]) - len(
            self._ids(["a"], special=False)[0]
        )
        self._ids([_RARE])

    def _skiplist(self) -> frozenset[int]:
        settings, vocabulary = self._settings, self._vocabulary
        if settings.skiplist is None:
            # colbert-ai takes the first id of each symbol, which for XLM-R is often "▁" alone, so it keeps a "."
            # attached to a word. The model was trained this way.
            symbols = string.punctuation if settings.mask_punctuation else ""
            return frozenset([self._pad, *(ids[0] for ids in self._ids(symbols, special=False) if ids)])
        unknown = vocabulary.id_of(_RARE)
        ids = {(word, vocabulary.id_of(word)) for word in settings.skiplist}
        return frozenset(i for word, i in ids if i is not None and (settings.skip_unknown or i != unknown))

    def __len__(self) -> int:
        """Return the number of ids; the embedding table must have at least as many rows."""
        return self._vocabulary.size

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokeniser, without what ColBERT adds to it."""
        return self._vocabulary

    @property
    def skipped(self) -> frozenset[int]:
        """Ids of tokens whose vectors are dropped from passages."""
        return self._skipped

    def documents(self, texts: Sequence[str], max_length: int) -> list[Tokens]:
        """Tokenise passages, truncating each to `max_length` tokens, including special tokens.

        Raises
        ------
        InputError
            If `max_length` leaves no room for text, or exceeds what the model accepts.
        """
        self.room(max_length)
        return [
            Tokens(ids, [True] * len(ids), self._scored(ids, self._doc))
            for ids in self._marked(texts, self._doc, max_length)
        ]

    def added(self, tokens: Tokens) -> list[bool]:
        """Return which of the scored tokens of a passage `documents` has added to the text."""
        before, last = self.overhead - 1, len(tokens.ids) - 1
        return [i < before or i == last for i, scored in enumerate(tokens.scored) if scored]

    def queries(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise queries, filling each with ``<mask>`` to the checkpoint's length if it was trained so.

        A longer query keeps all its tokens, up to what the model accepts.
        """
        settings, result = self._settings, []
        for ids in self._marked(texts, self._query, self.max_tokens):
            if settings.skiplist is None:
                ids = [self._mask if i == self._pad else i for i in ids]
            fill = max(0, settings.query_maxlen - len(ids)) if settings.expand_queries else 0
            attended = [True] * len(ids) + [settings.attend_to_mask_tokens] * fill
            result.append(Tokens(ids + [self._mask] * fill, attended, self._scored(ids, self._query) + [True] * fill))
        return result

    def document_pieces(self, text: str, max_length: int) -> Pieces:
        """Return where the tokens come from that `documents` makes of a passage.

        Raises
        ------
        CheckpointError
            If the tokeniser is of a kind that does not say.
        """
        return self._pieces(text, self._doc, max_length)

    def query_pieces(self, text: str) -> Pieces:
        """Return where the tokens come from that `queries` makes of a query, without the filling; errors as above."""
        return self._pieces(text, self._query, self.max_tokens)

    def _pieces(self, text: str, side: _Side, max_length: int) -> Pieces:
        whole = side.prefix + text
        before = len(side.prefix) - (len(whole) - len(whole.lstrip()) if self._settings.strip else 0)
        ids, spans = self._with_spans(self._read(text, side))
        # A tokeniser that splits characters it does not know gives some of their parts no width.
        inside = [(max(start - before, 0), end - before) if before < end > start else None for start, end in spans]
        marked = self._cut(self._mark(ids, side, side.marker), max_length)
        return Pieces(self._cut(self._mark(inside, side, None), max_length), self._scored(marked, side))

    def _with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoding = self._vocabulary.encoding(encodable(text))
        if encoding is None:
            raise CheckpointError("The tokeniser does not say where tokens come from. Add a tokenizer.json.")
        pairs = zip(encoding.tokens, encoding.offsets, strict=True)
        return encoding.ids, [(0, 0) if token == _BLANK else span for token, span in pairs]

    def room(self, max_length: int) -> int:
        """Return how many tokens of text fit into a passage of `max_length` tokens.

        Raises
        ------
        InputError
            If that leaves no room for text, or exceeds what the model accepts.
        """
        if isinstance(max_length, bool) or not isinstance(max_length, int) or not 8 <= max_length <= self.max_tokens:
            raise InputError(
                f"A passage length of {max_length!r} tokens is not usable: give a whole number from 8 to "
                f"{self.max_tokens}."
            )
        return max_length - self.overhead

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text itself, without special tokens and marker."""
        return [len(ids) for ids in self._ids(texts, special=False)]

    def lexical_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids by which lexical search knows each text: all of it, case-folded, and nothing added."""
        return self._ids([text.casefold() for text in texts], special=False)

    def pad(self, texts: Sequence[Tokens]) -> TokenBatch:
        """Pad texts to the longest; padding is neither attended to nor scored."""
        import torch

        width = max(len(each.ids) for each in texts)
        gaps = [width - len(each.ids) for each in texts]
        return TokenBatch(
            torch.tensor([each.ids + [self._pad] * gap for each, gap in zip(texts, gaps, strict=True)]),
            torch.tensor([each.attended + [False] * gap for each, gap in zip(texts, gaps, strict=True)]).long(),
            torch.tensor([each.scored + [False] * gap for each, gap in zip(texts, gaps, strict=True)]),
        )

    def _marked(self, texts: Sequence[str], side: _Side, max_length: int) -> list[list[int]]:
        marked = [self._mark(ids, side, side.marker) for ids in self._ids([self._read(text, side) for text in texts])]
        too_long = sum(len(ids) > max_length for ids in marked)
        if too_long:
            logger.warning(
                "%d of %d texts longer than %d tokens: their ends are cut off", too_long, len(marked), max_length
            )
        return [self._cut(ids, max_length) for ids in marked]

    def _read(self, text: str, side: _Side) -> str:
        whole = side.prefix + text
        return whole.strip() if self._settings.strip else whole

    def _mark(self, tokens: list[T], side: _Side, marker: T) -> list[T]:
        if side.marker is None:
            return tokens
        return [*tokens[:1], marker, *tokens[2 if self._overwrites else 1 :]]

    def _scored(self, ids: Sequence[int], side: _Side) -> list[bool]:
        first = int(self._settings.skip_first)
        return [place >= first and i not in side.skipped for place, i in enumerate(ids)]

    @staticmethod
    def _cut(tokens: list[T], max_length: int) -> list[T]:
        return tokens if len(tokens) <= max_length else [*tokens[: max_length - 1], tokens[-1]]

    def _ids(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        return self._vocabulary.ids([encodable(text) for text in texts], special=special) if texts else []


def encodable(text: str) -> str:
    r"""Replace lone surrogates, which cannot be encoded, by U+FFFD.

    Examples
    --------
    >>> encodable("a\ud800b") == "a\ufffdb"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
