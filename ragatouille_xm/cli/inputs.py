"""Files and folders → documents, one at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..corpus.metadata import check_metadata, check_unicode
from ..corpus.passages import Document
from ..errors import DuplicateDocumentError, InputError
from .output import format_counts
from .records import READERS, UTF8, Record

TEXT_FIELDS = ("text", "content", "body")
ID_FIELDS = ("id", "document_id")
LANGUAGE_FIELDS = ("language", "lang")

_SNIFF_BYTES = 8192  # a NUL among them marks a binary file, as for git and grep


class _NoTextError(Exception):
    """A file without text; in a folder it is skipped."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Inputs:
    """The documents of files and folders, streamed. `skipped` counts what was left out.

    A text file is one document, named by its path below the given folder. The formats in `READERS` hold one per record.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders. Within a folder, hidden files and files that are not UTF-8 text are skipped.
    text_field, id_field : str, optional
        Field names to use instead of the defaults.
    language : str, optional
        Language of documents that do not state their own.

    Raises
    ------
    InputError
        If a path does not exist.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        text_field: str | None = None,
        id_field: str | None = None,
        language: str | None = None,
    ) -> None:
        for path in paths:
            if not os.path.exists(path):  # Path.exists raises for a name that is too long
                raise InputError(f"There is no file or folder {str(path)!r}.")
        self.skipped: Counter[str] = Counter()
        self.n_documents = 0
        self._paths = paths
        self._text_fields = TEXT_FIELDS if text_field is None else (text_field,)
        self._id_fields = ID_FIELDS if id_field is None else (id_field,)
        self._must_have_id = id_field is not None
        self._language = language
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents, once.

        Raises
        ------
        InputError
            At the first file or record that cannot be read, or if there are no documents.
        DuplicateDocumentError
            If two documents have the same id.
        """
        for path in self._paths:
            if path.is_dir():
                yield from self._folder(path)
            else:
                try:
                    yield from self._file(path, path.as_posix())
                except _NoTextError as error:
                    raise InputError(str(error)) from error
        if not self.n_documents:
            given = ", ".join(repr(str(path)) for path in self._paths)
            also = f" (skipped: {format_counts(self.skipped)})" if self.skipped else ""
            raise InputError(f"There is no text in {given}{also}. Give text files, JSON lines or CSV.")

    def _folder(self, folder: Path) -> Iterator[Document]:
        def refuse(error: OSError) -> None:
            raise InputError(f"The folder {error.filename!r} cannot be read: {error.strerror}.") from error

        for parent, folders, files in os.walk(folder, onerror=refuse):
            if n_hidden := sum(name.startswith(".") for name in (*folders, *files)):
                self.skipped["hidden"] += n_hidden
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in files if not name.startswith(".")):
                file = Path(parent, name)
                try:
                    yield from self._file(file, file.relative_to(folder).as_posix())
                except _NoTextError as error:
                    self.skipped[error.reason] += 1

    def _file(self, file: Path, name: str) -> Iterator[Document]:
        reader = READERS.get(file.suffix.lower())
        if reader is None:
            with _readable(file):
                text = file.read_text(UTF8)
            yield from self._document(str(file), _unicode(name), text, {"path": _unicode(file.as_posix())}, None)
            return
        read, metadata_of = reader
        try:
            with _readable(file):
                for record in read(file):
                    yield from self._record(record, name, metadata_of)
        except _NoTextError as error:  # not skipped: its first records may be indexed already
            raise InputError(str(error)) from error

    def _record(
        self, record: Record, name: str, metadata_of: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> Iterator[Document]:
        place, line, fields = record
        text_field = _first_field(self._text_fields, fields)
        if text_field is None:
            wanted = " or ".join(map(repr, self._text_fields))
            found = ", ".join(map(repr, fields)) or "none"
            raise InputError(f"{place}: there is no field {wanted} (found: {found}). Choose one with --text-field.")
        id_field = _first_field(self._id_fields, fields)
        if id_field is None and self._must_have_id:
            raise InputError(f"{place}: there is no id in the field {self._id_fields[0]!r}.")
        language_field = _first_field(LANGUAGE_FIELDS, fields)
        language = None if language_field is None else fields[language_field]
        used = (text_field, id_field, language_field)
        yield from self._document(
            place,
            f"{_unicode(name)}:{line}" if id_field is None else _identifier(place, id_field, fields[id_field]),
            _string(place, text_field, "" if fields[text_field] is None else fields[text_field]),
            metadata_of({key: value for key, value in fields.items() if key not in used}),
            None if language in (None, "") else _string(place, str(language_field), language),
        )

    def _document(
        self, place: str, document_id: str, text: str, metadata: dict[str, Any], language: str | None
    ) -> Iterator[Document]:
        """Yield a document, or nothing if it has no text."""
        if not text.strip():
            self.skipped["without text"] += 1
            return
        if document_id in self._seen:
            raise DuplicateDocumentError(f"{place}: the id {document_id!r} was used before. Ids must be unique.")
        self._seen.add(document_id)
        try:
            check_unicode(text, "the text")
            checked = check_metadata(metadata)
        except InputError as error:
            raise InputError(f"{place}: {error}") from error
        self.n_documents += 1
        yield Document(document_id, text, checked or None, language or self._language)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn any failure to read a file into an error that names the file."""
    try:
        if file.is_file():  # a pipe can be read only once
            with file.open("rb") as opened:
                if b"\0" in opened.read(_SNIFF_BYTES):
                    raise _NoTextError("binary", f"{str(file)!r} is a binary file. Convert it to UTF-8 text first.")
        yield
    except UnicodeDecodeError as error:
        raise _NoTextError(
            "not UTF-8", f"{str(file)!r} is not UTF-8 text. Convert it first, for instance by iconv."
        ) from error
    except OSError as error:
        raise _NoTextError("unreadable", f"{str(file)!r} cannot be read: {error.strerror}.") from error


def _first_field(names: Sequence[str], fields: Mapping[str, Any]) -> str | None:
    """Return the first of `names` that has a value, else the first that exists."""
    there = [name for name in names if name in fields]
    return next((name for name in there if fields[name] not in (None, "")), there[0] if there else None)


def _string(place: str, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{place}: the field {field!r} is of type {type(value).__name__}, not a string.")
    return value


def _identifier(place: str, field: str, value: object) -> str:
    """Return an id as a string; numbers are allowed, since databases number their rows."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not _string(place, field, value).strip():
        raise InputError(f"{place}: the id in the field {field!r} is blank.")
    return _unicode(str(value))


def _unicode(name: str) -> str:
    r"""Return a name that an index can store: bytes of a file name that are not text become ``\udce9``."""
    return name.encode(errors="backslashreplace").decode()
