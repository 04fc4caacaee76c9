"""Splitting documents into chunks: by sentences, by a user's function, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError
from ..text.chunk import SentenceSplitter
from ..text.hooks import Chunk, apply_preprocessing, apply_splitter_fn
from .passages import Document

Splitter = Callable[[Sequence[Document]], list[Chunk]]
"""Splits documents into (position of the document, text), grouped by document, at least one for each."""

Hook = Callable[..., Any]


def whole(documents: Sequence[Document]) -> list[Chunk]:
    """Take each document as one chunk."""
    return [(i, document.text) for i, document in enumerate(documents)]


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How to split documents.

    Attributes
    ----------
    max_document_length : int
        Maximum tokens per passage, including special tokens.
    split_documents : bool
        False keeps each document whole, whatever `document_splitter_fn` is.
    document_splitter_fn : callable, "sentences" or None
        None keeps each document whole.
    preprocessing_fn : callable, list of callables or None
        Transforms the chunks.
    """

    max_document_length: int
    split_documents: bool = True
    document_splitter_fn: Hook | Literal["sentences"] | None = "sentences"
    preprocessing_fn: Hook | list[Hook] | None = None


def make_splitter(options: SplitOptions, count_tokens: Callable[[Sequence[str]], list[int]], room: int) -> Splitter:
    """Return the function that splits documents.

    Parameters
    ----------
    options : SplitOptions
    count_tokens : callable
        From texts to the number of tokens of each.
    room : int
        Maximum tokens of a passage's own text, without special tokens and marker.

    Raises
    ------
    InputError
        If the splitter or the preprocessing is not a valid choice.
    """
    splitter_fn = options.document_splitter_fn if options.split_documents else None
    preprocessing_fn = options.preprocessing_fn
    sentences = SentenceSplitter(count_tokens, room)
    if splitter_fn is not None and splitter_fn != "sentences" and not callable(splitter_fn):
        raise InputError(f'document_splitter_fn={splitter_fn!r} is not usable: give a function, "sentences" or None.')

    functions = preprocessing_fn if isinstance(preprocessing_fn, (list, tuple)) else [preprocessing_fn]
    if preprocessing_fn is not None and not all(map(callable, functions)):
        raise InputError(f"preprocessing_fn={preprocessing_fn!r} is not usable: give a function, or a list of them.")

    def split(documents: Sequence[Document]) -> list[Chunk]:
        texts = [document.text for document in documents]
        ids = [document.document_id for document in documents]
        if callable(splitter_fn):
            chunks = apply_splitter_fn(splitter_fn, texts, ids, options.max_document_length)
        elif splitter_fn is None:
            chunks = whole(documents)
        else:
            chunks = [(i, chunk) for i, text in enumerate(texts) for chunk in sentences.split(text)]
        if preprocessing_fn is not None:
            chunks = apply_preprocessing(preprocessing_fn, chunks, ids, split=splitter_fn is not None)
        return chunks

    return split
