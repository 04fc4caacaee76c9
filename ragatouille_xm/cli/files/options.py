"""How files are read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ...errors import InputError
from ...shell import quoted
from .encoding import check_encoding

_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}


class Format(StrEnum):
    """What a file holds."""

    TEXT = "text"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    HTML = "html"
    IPYNB = "ipynb"
    PDF = "pdf"
    DOCX = "docx"


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    r"""How files are read.

    Attributes
    ----------
    text_field, id_field : str or None
        Names of a record's fields, instead of the usual ones.
    language : str or None
        Language of documents that do not state their own.
    encoding : str or None
        Of files without a byte order mark; by default UTF-8.
    delimiter : str or None
        Between the cells of a table; by default found out.
    format : Format or None
        Of files given by name and of standard input; by default the one of the file's name.
    include, exclude : tuple of str
        Patterns for the files of folders: see `ragatouille_xm.cli.files.walk.walk`.
    strict : bool
        Refuse a bad file in a folder instead of leaving it out.

    Raises
    ------
    InputError
        If there is no such encoding, or the delimiter is not one character.

    Examples
    --------
    >>> ReadingOptions(delimiter="tab").delimiter
    '\t'
    """

    text_field: str | None = None
    id_field: str | None = None
    language: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    format: Format | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    strict: bool = False

    def __post_init__(self) -> None:
        if self.encoding is not None:
            check_encoding(self.encoding)
        if self.delimiter is not None:
            delimiter = _NAMED_DELIMITERS.get(self.delimiter, self.delimiter)
            if len(delimiter) != 1 or delimiter in '\r\n"':
                raise InputError(
                    f"--delimiter {quoted(self.delimiter)} is not one character. Give ',', ';', '|' or tab."
                )
            object.__setattr__(self, "delimiter", delimiter)
