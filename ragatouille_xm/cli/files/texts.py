"""Files that are one document → their text, without markup and without pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from ...extras import import_extra
from ...files import lacks_memory
from .skipped import BadFileError

_HEAD = 4096  # characters in which a kind of markup shows
_HTML = re.compile(r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_MARKUP = (
    (re.compile(r"\s*\{\\rtf"), "RTF"),
    (re.compile(r"\s*%!PS"), "PostScript"),
    (re.compile(r"\s*(<\?xml|<!DOCTYPE\s|<svg\b|<rss\b)", re.IGNORECASE), "XML"),
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----"), "a key or a certificate"),
    (re.compile(r"(?:[\w-]+:.*\n(?:[ \t].*\n)*){0,60}?MIME-Version:\s*1", re.IGNORECASE), "an e-mail"),
)
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[\w.+-]+=[\w.+-]+)*;base64,[A-Za-z0-9+/=_-]*", re.IGNORECASE)
_AS_BROWSERS_DO = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252", "gb2312": "gb18030"}
_NOT_READ = ("script", "style", "template", "noscript", "svg")


def is_html(text: str) -> bool:
    """Return whether a text begins as an HTML page does."""
    return _HTML.match(text, 0, _HEAD) is not None


def markup_of(text: str) -> str | None:
    r"""Return what markup a text begins with that would be indexed as it is, or None.

    Examples
    --------
    >>> markup_of("<?xml version='1.0'?><a/>"), markup_of("# A title"), markup_of("From: a@b\nMIME-Version: 1.0\n")
    ('XML', None, 'an e-mail')
    """
    return next((kind for begins, kind in _MARKUP if begins.match(text, 0, _HEAD)), None)


def without_pictures(text: str) -> str:
    """Return a text without data URIs in base64: pictures within Markdown.

    Examples
    --------
    >>> without_pictures("A map: ![a map](data:image/png;base64,iVBORw0KGgo=)")
    'A map: ![a map]()'
    """
    return _DATA_URI.sub("", text) if "base64," in text else text


def declared_charset(head: bytes) -> str | None:
    """Return the encoding that an HTML page declares, if Python knows it."""
    found = _CHARSET.search(head)
    if found is None:
        return None
    charset = found[1].decode().lower()
    charset = _AS_BROWSERS_DO.get(charset, charset)
    try:
        "".encode(charset)
    except LookupError:
        return None
    return charset


def html_text(page: str, name: str) -> str:
    """Return the text of an HTML page, its title first.

    Raises
    ------
    MissingExtraError
        If the extra ``files`` is not installed.
    """
    inscriptis, lxml_html = _import("inscriptis", name, "HTML"), _import("lxml.html", name, "HTML")
    config = _import("inscriptis.model.config", name, "HTML").ParserConfig(
        css=_import("inscriptis.css_profiles", name, "HTML").CSS_PROFILES["strict"]
    )
    page = re.sub(r"^\s*<\?xml[^>]*>", "", page)
    if not page.strip():
        return ""
    try:
        tree = lxml_html.document_fromstring(page, parser=lxml_html.HTMLParser(huge_tree=True))
        title = " ".join((tree.findtext(".//title") or "").split())
        for element in list(tree.iter(*_NOT_READ)):
            element.drop_tree()
        lines = inscriptis.Inscriptis(tree, config).get_text().splitlines()
    except Exception as error:  # parsers of what anybody may have written fail in ways of their own
        raise _damaged(name, "HTML", error) from error
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip("\n")
    return text if not title or text.startswith(title) else f"{title}\n\n{text}"


def notebook_text(content: str, name: str) -> str:
    """Return the sources of a Jupyter notebook's cells, without outputs and attachments."""
    try:
        cells = json.loads(content)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] in ("markdown", "code")]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise BadFileError(
            "damaged",
            f"{name} is not a Jupyter notebook of format 4. Convert it: jupyter nbconvert --to notebook FILE",
        ) from error
    return "\n\n".join(filter(str.strip, sources))


def pdf_text(file: BinaryIO, name: str) -> str:
    """Return the text of a PDF file, page by page. A scan has none.

    Raises
    ------
    MissingExtraError
        If the extra ``files`` is not installed.
    """
    pypdf = _import("pypdf", name, "PDF")
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(file).pages]
    except Exception as error:
        raise _damaged(name, "PDF", error) from error
    text = "\n\n".join(filter(str.strip, pages))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # fonts map glyphs to anything


def docx_text(file: BinaryIO, name: str) -> str:
    """Return the paragraphs and tables of a Word document.

    Raises
    ------
    MissingExtraError
        If the extra ``files`` is not installed.
    """
    docx = _import("docx", name, "Word documents")
    try:
        return "\n".join(_blocks(docx.Document(file)))
    except Exception as error:
        raise _damaged(name, "a Word document", error) from error


def _blocks(container: Any) -> Iterator[str]:
    """Yield the lines of a document or cell; a row of a table is one, its cells apart by tabs."""
    for block in container.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                cells = {id(cell._tc): cell for cell in row.cells}  # a merged one stands there more than once
                yield "\t".join(" ".join(_blocks(cell)) for cell in cells.values())
        else:
            yield block.text


def _import(module: str, name: str, what: str) -> Any:
    return import_extra(module, f"{name}: reading {what}", "files")


def _damaged(name: str, what: str, error: Exception) -> BadFileError:
    if lacks_memory(error):
        raise error
    return BadFileError("damaged", f"{name} cannot be read as {what} ({type(error).__name__}: {str(error)[:200]}).")
