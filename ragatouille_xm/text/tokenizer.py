"""Texts → token ids and masks, exactly as in the checkpoint's training."""

from __future__ import annotations

import logging
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..errors import CheckpointError, InputError
from .tokenizer_files import known, load_vocabulary, tokeniser_errors

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


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """The settings of colbert-ai's ``artifact.metadata`` that tokenisation depends on.

    Attributes
    ----------
    query_maxlen, doc_maxlen : int
        Tokens of a query (shorter ones are filled with ``<mask>``), and the maximum of a passage, including special
        tokens.
    query_token_id, doc_token_id : str
        Marker tokens; one missing from the vocabulary becomes its unknown token, as in colbert-ai.
    mask_punctuation : bool
        Whether the vectors of punctuation in a passage are dropped.
    attend_to_mask_tokens : bool
        Whether the other query tokens attend to the filling.
    marker : {"prefix", "insert"}
        ``"prefix"``: ". " is put before the text and the marker replaces position 1, as in colbert-ai up to 0.2.20,
        which trained colbert-xm. ``"insert"``: the marker is inserted after position 0, as in later versions. With
        BERT's tokeniser both are equal; with XLM-R's, the first leaves a "." before the text.
    """

    query_maxlen: int = 32
    doc_maxlen: int = 220
    query_token_id: str = "[unused0]"
    doc_token_id: str = "[unused1]"
    mask_punctuation: bool = True
    attend_to_mask_tokens: bool = False
    marker: str = "prefix"

    def __post_init__(self) -> None:
        if self.marker not in ("prefix", "insert"):
            raise CheckpointError(f'marker={self.marker!r} is not known. Use "prefix" or "insert".')
        for name in ("query_maxlen", "doc_maxlen"):
            if getattr(self, name) < 1:
                raise CheckpointError(f"{name}={getattr(self, name)} is not a length. Use a whole number from 1.")


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
        if settings.query_maxlen > max_tokens:
            raise CheckpointError(
                f"{folder / 'artifact.metadata'}: query_maxlen={settings.query_maxlen}, but the model of config.json "
                f"accepts {max_tokens} tokens. The two do not belong together."
            )
        self._settings = settings
        self.max_tokens = max_tokens
        with tokeniser_errors(folder):
            self._vocabulary = load_vocabulary(folder)
            self._prepare()

    def _prepare(self) -> None:
        """Look up what texts are marked and filled with; raise `ValueError` if the tokeniser lacks it."""
        settings, vocabulary = self._settings, self._vocabulary
        self._query_marker = known(vocabulary.id_of(settings.query_token_id), "query_token_id")
        self._doc_marker = known(vocabulary.id_of(settings.doc_token_id), "doc_token_id")
        self._pad, self._mask = vocabulary.pad, vocabulary.mask
        # colbert-ai takes the first id of each symbol, which for XLM-R is often "▁" alone, so it keeps a "."
        # attached to a word. The model was trained this way.
        symbols = string.punctuation if settings.mask_punctuation else ""
        self._skipped = frozenset([self._pad, *(ids[0] for ids in self._ids(symbols, special=False) if ids)])
        # added by `documents`: special tokens, the marker, and the "." that the prefix leaves
        self.overhead = len(self._marked([""], self._doc_marker, self.max_tokens)[0])
        self._ids([_RARE])

    def __len__(self) -> int:
        """Return the number of ids; the embedding table must have at least as many rows."""
        return self._vocabulary.size

    def documents(self, texts: Sequence[str], max_length: int) -> list[Tokens]:
        """Tokenise passages, truncating each to `max_length` tokens, including special tokens.

        Raises
        ------
        InputError
            If `max_length` leaves no room for text, or exceeds what the model accepts.
        """
        self.room(max_length)
        return [
            Tokens(ids, [True] * len(ids), [i not in self._skipped for i in ids])
            for ids in self._marked(texts, self._doc_marker, max_length)
        ]

    def added(self, tokens: Tokens) -> list[bool]:
        """Return which of the scored tokens of a passage `documents` has added to the text."""
        before, last = self.overhead - 1, len(tokens.ids) - 1
        return [i < before or i == last for i, scored in enumerate(tokens.scored) if scored]

    def queries(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise queries, filling each with ``<mask>`` to the checkpoint's length.

        A longer query keeps all its tokens, up to what the model accepts.
        """
        result = []
        for marked in self._marked(texts, self._query_marker, self.max_tokens):
            ids = [self._mask if i == self._pad else i for i in marked]
            fill = max(0, self._settings.query_maxlen - len(ids))
            attended = [True] * len(ids) + [self._settings.attend_to_mask_tokens] * fill
            result.append(Tokens(ids + [self._mask] * fill, attended, [True] * len(attended)))
        return result

    def document_pieces(self, text: str, max_length: int) -> Pieces:
        """Return where the tokens come from that `documents` makes of a passage.

        Raises
        ------
        CheckpointError
            If the tokeniser is of a kind that does not say.
        """
        return self._pieces(text, self._doc_marker, max_length, self._skipped)

    def query_pieces(self, text: str) -> Pieces:
        """Return where the tokens come from that `queries` makes of a query, without the filling; errors as above."""
        return self._pieces(text, self._query_marker, self.max_tokens, frozenset())

    def _pieces(self, text: str, marker: int, max_length: int, skipped: frozenset[int]) -> Pieces:
        before = len(self._prefix)
        ids, spans = self._with_spans(self._prefix + text)
        # A tokeniser that splits characters it does not know gives some of their parts no width.
        inside = [(max(start - before, 0), end - before) if before < end > start else None for start, end in spans]
        marked = self._cut(self._mark(ids, marker), max_length)
        return Pieces(self._cut(self._mark(inside, None), max_length), [i not in skipped for i in marked])

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

    def _marked(self, texts: Sequence[str], marker: int, max_length: int) -> list[list[int]]:
        marked = [self._mark(ids, marker) for ids in self._ids([self._prefix + text for text in texts])]
        too_long = sum(len(ids) > max_length for ids in marked)
        if too_long:
            logger.warning(
                "%d of %d texts longer than %d tokens: their ends are cut off", too_long, len(marked), max_length
            )
        return [self._cut(ids, max_length) for ids in marked]

    @property
    def _prefix(self) -> str:
        return "" if self._settings.marker == "insert" else ". "

    def _mark(self, tokens: list[T], marker: T) -> list[T]:
        return [tokens[0], marker, *tokens[2 if self._prefix else 1 :]]

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
