"""Documents: reading and checking what users give."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, MappingView, Set, Sized
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, TypeGuard, TypeVar
from unicodedata import category
from uuid import uuid4

from ..errors import DuplicateDocumentError, InputError, LanguageError
from .metadata import check_metadata, check_unicode
from .scalars import is_missing, shown, simplified

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


def is_blank(text: str) -> bool:
    r"""Return whether a text shows nothing: only whitespace, and what takes no room, such as a byte order mark.

    Examples
    --------
    >>> is_blank("\ufeff \n"), is_blank(".")
    (True, False)
    """
    return all(character.isspace() or category(character) == "Cf" for character in text)


def texts_and_ids(
    texts: Iterable[str] | Mapping[str, str], document_ids: Iterable[str] | None
) -> tuple[Iterable[str], Iterable[str] | None]:
    """Return texts and ids, which are the keys if the texts come as a mapping ``{id: text}``.

    Raises
    ------
    InputError
        If there are ids beside a mapping.
    """
    if not isinstance(texts, Mapping):
        return texts, document_ids
    if document_ids is not None:
        raise InputError("The collection is a mapping, whose keys are the document ids: leave out document_ids.")
    return texts.values(), texts.keys()


def read_documents(
    texts: Iterable[str] | Mapping[str, str],
    document_ids: Iterable[str] | None = None,
    metadatas: Iterable[Mapping[str, Any] | None] | None = None,
    languages: str | Iterable[str | None] | None = None,
    resolve: Callable[[str], str] | None = None,
) -> Iterator[Document]:
    """Join texts, ids, metadata and languages into documents, checking each.

    If all of them are at hand (lists, tuples, mappings, columns of NumPy or pandas), every row is checked before the
    first document comes. What can be read only once is checked as it is read.

    Parameters
    ----------
    texts : iterable of str, or mapping of str to str
        A mapping has ids as its keys.
    document_ids : iterable of str, optional
        Unique and not blank; by default random UUIDs.
    metadatas : iterable of mapping or None, optional
    languages : str or iterable of (str or None), optional
        One for all, or one for each; None, or another missing value, to detect it.
    resolve : callable, optional
        Raises `LanguageError` for what is not a language.

    Raises
    ------
    InputError
        For the first invalid row; the message names its position and its id.
    DuplicateDocumentError
        If an id is used twice.
    LanguageError
        If a language is unknown.

    Examples
    --------
    >>> [d.document_id for d in read_documents(["Bonjour.", "你好。"], ["a", "b"])]
    ['a', 'b']
    """
    texts, document_ids = texts_and_ids(texts, document_ids)
    if not is_column(texts):
        raise InputError(f"The collection is a {type(texts).__name__}; give a list of texts: [text].")
    if isinstance(languages, str) or languages is None:
        if languages is not None and resolve is not None:
            resolve(languages)
        languages = repeat(languages)
    given = {"The collection": texts, "document_ids": document_ids, "metadatas": metadatas, "languages": languages}
    for name, column in given.items():
        if column is not None and not is_column(column):
            raise InputError(f"{name} is {shown(column)}; give a list, with an entry for each text.")
        check_order(column, name)
    rows = partial(_rows, texts, document_ids, metadatas, languages, resolve)
    if all(column is None or isinstance(column, repeat) or _is_at_hand(column) for column in given.values()):
        deque(rows(), maxlen=0)
    return rows()


def is_column(given: object) -> TypeGuard[Iterable[Any]]:
    """Return whether something can hold an entry for each text: texts and mappings cannot."""
    return isinstance(given, Iterable) and not isinstance(given, (str, bytes, bytearray, memoryview, Mapping))


def check_order(given: object, name: str) -> None:
    """Raise `InputError` if `given`, named `name` in the message, has no order, or more than one dimension."""
    if isinstance(given, Set) and not isinstance(given, (KeysView, ItemsView)):
        raise InputError(f"{name} is a {type(given).__name__}, which has no order; give a list.")
    if getattr(given, "ndim", 1) != 1:
        rows = ', or its rows: frame.to_dict("records")' if name == "metadatas" else ""
        raise InputError(f"{name} is a {type(given).__name__} of another form than a list; give a column of it{rows}.")


def _is_at_hand(column: object) -> bool:
    """Return whether a column can be read any number of times."""
    return isinstance(column, MappingView) or (hasattr(column, "__len__") and hasattr(column, "__getitem__"))


def _rows(
    texts: Iterable[str],
    document_ids: Iterable[str] | None,
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    languages: Iterable[str | None],
    resolve: Callable[[str], str] | None,
) -> Iterator[Document]:
    """Yield the documents. Raise an error of `read_documents` at the first row that is none."""
    columns = zip(
        texts,
        _column(document_ids, (str(uuid4()) for _ in repeat(None)), "document_ids"),
        _column(metadatas, repeat(None), "metadatas"),
        _column(languages, repeat(None), "languages"),
        strict=False,
    )
    first: dict[str, int] = {}  # position of each id that was given
    position = -1
    for position, (text, document_id, metadata, language) in enumerate(columns):
        named = f"Document {position}"
        if document_ids is not None:
            _check_id(document_id, position)
            if first.setdefault(document_id, position) != position:
                raise DuplicateDocumentError(
                    f"document_ids holds {document_id!r} twice, at {first[document_id]} and {position}. Ids must be "
                    "unique."
                )
            named += f" ({document_id!r})"
        _check_text(text, named)
        yield Document(
            str.__str__(document_id),  # plain, if they are NumPy's
            str.__str__(text),
            _metadata(metadata, named),
            _language(language, f"{named}: languages[{position}]", resolve),
        )
    others: dict[str, object] = {"document_ids": document_ids, "metadatas": metadatas, "languages": languages}
    for name, column in others.items():
        if isinstance(column, Sized) and _is_at_hand(column) and len(column) != position + 1:
            raise InputError(f"{name} has {len(column)} entries for {position + 1} texts; give one for each text.")


def _column(given: Iterable[T] | None, default: Iterable[T], name: str) -> Iterator[T]:
    yield from default if given is None else given
    raise InputError(f"{name} has fewer entries than there are texts; give one for each text.")


def _check_text(text: object, named: str) -> None:
    if not isinstance(text, str):
        way_out = ""
        if isinstance(text, bytes):
            way_out = " Decode it: text.decode()."
        elif is_missing(simplified(text)):
            way_out = " Leave such documents out."
        raise InputError(f"{named} is a {type(text).__name__}, not a string: {shown(text)}.{way_out}")
    check_unicode(text, named)


def _check_id(document_id: object, position: int) -> None:
    if not isinstance(document_id, str) or not document_id.strip():
        raise InputError(
            f"document_ids[{position}] is {shown(document_id)}; ids are strings that are not blank, such as str(7)."
        )
    check_unicode(document_id, f"document_ids[{position}], {document_id!r},")


def _metadata(given: object, named: str) -> dict[str, Any] | None:
    if is_missing(simplified(given)):
        return None
    try:
        return check_metadata(given)
    except InputError as error:
        raise InputError(f"{named}: {error}") from None


def _language(given: object, named: str, resolve: Callable[[str], str] | None) -> str | None:
    language = simplified(given)
    if is_missing(language):
        return None
    check_language(language, named)
    if resolve is not None:
        try:
            resolve(language)
        except LanguageError as error:
            raise LanguageError(f"{named}: {error}") from None
    return str(language)


def check_language(language: object, name: str) -> None:
    """Raise `InputError` unless `language`, named `name` in the message, is a string or None."""
    if language is not None and not isinstance(language, str):
        raise InputError(f"{name} is {language!r}; give a code such as 'fr', or None.")
