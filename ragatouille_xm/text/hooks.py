"""RAGatouille's hooks over documents, `document_splitter_fn` and `preprocessing_fn`, as pure functions over chunks.

A chunk is a pair: the position of its document, and its text. A hook may have the form that RAGatouille calls,

``splitter(documents, document_ids, chunk_size=256) -> [{"document_id": …, "content": …}, …]``

``preprocess(documents, document_ids) -> documents``, with dicts as above if documents were split, else strings,

or the simple form that its annotations promise, ``splitter(text) -> [text, …]`` and ``preprocess(text) -> text``. A
function that accepts one argument counts as simple, unless a parameter is named ``document_ids``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError

Chunk = tuple[int, str]
"""Position of the document, text."""


def apply_splitter_fn(
    fn: Callable[..., Any], texts: Sequence[str], document_ids: Sequence[str], chunk_size: int | None = None
) -> list[Chunk]:
    r"""Split documents with a user's function.

    Parameters
    ----------
    fn : callable
        In either form of this module.
    texts, document_ids : sequence of str
        Of equal length.
    chunk_size : int, optional
        Tokens per passage; passed to functions of RAGatouille's form that accept it.

    Returns
    -------
    list of (int, str)
        Grouped by document, in order, at least one for each: a blank document stays one chunk. Other blank chunks are
        dropped.

    Raises
    ------
    InputError
        If the function returns another type, an unknown document id, or nothing for a document.

    Examples
    --------
    >>> apply_splitter_fn(str.splitlines, ["one\ntwo", "three"], ["a", "b"], 256)
    [(0, 'one'), (0, 'two'), (1, 'three')]
    """
    name = "document_splitter_fn"
    if _is_simple(fn, name):
        chunks = [(i, chunk) for i, text in enumerate(texts) for chunk in _texts(fn(text), name)]
    else:
        sized = chunk_size is not None and _accepts(fn, (None, None), chunk_size=chunk_size)
        found = fn(list(texts), list(document_ids), **({"chunk_size": chunk_size} if sized else {}))
        chunks = _chunks(found, document_ids, name)
    return _complete(chunks, texts, document_ids, name)


def apply_preprocessing(
    fns: Callable[..., Any] | Iterable[Callable[..., Any]],
    chunks: Sequence[Chunk],
    document_ids: Sequence[str],
    *,
    split: bool = True,
) -> list[Chunk]:
    """Transform chunks with a user's function, or with several in turn.

    Parameters
    ----------
    fns : callable or iterable of callables
        In either form of this module.
    chunks : sequence of (int, str)
        Grouped by document.
    document_ids : sequence of str
        The documents' ids.
    split : bool
        Whether the chunks come from splitting: RAGatouille passes dicts then, and plain strings otherwise.

    Returns
    -------
    list of (int, str)
        Grouped by document, in order, at least one for each.

    Raises
    ------
    InputError
        If a function returns another type, an unknown document id, or nothing for a document.

    Examples
    --------
    >>> apply_preprocessing([str.strip, str.lower], [(0, " One"), (0, "Two ")], ["a"])
    [(0, 'one'), (0, 'two')]
    """
    name = "preprocessing_fn"
    result = list(chunks)
    for fn in [fns] if callable(fns) else fns:
        before = result
        if _is_simple(fn, name):
            result = [(i, _text(fn(text), name)) for i, text in before]
        else:
            documents: list[Any] = [text for _, text in before]
            if split:
                documents = [{"document_id": document_ids[i], "content": text} for i, text in before]
            found = fn(documents, list(document_ids))
            if _are_texts(found) and len(found) == len(before):
                result = [(i, text) for (i, _), text in zip(before, found, strict=True)]
            else:
                result = _chunks(found, document_ids, name)
        texts = [""] * len(document_ids)
        for i, text in before:
            texts[i] += text
        result = _complete(result, texts, document_ids, name)
    return result


def _is_simple(fn: object, name: str) -> bool:
    """Return whether a hook takes a single text instead of documents and their ids."""
    if not callable(fn):
        raise InputError(f"{name} is {fn!r}, which cannot be called. Give a function.")
    try:
        parameters = inspect.signature(fn).parameters
    except ValueError:  # some functions written in C have no signature
        return True
    if _accepts(fn, (None,)) and "document_ids" not in parameters:
        return True
    if _accepts(fn, (None, None)) or _accepts(fn, (None, None), chunk_size=None):
        return False
    raise InputError(f"{name} must take (documents, document_ids) or one text; it takes ({', '.join(parameters)}).")


def _accepts(fn: Callable[..., Any], arguments: tuple[None, ...], **named: Any) -> bool:
    try:
        inspect.signature(fn).bind(*arguments, **named)
    except TypeError:
        return False
    return True


def _chunks(found: object, document_ids: Sequence[str], name: str) -> list[Chunk]:
    """Parse the return value of a hook in RAGatouille's form."""
    if isinstance(found, (str, bytes, Mapping)) or not isinstance(found, Iterable):
        raise InputError(f"{name} returned {_kind(found)}; it must return a list of {_FORM}.")
    position = {document_id: i for i, document_id in enumerate(document_ids)}
    result = []
    for each in found:
        if not isinstance(each, Mapping) or not {"document_id", "content"} <= set(each):
            raise InputError(f"{name} returned a list with {_kind(each)} in it; each must be {_FORM}.")
        if each["document_id"] not in position:
            raise InputError(f"{name} returned document_id {each['document_id']!r}, which it was not given.")
        result.append((position[each["document_id"]], _text(each["content"], name)))
    return result


_FORM = '{"document_id": …, "content": …}'


def _complete(chunks: list[Chunk], texts: Sequence[str], document_ids: Sequence[str], name: str) -> list[Chunk]:
    """Group chunks by document, drop blank ones, and check that every document has one."""
    chunks = [(i, text) for i, text in chunks if text.strip()]
    for missing in sorted(set(range(len(texts))) - {i for i, _ in chunks}):
        if texts[missing].strip():
            raise InputError(f"{name} left nothing of document {document_ids[missing]!r}. Leave it out first.")
        chunks.append((missing, texts[missing]))
    return sorted(chunks, key=lambda chunk: chunk[0])  # stable: the chunks of a document keep their order


def _texts(found: object, name: str) -> list[str]:
    if isinstance(found, (str, bytes, Mapping)) or not isinstance(found, Iterable):
        raise InputError(f"{name} returned {_kind(found)} for a text; it must return a list of strings.")
    return [_text(each, name) for each in found]


def _text(found: object, name: str) -> str:
    if not isinstance(found, str):
        raise InputError(f"{name} returned {_kind(found)} instead of a string.")
    return found


def _are_texts(found: object) -> bool:
    return isinstance(found, (list, tuple)) and all(isinstance(each, str) for each in found)


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
