"""Documents: reading and checking what users give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeVar
from uuid import uuid4

from ..errors import DuplicateDocumentError, InputError
from .metadata import check_metadata, check_unicode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A document, as given by a user.

    Attributes
    ----------
    document_id : str
    text : str
    metadata : dict or None
        JSON values.
    language : str or None
        As given by the user; None to detect it.
    """

    document_id: str
    text: str
    metadata: dict[str, Any] | None = None
    language: str | None = None


def read_documents(
    texts: Iterable[str],
    document_ids: Iterable[str] | None = None,
    metadatas: Iterable[Mapping[str, Any] | None] | None = None,
    languages: str | Iterable[str | None] | None = None,
) -> Iterator[Document]:
    """Zip texts, ids, metadata and languages into documents, checking each.

    Parameters
    ----------
    texts : iterable of str
    document_ids : iterable of str, optional
        Unique and not blank; by default random UUIDs.
    metadatas : iterable of mapping or None, optional
    languages : str or iterable of (str or None), optional
        One for all, or one for each; None to detect it.

    Raises
    ------
    InputError
        At the first invalid document; the message names its position.
    DuplicateDocumentError
        If an id is used twice.

    Examples
    --------
    >>> [d.document_id for d in read_documents(["Bonjour.", "你好。"], ["a", "b"])]
    ['a', 'b']
    """
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise InputError(f"The collection is a {type(texts).__name__}; give a list of texts: [text].")
    if isinstance(languages, str) or languages is None:
        languages = repeat(languages)
    given = ((document_ids, "document_ids"), (metadatas, "metadatas"), (languages, "languages"))
    for column, name in given:
        if column is not None and (isinstance(column, (str, bytes, Mapping)) or not isinstance(column, Iterable)):
            raise InputError(f"{name} is {column!r}; give a list, with an entry for each text.")
    seen: set[str] = set()
    columns = zip(
        texts,
        _column(document_ids, (str(uuid4()) for _ in repeat(None)), "document_ids"),
        _column(metadatas, repeat(None), "metadatas"),
        _column(languages, repeat(None), "languages"),
        strict=False,
    )
    position = -1
    for position, (text, document_id, metadata, language) in enumerate(columns):
        _check(position, text, document_id, language)
        if document_id in seen:
            raise DuplicateDocumentError(f"document_ids holds {document_id!r} twice. Ids must be unique.")
        seen.add(document_id)
        checked = None if metadata is None else check_metadata(metadata)
        yield Document(document_id, text, checked, language)
    for column, name in given:
        if isinstance(column, Sequence) and len(column) != position + 1:
            raise InputError(f"{name} has {len(column)} entries for {position + 1} texts; give one for each text.")


def _column(given: Iterable[T] | None, default: Iterable[T], name: str) -> Iterator[T]:
    yield from default if given is None else given
    raise InputError(f"{name} has fewer entries than there are texts; give one for each text.")


def _check(position: int, text: object, document_id: object, language: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"Document {position} is a {type(text).__name__}, not a string.")
    check_unicode(text, f"Document {position}")
    if not isinstance(document_id, str) or not document_id.strip():
        raise InputError(f"document_ids[{position}] is {document_id!r}; ids are strings that are not blank.")
    check_unicode(document_id, f"document_ids[{position}], {document_id!r},")
    check_language(language, f"languages[{position}]")


def check_language(language: object, name: str) -> None:
    """Raise `InputError` unless `language`, named `name` in the message, is a string or None."""
    if language is not None and not isinstance(language, str):
        raise InputError(f"{name} is {language!r}; give a code such as 'fr', or None to detect it.")
