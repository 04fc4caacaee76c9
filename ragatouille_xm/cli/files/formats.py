"""By its name, or by what it begins with: what a file holds, and how that is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO

from .encoding import UTF8, Bytes, describe, open_text, place_name
from .json_records import read_json, read_json_lines
from .names import STDIN, locate, storable_name
from .options import Format, ReadingOptions
from .records import Parsed, check_parsed, parse_record
from .skipped import BadFileError
from .tables import read_table, table_metadata
from .texts import (
    declared_charset,
    docx_text,
    html_text,
    is_html,
    markup_of,
    notebook_text,
    pdf_text,
    without_pictures,
)

SUFFIXES = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".xhtml": Format.HTML,
    ".ipynb": Format.IPYNB,
    ".pdf": Format.PDF,
    ".docx": Format.DOCX,
}
"""All other files are text, unless `REFUSED` names them."""
REFUSED = {
    ".xml": "XML",
    ".svg": "SVG",
    ".rtf": "RTF",
    ".eml": "an e-mail",
    ".mbox": "e-mails",
    ".mht": "MHTML",
    ".mhtml": "MHTML",
    ".ps": "PostScript",
    ".eps": "PostScript",
}
"""What is text for a computer, but markup or base64 for a reader."""
RECORDS = (Format.JSONL, Format.JSON, Format.CSV, Format.TSV)

_HEAD = 1024  # bytes in which a page declares its encoding, as for browsers


def format_of(path: str) -> Format:
    """Return what a file holds, by the end of its name.

    Raises
    ------
    BadFileError
        If it is of a kind that is not read.
    """
    suffix = "" if path == STDIN else os.path.splitext(path)[1].lower()
    if suffix in REFUSED:
        raise _markup(path, REFUSED[suffix])
    return SUFFIXES.get(suffix, Format.TEXT)


def parse(stream: Bytes, path: str, format: Format, options: ReadingOptions, *, is_sure: bool) -> Iterator[Parsed]:
    """Yield what is in an open file.

    Parameters
    ----------
    stream : Bytes
    path : str
        For messages, and as metadata.
    format : Format
    options : ReadingOptions
    is_sure : bool
        Whether the user named the format; otherwise text is looked at for markup.

    Raises
    ------
    BadFileError, MissingExtraError
        At the first thing in it that cannot be read.
    """
    if format in RECORDS:
        yield from _parse_records(stream, path, format, options)
        return
    name = describe(path)
    is_pdf = format is Format.TEXT and not is_sure and stream.peek(5).startswith(b"%PDF-")
    if is_pdf or format is Format.PDF:
        text = pdf_text(BytesIO(stream.read()), name)
    elif format is Format.DOCX:
        text = docx_text(BytesIO(stream.read()), name)
    else:
        charset = declared_charset(stream.peek(_HEAD)) if format is Format.HTML else None
        with open_text(stream, path, options.encoding, default=charset or UTF8) as decoded:
            text = _without_markup(decoded.read(), path, format, is_sure=is_sure)
    metadata = {} if path == STDIN else {"path": storable_name(locate(path).as_posix())}
    yield check_parsed(Parsed(name, None, text, metadata, None))


def _parse_records(stream: Bytes, path: str, format: Format, options: ReadingOptions) -> Iterator[Parsed]:
    name = place_name(path)
    is_table = format in (Format.CSV, Format.TSV)
    with open_text(stream, path, options.encoding, newline="" if is_table else None) as lines:
        if is_table:
            delimiter = options.delimiter or ("\t" if format is Format.TSV else None)
            records = read_table(lines, name, delimiter, options.text_field)
        else:
            records = read_json(lines.read(), name) if format is Format.JSON else read_json_lines(lines, name)
        for record in records:
            yield parse_record(record, options, table_metadata if is_table else dict)


def _without_markup(content: str, path: str, format: Format, *, is_sure: bool) -> str:
    """Return the text of a decoded file. Raise `BadFileError` if it turns out to be markup that is not read."""
    if format is Format.IPYNB:
        content = notebook_text(content, describe(path))
    elif format is Format.HTML or (not is_sure and is_html(content)):
        content = html_text(content, describe(path))
    elif not is_sure and (kind := markup_of(content)):
        raise _markup(path, kind)
    return content if is_sure and format is Format.TEXT else without_pictures(content)


def _markup(path: str, kind: str) -> BadFileError:
    return BadFileError("markup", f"{describe(path)} is {kind}, not text. Convert it to text or HTML first.")
