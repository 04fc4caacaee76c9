"""Rows of a folder's database as PostgreSQL has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

TEXT_COLUMNS = ("document_id", "language", "text")
COLUMNS = {  # of the tables that both have; in SQLite the position of a segment is its rowid
    "passage": ("pid", "document_id", "language", "text", "metadata", "checksum"),
    "buffer": ("pid", "tokens", "scale", "checksum", "codes", "residuals", "pieces"),
    "segment": ("rowid", "name", "passages", "tokens", "files", "deleted"),
}
_ESCAPE = "\ufffe"  # no character: hardly any text has it


def to_server(table: str, row: Sequence[Any]) -> list[Any]:
    """Return a row in which no text has U+0000, which PostgreSQL cannot store."""
    return [_escaped(value) if name in TEXT_COLUMNS else value for name, value in zip(COLUMNS[table], row, strict=True)]


def from_server(table: str, row: Sequence[Any]) -> tuple[Any, ...]:
    """Return the row that `to_server` was given."""
    return tuple(
        _unescaped(value) if name in TEXT_COLUMNS else value for name, value in zip(COLUMNS[table], row, strict=True)
    )


def server_columns(table: str) -> str:
    """Return the names of the columns in PostgreSQL, except for those of the index and the commit."""
    return ", ".join("position" if name == "rowid" else name for name in COLUMNS[table])


def select_metadata_as_text(table: str) -> str:
    """Return the same to be selected: the JSON is wanted as it was written."""
    return server_columns(table).replace("metadata", "metadata::text")


def blocks_of(content: Any, size: int) -> Iterator[bytes]:
    """Yield what a file holds in blocks, at least one."""
    yield content.read(size)
    while block := content.read(size):
        yield block


def _escaped(text: str) -> str:
    return text.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")


def _unescaped(text: str) -> str:
    return text.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)
