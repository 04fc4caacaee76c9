"""Records → what a document is made of: which field is which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...corpus.metadata import check_metadata, check_unicode
from ...errors import InputError, LanguageError
from ...languages import AdapterTable
from .names import storable_name
from .options import ReadingOptions
from .skipped import BadFileError

TEXT_FIELDS = ("text", "content", "contents", "body")
ID_FIELDS = ("id", "_id", "docid", "doc_id", "document_id")
LANGUAGE_FIELDS = ("language", "lang")

_ANY_LANGUAGE = AdapterTable((), None)  # whether a tag is a language depends on no checkpoint


class Record(NamedTuple):
    """One record of a file.

    Attributes
    ----------
    place : str
        File and line, for messages.
    fields : mapping
        As in the file; the cells of a table are strings.
    """

    place: str
    fields: Mapping[str, Any]


class Parsed(NamedTuple):
    """What was found in a file: a document without the id that its file gives it.

    Attributes
    ----------
    place : str
        File and line, for messages.
    id : str or None
        None for a record that states none, and for a file that is one document.
    text : str
    metadata : dict
    language : str or None
    """

    place: str
    id: str | None
    text: str
    metadata: dict[str, Any]
    language: str | None


def parse_record(
    record: Record, options: ReadingOptions, metadata_of: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Parsed:
    """Sort the fields of a record into text, id, language and metadata.

    Raises
    ------
    BadFileError
        If there is no text field, or a value is of the wrong type; the message names file and line.
    """
    place, fields = record
    text_fields = TEXT_FIELDS if options.text_field is None else (options.text_field,)
    text_field = first_field(text_fields, fields)
    if text_field is None:
        wanted = ", ".join(map(repr, text_fields[:-1])) + " or " * (len(text_fields) > 1) + repr(text_fields[-1])
        found = ", ".join(map(repr, fields)) or "none"
        raise _bad(place, f"there is no field {wanted} (found: {found}). Choose one with --text-field.")
    id_field = first_field(ID_FIELDS if options.id_field is None else (options.id_field,), fields)
    if id_field is None and options.id_field is not None:
        raise _bad(place, f"there is no id in the field {options.id_field!r}.")
    language_field = first_field(LANGUAGE_FIELDS, fields)
    used = (text_field, id_field, language_field)
    return check_parsed(
        Parsed(
            place,
            None if id_field is None else _identifier(place, id_field, fields[id_field]),
            _string(place, text_field, "" if fields[text_field] is None else fields[text_field]),
            metadata_of({key: value for key, value in fields.items() if key not in used}),
            None if language_field is None else _language(place, language_field, fields[language_field]),
        )
    )


def check_parsed(parsed: Parsed) -> Parsed:
    """Return what was parsed, with checked metadata. Raise `BadFileError` for what an index cannot store."""
    try:
        check_unicode(parsed.text, "the text")
        return parsed._replace(metadata=check_metadata(parsed.metadata))
    except InputError as error:
        raise _bad(parsed.place, str(error)) from error


def first_field(names: Sequence[str], fields: Mapping[str, Any]) -> str | None:
    """Return the first field called by one of `names` that has a value, else the first that exists.

    Upper and lower case are the same, unless a record has both.

    Examples
    --------
    >>> first_field(TEXT_FIELDS, {"Text": "…", "body": "…"}), first_field(ID_FIELDS, {"ID": None, "_id": 7})
    ('Text', '_id')
    """
    there = [name for name in names if name in fields]
    if len(there) < len(names):
        folded: dict[str, str] = {}
        for field in fields:
            folded.setdefault(field.casefold(), field)
        spelled = (name if name in fields else folded.get(name.casefold()) for name in names)
        there = [field for field in spelled if field is not None]
    return next((field for field in there if fields[field] not in (None, "")), there[0] if there else None)


def _string(place: str, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise _bad(place, f"the field {field!r} is of type {type(value).__name__}, not a string.")
    return value


def _language(place: str, field: str, value: object) -> str | None:
    if value is None or not (language := _string(place, field, value).strip()):
        return None
    try:
        _ANY_LANGUAGE.resolve(language)
    except LanguageError as error:
        raise _bad(place, f"{str(error)[:-1]}, or leave the field {field!r} empty.") from error
    return language


def _identifier(place: str, field: str, value: object) -> str:
    """Return an id as a string; numbers are allowed, since databases number their rows."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not _string(place, field, value).strip():
        raise _bad(place, f"the id in the field {field!r} is blank.")
    return storable_name(str(value))


def _bad(place: str, message: str) -> BadFileError:
    return BadFileError("invalid", f"{place}: {message}")


def place_of(name: str, line: int) -> str:
    """Return how a line of a file is called in a message."""
    return f"{name}, line {line}"
