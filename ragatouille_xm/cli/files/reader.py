"""Files and folders → documents, one at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...corpus.passages import Document, is_blank
from ...errors import DuplicateDocumentError, InputError, MissingExtraError
from ...files import shown_place
from ...shell import quoted
from .encoding import describe, open_bytes
from .formats import RECORDS, format_of, parse
from .names import STDIN, file_id, record_id
from .options import Format, ReadingOptions
from .records import Parsed
from .skipped import BadFileError, Skipped
from .walk import walk


class FileReader:
    """The documents of files and folders, streamed. `skipped` has what was left out.

    A file is one document, named by its path below `base`, or holds a record for each, named by its id, else by the
    file and a hash of the text.

    Parameters
    ----------
    paths : sequence of str or Path
        Files and folders; ``-`` is standard input. A file in a folder that cannot be read is left out as a whole,
        unless `options` are strict; one that is given by name must be readable.
    options : ReadingOptions
    base : str or Path
        Where the ids of files begin. A file elsewhere is named by its absolute path.

    Raises
    ------
    InputError
        If a path does not exist.
    """

    def __init__(
        self, paths: Sequence[str | Path], options: ReadingOptions | None = None, base: str | Path = "."
    ) -> None:
        self.skipped = Skipped()
        self.n_documents = 0
        self._paths = [os.fspath(path) for path in paths]
        self._options = options or ReadingOptions()
        self._base = base
        self._files: set[str] = set()
        self._seen: set[str] = set()
        self._repeats: Counter[str] = Counter()
        for path in self._paths:
            if path != STDIN and not os.path.exists(path):  # Path.exists raises for a name that is too long
                raise InputError(f"There is no file or folder {quoted(shown_place(path))}.")

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents, once.

        Raises
        ------
        InputError, MissingExtraError
            At the first file that cannot be read, if it was given by name or options are strict; if there are no
            documents.
        DuplicateDocumentError
            If two documents have the same id.
        """
        options = self._options
        for path in self._paths:
            if path != STDIN and os.path.isdir(path):
                for file in walk(path, options.include, options.exclude, self.skipped, self._leave_out):
                    yield from self._file_of_folder(file)
            elif self._is_new(path):
                kind = options.format or format_of(path)
                yield from self._documents(path, kind, self._parse(path, kind, is_sure=options.format is not None))
        if not self.n_documents:
            raise self._nothing()

    def _file_of_folder(self, path: str) -> Iterator[Document]:
        """Yield what is in a file, or nothing of it if any of it is bad."""
        if not self._is_new(path):
            return
        try:
            kind = format_of(path)
            if kind in RECORDS:  # there may be too many to keep them
                for _ in self._parse(path, kind):
                    pass
                parsed = self._parse(path, kind)
            else:
                parsed = iter(list(self._parse(path, kind)))
        except (BadFileError, MissingExtraError) as error:
            self._leave_out(error)
            return
        yield from self._documents(path, kind, parsed)

    def _parse(self, path: str, format: Format, *, is_sure: bool = False) -> Iterator[Parsed]:
        with open_bytes(path) as stream:
            yield from parse(stream, path, format, self._options, is_sure=is_sure)

    def _documents(self, path: str, format: Format, parsed: Iterator[Parsed]) -> Iterator[Document]:
        """Give ids to what was found in a file."""
        file, place = file_id(path, self._base), None
        for place, given_id, text, metadata, language in parsed:
            if is_blank(text):
                self.skipped.add("without text", f"{place} has no text.")
                continue
            document_id = given_id or (self._record_id(file, text) if format in RECORDS else file)
            if document_id in self._seen:
                raise DuplicateDocumentError(
                    f"{place}: the id {quoted(document_id)} was used before. Ids must be unique."
                )
            self._seen.add(document_id)
            self.n_documents += 1
            yield Document(document_id, text, metadata or None, language or self._options.language)
        if place is None:
            self.skipped.add("without text", f"{describe(path)} has no records.")

    def _record_id(self, file: str, text: str) -> str:
        """Return the id of a record without one; equal texts of a file are numbered."""
        found = record_id(file, text)
        self._repeats[found] += 1
        return found if self._repeats[found] == 1 else f"{found}-{self._repeats[found]}"

    def _is_new(self, path: str) -> bool:
        """Return whether a file is met for the first time: a folder and a file in it may both be given."""
        file = file_id(path, self._base)
        if file in self._files:
            self.skipped.add("given twice", f"{describe(path)} was read already.")
            return False
        self._files.add(file)
        return True

    def _leave_out(self, error: BadFileError | MissingExtraError) -> None:
        if self._options.strict:
            raise error
        self.skipped.add(error.kind if isinstance(error, BadFileError) else "without its extra", str(error))

    def _nothing(self) -> InputError:
        given = ", ".join("standard input" if path == STDIN else quoted(path) for path in self._paths)
        first = next(iter(next(iter(self.skipped.named.values()), [])), "")
        also = f" (skipped: {self.skipped}). {first}" if self.skipped else "."
        return InputError(f"There is no text in {given}{also} Give text files, JSON lines or CSV.")
